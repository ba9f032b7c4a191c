//! Operators between numbers and vectors.

use std::collections::HashMap;
use std::sync::Arc;

use model::{Histogram, Labels};

use super::trim::trim;
use super::value::{Series, Value, names_metric, quiet, unite, without};
use super::window::Point;
use super::{Evaluator, Grid};
use crate::EvalError;
use crate::ast::{Binary, BinaryOp, Matching, Side};
use crate::notes::{Note, Operation};

/// What an operator made of two samples.
enum Element {
    /// Nothing: the operator does not fit them.
    Unfit,
    /// A value, and whether a comparison holds.
    Value(Point, bool),
}

/// The labels by which two sides find each other.
fn signature(labels: &Labels, matching: &Matching) -> Labels {
    without(labels, |name| {
        let named = matching.labels.iter().any(|l| l == name);
        if matching.on { !named } else { named || name == "__name__" }
    })
}

impl Evaluator<'_> {
    pub(super) fn binary(&self, b: &Binary, grid: Grid) -> Result<Value, EvalError> {
        let (left, right) = (self.value(&b.left, grid)?, self.value(&b.right, grid)?);
        Ok(match (left, right) {
            (Value::Scalar(l), Value::Scalar(r)) => {
                Value::Scalar(l.iter().zip(&r).map(|(l, r)| quiet(b.op.of_numbers(*l, *r))).collect())
            }
            (Value::Vector(l), Value::Scalar(r)) => Value::Vector(self.with_scalar(b, l, &r, Side::Right)?),
            (Value::Scalar(l), Value::Vector(r)) => Value::Vector(self.with_scalar(b, r, &l, Side::Left)?),
            (Value::Vector(l), Value::Vector(r)) => {
                self.charge((l.len() + r.len()) * grid.len())?;
                Value::Vector(match b.op {
                    BinaryOp::And | BinaryOp::Unless => intersect(b, l, &r),
                    BinaryOp::Or => union(b, l, r)?,
                    _ => unite(Matcher { evaluator: self, b, steps: grid.len() }.matched(l, r)?)?,
                })
            }
            (Value::Text(_), _) | (_, Value::Text(_)) => {
                return Err(EvalError::Execution(
                    "binary expression must contain only scalar and instant vector types".to_owned(),
                ));
            }
        })
    }

    /// What an operator makes of two samples that are there; says so where it does not fit them.
    fn element(&self, b: &Binary, left: &Point, right: &Point) -> Element {
        let histogram = |h: Histogram| Element::Value(Point::histogram(h.compacted()), true);
        let at = b.left.start;
        match (left, right) {
            (Point::Float(l), Point::Float(r)) if !b.op.is_trim() => {
                let value = b.op.of_numbers(*l, *r);
                if b.op.is_comparison() {
                    return Element::Value(Point::Float(*l), value == 1.0);
                }
                return Element::Value(Point::Float(value), true);
            }
            (Point::Float(factor), Point::Histogram(h)) | (Point::Histogram(h), Point::Float(factor))
                if b.op == BinaryOp::Mul =>
            {
                let mut h = Histogram::clone(h);
                h.multiply(*factor);
                return histogram(h);
            }
            (Point::Histogram(h), Point::Float(divisor)) if b.op == BinaryOp::Div => {
                let mut h = Histogram::clone(h);
                h.divide(*divisor);
                return histogram(h);
            }
            (Point::Histogram(h), Point::Float(bound)) if b.op.is_trim() => {
                return histogram(trim(h, *bound, b.op == BinaryOp::TrimUpper));
            }
            (Point::Histogram(l), Point::Histogram(r)) => match b.op {
                BinaryOp::Add | BinaryOp::Sub => return self.sum(b, l, r),
                BinaryOp::Eq | BinaryOp::Ne => {
                    return Element::Value(Point::Histogram(l.clone()), l.same(r) == (b.op == BinaryOp::Eq));
                }
                _ => {}
            },
            _ => {}
        }
        let kind = |p: &Point| if matches!(p, Point::Float(_)) { "float" } else { "histogram" };
        self.notes.add(at, Note::IncompatibleTypes { left: kind(left), op: b.op.as_str(), right: kind(right) });
        Element::Unfit
    }

    fn sum(&self, b: &Binary, l: &Arc<Histogram>, r: &Arc<Histogram>) -> Element {
        let at = b.left.start;
        let (sum, operation) = match b.op {
            BinaryOp::Add => (l.plus(r), Operation::Addition),
            _ => (l.minus(r), Operation::Subtraction),
        };
        let Ok((mut sum, merged)) = sum else {
            self.notes.add(at, Note::IncompatibleBucketLayout(b.op.as_str()));
            return Element::Unfit;
        };
        if merged.hints_collide {
            self.notes.add(at, Note::HintsCollide(operation));
        }
        if merged.bounds_reconciled {
            self.notes.add(at, Note::BoundsReconciled(operation));
        }
        if b.op == BinaryOp::Sub {
            sum.reset_hint = model::ResetHint::Gauge;
        }
        Element::Value(Point::histogram(sum.compacted()), true)
    }

    fn with_scalar(
        &self,
        b: &Binary,
        mut series: Vec<Series>,
        scalar: &[f64],
        scalar_side: Side,
    ) -> Result<Vec<Series>, EvalError> {
        let drops_name = b.op.is_arithmetic() || b.returns_bool;
        for s in &mut series {
            if drops_name {
                self.drop_name(s);
            }
            for step in 0..s.values.len() {
                let (sample, scalar) = (s.point(step), Point::Float(scalar[step]));
                if matches!(sample, Point::Absent) {
                    continue;
                }
                let element = match scalar_side {
                    Side::Right => self.element(b, &sample, &scalar),
                    Side::Left => self.element(b, &scalar, &sample),
                };
                let point = match element {
                    Element::Unfit => Point::Absent,
                    Element::Value(_, holds) if b.returns_bool => Point::Float(f64::from(u8::from(holds))),
                    Element::Value(_, false) => Point::Absent,
                    // A comparison keeps the vector's value, whichever side it stands on.
                    Element::Value(_, true) if b.op.is_comparison() => continue,
                    Element::Value(point, true) => point,
                };
                s.set(step, point);
            }
        }
        series.retain(|s| !s.is_empty());
        unite(series)
    }
}

