//! Expressions as text: on one line, and over several where they are long, as the reference prints them.

use std::fmt::{self, Display, Formatter, Write};

use store::{LabelMatcher, MatchOp};

use crate::ast::{At, Binary, DurationExpr, Expr, Extension, Grouping, Length, Matching, Node, Selector, Shift, Side};
use crate::plain;

/// Longer lines are broken.
const LINE: usize = 100;

/// A duration as the reference prints it: `1h30m`; years and weeks only where nothing is left over.
pub(crate) struct Duration(pub(crate) i64);

impl Display for Duration {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(&syntax::prometheus_duration_text(self.0))
    }
}

/// A text in quotes, as Go's `%q` writes it.
struct Quoted<'t>(&'t str);

impl Display for Quoted<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_char('"')?;
        for c in self.0.chars() {
            match c {
                '"' => f.write_str("\\\"")?,
                '\\' => f.write_str("\\\\")?,
                '\n' => f.write_str("\\n")?,
                '\r' => f.write_str("\\r")?,
                '\t' => f.write_str("\\t")?,
                '\u{7}' => f.write_str("\\a")?,
                '\u{8}' => f.write_str("\\b")?,
                '\u{b}' => f.write_str("\\v")?,
                '\u{c}' => f.write_str("\\f")?,
                // Stands for bytes that are no UTF-8, and is refused where it is written as such.
                '\u{fffd}' => f.write_str("\\ufffd")?,
                c if c.is_control() && c < '\u{80}' => write!(f, "\\x{:02x}", c as u32)?,
                c if c.is_control() => write!(f, "\\u{:04x}", c as u32)?,
                c => f.write_char(c)?,
            }
        }
        f.write_char('"')
    }
}

/// A label's name, in quotes where it needs them.
struct Name<'n>(&'n str);

impl Display for Name<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let mut chars = self.0.chars();
        let plain = chars.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
            && chars.all(|c| c.is_ascii_alphanumeric() || c == '_');
        if plain { f.write_str(self.0) } else { write!(f, "{}", Quoted(self.0)) }
    }
}

/// Items with `, ` between them.
fn list<T: Display>(f: &mut Formatter<'_>, items: impl IntoIterator<Item = T>) -> fmt::Result {
    for (i, item) in items.into_iter().enumerate() {
        if i > 0 {
            f.write_str(", ")?;
        }
        write!(f, "{item}")?;
    }
    Ok(())
}

struct Matcher<'m>(&'m LabelMatcher);

impl Display for Matcher<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let op = match self.0.op {
            MatchOp::Eq => "=",
            MatchOp::Ne => "!=",
            MatchOp::Re => "=~",
            MatchOp::NotRe => "!~",
        };
        write!(f, "{}{op}{}", Name(&self.0.name), Quoted(&self.0.value))
    }
}

impl Display for DurationExpr {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Seconds { value, duration: true } => write!(f, "{}", Duration((value * 1000.0).round() as i64)),
            Self::Seconds { value, .. } => f.write_str(&plain(*value)),
            Self::Step => f.write_str("step()"),
            Self::Range => f.write_str("range()"),
            Self::Negate(e) => write!(f, "-{e}"),
            Self::Paren(e) => write!(f, "({e})"),
            Self::Binary(op, a, b) => write!(f, "{a} {} {b}", op.as_str()),
            Self::Extreme(max, a, b) => write!(f, "{}({a}, {b})", if *max { "max_of" } else { "min_of" }),
        }
    }
}

impl Display for Length {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed(ms) => write!(f, "{}", Duration(*ms)),
            Self::Computed(expr) => write!(f, "{expr}"),
        }
    }
}

/// ` @ 1.234 offset 5m`.
impl Display for Shift {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.at {
            None => {}
            Some(At::Start) => f.write_str(" @ start()")?,
            Some(At::End) => f.write_str(" @ end()")?,
            Some(At::Time(ms)) => {
                let (sign, size) = (if ms < 0 { "-" } else { "" }, ms.unsigned_abs());
                write!(f, " @ {sign}{}.{:03}", size / 1000, size % 1000)?;
            }
        }
        if self.offset == Length::Fixed(0) { Ok(()) } else { write!(f, " offset {}", self.offset) }
    }
}

fn extension(extension: Option<Extension>) -> &'static str {
    match extension {
        None => "",
        Some(Extension::Anchored) => " anchored",
        Some(Extension::Smoothed) => " smoothed",
    }
}

/// The series, without when.
struct Series<'s>(&'s Selector);

impl Display for Series<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let (name, matchers) = match (&self.0.name, self.0.matchers.as_slice()) {
            (Some(name), [inside @ .., _]) => (name.as_str(), inside),
            (_, all) => ("", all),
        };
        f.write_str(name)?;
        if matchers.is_empty() && !name.is_empty() {
            return Ok(());
        }
        f.write_str(&braces(matchers))
    }
}

