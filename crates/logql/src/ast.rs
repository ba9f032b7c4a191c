//! What a query says.

use store::LabelMatcher;

/// An expression.
#[derive(Debug, Clone)]
pub enum Expr {
    /// Log lines.
    Log(LogQuery),
    /// A number made of the lines of a range.
    Range(Box<RangeAggregation>),
    /// Series folded into groups.
    Aggregate(Box<VectorAggregation>),
    /// Two operands.
    Binary(Box<Binary>),
    /// A number.
    Number(f64),
    /// `vector(n)`: one series without labels.
    Vector(f64),
    /// `label_replace(…)`
    LabelReplace(Box<LabelReplace>),
    /// `variants(…) of (…)`: several range aggregations of the same lines.
    Variants(Box<Variants>),
}

/// Which lines.
#[derive(Debug, Clone, Default)]
pub struct LogQuery {
    /// All of which must accept a stream.
    pub matchers: Vec<LabelMatcher>,
    /// What is done with its lines, in this order.
    pub stages: Vec<Stage>,
}

/// A stage of a pipeline.
#[derive(Debug, Clone)]
pub enum Stage {
    /// Keeps the lines that all of them accept.
    LineFilters(Vec<LineFilter>),
    /// Labels of the fields of a JSON object.
    Json,
    /// Labels of some values of a JSON document: name and path.
    JsonPaths(Vec<(String, String)>),
    /// Labels of the pairs of a logfmt line.
    Logfmt(LogfmtFlags),
    /// Labels of some pairs: name and key.
    LogfmtKeys(LogfmtFlags, Vec<(String, String)>),
    /// Labels of the named groups of a regular expression.
    Regexp(String),
    /// Labels of the captures of a pattern (`<name>`).
    Pattern(String),
    /// Labels of a packed line, and the line that was packed.
    Unpack,
    /// Keeps the lines whose labels it accepts.
    LabelFilter(LabelFilter),
    /// Another line, by a template.
    LineFormat(String),
    /// Other labels.
    LabelFormat(Vec<LabelFormat>),
    /// The line without ANSI colours.
    Decolorize,
    /// Removes labels.
    Drop(Vec<NamedMatcher>),
    /// Removes all other labels.
    Keep(Vec<NamedMatcher>),
}

/// A line filter.
#[derive(Debug, Clone)]
pub struct LineFilter {
    /// How it compares.
    pub op: LineOp,
    /// What with: one of them suffices. A negative filter has one.
    pub terms: Vec<LineTerm>,
}

/// What a line is compared with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LineTerm {
    /// Text, pattern, or address.
    pub text: String,
    /// `ip("…")`
    pub ip: bool,
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
    /// `|>`
    Pattern,
    /// `!>`
    NotPattern,
}

impl LineOp {
    /// Every operator and how it is written.
    pub const SPELLINGS: [(&'static str, Self); 6] = [
        ("|=", Self::Contains),
        ("!=", Self::NotContains),
        ("|~", Self::Matches),
        ("!~", Self::NotMatches),
        ("|>", Self::Pattern),
        ("!>", Self::NotPattern),
    ];

    /// Whether it keeps what does not fit.
    #[must_use]
    pub fn negative(self) -> bool {
        matches!(self, Self::NotContains | Self::NotMatches | Self::NotPattern)
    }
}

/// Flags of `logfmt`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LogfmtFlags {
    /// `--strict`: what is no logfmt is an error.
    pub strict: bool,
    /// `--keep-empty`: keys without values become labels.
    pub keep_empty: bool,
}

/// A condition on labels.
#[derive(Debug, Clone)]
pub enum LabelFilter {
    /// Text.
    Matcher(LabelMatcher),
    /// A number.
    Number(String, CompareOp, f64),
    /// A duration in nanoseconds.
    Duration(String, CompareOp, i64),
    /// A size in bytes.
    Bytes(String, CompareOp, u64),
    /// An address in a range: label, whether it must not be in there, range.
    Ip(String, bool, String),
    /// Both.
    And(Box<LabelFilter>, Box<LabelFilter>),
    /// One of them.
    Or(Box<LabelFilter>, Box<LabelFilter>),
}

