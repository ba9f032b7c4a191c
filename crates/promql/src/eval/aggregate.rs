//! Aggregations: series folded into groups as they come.

use std::sync::Arc;

use hashbrown::HashMap;
use model::{Histogram, HistogramSum, Labels, ResetHint};

use super::flow::{Collect, Passing, Taker};
use super::over_time::{HistogramMean, better};
use super::sum::{Mean, add, quantile_of};
use super::value::{ABSENT, Series, metric, names_metric, present, quiet, without};
use super::window::Point;
use super::{Evaluator, Grid};
use crate::EvalError;
use crate::ast::{AggregateOp, Expr, Grouping};
use crate::notes::{Note, Operation};

/// Whether a label is one of its group's. `nameless`: the metric's name, type and unit are gone.
fn groups_by(grouping: &Grouping, nameless: bool, name: &str) -> bool {
    let named = grouping.labels.iter().any(|l| l == name);
    let gone = nameless && names_metric(name);
    !gone && if grouping.without { !named && name != "__name__" } else { named }
}

/// The labels of the group that a series belongs to.
fn group_of(labels: &Labels, nameless: bool, grouping: &Grouping) -> Labels {
    without(labels, |name| !groups_by(grouping, nameless, name))
}

/// Numbers of groups, in the order in which they come.
#[derive(Default)]
struct Places {
    by_labels: HashMap<Box<[u8]>, usize>,
    /// The labels of a group, one after the other.
    key: Vec<u8>,
}

impl Places {
    /// The number of a series' group.
    fn of(&mut self, labels: &Labels, nameless: bool, grouping: &Grouping) -> usize {
        self.with(labels.iter().filter(|(name, _)| groups_by(grouping, nameless, name)))
    }

    /// The number of the group that has these labels.
    fn with<'l>(&mut self, labels: impl Iterator<Item = (&'l str, &'l str)>) -> usize {
        self.key.clear();
        for (name, value) in labels {
            for text in [name, value] {
                self.key.extend_from_slice(text.as_bytes());
                // In no UTF-8.
                self.key.push(0xff);
            }
        }
        if let Some(place) = self.by_labels.get(self.key.as_slice()) {
            return *place;
        }
        let place = self.by_labels.len();
        self.by_labels.insert(self.key.as_slice().into(), place);
        place
    }
}

/// What a group has gathered of floats, one entry a step.
struct Floats {
    count: Vec<f64>,
    /// Sum, minimum, maximum or mean.
    first: Vec<f64>,
    /// Rounding error of the sum, or the squared distances to the mean.
    second: Vec<f64>,
    mean: Vec<Mean>,
}

impl Floats {
    fn new(op: AggregateOp, steps: usize) -> Self {
        let of = |needed: bool| vec![0.0; if needed { steps } else { 0 }];
        use AggregateOp::{Avg, Count, Group, Stddev, Stdvar, Sum};
        Self {
            count: of(true),
            first: of(!matches!(op, Avg | Count | Group)),
            second: of(matches!(op, Sum | Stddev | Stdvar)),
            mean: vec![Mean::default(); if op == Avg { steps } else { 0 }],
        }
    }

    /// Takes a series' floats.
    fn take(&mut self, op: AggregateOp, values: &[f64]) {
        let Self { count, first, second, mean } = self;
        let present = values.iter().enumerate().filter_map(|(i, v)| present(*v).map(|v| (i, v)));
        match op {
            AggregateOp::Sum => {
                for (i, v) in present {
                    (first[i], second[i]) = if count[i] == 0.0 { (v, 0.0) } else { add(v, first[i], second[i]) };
                    count[i] += 1.0;
                }
            }
            AggregateOp::Avg => {
                for (i, v) in present {
                    mean[i].add(v);
                    count[i] += 1.0;
                }
            }
            AggregateOp::Min | AggregateOp::Max => {
                let max = op == AggregateOp::Max;
                for (i, v) in present {
                    if count[i] == 0.0 || first[i].is_nan() || better(max, v, first[i]) {
                        first[i] = v;
                    }
                    count[i] += 1.0;
                }
            }
            AggregateOp::Stddev | AggregateOp::Stdvar => {
                for (i, v) in present {
                    count[i] += 1.0;
                    if count[i] == 1.0 {
                        first[i] = v;
                        second[i] = if v.is_finite() { 0.0 } else { f64::NAN };
                        continue;
                    }
                    let delta = v - first[i];
                    first[i] += delta / count[i];
                    second[i] += delta * (v - first[i]);
                }
            }
            _ => present.for_each(|(i, _)| count[i] += 1.0),
        }
    }