/// Matchers as a selector has them: `{a="b",c!="d"}`.
#[must_use]
pub fn braces(matchers: &[LabelMatcher]) -> String {
    let shown: Vec<String> = matchers.iter().map(|m| Matcher(m).to_string()).collect();
    format!("{{{}}}", shown.join(","))
}

/// ` by (a, b) `.
impl Display for Grouping {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if !self.without && self.labels.is_empty() {
            return Ok(());
        }
        f.write_str(if self.without { " without (" } else { " by (" })?;
        list(f, self.labels.iter().map(|l| Name(l)))?;
        f.write_str(") ")
    }
}

/// ` on (a) group_left (b) fill (0)`.
impl Display for Matching {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if self.on || !self.labels.is_empty() || self.many.is_some() {
            f.write_str(if self.on { " on (" } else { " ignoring (" })?;
            list(f, self.labels.iter().map(|l| Name(l)))?;
            f.write_char(')')?;
        }
        if let Some(side) = self.many {
            f.write_str(if side == Side::Left { " group_left (" } else { " group_right (" })?;
            list(f, self.include.iter().map(|l| Name(l)))?;
            f.write_char(')')?;
        }
        match (self.fill_left, self.fill_right) {
            (Some(l), Some(r)) if l.to_bits() == r.to_bits() => write!(f, " fill ({})", plain(l)),
            (left, right) => {
                left.map_or(Ok(()), |v| write!(f, " fill_left ({})", plain(v)))?;
                right.map_or(Ok(()), |v| write!(f, " fill_right ({})", plain(v)))
            }
        }
    }
}

impl Binary {
    /// The operator and what follows it.
    fn operator(&self) -> String {
        format!("{}{}{}", self.op.as_str(), if self.returns_bool { " bool" } else { "" }, self.matching)
    }
}

impl Display for Expr {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match &self.node {
            Node::Number { value, duration: true } => write!(f, "{}", Duration((value * 1000.0).round() as i64)),
            Node::Number { value, .. } => f.write_str(&plain(*value)),
            Node::Text(text) => write!(f, "{}", Quoted(text)),
            Node::Selector(s) => write!(f, "{}{}{}", Series(s), extension(s.extension), s.shift),
            Node::Range { selector: s, range } => {
                write!(f, "{}[{range}]{}{}", Series(s), extension(s.extension), s.shift)
            }
            Node::Subquery { expr, .. } => write!(f, "{expr}{}", self.suffix()),
            Node::Call { function, args } => {
                write!(f, "{}(", function.name)?;
                list(f, args)?;
                f.write_char(')')
            }
            Node::Aggregate { op, expr, param, grouping } => {
                write!(f, "{}{grouping}(", op.as_str())?;
                if let Some(param) = param {
                    write!(f, "{param}, ")?;
                }
                write!(f, "{expr})")
            }
            Node::Binary(b) => write!(f, "{} {} {}", b.left, b.operator(), b.right),
            Node::Unary { minus, expr } => write!(f, "{}{expr}", if *minus { '-' } else { '+' }),
            Node::Paren(expr) => write!(f, "({expr})"),
        }
    }
}

impl Expr {
    /// `[5m:1m] offset 1m` of a subquery.
    fn suffix(&self) -> String {
        let Node::Subquery { range, step, shift, .. } = &self.node else { return String::new() };
        let step = step.as_ref().map(Length::to_string).unwrap_or_default();
        format!("[{range}:{step}]{shift}")
    }

    /// The expression over several lines, where it is long.
    #[must_use]
    pub fn pretty(&self) -> String {
        self.indented(0)
    }

    fn indented(&self, level: usize) -> String {
        let indent = "  ".repeat(level);
        let line = self.to_string();
        let is_long = line.len() > LINE;
        match &self.node {
            Node::Unary { minus, expr } => {
                let child = expr.indented(level);
                format!("{indent}{}{}", if *minus { '-' } else { '+' }, child.trim())
            }
            Node::Aggregate { op, expr, param, grouping } if is_long => {
                let param = param.as_ref().map(|p| format!("{},\n", p.indented(level + 1))).unwrap_or_default();
                format!("{indent}{}{grouping}(\n{param}{}\n{indent})", op.as_str(), expr.indented(level + 1))
            }
            Node::Binary(b) if is_long => {
                let (left, right) = (b.left.indented(level + 1), b.right.indented(level + 1));
                format!("{left}\n{indent}{}\n{right}", b.operator())
            }
            Node::Call { function, args } if is_long => {
                let args: Vec<String> = args.iter().map(|a| a.indented(level + 1)).collect();
                format!("{indent}{}(\n{}\n{indent})", function.name, args.join(",\n"))
            }
            Node::Subquery { expr, .. } if is_long => format!("{}{}", expr.indented(level), self.suffix()),
            Node::Paren(expr) if is_long => format!("{indent}(\n{}\n{indent})", expr.indented(level + 1)),
            _ => format!("{indent}{line}"),
        }
    }
}