fn by_signature<'s>(series: &'s [Series], matching: &Matching) -> HashMap<Labels, Vec<&'s Series>> {
    let mut map: HashMap<Labels, Vec<&Series>> = HashMap::new();
    series.iter().for_each(|s| map.entry(signature(&s.labels, matching)).or_default().push(s));
    map
}

/// `and` keeps what the right side has at the same step, `unless` what it has not.
fn intersect(b: &Binary, mut left: Vec<Series>, right: &[Series]) -> Vec<Series> {
    let right = by_signature(right, &b.matching);
    for s in &mut left {
        let others = right.get(&signature(&s.labels, &b.matching));
        for step in 0..s.values.len() {
            let has = others.is_some_and(|o| o.iter().any(|o| o.is_present(step)));
            if has != (b.op == BinaryOp::And) {
                s.clear(step);
            }
        }
    }
    left.retain(|s| !s.is_empty());
    left
}

/// The left side, and what the right one has where the left has nothing of the same signature.
fn union(b: &Binary, left: Vec<Series>, mut right: Vec<Series>) -> Result<Vec<Series>, EvalError> {
    let by_left = by_signature(&left, &b.matching);
    for s in &mut right {
        let Some(others) = by_left.get(&signature(&s.labels, &b.matching)) else { continue };
        for step in 0..s.values.len() {
            if others.iter().any(|o| o.is_present(step)) {
                s.clear(step);
            }
        }
    }
    drop(by_left);
    let mut out = left;
    out.extend(right.into_iter().filter(|s| !s.is_empty()));
    unite(out)
}

/// Arithmetic and comparison between vectors.
struct Matcher<'m, 'a> {
    evaluator: &'m Evaluator<'a>,
    b: &'m Binary,
    steps: usize,
}

/// The series of one signature.
#[derive(Default)]
struct Group<'s> {
    many: Vec<&'s Series>,
    one: Vec<&'s Series>,
}

/// What one signature's results have taken, step by step.
struct Taken {
    /// One-to-one: whether there is a result.
    any: Vec<bool>,
    /// Else: by the result's labels.
    by_labels: HashMap<Arc<Labels>, Vec<bool>>,
}

impl Matcher<'_, '_> {
    fn matched(&self, left: Vec<Series>, right: Vec<Series>) -> Result<Vec<Series>, EvalError> {
        // `many` walks, `one` is looked up; with `group_right` the sides change places.
        let swapped = self.b.matching.many == Some(Side::Right);
        let (many, one) = if swapped { (right, left) } else { (left, right) };
        // As in the reference, the fill values do not change places: with `group_right`, too, the left one is for the "many" side.
        let (fill_many, fill_one) = (self.b.matching.fill_left, self.b.matching.fill_right);
        let mut order: Vec<Labels> = Vec::new();
        let mut groups: HashMap<Labels, Group<'_>> = HashMap::new();
        for (series, is_one) in many.iter().map(|s| (s, false)).chain(one.iter().map(|s| (s, true))) {
            let key = signature(&series.labels, &self.b.matching);
            let group = groups.entry(key).or_insert_with_key(|key| {
                order.push(key.clone());
                Group::default()
            });
            if is_one { group.one.push(series) } else { group.many.push(series) }
        }
        let filled = fill_many.is_some() || fill_one.is_some();
        let asked = |step: usize| filled || many.iter().any(|s| s.is_present(step));
        let mut out = Vec::new();
        for key in &order {
            let Some(group) = groups.get(key) else { continue };
            self.check_unique(key, &group.one, &asked)?;
            let mut taken = Taken { any: vec![false; self.steps], by_labels: HashMap::new() };
            for s in &group.many {
                for o in &group.one {
                    let both = |step: usize| (s.point(step), o.point(step));
                    self.pair(&s.labels, &o.labels, s.drop_name, both, &mut taken, &mut out)?;
                }
                if let Some(fill) = fill_one {
                    let alone = |step: usize| match group.one.iter().any(|o| o.is_present(step)) {
                        true => (Point::Absent, Point::Absent),
                        false => (s.point(step), Point::Float(fill)),
                    };
                    self.pair(&s.labels, key, s.drop_name, alone, &mut taken, &mut out)?;
                }
            }
            if let Some(fill) = fill_many {
                for o in &group.one {
                    let matched = taken.any.clone();
                    let alone = |step: usize| match matched[step] {
                        true => (Point::Absent, Point::Absent),
                        false => (Point::Float(fill), o.point(step)),
                    };
                    self.pair(key, &o.labels, false, alone, &mut taken, &mut out)?;
                }
            }
        }
        Ok(out)
    }

