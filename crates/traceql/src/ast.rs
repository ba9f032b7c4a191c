//! What a query says, after `pkg/traceql/ast.go` of Tempo.

use crate::value::{Kind, Static};

/// A query.
#[derive(Debug, Clone, PartialEq)]
pub struct Query {
    /// What is asked for.
    pub root: Root,
    /// `with(name=value, …)`.
    pub hints: Vec<(String, Static<'static>)>,
}

/// The two things a query can ask for.
#[derive(Debug, Clone, PartialEq)]
pub enum Root {
    /// Traces with sets of their spans.
    Spansets(Pipeline),
    /// Series.
    Metrics(Metrics),
}

/// Stages, the output of each being the input of the next.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Pipeline {
    /// The stages.
    pub stages: Vec<Stage>,
}

/// A stage of a pipeline.
#[derive(Debug, Clone, PartialEq)]
pub enum Stage {
    /// Spansets of spansets.
    Spanset(Spanset),
    /// Keeps the spansets for which it is true.
    Filter(ScalarFilter),
    /// Splits each spanset by a value.
    By(Expr),
    /// Joins all spansets.
    Coalesce,
    /// Shows these with each span.
    Select(Vec<Attribute>),
    /// Ends a pipeline that is itself a number.
    Scalar(Scalar),
}

/// What makes a spanset of a spanset.
#[derive(Debug, Clone, PartialEq)]
pub enum Spanset {
    /// `{ … }`
    Filter(Expr),
    /// A pipeline in parentheses.
    Pipeline(Pipeline),
    /// Two of them, combined.
    Op(SpansetOp, Box<(Spanset, Spanset)>),
}

/// How two spansets are combined.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpansetOp {
    /// `&&`: both, if there are both.
    And,
    /// `||`
    Or,
    /// The right side's spans that stand in a relation to one of the left side's.
    Relation {
        /// Which.
        relation: Relation,
        /// Whether those that do not, or both sides' that do.
        mode: Mode,
    },
}

/// What the right span is to the left one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Relation {
    Child,
    Parent,
    Descendant,
    Ancestor,
    Sibling,
}

/// Which spans a relation yields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Those of the right side that have a partner.
    Has,
    /// Those of the right side that have none.
    Not,
    /// Those of both sides that have a partner.
    Union,
}

impl SpansetOp {
    /// Every operator and how it is written.
    pub const SPELLINGS: [(&'static str, Self); 17] = {
        use Mode::{Has, Not, Union};
        use Relation::{Ancestor, Child, Descendant, Parent, Sibling};
        const fn of(relation: Relation, mode: Mode) -> SpansetOp {
            SpansetOp::Relation { relation, mode }
        }
        [
            ("&&", Self::And),
            ("||", Self::Or),
            (">", of(Child, Has)),
            ("<", of(Parent, Has)),
            (">>", of(Descendant, Has)),
            ("<<", of(Ancestor, Has)),
            ("~", of(Sibling, Has)),
            ("!>", of(Child, Not)),
            ("!<", of(Parent, Not)),
            ("!>>", of(Descendant, Not)),
            ("!<<", of(Ancestor, Not)),
            ("!~", of(Sibling, Not)),
            ("&>", of(Child, Union)),
            ("&<", of(Parent, Union)),
            ("&>>", of(Descendant, Union)),
            ("&<<", of(Ancestor, Union)),
            ("&~", of(Sibling, Union)),
        ]
    };

    /// How it is written.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        Self::SPELLINGS.into_iter().find(|(_, op)| *op == self).map_or("?", |(text, _)| text)
    }
}

/// A comparison of numbers of a spanset.
#[derive(Debug, Clone, PartialEq)]
pub struct ScalarFilter {
    /// One of the comparisons.
    pub op: Op,
    /// Left side.
    pub left: Scalar,
    /// Right side.
    pub right: Scalar,
}

/// A number of a spanset.
#[derive(Debug, Clone, PartialEq)]
pub enum Scalar {
    /// A constant.
    Static(Static<'static>),
    /// `count()`, `avg(…)`, …
    Aggregate(AggregateOp, Option<Expr>),
    /// Arithmetic.
    Op(Op, Box<(Scalar, Scalar)>),
    /// A pipeline that ends in a scalar.
    Pipeline(Pipeline),
}

/// Aggregates over the spans of a spanset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum AggregateOp {
    Count,
    Max,
    Min,
    Sum,
    Avg,
}

impl AggregateOp {
    /// Every aggregate.
    pub const ALL: [Self; 5] = [Self::Count, Self::Max, Self::Min, Self::Sum, Self::Avg];

    /// How it is written.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Count => "count",
            Self::Max => "max",
            Self::Min => "min",
            Self::Sum => "sum",
            Self::Avg => "avg",
        }
    }
}

/// An expression over one span, and the byte offset where it starts.
#[derive(Debug, Clone, PartialEq)]
pub struct Expr {
    /// What it is.
    pub node: Node,
    /// Byte offset of its first character.
    pub start: usize,
}

