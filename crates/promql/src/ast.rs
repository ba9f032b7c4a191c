//! What a query says.

use store::LabelMatcher;

use crate::functions::Function;
pub use crate::operators::{AggregateOp, BinaryOp};

/// An expression and the byte offset where it starts.
#[derive(Debug, Clone)]
pub struct Expr {
    /// What it is.
    pub node: Node,
    /// Byte offset of its first character.
    pub start: usize,
    /// Whether its value is the same at every step of a query (`@` pins all that it selects).
    pub(crate) fixed: bool,
}

/// The kinds of expressions.
#[derive(Debug, Clone)]
pub enum Node {
    /// A number.
    Number {
        /// Its value.
        value: f64,
        /// Whether it is written as a duration (`5m`: 300).
        duration: bool,
    },
    /// A string.
    Text(String),
    /// An instant vector selector.
    Selector(Selector),
    /// A range vector selector.
    Range {
        /// Of which series.
        selector: Selector,
        /// How far back.
        range: Length,
    },
    /// `expr[range:step]`.
    Subquery {
        /// What is evaluated at each step.
        expr: Box<Expr>,
        /// How far back.
        range: Length,
        /// `None` for the default.
        step: Option<Length>,
        /// `offset` and `@`.
        shift: Shift,
    },
    /// A function call.
    Call {
        /// Which.
        function: &'static Function,
        /// With what.
        args: Vec<Expr>,
    },
    /// An aggregation over series.
    Aggregate {
        /// Which.
        op: AggregateOp,
        /// Of what.
        expr: Box<Expr>,
        /// `k`, `φ` or the label name, where the operation has one.
        param: Option<Box<Expr>>,
        /// `by` these labels, or all but these.
        grouping: Grouping,
    },
    /// Two operands.
    Binary(Box<Binary>),
    /// A sign in front.
    Unary {
        /// `-` rather than `+`.
        minus: bool,
        /// Of what.
        expr: Box<Expr>,
    },
    /// In parentheses.
    Paren(Box<Expr>),
}

/// Which series, when.
#[derive(Debug, Clone)]
pub struct Selector {
    /// The metric name, where it is written before the braces.
    pub name: Option<String>,
    /// All of which must accept a series; `name` is the last of them.
    pub matchers: Vec<LabelMatcher>,
    /// `offset` and `@`.
    pub shift: Shift,
    /// `anchored` or `smoothed`.
    pub extension: Option<Extension>,
}

/// Samples beyond the edges that a selector takes as well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extension {
    /// `anchored`: the last sample before the range.
    Anchored,
    /// `smoothed`: values at the edges, interpolated between the samples around them.
    Smoothed,
}

/// A length of time.
#[derive(Debug, Clone, PartialEq)]
pub enum Length {
    /// Milliseconds.
    Fixed(i64),
    /// To be computed for each query.
    Computed(Box<DurationExpr>),
}

impl Default for Length {
    fn default() -> Self {
        Self::Fixed(0)
    }
}

/// A length of time computed from others; numbers are seconds.
#[derive(Debug, Clone, PartialEq)]
pub enum DurationExpr {
    /// A number, or a duration.
    Seconds {
        /// Its value.
        value: f64,
        /// Whether it is written as a duration.
        duration: bool,
    },
    /// `step()`: the query's resolution.
    Step,
    /// `range()`: from the query's first step to its last.
    Range,
    /// A minus in front.
    Negate(Box<DurationExpr>),
    /// In parentheses.
    Paren(Box<DurationExpr>),
    /// `+ - * / % ^`.
    Binary(BinaryOp, Box<DurationExpr>, Box<DurationExpr>),
    /// `min_of(…, …)`, or `max_of` where true.
    Extreme(bool, Box<DurationExpr>, Box<DurationExpr>),
}

impl DurationExpr {
    /// Its value in a query with this `step` and `range`; all in seconds.
    ///
    /// # Errors
    /// A division by zero, in words.
    pub fn seconds(&self, step: f64, range: f64) -> Result<f64, &'static str> {
        let value = |e: &Self| e.seconds(step, range);
        Ok(match self {
            Self::Seconds { value, .. } => *value,
            Self::Step => step,
            Self::Range => range,
            Self::Negate(e) => -value(e)?,
            Self::Paren(e) => value(e)?,
            Self::Extreme(max, a, b) => {
                let (a, b) = (value(a)?, value(b)?);
                crate::functions::extreme(*max, a, b)
            }
            Self::Binary(op, a, b) => {
                let (a, b) = (value(a)?, value(b)?);
                match op {
                    BinaryOp::Div if b == 0.0 => return Err("division by zero"),
                    BinaryOp::Mod if b == 0.0 => return Err("modulo by zero"),
                    op => op.of_numbers(a, b),
                }
            }
        })
    }
}

/// `offset` and `@`: where a selector looks instead of the evaluation time.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Shift {
    /// How far back; negative is ahead.
    pub offset: Length,
    /// A fixed time.
    pub at: Option<At>,
}

/// The argument of `@`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum At {
    /// Milliseconds since the Unix epoch.
    Time(i64),
    /// `start()`.
    Start,
    /// `end()`.
    End,
}