    /// The "one" side has one series of a signature at each step, where it is asked for at all.
    fn check_unique(&self, key: &Labels, one: &[&Series], asked: &dyn Fn(usize) -> bool) -> Result<(), EvalError> {
        for step in 0..if one.len() > 1 { self.steps } else { 0 } {
            let mut here = one.iter().filter(|o| o.is_present(step));
            let (Some(a), Some(b)) = (here.next(), here.next()) else { continue };
            if !asked(step) {
                continue;
            }
            let side = if self.b.matching.many == Some(Side::Right) { "left" } else { "right" };
            let (a, b) = if b.labels < a.labels { (b, a) } else { (a, b) };
            return Err(EvalError::Execution(format!(
                "found duplicate series for the match group {key} on the {side} hand-side of the operation: \
                 [{}, {}];many-to-many matching not allowed: matching labels must be unique on one side",
                a.labels, b.labels
            )));
        }
        Ok(())
    }

    /// Computes a pair of series, `samples` at each step.
    fn pair(
        &self,
        many: &Labels,
        one: &Labels,
        drop_name: bool,
        samples: impl Fn(usize) -> (Point, Point),
        taken: &mut Taken,
        out: &mut Vec<Series>,
    ) -> Result<(), EvalError> {
        let b = self.b;
        let swapped = b.matching.many == Some(Side::Right);
        let labels = result_labels(b, many, one);
        let mut series = Series::absent(labels, self.steps);
        let mut by_labels =
            b.matching.many.map(|_| taken.by_labels.remove(&series.labels).unwrap_or_else(|| vec![false; self.steps]));
        for step in 0..self.steps {
            let (mine, theirs) = samples(step);
            if matches!(mine, Point::Absent) || matches!(theirs, Point::Absent) {
                continue;
            }
            let element =
                if swapped { self.evaluator.element(b, &theirs, &mine) } else { self.evaluator.element(b, &mine, &theirs) };
            let Element::Value(point, holds) = element else { continue };
            // Also where a comparison leaves nothing.
            let before = std::mem::replace(&mut taken.any[step], true);
            let collides = by_labels.as_mut().map_or(before, |taken| std::mem::replace(&mut taken[step], true));
            if collides {
                let message = match b.matching.many {
                    None => "multiple matches for labels: many-to-one matching must be explicit (group_left/group_right)",
                    Some(_) => "multiple matches for labels: grouping labels must ensure unique matches",
                };
                return Err(EvalError::Execution(message.to_owned()));
            }
            if b.returns_bool {
                series.set(step, Point::Float(f64::from(u8::from(holds))));
            } else if holds {
                series.set(step, point);
            }
        }
        if let Some(by_labels) = by_labels {
            taken.by_labels.insert(series.labels.clone(), by_labels);
        }
        if !series.is_empty() {
            series.drop_name = drop_name && !b.op.is_arithmetic();
            if b.returns_bool {
                self.evaluator.drop_name(&mut series);
            }
            out.push(series);
        }
        Ok(())
    }
}

fn result_labels(b: &Binary, many: &Labels, one: &Labels) -> Labels {
    let Matching { on, labels, include, .. } = &b.matching;
    let one_to_one = b.matching.many.is_none();
    let kept = many.iter().filter(|(name, _)| {
        let named = labels.iter().any(|l| l == name);
        let matching_keeps = !one_to_one || if *on { named } else { !named };
        matching_keeps && !(b.op.is_arithmetic() && names_metric(name)) && !include.iter().any(|i| i == name)
    });
    let included = include.iter().filter_map(|name| one.get(name).map(|value| (name.as_str(), value)));
    Labels::from_pairs(kept.chain(included))
}