/// The kinds of expressions.
#[derive(Debug, Clone, PartialEq)]
pub enum Node {
    /// A constant.
    Static(Static<'static>),
    /// An attribute or an intrinsic.
    Attribute(Attribute),
    /// Two operands.
    Binary(Op, Box<(Expr, Expr)>),
    /// One operand.
    Unary(UnaryOp, Box<Expr>),
}

/// Operators of one operand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnaryOp {
    /// `!`
    Not,
    /// `-`
    Negate,
    /// `!= nil`
    Exists,
    /// `= nil`
    NotExists,
}

/// A value of a span by its name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Attribute {
    /// Where to look.
    pub scope: AttributeScope,
    /// Whether of the parent span.
    pub parent: bool,
    /// Its key; empty for intrinsics.
    pub name: String,
    /// Which intrinsic it is, if it is one.
    pub intrinsic: Option<Intrinsic>,
}

impl Attribute {
    /// An attribute.
    #[must_use]
    pub fn new(scope: AttributeScope, name: &str) -> Self {
        Self { scope, parent: false, name: name.to_owned(), intrinsic: None }
    }

    /// An intrinsic.
    #[must_use]
    pub fn intrinsic(intrinsic: Intrinsic) -> Self {
        Self { scope: AttributeScope::Open, parent: false, name: String::new(), intrinsic: Some(intrinsic) }
    }

    /// The key that search results show.
    #[must_use]
    pub fn key(&self) -> &str {
        match self.intrinsic {
            Some(intrinsic) => intrinsic.as_str(),
            None => &self.name,
        }
    }
}

/// What an attribute may belong to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum AttributeScope {
    /// The span, else the resource.
    Open,
    /// The resource.
    Resource,
    /// The span.
    Span,
    /// An event.
    Event,
    /// A link.
    Link,
    /// The instrumentation scope.
    Instrumentation,
}

impl AttributeScope {
    /// The scopes that have names.
    pub const ALL: [Self; 5] = [Self::Resource, Self::Span, Self::Event, Self::Link, Self::Instrumentation];

    /// How it is written in front of the point; empty where the scope is open.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Open => "",
            Self::Resource => "resource",
            Self::Span => "span",
            Self::Event => "event",
            Self::Link => "link",
            Self::Instrumentation => "instrumentation",
        }
    }
}

/// What every span has without an attribute saying it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum Intrinsic {
    Duration,
    Name,
    Status,
    StatusMessage,
    Kind,
    ChildCount,
    Parent,
    RootService,
    RootName,
    TraceDuration,
    TraceId,
    SpanId,
    ParentId,
    NestedSetLeft,
    NestedSetRight,
    NestedSetParent,
    EventName,
    EventTimeSinceStart,
    LinkTraceId,
    LinkSpanId,
    InstrumentationName,
    InstrumentationVersion,
}

impl Intrinsic {
    /// Every spelling: the one that is printed first.
    pub const SPELLINGS: [(&'static str, Self); 34] = [
        ("duration", Self::Duration),
        ("span:duration", Self::Duration),
        ("name", Self::Name),
        ("span:name", Self::Name),
        ("status", Self::Status),
        ("span:status", Self::Status),
        ("statusMessage", Self::StatusMessage),
        ("span:statusMessage", Self::StatusMessage),
        ("kind", Self::Kind),
        ("span:kind", Self::Kind),
        ("span:childCount", Self::ChildCount),
        ("childCount", Self::ChildCount),
        ("parent", Self::Parent),
        ("rootServiceName", Self::RootService),
        ("trace:rootService", Self::RootService),
        ("rootName", Self::RootName),
        ("trace:rootName", Self::RootName),
        ("traceDuration", Self::TraceDuration),
        ("trace:duration", Self::TraceDuration),
        ("trace:id", Self::TraceId),
        ("span:id", Self::SpanId),
        ("span:parentID", Self::ParentId),
        ("nestedSetLeft", Self::NestedSetLeft),
        ("nestedSetRight", Self::NestedSetRight),
        ("nestedSetParent", Self::NestedSetParent),
        ("event:name", Self::EventName),
        ("event:timeSinceStart", Self::EventTimeSinceStart),
        ("link:traceID", Self::LinkTraceId),
        ("link:spanID", Self::LinkSpanId),
        ("instrumentation:name", Self::InstrumentationName),
        ("instrumentation:version", Self::InstrumentationVersion),
        ("span:parent", Self::Parent),
        ("trace:rootServiceName", Self::RootService),
        ("traceID", Self::TraceId),
    ];

    /// How it is printed.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        Self::SPELLINGS.into_iter().find(|(_, i)| *i == self).map_or("?", |(name, _)| name)
    }

    /// The type of its value.
    #[must_use]
    pub fn kind(self) -> Kind {
        match self {
            Self::Status => Kind::Status,
            Self::Kind => Kind::Kind,
            Self::Duration | Self::TraceDuration | Self::EventTimeSinceStart => Kind::Duration,
            Self::ChildCount | Self::NestedSetLeft | Self::NestedSetRight | Self::NestedSetParent => Kind::Int,
            Self::Parent => Kind::Nil,
            _ => Kind::Text,
        }
    }