/// `by (…)` or `without (…)`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Grouping {
    /// Whether the labels are those to leave out.
    pub without: bool,
    /// Label names.
    pub labels: Vec<String>,
}

/// Two operands and how their series find each other.
#[derive(Debug, Clone)]
pub struct Binary {
    /// Operator.
    pub op: BinaryOp,
    /// Byte offset of the operator.
    pub op_start: usize,
    /// Left side.
    pub left: Expr,
    /// Right side.
    pub right: Expr,
    /// Comparisons: answer 0 or 1 instead of filtering.
    pub returns_bool: bool,
    /// Which labels must be equal.
    pub matching: Matching,
}

/// `on (…)`, `ignoring (…)`, `group_left (…)`, `group_right (…)`, `fill (…)`.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Matching {
    /// Whether `labels` are those that must be equal; else all but them must.
    pub on: bool,
    /// Label names.
    pub labels: Vec<String>,
    /// Which side may have several series to one of the other.
    pub many: Option<Side>,
    /// Labels taken over from the "one" side.
    pub include: Vec<String>,
    /// What stands on the left where only the right side has a series; with `group_right` the other way round.
    pub fill_left: Option<f64>,
    /// What stands on the right where only the left side has one; with `group_right` the other way round.
    pub fill_right: Option<f64>,
}

/// A side of a binary expression.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The left one (`group_left`).
    Left,
    /// The right one (`group_right`).
    Right,
}

/// The type of an expression's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Type {
    /// A number at each step.
    Scalar,
    /// Series with a value at each step.
    Vector,
    /// Series with samples over a range.
    Matrix,
    /// Text.
    Text,
}

impl Type {
    /// As Prometheus' errors name it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Scalar => "scalar",
            Self::Vector => "instant vector",
            Self::Matrix => "range vector",
            Self::Text => "string",
        }
    }

    /// As Prometheus' JSON names it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Vector => "vector",
            Self::Matrix => "matrix",
            other => other.as_str(),
        }
    }
}

impl Expr {
    /// An expression at byte `start`.
    pub(crate) fn new(node: Node, start: usize) -> Self {
        Self { node, start, fixed: false }
    }

    /// The type of its value.
    #[must_use]
    pub fn value_type(&self) -> Type {
        match &self.node {
            Node::Number { .. } => Type::Scalar,
            Node::Text(_) => Type::Text,
            Node::Selector(_) | Node::Aggregate { .. } => Type::Vector,
            Node::Range { .. } | Node::Subquery { .. } => Type::Matrix,
            Node::Call { function, .. } => function.returns,
            Node::Binary(b) => match (b.left.value_type(), b.right.value_type()) {
                (Type::Scalar, Type::Scalar) => Type::Scalar,
                _ => Type::Vector,
            },
            Node::Unary { expr, .. } | Node::Paren(expr) => expr.value_type(),
        }
    }

    /// The selectors in it, from left to right.
    #[must_use]
    pub fn selectors(&self) -> Vec<&Selector> {
        fn add<'e>(expr: &'e Expr, out: &mut Vec<&'e Selector>) {
            match &expr.node {
                Node::Number { .. } | Node::Text(_) => {}
                Node::Selector(selector) | Node::Range { selector, .. } => out.push(selector),
                Node::Subquery { expr, .. } | Node::Unary { expr, .. } | Node::Paren(expr) => add(expr, out),
                Node::Call { args, .. } => args.iter().for_each(|arg| add(arg, out)),
                Node::Aggregate { expr, param, .. } => param.iter().chain([expr]).for_each(|e| add(e, out)),
                Node::Binary(binary) => [&binary.left, &binary.right].into_iter().for_each(|e| add(e, out)),
            }
        }
        let mut out = Vec::new();
        add(self, &mut out);
        out
    }

    /// The expression without the parentheses around it.
    #[must_use]
    pub fn inner(&self) -> &Self {
        match &self.node {
            Node::Paren(e) => e.inner(),
            _ => self,
        }
    }

    /// Finds out which parts are the same at every step.
    pub(crate) fn mark_fixed(&mut self) {
        self.fixed = match &mut self.node {
            Node::Number { .. } | Node::Text(_) => true,
            Node::Selector(s) | Node::Range { selector: s, .. } => s.shift.at.is_some(),
            Node::Subquery { expr, shift, .. } => {
                expr.mark_fixed();
                shift.at.is_some()
            }
            Node::Unary { expr, .. } | Node::Paren(expr) => {
                expr.mark_fixed();
                expr.fixed
            }
            Node::Aggregate { expr, param, .. } => {
                expr.mark_fixed();
                let param = param.as_mut().is_none_or(|p| {
                    p.mark_fixed();
                    p.fixed
                });
                expr.fixed && param
            }
            Node::Binary(b) => {
                b.left.mark_fixed();
                b.right.mark_fixed();
                b.left.fixed && b.right.fixed
            }
            Node::Call { function, args } => {
                args.iter_mut().for_each(Self::mark_fixed);
                !function.is_of_its_time() && args.iter().all(|a| a.fixed)
            }
        };
    }
}