/// How label filters compare.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum CompareOp {
    Eq,
    Ne,
    Gt,
    Ge,
    Lt,
    Le,
}

impl CompareOp {
    /// Every operator and how it is written.
    pub const SPELLINGS: [(&'static str, Self); 6] =
        [("==", Self::Eq), ("!=", Self::Ne), (">", Self::Gt), (">=", Self::Ge), ("<", Self::Lt), ("<=", Self::Le)];

    /// Whether `left op right`.
    pub fn holds<T: PartialOrd>(self, left: T, right: T) -> bool {
        match self {
            Self::Eq => left == right,
            Self::Ne => left != right,
            Self::Gt => left > right,
            Self::Ge => left >= right,
            Self::Lt => left < right,
            Self::Le => left <= right,
        }
    }
}

/// A part of `label_format`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LabelFormat {
    /// `to=from`
    Rename {
        /// The new name.
        to: String,
        /// The old one.
        from: String,
    },
    /// `to="template"`
    Template {
        /// The label.
        to: String,
        /// Its value.
        template: String,
    },
}

/// A part of `drop` and `keep`.
#[derive(Debug, Clone)]
pub enum NamedMatcher {
    /// The label, whatever its value.
    Name(String),
    /// The label where its value is accepted.
    Matcher(LabelMatcher),
}

/// `op(lines [5m])`
#[derive(Debug, Clone)]
pub struct RangeAggregation {
    /// Which number.
    pub op: RangeOp,
    /// The quantile of `quantile_over_time`.
    pub parameter: Option<f64>,
    /// Of which lines.
    pub log: LogQuery,
    /// Of which label's value.
    pub unwrap: Option<Unwrap>,
    /// How far back, nanoseconds.
    pub range_ns: i64,
    /// How much earlier, nanoseconds.
    pub offset_ns: i64,
    /// `by` or `without`.
    pub grouping: Option<Grouping>,
}

/// `| unwrap duration(label) | filters`
#[derive(Debug, Clone)]
pub struct Unwrap {
    /// Which label.
    pub label: String,
    /// How its text becomes a number.
    pub conversion: Conversion,
    /// What is asked of the labels then.
    pub filters: Vec<LabelFilter>,
}

/// How a label's text becomes a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Conversion {
    /// As a number.
    #[default]
    None,
    /// `bytes(…)`
    Bytes,
    /// `duration(…)`, in seconds.
    Duration,
    /// `duration_seconds(…)`, the same.
    DurationSeconds,
}

impl Conversion {
    /// How it is written.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Bytes => "bytes",
            Self::Duration => "duration",
            Self::DurationSeconds => "duration_seconds",
        }
    }
}

/// Numbers made of a range of lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum RangeOp {
    Count,
    Rate,
    RateCounter,
    Bytes,
    BytesRate,
    Avg,
    Sum,
    Min,
    Max,
    Stddev,
    Stdvar,
    Quantile,
    First,
    Last,
    Absent,
}

impl RangeOp {
    /// Every operation and how it is written.
    pub const SPELLINGS: [(&'static str, Self); 15] = [
        ("count_over_time", Self::Count),
        ("rate", Self::Rate),
        ("rate_counter", Self::RateCounter),
        ("bytes_over_time", Self::Bytes),
        ("bytes_rate", Self::BytesRate),
        ("avg_over_time", Self::Avg),
        ("sum_over_time", Self::Sum),
        ("min_over_time", Self::Min),
        ("max_over_time", Self::Max),
        ("stddev_over_time", Self::Stddev),
        ("stdvar_over_time", Self::Stdvar),
        ("quantile_over_time", Self::Quantile),
        ("first_over_time", Self::First),
        ("last_over_time", Self::Last),
        ("absent_over_time", Self::Absent),
    ];

    /// How it is written.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        spelling(&Self::SPELLINGS, self)
    }
}

