//! The canonical form of a query, after `pkg/traceql/ast_stringer.go` of Tempo.

use std::fmt::{self, Display, Formatter, Write as _};

use crate::ast::{
    Aggregate, Attribute, Expr, Function, Metrics, MetricsNode, Node, Operand, Pipeline, Query, Root, Scalar, ScalarFilter,
    SecondStage, Spanset, Stage, UnaryOp,
};
use crate::lexer::in_attribute;
use crate::value::Static;

impl Display for Query {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match &self.root {
            Root::Spansets(pipeline) => pipeline.fmt(f)?,
            Root::Metrics(metrics) => metrics.fmt(f)?,
        }
        if !self.hints.is_empty() {
            let hints: Vec<String> = self.hints.iter().map(|(name, value)| format!("{name}={value}")).collect();
            write!(f, " with({})", hints.join(","))?;
        }
        Ok(())
    }
}

impl Display for Pipeline {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for (i, stage) in self.stages.iter().enumerate() {
            write!(f, "{}{stage}", if i == 0 { "" } else { "|" })?;
        }
        Ok(())
    }
}

impl Display for Stage {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Spanset(s) => s.fmt(f),
            Self::Filter(filter) => filter.fmt(f),
            Self::By(e) => write!(f, "by({e})"),
            Self::Coalesce => f.write_str("coalesce()"),
            Self::Select(list) => write!(f, "select({})", joined(list, ", ")),
            Self::Scalar(s) => s.fmt(f),
        }
    }
}

fn joined(list: &[Attribute], separator: &str) -> String {
    list.iter().map(ToString::to_string).collect::<Vec<_>>().join(separator)
}

impl Display for Spanset {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Filter(e) => write!(f, "{{ {e} }}"),
            Self::Pipeline(p) => p.fmt(f),
            Self::Op(op, sides) => write!(f, "({}) {} ({})", sides.0, op.as_str(), sides.1),
        }
    }
}

/// An operand of arithmetic: what is no constant stands in parentheses.
struct Wrapped<'a>(&'a Scalar);

impl Display for Wrapped<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.0 {
            Scalar::Static(s) => s.fmt(f),
            other => write!(f, "({other})"),
        }
    }
}

impl Display for ScalarFilter {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", Wrapped(&self.left), self.op.as_str(), Wrapped(&self.right))
    }
}

impl Display for Scalar {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Static(s) => s.fmt(f),
            Self::Aggregate(op, None) => write!(f, "{}()", op.as_str()),
            Self::Aggregate(op, Some(e)) => write!(f, "{}({e})", op.as_str()),
            Self::Op(op, sides) => write!(f, "{} {} {}", Wrapped(&sides.0), op.as_str(), Wrapped(&sides.1)),
            Self::Pipeline(p) => p.fmt(f),
        }
    }
}

impl Display for Expr {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match &self.node {
            Node::Static(s) => s.fmt(f),
            Node::Attribute(a) => a.fmt(f),
            Node::Binary(op, sides) => {
                operand(f, &sides.0)?;
                write!(f, " {} ", op.as_str())?;
                operand(f, &sides.1)
            }
            Node::Unary(op, e) => {
                f.write_str(match op {
                    UnaryOp::Not => "!",
                    UnaryOp::Negate => "-",
                    _ => "",
                })?;
                operand(f, e)?;
                f.write_str(match op {
                    UnaryOp::Exists => " != nil",
                    UnaryOp::NotExists => " = nil",
                    _ => "",
                })
            }
        }
    }
}

fn operand(f: &mut Formatter<'_>, e: &Expr) -> fmt::Result {
    match &e.node {
        Node::Static(_) | Node::Attribute(_) => e.fmt(f),
        _ => write!(f, "({e})"),
    }
}

impl Display for Attribute {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if self.parent {
            f.write_str("parent.")?;
        }
        if let Some(intrinsic) = self.intrinsic {
            return f.write_str(intrinsic.as_str());
        }
        let scope = self.scope.as_str();
        if !scope.is_empty() || !self.parent {
            write!(f, "{scope}.")?;
        }
        if self.name.contains(|c| c == '"' || !in_attribute(c)) {
            return write!(f, "\"{}\"", self.name.replace('"', "\\\""));
        }
        f.write_str(&self.name)
    }
}