    /// Whether it is known only of a trace as a whole.
    #[must_use]
    pub fn needs_trace(self) -> bool {
        matches!(
            self,
            Self::TraceDuration
                | Self::RootName
                | Self::RootService
                | Self::ChildCount
                | Self::NestedSetLeft
                | Self::NestedSetRight
                | Self::NestedSetParent
        )
    }
}

/// Operators between two operands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Op {
    And,
    Or,
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
    Matches,
    NotMatches,
    Add,
    Sub,
    Mul,
    Div,
    Mod,
    Pow,
}

impl Op {
    /// Every operator and how it is written.
    pub const SPELLINGS: [(&'static str, Self); 16] = [
        ("&&", Self::And),
        ("||", Self::Or),
        ("=", Self::Eq),
        ("!=", Self::Ne),
        ("<", Self::Lt),
        ("<=", Self::Le),
        (">", Self::Gt),
        (">=", Self::Ge),
        ("=~", Self::Matches),
        ("!~", Self::NotMatches),
        ("+", Self::Add),
        ("-", Self::Sub),
        ("*", Self::Mul),
        ("/", Self::Div),
        ("%", Self::Mod),
        ("^", Self::Pow),
    ];

    /// The operator that is written so.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::SPELLINGS.into_iter().find(|(t, _)| *t == text).map(|(_, op)| op)
    }

    /// How it is written.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        Self::SPELLINGS.into_iter().find(|(_, op)| *op == self).map_or("?", |(text, _)| text)
    }

    /// Whether its value is true or false.
    #[must_use]
    pub fn is_boolean(self) -> bool {
        !matches!(self, Self::Add | Self::Sub | Self::Mul | Self::Div | Self::Mod | Self::Pow)
    }

    /// Whether it is one of `= != < <= > >=`.
    #[must_use]
    pub fn is_comparison(self) -> bool {
        matches!(self, Self::Eq | Self::Ne | Self::Lt | Self::Le | Self::Gt | Self::Ge)
    }

    /// The operator with its sides changed: `2 < .a` is `.a > 2`.
    #[must_use]
    pub fn mirrored(self) -> Self {
        match self {
            Self::Lt => Self::Gt,
            Self::Le => Self::Ge,
            Self::Gt => Self::Lt,
            Self::Ge => Self::Le,
            same => same,
        }
    }
}

/// Series: of one query or of several, with what is done to them.
#[derive(Debug, Clone, PartialEq)]
pub struct Metrics {
    /// Where they come from.
    pub node: MetricsNode,
    /// What is done to them, in order.
    pub second: Vec<SecondStage>,
}

/// Where series come from.
#[derive(Debug, Clone, PartialEq)]
pub enum MetricsNode {
    /// Spans and their aggregate.
    Query(Pipeline, Aggregate),
    /// Arithmetic between series, or series and a number.
    Op(Op, Box<(Operand, Operand)>),
}

/// A side of arithmetic between series; at least one of the two is no number.
#[derive(Debug, Clone, PartialEq)]
pub enum Operand {
    /// A constant.
    Number(f64),
    /// Series.
    Metrics(Metrics),
}

/// What a metrics query computes of spans.
#[derive(Debug, Clone, PartialEq)]
pub struct Aggregate {
    /// Which function.
    pub function: Function,
    /// What it is a function of; `None` for `rate` and `count_over_time`.
    pub attribute: Option<Attribute>,
    /// A series for each combination of these.
    pub by: Vec<Attribute>,
}

/// The functions of metrics queries.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub enum Function {
    Rate,
    CountOverTime,
    MinOverTime,
    MaxOverTime,
    AvgOverTime,
    SumOverTime,
    /// With the quantiles, each of 0 to 1.
    QuantileOverTime(Vec<f64>),
    HistogramOverTime,
    Compare(Compare),
}

/// `compare(…)`: how the attributes of some spans differ from those of the others.
#[derive(Debug, Clone, PartialEq)]
pub struct Compare {
    /// Which spans are selected.
    pub filter: Expr,
    /// At most so many values of an attribute.
    pub top: i64,
    /// Only those that start in it, Unix nanoseconds; both 0 for all.
    pub start: i64,
    /// See `start`.
    pub end: i64,
}

impl Function {
    /// How it is written.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Rate => "rate",
            Self::CountOverTime => "count_over_time",
            Self::MinOverTime => "min_over_time",
            Self::MaxOverTime => "max_over_time",
            Self::AvgOverTime => "avg_over_time",
            Self::SumOverTime => "sum_over_time",
            Self::QuantileOverTime(_) => "quantile_over_time",
            Self::HistogramOverTime => "histogram_over_time",
            Self::Compare(_) => "compare",
        }
    }
}

/// What is done to series.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum SecondStage {
    /// The greatest values of each interval.
    TopK(i64),
    /// The least values of each interval.
    BottomK(i64),
    /// The values for which the comparison holds.
    Filter(Op, f64),
}
