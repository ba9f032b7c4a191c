//! Expressions as Loki's `String()` writes them: the canonical form.

use std::fmt::{self, Display, Formatter};

use store::{LabelMatcher, MatchOp};
use template::{format_float, quote};

use crate::ast::{
    AggregateOp, Binary, Cardinality, CompareOp, Conversion, Expr, Grouping, LabelFilter, LabelFormat, LabelReplace, LineFilter,
    LineOp, LineTerm, LogQuery, LogfmtFlags, NamedMatcher, RangeAggregation, Stage, Unwrap, Variants, VectorAggregation,
    spelling,
};
use crate::regexp::is_literal;
use crate::units::{bytes_text, duration_text, range_text};

/// `items`, with `separator` between them.
fn join<T: Display>(f: &mut Formatter<'_>, items: impl IntoIterator<Item = T>, separator: &str) -> fmt::Result {
    for (i, item) in items.into_iter().enumerate() {
        write!(f, "{}{item}", if i > 0 { separator } else { "" })?;
    }
    Ok(())
}

/// A matcher as Prometheus writes it.
struct Matcher<'a>(&'a LabelMatcher);

fn match_op(op: MatchOp) -> &'static str {
    match op {
        MatchOp::Eq => "=",
        MatchOp::Ne => "!=",
        MatchOp::Re => "=~",
        MatchOp::NotRe => "!~",
    }
}

impl Display for Matcher<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}{}", self.0.name, match_op(self.0.op), quote(&self.0.value))
    }
}

impl Display for LogQuery {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str("{")?;
        join(f, self.matchers.iter().map(Matcher), ", ")?;
        f.write_str("}")?;
        self.stages.iter().try_for_each(|stage| write!(f, " {stage}"))
    }
}

impl Display for LineTerm {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if self.ip { write!(f, "ip({})", quote(&self.text)) } else { f.write_str(&quote(&self.text)) }
    }
}

impl Display for LineFilter {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", spelling(&LineOp::SPELLINGS, self.op))?;
        join(f, &self.terms, " or ")
    }
}

impl Display for LogfmtFlags {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(if self.strict { " --strict" } else { "" })?;
        f.write_str(if self.keep_empty { " --keep-empty" } else { "" })
    }
}

/// `name="path"` pairs.
fn extractions(f: &mut Formatter<'_>, pairs: &[(String, String)]) -> fmt::Result {
    f.write_str(" ")?;
    join(f, pairs.iter().map(|(name, path)| format!("{name}={}", quote(path))), ",")
}

impl Display for NamedMatcher {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Matcher(matcher) => Matcher(matcher).fmt(f),
        }
    }
}

impl Display for LabelFormat {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rename { to, from } => write!(f, "{to}={from}"),
            Self::Template { to, template } => write!(f, "{to}={}", quote(template)),
        }
    }
}

impl Display for Stage {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::LineFilters(filters) => join(f, filters, " "),
            Self::Json => f.write_str("| json"),
            Self::JsonPaths(paths) => {
                f.write_str("| json")?;
                extractions(f, paths)
            }
            Self::Logfmt(flags) => write!(f, "| logfmt{flags}"),
            Self::LogfmtKeys(flags, keys) => {
                write!(f, "| logfmt{flags}")?;
                extractions(f, keys)
            }
            Self::Regexp(pattern) => write!(f, "| regexp {}", quote(pattern)),
            Self::Pattern(pattern) => write!(f, "| pattern {}", quote(pattern)),
            Self::Unpack => f.write_str("| unpack"),
            Self::LabelFilter(filter) => write!(f, "| {filter}"),
            Self::LineFormat(template) => write!(f, "| line_format {}", quote(template)),
            Self::LabelFormat(formats) => {
                f.write_str("| label_format ")?;
                join(f, formats, ",")
            }
            Self::Decolorize => f.write_str("| decolorize"),
            Self::Drop(names) => {
                f.write_str("| drop ")?;
                join(f, names, ",")
            }
            Self::Keep(names) => {
                f.write_str("| keep ")?;
                join(f, names, ",")
            }
        }
    }
}