impl Display for Static<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nil => f.write_str("nil"),
            Self::Bool(b) => b.fmt(f),
            Self::Int(i) => i.fmt(f),
            Self::Float(d) => {
                let text = float(*d, 6);
                let mark = if text.contains(['e', '.']) || !d.is_finite() { "" } else { ".0" };
                write!(f, "{text}{mark}")
            }
            Self::Text(t) => write!(f, "`{t}`"),
            Self::Duration(ns) => f.write_str(&duration(*ns)),
            Self::Status(_) | Self::Kind(_) => f.write_str(self.word().unwrap_or_default()),
            Self::Array(_, values) => {
                f.write_char('[')?;
                for (i, value) in values.iter().enumerate() {
                    write!(f, "{}{value}", if i == 0 { "" } else { ", " })?;
                }
                f.write_char(']')
            }
        }
    }
}

/// A float as Go prints it in its shortest form: with an exponent below -4 and from `digits` on.
pub(crate) fn float(value: f64, digits: i32) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    let scientific = format!("{value:e}");
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if value != 0.0 && (exponent < -4 || exponent >= digits) {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{mantissa}e{sign}{:02}", exponent.abs());
    }
    format!("{value}")
}

/// A duration as Go prints it: `1h0m0s`, `1.5ms`.
#[must_use]
pub fn duration(ns: i64) -> String {
    let total = ns.unsigned_abs();
    let sign = if ns < 0 { "-" } else { "" };
    let fraction = |unit: u64, name: &str| {
        let mut text = format!("{}", total / unit);
        if !total.is_multiple_of(unit) {
            let width = unit.ilog10() as usize;
            let digits = format!("{:0width$}", total % unit);
            let _ = write!(text, ".{}", digits.trim_end_matches('0'));
        }
        format!("{sign}{text}{name}")
    };
    match total {
        0 => "0s".to_owned(),
        1..1_000 => fraction(1, "ns"),
        1_000..1_000_000 => fraction(1_000, "µs"),
        1_000_000..1_000_000_000 => fraction(1_000_000, "ms"),
        _ => {
            let (minutes, rest) = (total / 60_000_000_000, total % 60_000_000_000);
            let mut seconds = format!("{}", rest / 1_000_000_000);
            if rest % 1_000_000_000 != 0 {
                let _ = write!(seconds, ".{}", format!("{:09}", rest % 1_000_000_000).trim_end_matches('0'));
            }
            match (minutes / 60, minutes % 60) {
                (0, 0) => format!("{sign}{seconds}s"),
                (0, m) => format!("{sign}{m}m{seconds}s"),
                (h, m) => format!("{sign}{h}h{m}m{seconds}s"),
            }
        }
    }
}

impl Display for Metrics {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match &self.node {
            MetricsNode::Query(pipeline, aggregate) => write!(f, "{pipeline} | {aggregate}")?,
            MetricsNode::Op(op, sides) => write!(f, "{} {} {}", sides.0, op.as_str(), sides.1)?,
        }
        for stage in &self.second {
            match stage {
                SecondStage::TopK(k) => write!(f, " | topk({k})")?,
                SecondStage::BottomK(k) => write!(f, " | bottomk({k})")?,
                SecondStage::Filter(op, value) => write!(f, " {} {}", op.as_str(), float(*value, 21))?,
            }
        }
        Ok(())
    }
}

impl Display for Operand {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(n) => f.write_str(&float(*n, 21)),
            Self::Metrics(m) => write!(f, "({m})"),
        }
    }
}

impl Display for Aggregate {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if let Function::Compare(compare) = &self.function {
            // The second brace instead of a parenthesis is the reference's.
            return write!(f, "compare({{ {} }}}}", compare.filter);
        }
        write!(f, "{}(", self.function.as_str())?;
        if let Some(attribute) = &self.attribute {
            attribute.fmt(f)?;
        }
        if let Function::QuantileOverTime(quantiles) = &self.function {
            for q in quantiles {
                write!(f, ",{q:.5}")?;
            }
        }
        f.write_char(')')?;
        if !self.by.is_empty() {
            write!(f, "by({})", joined(&self.by, ","))?;
        }
        Ok(())
    }
}
