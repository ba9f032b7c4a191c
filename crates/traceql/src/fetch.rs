//! What a query reads of spans, and which values of theirs it gets to see.
//!
//! Tempo asks its storage for spans that meet at least one *condition* of the query (or all of them, where no other span
//! can matter), and gets of each span only the values that meet one. Answers show it: `{ .a = nil }` is true of a span
//! whose resource lacks `a` though the span has it, and a search shows the values that were got. So it is done here.

use regex::Regex;

use crate::ast::{Attribute, AttributeScope, Expr, Intrinsic, Node, Op, Pipeline, Scalar, Spanset, SpansetOp, Stage, UnaryOp};
use crate::eval::full_id;
use crate::value::{Static, anchored, binary};

/// Where a value stands; the scope of an attribute is never open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    Attribute(AttributeScope, String),
    Intrinsic(Intrinsic),
}

/// A comparison with a constant.
#[derive(Debug, Clone)]
pub(crate) struct Test {
    op: Op,
    value: Static<'static>,
    regex: Option<Regex>,
}

impl Test {
    pub(crate) fn passes(&self, value: &Static<'_>) -> bool {
        binary(self.op, value, &self.value, self.regex.as_ref()).is_ok_and(|v| v.is_true())
    }
}

/// A value that is read.
#[derive(Debug, Clone)]
pub(crate) struct Field {
    pub(crate) place: Place,
    /// Whatever it is.
    always: bool,
    /// Where it is missing.
    nil: bool,
    /// Where it passes one of them.
    tests: Vec<Test>,
    /// Whether a condition names it, not only a `select` or an aggregate.
    pub(crate) condition: bool,
}

impl Field {
    /// What the query sees of a value; `None` for nothing.
    pub(crate) fn seen<'v>(&self, value: Option<Static<'v>>) -> Option<Static<'v>> {
        match value {
            None => self.nil.then_some(Static::Nil),
            Some(v) => (self.always || self.tests.iter().any(|t| t.passes(&v))).then_some(v),
        }
    }
}

#[derive(Debug, Clone)]
enum Wanted {
    Present,
    Absent,
    Passing(Test),
}

/// One of its fields is what is wanted.
#[derive(Debug, Clone)]
pub(crate) struct Condition {
    pub(crate) fields: Vec<usize>,
    wanted: Wanted,
}

impl Condition {
    pub(crate) fn met(&self, value: Option<&Static<'_>>) -> bool {
        match (&self.wanted, value) {
            (Wanted::Present, v) => v.is_some(),
            (Wanted::Absent, v) => v.is_none(),
            (Wanted::Passing(test), Some(v)) => test.passes(v),
            (Wanted::Passing(_), None) => false,
        }
    }
}

/// Everything that is read.
#[derive(Debug, Clone)]
pub(crate) struct Fetch {
    pub(crate) fields: Vec<Field>,
    pub(crate) conditions: Vec<Condition>,
    /// Whether a span must meet all conditions, not only one.
    pub(crate) all: bool,
    /// Whether there is a condition that every span meets.
    pub(crate) everything: bool,
    /// Whether relations between spans are asked for.
    related: bool,
    /// The fields of each numbered attribute, in the order in which they are looked at.
    slots: Vec<(Attribute, Vec<usize>)>,
}

impl Fetch {
    /// What a pipeline reads.
    pub(crate) fn new(pipeline: &Pipeline) -> Self {
        let mut fetch =
            Self { fields: Vec::new(), conditions: Vec::new(), all: true, everything: false, related: false, slots: Vec::new() };
        fetch.pipeline(pipeline);
        if fetch.related {
            // Whoever asks how spans stand to each other gets the numbers that say so.
            let numbers = [Intrinsic::NestedSetLeft, Intrinsic::NestedSetRight, Intrinsic::NestedSetParent];
            let fields = fetch.fields.iter_mut();
            fields.filter(|f| numbers.iter().any(|n| f.place == Place::Intrinsic(*n))).for_each(|f| f.always = true);
        }
        fetch
    }

    /// Whether every span meets the conditions.
    pub(crate) fn admits_all(&self) -> bool {
        self.conditions.is_empty() || self.everything && !self.all
    }

    /// Whether a span meets the conditions, of which each is asked by `met`, by its place in [`Fetch::conditions`].
    pub(crate) fn admits(&self, mut met: impl FnMut(usize) -> bool) -> bool {
        if self.admits_all() {
            return true;
        }
        if !self.all {
            return (0..self.conditions.len()).any(met);
        }
        // What only has to be there may also be missing, as long as something is there.
        let mut any = self.everything;
        self.conditions.iter().enumerate().all(|(i, c)| {
            let is_met = met(i);
            any |= is_met;
            is_met || matches!(c.wanted, Wanted::Present)
        }) && any
    }

    /// The number of an attribute.
    pub(crate) fn slot(&mut self, attribute: &Attribute) -> usize {
        if let Some(slot) = self.slots.iter().position(|(a, _)| a == attribute) {
            return slot;
        }
        let fields = self.fields_of(attribute);
        self.slots.push((attribute.clone(), fields));
        self.slots.len() - 1
    }

    /// The fields of a numbered attribute.
    pub(crate) fn slot_fields(&self, slot: usize) -> &[usize] {
        self.slots.get(slot).map_or(&[], |(_, fields)| fields)
    }