    /// Takes what another one has gathered of later series.
    fn join(&mut self, op: AggregateOp, more: &Self) {
        let Self { count, first, second, mean } = self;
        for i in (0..count.len()).filter(|i| more.count[*i] > 0.0) {
            let (mine, theirs) = (count[i], more.count[i]);
            count[i] += theirs;
            match op {
                AggregateOp::Sum if mine == 0.0 => (first[i], second[i]) = (more.first[i], more.second[i]),
                AggregateOp::Sum => {
                    let (sum, error) = add(more.first[i], first[i], second[i]);
                    (first[i], second[i]) = (sum, if sum.is_infinite() { error } else { error + more.second[i] });
                }
                AggregateOp::Avg => mean[i].join(more.mean[i]),
                AggregateOp::Min | AggregateOp::Max => {
                    let v = more.first[i];
                    if mine == 0.0 || first[i].is_nan() || better(op == AggregateOp::Max, v, first[i]) {
                        first[i] = v;
                    }
                }
                AggregateOp::Stddev | AggregateOp::Stdvar if mine == 0.0 => {
                    (first[i], second[i]) = (more.first[i], more.second[i]);
                }
                AggregateOp::Stddev | AggregateOp::Stdvar => {
                    let delta = more.first[i] - first[i];
                    first[i] += delta * (theirs / count[i]);
                    second[i] += more.second[i] + delta * delta * (mine * theirs / count[i]);
                }
                _ => {}
            }
        }
    }

    fn result(&self, op: AggregateOp, i: usize) -> f64 {
        if self.count[i] == 0.0 {
            return ABSENT;
        }
        quiet(match op {
            AggregateOp::Sum => self.first[i] + self.second[i],
            AggregateOp::Avg => self.mean[i].get().unwrap_or(f64::NAN),
            AggregateOp::Count => self.count[i],
            AggregateOp::Group => 1.0,
            AggregateOp::Stdvar => self.second[i] / self.count[i],
            AggregateOp::Stddev => (self.second[i] / self.count[i]).sqrt(),
            _ => self.first[i],
        })
    }
}

/// What a group has gathered of histograms at one step.
#[derive(Clone)]
struct Histograms {
    folded: Folded,
    incompatible: bool,
    reset: bool,
    no_reset: bool,
}

#[derive(Clone)]
enum Folded {
    Sum(Box<HistogramSum>),
    Mean(Box<HistogramMean>),
}

struct Group {
    labels: Arc<Labels>,
    floats: Floats,
    /// Empty while no histogram came.
    histograms: Vec<Option<Histograms>>,
    drop_name: bool,
}

/// Folds series into groups.
struct Folding<'f, 'a> {
    evaluator: &'f Evaluator<'a>,
    op: AggregateOp,
    grouping: &'f Grouping,
    grid: Grid,
    at: usize,
}

/// The groups of one stretch of series.
struct Groups {
    places: Places,
    groups: Vec<Group>,
    /// Which stretch.
    stretch: usize,
    /// Histograms of later stretches wait for those before them: group, step, histogram, its series' labels.
    waiting: Vec<(usize, usize, Arc<Histogram>, Arc<Labels>)>,
}

impl Taker for Folding<'_, '_> {
    type Taken = Groups;

    fn begin(&self, stretch: usize, _: usize) -> Groups {
        Groups { places: Places::default(), groups: Vec::new(), stretch, waiting: Vec::new() }
    }

    fn take(&self, into: &mut Groups, series: Passing<'_>) -> Result<(), EvalError> {
        let place = into.places.of(series.labels, series.nameless, self.grouping);
        if place == into.groups.len() {
            self.evaluator.hold(self.grid.len(), 0)?;
            let labels = Arc::new(group_of(series.labels, series.nameless, self.grouping));
            let floats = Floats::new(self.op, self.grid.len());
            into.groups.push(Group { labels, floats, histograms: Vec::new(), drop_name: false });
        }
        let group = &mut into.groups[place];
        group.drop_name |= series.drop_name;
        group.floats.take(self.op, series.values);
        for (step, histogram) in series.histograms.iter().enumerate() {
            let Some(histogram) = histogram else { continue };
            match self.op {
                AggregateOp::Sum | AggregateOp::Avg if into.stretch > 0 => {
                    self.evaluator.hold(0, 1)?;
                    into.waiting.push((place, step, Arc::clone(histogram), Arc::clone(series.labels)));
                }
                AggregateOp::Sum | AggregateOp::Avg => self.gather(group, step, histogram, series.labels),
                AggregateOp::Count | AggregateOp::Group => group.floats.count[step] += 1.0,
                _ => self.evaluator.notes.add(self.at, Note::IgnoredInAggregation(self.op.as_str())),
            }
        }
        Ok(())
    }
}