impl Display for LabelFilter {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let op = |op: &CompareOp| spelling(&CompareOp::SPELLINGS, *op);
        match self {
            // Loki keeps a pattern that it cannot replace by a search for texts as it was written.
            Self::Matcher(m)
                if matches!(m.op, MatchOp::Re | MatchOp::NotRe) && !m.value.contains('`') && !is_literal(&m.value) =>
            {
                write!(f, "{}{}`{}`", m.name, match_op(m.op), m.value)
            }
            Self::Matcher(m) => Matcher(m).fmt(f),
            Self::Number(name, o, value) => write!(f, "{name}{}{}", op(o), format_float(*value, 'f', None)),
            Self::Duration(name, o, ns) => write!(f, "{name}{}{}", op(o), duration_text(*ns)),
            Self::Bytes(name, o, bytes) => write!(f, "{name}{}{}", op(o), bytes_text(*bytes)),
            Self::Ip(name, negative, range) => write!(f, "{name}{}ip({})", if *negative { "!=" } else { "=" }, quote(range)),
            Self::And(left, right) => write!(f, "( {left} , {right} )"),
            Self::Or(left, right) => write!(f, "( {left} or {right} )"),
        }
    }
}

impl Display for Unwrap {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.conversion {
            Conversion::None => write!(f, "| unwrap {}", self.label)?,
            conversion => write!(f, "| unwrap {}({})", conversion.as_str(), self.label)?,
        }
        self.filters.iter().try_for_each(|filter| write!(f, " | {filter}"))
    }
}

/// `lines | unwrap x[5m] offset 1m`
fn lines(f: &mut Formatter<'_>, log: &LogQuery, unwrap: Option<&Unwrap>, range_ns: i64, offset_ns: i64) -> fmt::Result {
    write!(f, "{log}")?;
    if let Some(unwrap) = unwrap {
        write!(f, " {unwrap}")?;
    }
    write!(f, "[{}]", range_text(range_ns))?;
    if offset_ns != 0 {
        write!(f, " offset {}", duration_text(offset_ns))?;
    }
    Ok(())
}

/// ` by (a,b)`
impl Display for Grouping {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, " {} ({})", if self.without { "without" } else { "by" }, self.labels.join(","))
    }
}

impl Display for RangeAggregation {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}(", self.op.as_str())?;
        if let Some(parameter) = self.parameter {
            write!(f, "{},", format_float(parameter, 'f', None))?;
        }
        lines(f, &self.log, self.unwrap.as_ref(), self.range_ns, self.offset_ns)?;
        f.write_str(")")?;
        self.grouping.as_ref().map_or(Ok(()), |grouping| grouping.fmt(f))
    }
}

impl Display for VectorAggregation {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(self.op.as_str())?;
        if self.grouping.without || !self.grouping.labels.is_empty() {
            self.grouping.fmt(f)?;
        }
        match self.parameter {
            Some(parameter) => write!(f, "({parameter},{})", self.expr),
            None => write!(f, "({})", self.expr),
        }
    }
}

impl Binary {
    /// The operator with its modifiers; the form for reading leaves `on ()` out.
    pub(crate) fn operator(&self, pretty: bool) -> String {
        let separator = if pretty { ", " } else { "," };
        let mut out = self.op.as_str().to_owned();
        if self.returns_bool {
            out.push_str(" bool");
        }
        let matching = &self.matching;
        let mut group = match matching.cardinality {
            Cardinality::OneToOne => String::new(),
            Cardinality::ManyToOne => "group_left".to_owned(),
            Cardinality::OneToMany => "group_right".to_owned(),
        };
        if !matching.include.is_empty() {
            group.push_str(&format!(" ({})", matching.include.join(separator)));
        }
        if (matching.on && !pretty) || !matching.labels.is_empty() {
            let on = if matching.on { "on" } else { "ignoring" };
            out.push_str(&format!(" {on} ({}) {group}", matching.labels.join(separator)));
        }
        out
    }
}

impl Display for LabelReplace {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "label_replace({}", self.expr)?;
        [&self.destination, &self.replacement, &self.source, &self.regex]
            .into_iter()
            .try_for_each(|t| write!(f, ",{}", quote(t)))?;
        f.write_str(")")
    }
}

impl Display for Variants {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str("variants(")?;
        join(f, &self.variants, ", ")?;
        f.write_str(") of (")?;
        lines(f, &self.lines, self.unwrap.as_ref(), self.range_ns, self.offset_ns)?;
        f.write_str(")")
    }
}

impl Display for AggregateOp {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Display for Expr {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Log(log) => log.fmt(f),
            Self::Range(range) => range.fmt(f),
            Self::Aggregate(aggregation) => aggregation.fmt(f),
            Self::Binary(b) => write!(f, "({} {} {})", b.left, b.operator(false), b.right),
            Self::Number(n) => f.write_str(&format_float(*n, 'g', None)),
            Self::Vector(n) => write!(f, "vector({n:.6})"),
            Self::LabelReplace(replace) => replace.fmt(f),
            Self::Variants(variants) => variants.fmt(f),
        }
    }
}