pub(crate) fn spelling<T: Copy + PartialEq>(of: &[(&'static str, T)], what: T) -> &'static str {
    of.iter().find(|(_, x)| *x == what).map_or("?", |(text, _)| text)
}

/// `op by (labels) (parameter, series)`
#[derive(Debug, Clone)]
pub struct VectorAggregation {
    /// How.
    pub op: AggregateOp,
    /// How many series `topk`, `bottomk` and `approx_topk` keep.
    pub parameter: Option<usize>,
    /// Of what.
    pub expr: Expr,
    /// `by` or `without`; by nothing where it is not said.
    pub grouping: Grouping,
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
    Stddev,
    Stdvar,
    TopK,
    BottomK,
    ApproxTopK,
    Sort,
    SortDesc,
}

impl AggregateOp {
    /// Every operation and how it is written.
    pub const SPELLINGS: [(&'static str, Self); 12] = [
        ("sum", Self::Sum),
        ("avg", Self::Avg),
        ("min", Self::Min),
        ("max", Self::Max),
        ("count", Self::Count),
        ("stddev", Self::Stddev),
        ("stdvar", Self::Stdvar),
        ("topk", Self::TopK),
        ("bottomk", Self::BottomK),
        ("approx_topk", Self::ApproxTopK),
        ("sort", Self::Sort),
        ("sort_desc", Self::SortDesc),
    ];

    /// How it is written.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        spelling(&Self::SPELLINGS, self)
    }

    /// Whether it takes a number of series.
    #[must_use]
    pub fn takes_parameter(self) -> bool {
        matches!(self, Self::TopK | Self::BottomK | Self::ApproxTopK)
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
    /// Which series belong together.
    pub matching: Matching,
}

/// Which series of two sides belong together.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Matching {
    /// `on` instead of `ignoring`.
    pub on: bool,
    /// Labels that must, or need not, agree.
    pub labels: Vec<String>,
    /// Which side may have several for one.
    pub cardinality: Cardinality,
    /// Labels that are copied from the side that has one.
    pub include: Vec<String>,
}

/// How many series of one side may belong to one of the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[allow(missing_docs)]
pub enum Cardinality {
    #[default]
    OneToOne,
    /// `group_left`
    ManyToOne,
    /// `group_right`
    OneToMany,
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

    /// How it is written.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        spelling(&Self::SPELLINGS, self)
    }

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

    /// What it makes of two numbers; comparisons give 0 or 1. Loki has no infinity where something is divided by zero.
    #[must_use]
    pub fn compute(self, l: f64, r: f64) -> f64 {
        let truth = |b: bool| f64::from(u8::from(b));
        match self {
            Self::Add => l + r,
            Self::Sub => l - r,
            Self::Mul => l * r,
            Self::Div | Self::Mod if r == 0.0 => f64::NAN,
            Self::Div => l / r,
            Self::Mod => l % r,
            Self::Pow => l.powf(r),
            Self::Eq => truth(l == r),
            Self::Ne => truth(l != r),
            Self::Gt => truth(l > r),
            Self::Lt => truth(l < r),
            Self::Ge => truth(l >= r),
            Self::Le => truth(l <= r),
            Self::Or | Self::And | Self::Unless => f64::NAN,
        }
    }
}

/// `label_replace(series, "destination", "replacement", "source", "regex")`
#[derive(Debug, Clone)]
pub struct LabelReplace {
    /// Of which series.
    pub expr: Expr,
    /// The label that is set.
    pub destination: String,
    /// To this, `$1` being the first group.
    pub replacement: String,
    /// Where this label's value…
    pub source: String,
    /// … matches this, as a whole.
    pub regex: String,
}

/// `variants(aggregations) of (lines[5m])`
#[derive(Debug, Clone)]
pub struct Variants {
    /// Aggregations, each of its own selector, that all read `lines`.
    pub variants: Vec<Expr>,
    /// The lines.
    pub lines: LogQuery,
    /// The label that they unwrap.
    pub unwrap: Option<Unwrap>,
    /// The range.
    pub range_ns: i64,
    /// How much earlier.
    pub offset_ns: i64,
}
