//! What a query says.

/// A query: which spans, and which attributes to show with them.
#[derive(Debug, Clone, PartialEq)]
pub struct Query {
    /// The condition in braces; `None` for `{ }`.
    pub filter: Option<Expr>,
    /// What `select(…)` names.
    pub select: Vec<Expr>,
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
    Static(Static),
    /// An attribute.
    Attribute {
        /// Where to look.
        scope: AttributeScope,
        /// Whether of the parent span.
        parent: bool,
        /// Its key.
        name: String,
    },
    /// Something that every span has.
    Intrinsic(Intrinsic),
    /// Two operands.
    Binary(Box<Binary>),
    /// `!`
    Not(Box<Expr>),
    /// `-`
    Negate(Box<Expr>),
}

/// An operator and its operands.
#[derive(Debug, Clone, PartialEq)]
pub struct Binary {
    /// Operator.
    pub op: Op,
    /// Left side.
    pub left: Expr,
    /// Right side.
    pub right: Expr,
}

/// A constant.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub enum Static {
    Nil,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
    /// Nanoseconds.
    Duration(i64),
    /// OTLP's number of the status: 0 unset, 1 ok, 2 error.
    Status(i64),
    /// OTLP's number of the kind: 0 unspecified, 1 internal, 2 server, 3 client, 4 producer, 5 consumer.
    Kind(i64),
}

/// Names of the statuses, by OTLP's numbers.
pub const STATUSES: [&str; 3] = ["unset", "ok", "error"];
/// Names of the kinds, by OTLP's numbers.
pub const KINDS: [&str; 6] = ["unspecified", "internal", "server", "client", "producer", "consumer"];

/// What an attribute may belong to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AttributeScope {
    /// The span, else the resource, else the instrumentation scope.
    Open,
    /// The span.
    Span,
    /// The resource.
    Resource,
    /// The instrumentation scope.
    Instrumentation,
    /// An event.
    Event,
    /// A link.
    Link,
}

/// What every span has without an attribute saying it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Intrinsic {
    Name,
    Status,
    StatusMessage,
    Kind,
    Duration,
    TraceId,
    SpanId,
    ParentId,
    Parent,
    ChildCount,
    InstrumentationName,
    InstrumentationVersion,
    TraceDuration,
    RootName,
    RootService,
    NestedSetLeft,
    NestedSetRight,
    NestedSetParent,
    EventName,
    EventTimeSinceStart,
    LinkTraceId,
    LinkSpanId,
}

impl Intrinsic {
    /// Every spelling.
    pub const SPELLINGS: [(&'static str, Self); 30] = [
        ("name", Self::Name),
        ("span:name", Self::Name),
        ("status", Self::Status),
        ("span:status", Self::Status),
        ("statusMessage", Self::StatusMessage),
        ("span:statusMessage", Self::StatusMessage),
        ("kind", Self::Kind),
        ("span:kind", Self::Kind),
        ("duration", Self::Duration),
        ("span:duration", Self::Duration),
        ("trace:id", Self::TraceId),
        ("span:id", Self::SpanId),
        ("span:parentID", Self::ParentId),
        ("parent", Self::Parent),
        ("childCount", Self::ChildCount),
        ("span:childCount", Self::ChildCount),
        ("instrumentation:name", Self::InstrumentationName),
        ("instrumentation:version", Self::InstrumentationVersion),
        ("traceDuration", Self::TraceDuration),
        ("trace:duration", Self::TraceDuration),
        ("rootName", Self::RootName),
        ("trace:rootName", Self::RootName),
        ("rootServiceName", Self::RootService),
        ("trace:rootService", Self::RootService),
        ("nestedSetLeft", Self::NestedSetLeft),
        ("nestedSetRight", Self::NestedSetRight),
        ("nestedSetParent", Self::NestedSetParent),
        ("event:name", Self::EventName),
        ("event:timeSinceStart", Self::EventTimeSinceStart),
        ("link:traceID", Self::LinkTraceId),
    ];

    /// The intrinsic that `word` names.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        if word == "link:spanID" {
            return Some(Self::LinkSpanId);
        }
        Self::SPELLINGS.into_iter().find(|(name, _)| *name == word).map(|(_, i)| i)
    }

    /// The first spelling, as search results show it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        Self::SPELLINGS.into_iter().find(|(_, i)| *i == self).map_or("link:spanID", |(name, _)| name)
    }

    /// The type of its value.
    #[must_use]
    pub fn value_type(self) -> Type {
        match self {
            Self::Status => Type::Status,
            Self::Kind => Type::Kind,
            Self::Duration | Self::TraceDuration | Self::EventTimeSinceStart => Type::Number,
            Self::ChildCount | Self::NestedSetLeft | Self::NestedSetRight | Self::NestedSetParent => Type::Number,
            Self::Parent => Type::Nil,
            _ => Type::Text,
        }
    }
}

/// Operators between two operands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Op {
    Or,
    And,
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
        ("||", Self::Or),
        ("&&", Self::And),
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

    /// Binds tighter than those of lower numbers.
    pub(crate) fn precedence(self) -> u8 {
        match self {
            Self::Or => 1,
            Self::And => 2,
            Self::Eq | Self::Ne | Self::Lt | Self::Le | Self::Gt | Self::Ge | Self::Matches | Self::NotMatches => 3,
            Self::Add | Self::Sub => 4,
            Self::Mul | Self::Div | Self::Mod => 5,
            Self::Pow => 6,
        }
    }

    /// How it is written.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        Self::SPELLINGS.into_iter().find(|(_, op)| *op == self).map_or("?", |(text, _)| text)
    }

    /// The operator with its sides changed: `2 < .a` is `.a > 2`.
    pub(crate) fn mirrored(self) -> Self {
        match self {
            Self::Lt => Self::Gt,
            Self::Le => Self::Ge,
            Self::Gt => Self::Lt,
            Self::Ge => Self::Le,
            same => same,
        }
    }
}

/// The type of an expression's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Type {
    /// An attribute's: known only row by row.
    Any,
    Nil,
    Bool,
    /// Integers, floats and durations, which compare with each other.
    Number,
    Text,
    Status,
    Kind,
}

impl Static {
    /// Its type.
    #[must_use]
    pub fn value_type(&self) -> Type {
        match self {
            Self::Nil => Type::Nil,
            Self::Bool(_) => Type::Bool,
            Self::Int(_) | Self::Float(_) | Self::Duration(_) => Type::Number,
            Self::Text(_) => Type::Text,
            Self::Status(_) => Type::Status,
            Self::Kind(_) => Type::Kind,
        }
    }
}

impl Expr {
    /// The type of its value.
    #[must_use]
    pub fn value_type(&self) -> Type {
        match &self.node {
            Node::Static(s) => s.value_type(),
            Node::Attribute { .. } => Type::Any,
            Node::Intrinsic(i) => i.value_type(),
            Node::Not(_) => Type::Bool,
            Node::Negate(e) => e.value_type(),
            Node::Binary(b) if b.op.precedence() <= 3 => Type::Bool,
            Node::Binary(b) => match (b.left.value_type(), b.right.value_type()) {
                (Type::Any, Type::Any) => Type::Any,
                _ => Type::Number,
            },
        }
    }
}