    /// Reads an attribute of the spans that are found, whatever its value.
    pub(crate) fn also(&mut self, attribute: &Attribute) {
        for field in self.fields_of(attribute) {
            self.fields[field].always = true;
        }
    }

    /// Whether a trace's tree, or what is said of the trace as a whole, is read.
    pub(crate) fn needs_trace(&self) -> bool {
        self.fields.iter().any(|f| matches!(f.place, Place::Intrinsic(i) if i.needs_trace()))
    }

    fn fields_of(&mut self, attribute: &Attribute) -> Vec<usize> {
        let places: Vec<Place> = match (attribute.intrinsic, attribute.scope) {
            (Some(i), _) => vec![Place::Intrinsic(i)],
            (None, AttributeScope::Open) => [AttributeScope::Span, AttributeScope::Resource]
                .map(|scope| Place::Attribute(scope, attribute.name.clone()))
                .into(),
            (None, scope) => vec![Place::Attribute(scope, attribute.name.clone())],
        };
        places
            .into_iter()
            .map(|place| match self.fields.iter().position(|f| f.place == place) {
                Some(at) => at,
                None => {
                    self.fields.push(Field { place, always: false, nil: false, tests: Vec::new(), condition: false });
                    self.fields.len() - 1
                }
            })
            .collect()
    }

    fn condition(&mut self, attribute: &Attribute, wanted: Wanted) {
        let fields = self.fields_of(attribute);
        for &at in &fields {
            let field = &mut self.fields[at];
            field.condition = true;
            match &wanted {
                Wanted::Present => field.always = true,
                Wanted::Absent => field.nil = true,
                Wanted::Passing(test) => field.tests.push(test.clone()),
            }
        }
        self.conditions.push(Condition { fields, wanted });
    }

    fn pipeline(&mut self, pipeline: &Pipeline) {
        for stage in &pipeline.stages {
            match stage {
                Stage::Spanset(s) => self.spanset(s),
                Stage::Filter(f) => {
                    self.scalar(&f.left);
                    self.scalar(&f.right);
                    self.all = false;
                }
                Stage::By(e) => self.expression(e),
                Stage::Coalesce => {}
                Stage::Select(list) => list.iter().for_each(|a| self.also(a)),
                Stage::Scalar(s) => self.scalar(s),
            }
        }
        if pipeline.stages.len() > 1 {
            self.all = false;
        }
    }

    fn scalar(&mut self, scalar: &Scalar) {
        match scalar {
            Scalar::Static(_) | Scalar::Aggregate(_, None) => {}
            Scalar::Aggregate(_, Some(e)) => self.expression(e),
            Scalar::Op(_, sides) => {
                self.scalar(&sides.0);
                self.scalar(&sides.1);
            }
            Scalar::Pipeline(p) => self.pipeline(p),
        }
    }

    fn spanset(&mut self, spanset: &Spanset) {
        match spanset {
            Spanset::Filter(e) if e.node == Node::Static(Static::Bool(true)) => self.everything = true,
            Spanset::Filter(e) => self.expression(e),
            Spanset::Pipeline(p) => self.pipeline(p),
            Spanset::Op(op, sides) => {
                self.related |= matches!(op, SpansetOp::Relation { .. });
                self.everything |= self.related;
                self.spanset(&sides.0);
                self.spanset(&sides.1);
                self.all = false;
            }
        }
    }

    fn expression(&mut self, e: &Expr) {
        match &e.node {
            Node::Static(_) => {}
            Node::Attribute(a) => self.condition(a, Wanted::Present),
            Node::Unary(UnaryOp::NotExists, inner) => match &inner.node {
                Node::Attribute(a) => self.condition(a, Wanted::Absent),
                _ => self.expression(inner),
            },
            Node::Unary(_, inner) => self.present(inner),
            Node::Binary(op, sides) => {
                self.all &= *op != Op::Or;
                match (&sides.0.node, &sides.1.node) {
                    (Node::Attribute(a), Node::Static(v)) if op.is_boolean() => self.comparison(a, *op, v),
                    (Node::Static(v), Node::Attribute(a)) if op.is_boolean() && !matches!(op, Op::Matches | Op::NotMatches) => {
                        self.comparison(a, op.mirrored(), v);
                    }
                    _ => {
                        self.expression(&sides.0);
                        self.expression(&sides.1);
                    }
                }
            }
        }
    }

    fn comparison(&mut self, attribute: &Attribute, op: Op, value: &Static<'static>) {
        let mut value = value.clone();
        full_id(attribute, &mut value);
        let regex = match &value {
            Static::Text(pattern) if matches!(op, Op::Matches | Op::NotMatches) => anchored(pattern).ok(),
            _ => None,
        };
        self.condition(attribute, Wanted::Passing(Test { op, value, regex }));
    }

    /// What a negation reads: values that its inside refuses are the ones that matter.
    fn present(&mut self, e: &Expr) {
        match &e.node {
            Node::Static(_) => {}
            Node::Attribute(a) => self.condition(a, Wanted::Present),
            Node::Unary(_, inner) => self.present(inner),
            Node::Binary(_, sides) => {
                self.present(&sides.0);
                self.present(&sides.1);
            }
        }
    }
}
