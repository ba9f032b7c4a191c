//! What a query says.

use store::LabelMatcher;

/// An expression.
#[derive(Debug, Clone)]
pub enum Expr {
    /// Log lines.
    Log(LogQuery),
    /// A number made of the lines of a range.
    Range {
        /// Which number.
        op: RangeOp,
        /// Of which lines.
        log: LogQuery,
        /// How far back, nanoseconds, more than 0.
        range_ns: i64,
        /// How much earlier, nanoseconds.
        offset_ns: i64,
    },
    /// Series folded into groups.
    Aggregate {
        /// How.
        op: AggregateOp,
        /// Of what.
        expr: Box<Expr>,
        /// `by` or `without`.
        grouping: Grouping,
    },
    /// Two operands.
    Binary(Box<Binary>),
    /// A number.
    Number(f64),
    /// `vector(n)`: one series without labels.
    Vector(f64),
}

/// Which lines.
#[derive(Debug, Clone)]
pub struct LogQuery {
    /// All of which must accept a stream.
    pub matchers: Vec<LabelMatcher>,
    /// What is done with its lines, in this order.
    pub stages: Vec<Stage>,
}

/// A stage of a pipeline.
#[derive(Debug, Clone)]
pub enum Stage {
    /// Keeps some lines.
    Filter(LineFilter),
    /// Removes these labels.
    Drop(Vec<String>),
    /// Removes all other labels.
    Keep(Vec<String>),
}

/// A line filter.
#[derive(Debug, Clone)]
pub struct LineFilter {
    /// How it compares.
    pub op: LineOp,
    /// What with: one of them suffices (`|= "a" or "b"`), or, for `!=` and `!~`, none may fit.
    pub texts: Vec<String>,
}

/// How a line filter compares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LineOp {
    /// `|=`
    Contains,
    /// `!=`
    NotContains,
    /// `|~`
    Matches,
    /// `!~`
    NotMatches,
}

/// Numbers made of a range of lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RangeOp {
    /// Lines.
    Count,
    /// Lines a second.
    Rate,
    /// Bytes.
    Bytes,
    /// Bytes a second.
    BytesRate,
    /// 1 where there are no lines.
    Absent,
}

impl RangeOp {
    /// How it is written.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Count => "count_over_time",
            Self::Rate => "rate",
            Self::Bytes => "bytes_over_time",
            Self::BytesRate => "bytes_rate",
            Self::Absent => "absent_over_time",
        }
    }

    pub(crate) fn parse(word: &str) -> Option<Self> {
        [Self::Count, Self::Rate, Self::Bytes, Self::BytesRate, Self::Absent].into_iter().find(|op| op.as_str() == word)
    }
}

/// Aggregations over series.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum AggregateOp {
    Sum,
    Avg,
    Min,
    Max,
    Count,
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
        }
    }

    pub(crate) fn parse(word: &str) -> Option<Self> {
        [Self::Sum, Self::Avg, Self::Min, Self::Max, Self::Count].into_iter().find(|op| op.as_str() == word)
    }
}

/// `by (…)` or `without (…)`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Grouping {
    /// Whether the labels are those to leave out.
    pub without: bool,
    /// Label names.
    pub labels: Vec<String>,
}

/// An operator and its operands.
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
}

/// Binary operators.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum BinaryOp {
    Or,
    And,
    Unless,
    Eq,
    Ne,
    Gt,
    Lt,
    Ge,
    Le,
    Add,
    Sub,
    Mul,
    Div,
    Mod,
    Pow,
}

impl BinaryOp {
    /// Every operator and how it is written.
    pub const SPELLINGS: [(&'static str, Self); 15] = [
        ("or", Self::Or),
        ("and", Self::And),
        ("unless", Self::Unless),
        ("==", Self::Eq),
        ("!=", Self::Ne),
        (">", Self::Gt),
        ("<", Self::Lt),
        (">=", Self::Ge),
        ("<=", Self::Le),
        ("+", Self::Add),
        ("-", Self::Sub),
        ("*", Self::Mul),
        ("/", Self::Div),
        ("%", Self::Mod),
        ("^", Self::Pow),
    ];

    /// Binds tighter than those of lower numbers.
    pub(crate) fn precedence(self) -> u8 {
        match self {
            Self::Or => 1,
            Self::And | Self::Unless => 2,
            Self::Eq | Self::Ne | Self::Gt | Self::Lt | Self::Ge | Self::Le => 3,
            Self::Add | Self::Sub => 4,
            Self::Mul | Self::Div | Self::Mod => 5,
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
