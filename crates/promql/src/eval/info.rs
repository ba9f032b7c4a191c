//! `info`: labels of info metrics (`target_info`) added to series, after `promql/info.go` of the reference.

use std::collections::{BTreeMap, HashMap, HashSet};

use model::Labels;
use store::{LabelMatcher, MatchOp};

use super::flow::{Collect, settled};
use super::select::{Look, Take};
use super::value::{Series, metric};
use super::{Evaluator, Grid};
use crate::EvalError;
use crate::ast::{Expr, Node};

/// What says that an info series is about the same thing as a series.
const IDENTIFYING: [&str; 2] = ["instance", "job"];

/// Name of an info metric and identifying labels.
type Signature<'s> = (&'s str, [&'s str; 2]);

fn identity(labels: &Labels) -> [&str; 2] {
    IDENTIFYING.map(|name| labels.get(name).unwrap_or(""))
}

fn fail<T>(message: String) -> Result<T, EvalError> {
    Err(EvalError::Execution(message))
}

impl Evaluator<'_> {
    pub(super) fn info(&self, args: &[Expr], grid: Grid) -> Result<Vec<Series>, EvalError> {
        let Some(base) = args.first() else { return fail("info() needs a vector".to_owned()) };
        let given: &[LabelMatcher] = match args.get(1).map(|e| &e.inner().node) {
            Some(Node::Selector(s)) => &s.matchers,
            _ => &[],
        };
        let default = |_| EvalError::Execution("target_info".to_owned());
        let target_info = LabelMatcher::new("__name__", MatchOp::Eq, "target_info").map_err(default)?;
        let (mut names, data): (Vec<LabelMatcher>, Vec<LabelMatcher>) = given.iter().cloned().partition(|m| m.name == "__name__");
        if names.is_empty() {
            names.push(target_info);
        }
        let series = self.vector(base, grid)?;
        // Info series are not enriched themselves.
        let is_info = |s: &Series| names.iter().all(|m| m.matches(metric(&s.labels)));
        let infos = self.info_series(base, &series, &is_info, &names, &data, grid)?;
        self.enrich(series, &is_info, &infos, &data, grid)
    }

    /// The info series of the same instances and jobs, with the times of their samples as values.
    fn info_series(
        &self,
        base: &Expr,
        series: &[Series],
        is_info: &dyn Fn(&Series) -> bool,
        names: &[LabelMatcher],
        data: &[LabelMatcher],
        grid: Grid,
    ) -> Result<Vec<Series>, EvalError> {
        let mut wanted: [HashSet<&str>; 2] = Default::default();
        for s in series.iter().filter(|s| !is_info(s)) {
            for (values, value) in wanted.iter_mut().zip(identity(&s.labels)) {
                if !value.is_empty() {
                    values.insert(value);
                }
            }
        }
        if wanted.iter().all(HashSet::is_empty) {
            return Ok(Vec::new());
        }
        let matchers: Vec<LabelMatcher> = names.iter().chain(data).cloned().collect();
        let mut looks = Vec::new();
        self.looks(base, &mut looks)?;
        let look = looks.into_iter().fold(Look::default(), Look::then);
        let about = |labels: &Labels| {
            wanted.iter().zip(identity(labels)).all(|(values, value)| values.is_empty() || values.contains(value))
        };
        let mut infos = settled(self.select_at(&matchers, look, grid, Take::InfoTime, None, &Collect(self))?);
        infos.retain(|s| about(&s.labels));
        Ok(infos)
    }

    /// Where the first selector of an expression looks: one step inside the other.
    fn looks(&self, expr: &Expr, out: &mut Vec<Look>) -> Result<bool, EvalError> {
        match &expr.node {
            Node::Selector(s) | Node::Range { selector: s, .. } => {
                out.push(self.look(&s.shift)?);
                Ok(true)
            }
            Node::Subquery { expr, shift, .. } => {
                out.push(self.look(shift)?);
                let found = self.looks(expr, out)?;
                if !found {
                    out.pop();
                }
                Ok(found)
            }
            Node::Unary { expr, .. } | Node::Paren(expr) | Node::Aggregate { expr, .. } => self.looks(expr, out),
            Node::Binary(b) => Ok(self.looks(&b.left, out)? || self.looks(&b.right, out)?),
            Node::Call { args, .. } => {
                for arg in args {
                    if self.looks(arg, out)? {
                        return Ok(true);
                    }
                }
                Ok(false)
            }
            Node::Number { .. } | Node::Text(_) => Ok(false),
        }
    }

    fn enrich(
        &self,
        series: Vec<Series>,
        is_info: &dyn Fn(&Series) -> bool,
        infos: &[Series],
        data: &[LabelMatcher],
        grid: Grid,
    ) -> Result<Vec<Series>, EvalError> {
        let names: HashSet<&str> = infos.iter().map(|s| metric(&s.labels)).collect();
        let mut by_signature: HashMap<Signature<'_>, Vec<&Series>> = HashMap::new();
        for info in infos {
            by_signature.entry((metric(&info.labels), identity(&info.labels))).or_default().push(info);
        }
        let may_lack = data.iter().all(|m| m.matches(""));
        let mut out: Vec<Series> = Vec::new();
        let mut places: HashMap<Labels, usize> = HashMap::new();
        for s in series {
            if is_info(&s) {
                out.push(s);
                continue;
            }
            places.clear();
            for step in (0..grid.len()).filter(|step| s.is_present(*step)) {
                let mut found: Vec<&Series> = Vec::new();
                for name in &names {
                    let candidates = by_signature.get(&(*name, identity(&s.labels)));
                    found.extend(newest(candidates.map_or(&[], Vec::as_slice), step)?);
                }
                if found.is_empty() && !may_lack {
                    continue;
                }
                let labels = enriched(&s.labels, &found, data)?;
                let place = *places.entry(labels).or_insert_with_key(|labels| {
                    out.push(Series { drop_name: s.drop_name, ..Series::absent(labels.clone(), grid.len()) });
                    out.len() - 1
                });
                out[place].set(step, s.point(step));
            }
        }
        super::value::unite(out)
    }
}

/// The info series with the newest sample at a step; two may not be equally new.
fn newest<'s>(candidates: &[&'s Series], step: usize) -> Result<Option<&'s Series>, EvalError> {
    let mut newest: Option<(&Series, f64)> = None;
    for s in candidates {
        let Some(time) = s.at(step) else { continue };
        match newest {
            Some((other, at)) if at == time => {
                return fail(format!(
                    "found duplicate series for info metric: existing {} @ {at}, new {} @ {time}",
                    other.labels, s.labels
                ));
            }
            Some((_, at)) if at > time => {}
            _ => newest = Some((s, time)),
        }
    }
    Ok(newest.map(|(s, _)| s))
}

/// A series' labels and those of its info series that are asked for; its own ones stay as they are.
fn enriched(labels: &Labels, infos: &[&Series], data: &[LabelMatcher]) -> Result<Labels, EvalError> {
    let mut added: BTreeMap<&str, &str> = BTreeMap::new();
    for info in infos {
        for (name, value) in info.labels.iter() {
            let asked = data.is_empty() || data.iter().any(|m| m.name == name);
            if name == "__name__" || !asked {
                continue;
            }
            match added.get(name) {
                Some(other) if *other != value => return fail(format!("conflicting label: {name}")),
                _ if labels.get(name).is_some() => {}
                _ => {
                    added.insert(name, value);
                }
            }
        }
    }
    Ok(Labels::from_pairs(labels.iter().chain(added)))
}