impl Folding<'_, '_> {
    fn gather(&self, group: &mut Group, step: usize, histogram: &Arc<Histogram>, labels: &Labels) {
        group.histograms.resize_with(self.grid.len(), || None);
        self.evaluator.gather(&mut group.histograms[step], self.op, histogram, metric(labels), self.at);
    }

    /// Joins the groups of the stretch that comes next.
    fn join(&self, all: &mut Groups, more: Groups) -> Result<(), EvalError> {
        self.evaluator.alive()?;
        let mut places = Vec::with_capacity(more.groups.len());
        for group in more.groups {
            let place = all.places.with(group.labels.iter());
            places.push(place);
            match all.groups.get_mut(place) {
                Some(same) => {
                    same.drop_name |= group.drop_name;
                    same.floats.join(self.op, &group.floats);
                }
                None => all.groups.push(group),
            }
        }
        for (place, step, histogram, labels) in more.waiting {
            self.gather(&mut all.groups[places[place]], step, &histogram, &labels);
        }
        Ok(())
    }
}

impl Evaluator<'_> {
    /// `at`: where the aggregation stands in the query.
    pub(super) fn aggregate(
        &self,
        op: AggregateOp,
        expr: &Expr,
        param: Option<&Expr>,
        grouping: &Grouping,
        at: usize,
        grid: Grid,
    ) -> Result<Vec<Series>, EvalError> {
        match (op, param) {
            (AggregateOp::Topk | AggregateOp::Bottomk | AggregateOp::Limitk, Some(k)) => {
                self.choose(op, expr, k, grouping, at, grid)
            }
            (AggregateOp::LimitRatio, Some(ratio)) => self.limit_ratio(expr, ratio, grouping, grid),
            (AggregateOp::Quantile, Some(q)) => self.quantile(expr, q, grouping, grid),
            (AggregateOp::CountValues, Some(label)) => self.count_values(expr, label, grouping, grid),
            _ => self.fold(op, expr, grouping, grid),
        }
    }

    fn fold(&self, op: AggregateOp, expr: &Expr, grouping: &Grouping, grid: Grid) -> Result<Vec<Series>, EvalError> {
        let at = expr.inner().start;
        let folding = Folding { evaluator: self, op, grouping, grid, at };
        let mut folded = self.each(expr, grid, &folding)?.into_iter();
        let Some(mut all) = folded.next() else { return Ok(Vec::new()) };
        folded.try_for_each(|more| folding.join(&mut all, more))?;
        let mut out = Vec::with_capacity(all.groups.len());
        for group in all.groups {
            let mut series = Series::floats(group.labels, (0..grid.len()).map(|i| group.floats.result(op, i)).collect());
            series.drop_name = group.drop_name;
            for (step, histograms) in group.histograms.into_iter().enumerate() {
                let Some(h) = histograms else { continue };
                if group.floats.count[step] > 0.0 {
                    self.notes.add(at, Note::MixedFloatsHistogramsAggregation);
                    series.clear(step);
                    continue;
                }
                if h.incompatible {
                    continue;
                }
                if h.reset && h.no_reset {
                    self.notes.add(at, Note::HintsCollide(Operation::Aggregation));
                }
                let folded = match h.folded {
                    Folded::Sum(sum) => sum.get(),
                    Folded::Mean(mean) => mean.get(),
                };
                series.set(step, Point::histogram(folded.compacted()));
            }
            if !series.is_empty() {
                out.push(series);
            }
        }
        Ok(out)
    }

    fn gather(&self, into: &mut Option<Histograms>, op: AggregateOp, h: &Arc<Histogram>, metric: &str, at: usize) {
        let gathered = match into {
            None => {
                let first = HistogramSum::from(&**h);
                let folded = match op {
                    AggregateOp::Avg => Folded::Mean(Box::new(HistogramMean::new(first))),
                    _ => Folded::Sum(Box::new(first)),
                };
                into.insert(Histograms { folded, incompatible: false, reset: false, no_reset: false })
            }
            Some(gathered) if gathered.incompatible => return,
            Some(gathered) => {
                let reconciled = match &mut gathered.folded {
                    Folded::Sum(sum) => sum.add(h, 1.0).map(|merged| merged.bounds_reconciled),
                    Folded::Mean(mean) => mean.add(h),
                };
                match reconciled {
                    Ok(true) => self.notes.add(at, Note::BoundsReconciled(Operation::Aggregation)),
                    Ok(false) => {}
                    Err(_) => {
                        self.notes.add(at, Note::MixedExponentialCustom(metric));
                        gathered.incompatible = true;
                    }
                }
                gathered
            }
        };
        gathered.reset |= h.reset_hint == ResetHint::Reset;
        gathered.no_reset |= h.reset_hint == ResetHint::NoReset;
    }

    /// All series, by group, in the order they come. Their names may be yet to go ([`Series::settle`]).
    pub(super) fn groups(&self, expr: &Expr, grouping: &Grouping, grid: Grid) -> Result<Vec<(Labels, Vec<Series>)>, EvalError> {
        let mut places = Places::default();
        let mut groups: Vec<(Labels, Vec<Series>)> = Vec::new();
        for series in self.each(expr, grid, &Collect(self))?.into_iter().flatten() {
            let place = places.of(&series.labels, series.nameless, grouping);
            if place == groups.len() {
                groups.push((group_of(&series.labels, series.nameless, grouping), Vec::new()));
            }
            groups[place].1.push(series);
        }
        Ok(groups)
    }

    fn quantile(&self, expr: &Expr, q: &Expr, grouping: &Grouping, grid: Grid) -> Result<Vec<Series>, EvalError> {
        let quantiles = self.scalar(q, grid)?;
        for q_out in quantiles.iter().filter(|q| !(0.0..=1.0).contains(*q)) {
            self.notes.add(q.inner().start, Note::InvalidQuantile(*q_out));
        }
        let mut out = Vec::new();
        for (labels, members) in self.groups(expr, grouping, grid)? {
            if members.iter().any(|s| s.histograms.iter().any(Option::is_some)) {
                self.notes.add(expr.inner().start, Note::IgnoredInAggregation("quantile"));
            }
            let at_step = |(step, q): (usize, &f64)| {
                let mut values: Vec<f64> = members.iter().filter_map(|s| s.at(step)).collect();
                if values.is_empty() { ABSENT } else { quiet(quantile_of(*q, &mut values)) }
            };
            let mut series = Series::floats(labels, quantiles.iter().enumerate().map(at_step).collect());
            series.drop_name = members.iter().any(|s| s.drop_name);
            out.push(series);
        }
        out.retain(|s| !s.is_empty());
        Ok(out)
    }

    /// How many series of a group have each value; the value becomes a label.
    fn count_values(&self, expr: &Expr, label: &Expr, grouping: &Grouping, grid: Grid) -> Result<Vec<Series>, EvalError> {
        let name = self.text(label, grid)?;
        // Bytes that are no UTF-8 have become this character.
        if name.is_empty() || name.contains('\u{fffd}') {
            let written = &self.query[label.inner().start..];
            let written = syntax::quoted(written).map_or(name.as_str(), |(_, length)| &written[..length]);
            return Err(EvalError::Execution(format!("invalid label name {written}")));
        }
        let hidden = grouping.without && grouping.labels.contains(&name);
        let mut counts: HashMap<Labels, Vec<f64>> = HashMap::new();
        for (labels, members) in self.groups(expr, grouping, grid)? {
            for series in members {
                for step in 0..grid.len() {
                    let text = match series.point(step) {
                        Point::Absent => continue,
                        Point::Float(v) => crate::plain(v),
                        Point::Histogram(h) => h.to_string(),
                    };
                    let value = (!hidden).then_some((name.as_str(), text.as_str()));
                    let pairs = labels.iter().filter(|(n, _)| *n != name).chain(value);
                    let steps = counts.entry(Labels::from_pairs(pairs)).or_insert_with(|| vec![ABSENT; grid.len()]);
                    steps[step] = present(steps[step]).unwrap_or(0.0) + 1.0;
                }
            }
            self.charge(counts.len())?;
        }
        Ok(counts.into_iter().map(|(labels, values)| Series::floats(labels, values)).collect())
    }
}
