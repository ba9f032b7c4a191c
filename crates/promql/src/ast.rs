//! What a query says.

use store::LabelMatcher;

use crate::functions::Function;

/// An expression and the byte offset where it starts.
#[derive(Debug, Clone)]
pub struct Expr {
    /// What it is.
    pub node: Node,
    /// Byte offset of its first character.
    pub start: usize,
}

/// The kinds of expressions.
#[derive(Debug, Clone)]
pub enum Node {
    /// A number.
    Number(f64),
    /// A string.
    Text(String),
    /// An instant vector selector.
    Selector(Selector),
    /// A range vector selector: the last `range_ms` milliseconds.
    Range {
        /// Of which series.
        selector: Selector,
        /// How far back, milliseconds, more than 0.
        range_ms: i64,
    },
    /// `expr[range:step]`.
    Subquery {
        /// What is evaluated at each step.
        expr: Box<Expr>,
        /// How far back, milliseconds.
        range_ms: i64,
        /// Milliseconds; `None` for the default.
        step_ms: Option<i64>,
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
    /// A minus in front.
    Negate(Box<Expr>),
    /// In parentheses.
    Paren(Box<Expr>),
}

/// Which series, when.
#[derive(Debug, Clone)]
pub struct Selector {
    /// All of which must accept a series; the metric name is one of them.
    pub matchers: Vec<LabelMatcher>,
    /// `offset` and `@`.
    pub shift: Shift,
}

/// `offset` and `@`: where a selector looks instead of the evaluation time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Shift {
    /// How far back, milliseconds; negative is ahead.
    pub offset_ms: i64,
    /// Whether an offset is written, even one of 0.
    pub has_offset: bool,
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
    /// Left side.
    pub left: Expr,
    /// Right side.
    pub right: Expr,
    /// Comparisons: answer 0 or 1 instead of filtering.
    pub returns_bool: bool,
    /// Which labels must be equal.
    pub matching: Matching,
}

/// `on (…)`, `ignoring (…)`, `group_left (…)`, `group_right (…)`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Matching {
    /// Whether `labels` are those that must be equal; else all but them must.
    pub on: bool,
    /// Label names.
    pub labels: Vec<String>,
    /// Which side may have several series to one of the other.
    pub many: Option<Side>,
    /// Labels taken over from the "one" side.
    pub include: Vec<String>,
}

/// A side of a binary expression.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The left one (`group_left`).
    Left,
    /// The right one (`group_right`).
    Right,
}

/// Binary operators.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum BinaryOp {
    Add,
    Sub,
    Mul,
    Div,
    Mod,
    Pow,
    Atan2,
    Eq,
    Ne,
    Gt,
    Lt,
    Ge,
    Le,
    And,
    Or,
    Unless,
}

impl BinaryOp {
    /// How it is written.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Add => "+",
            Self::Sub => "-",
            Self::Mul => "*",
            Self::Div => "/",
            Self::Mod => "%",
            Self::Pow => "^",
            Self::Atan2 => "atan2",
            Self::Eq => "==",
            Self::Ne => "!=",
            Self::Gt => ">",
            Self::Lt => "<",
            Self::Ge => ">=",
            Self::Le => "<=",
            Self::And => "and",
            Self::Or => "or",
            Self::Unless => "unless",
        }
    }

    /// The operator that `text` writes; words in either case.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        const ALL: [BinaryOp; 16] = [
            BinaryOp::Add,
            BinaryOp::Sub,
            BinaryOp::Mul,
            BinaryOp::Div,
            BinaryOp::Mod,
            BinaryOp::Pow,
            BinaryOp::Atan2,
            BinaryOp::Eq,
            BinaryOp::Ne,
            BinaryOp::Gt,
            BinaryOp::Lt,
            BinaryOp::Ge,
            BinaryOp::Le,
            BinaryOp::And,
            BinaryOp::Or,
            BinaryOp::Unless,
        ];
        ALL.into_iter().find(|op| op.as_str().eq_ignore_ascii_case(text))
    }

    /// Binds tighter than those of lower numbers.
    pub(crate) fn precedence(self) -> u8 {
        match self {
            Self::Or => 1,
            Self::And | Self::Unless => 2,
            Self::Eq | Self::Ne | Self::Gt | Self::Lt | Self::Ge | Self::Le => 3,
            Self::Add | Self::Sub => 4,
            Self::Mul | Self::Div | Self::Mod | Self::Atan2 => 5,
            Self::Pow => 6,
        }
    }

    /// `== != > < >= <=`
    #[must_use]
    pub fn is_comparison(self) -> bool {
        self.precedence() == 3
    }

    /// `and or unless`
    #[must_use]
    pub fn is_set(self) -> bool {
        self.precedence() < 3
    }
}

/// Aggregations over series.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum AggregateOp {
    Sum,
    Avg,
    Min,
    Max,
    Count,
    Group,
    Stddev,
    Stdvar,
    Topk,
    Bottomk,
    Quantile,
    CountValues,
    Limitk,
    LimitRatio,
}

impl AggregateOp {
    /// How it is written.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sum => "sum",
            Self::Avg => "avg",
            Self::Min => "min",
            Self::Max => "max",
            Self::Count => "count",
            Self::Group => "group",
            Self::Stddev => "stddev",
            Self::Stdvar => "stdvar",
            Self::Topk => "topk",
            Self::Bottomk => "bottomk",
            Self::Quantile => "quantile",
            Self::CountValues => "count_values",
            Self::Limitk => "limitk",
            Self::LimitRatio => "limit_ratio",
        }
    }

    /// The aggregation that `word` names, in either case.
    pub(crate) fn parse(word: &str) -> Option<Self> {
        const ALL: [AggregateOp; 14] = [
            AggregateOp::Sum,
            AggregateOp::Avg,
            AggregateOp::Min,
            AggregateOp::Max,
            AggregateOp::Count,
            AggregateOp::Group,
            AggregateOp::Stddev,
            AggregateOp::Stdvar,
            AggregateOp::Topk,
            AggregateOp::Bottomk,
            AggregateOp::Quantile,
            AggregateOp::CountValues,
            AggregateOp::Limitk,
            AggregateOp::LimitRatio,
        ];
        ALL.into_iter().find(|op| op.as_str().eq_ignore_ascii_case(word))
    }

    /// Whether it takes a parameter before the vector.
    pub(crate) fn has_param(self) -> bool {
        matches!(self, Self::Topk | Self::Bottomk | Self::Quantile | Self::CountValues | Self::Limitk | Self::LimitRatio)
    }
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
}

impl Expr {
    /// The type of its value.
    #[must_use]
    pub fn value_type(&self) -> Type {
        match &self.node {
            Node::Number(_) => Type::Scalar,
            Node::Text(_) => Type::Text,
            Node::Selector(_) | Node::Aggregate { .. } => Type::Vector,
            Node::Range { .. } | Node::Subquery { .. } => Type::Matrix,
            Node::Call { function, .. } => function.returns,
            Node::Binary(b) => match (b.left.value_type(), b.right.value_type()) {
                (Type::Scalar, Type::Scalar) => Type::Scalar,
                _ => Type::Vector,
            },
            Node::Negate(e) | Node::Paren(e) => e.value_type(),
        }
    }

    /// The expression without the parentheses around it.
    #[must_use]
    pub fn inner(&self) -> &Self {
        match &self.node {
            Node::Paren(e) => e.inner(),
            _ => self,
        }
    }
}
