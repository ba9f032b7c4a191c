//! Whether a query means something, after `pkg/traceql/ast_validate.go` of Tempo, with its words.

use crate::ast::{
    Aggregate, Attribute, AttributeScope, Expr, Function, Intrinsic, Metrics, MetricsNode, Node, Op, Operand, Pipeline, Query,
    Root, Scalar, ScalarFilter, SecondStage, Spanset, Stage, UnaryOp,
};
use crate::value::{Kind, Static, anchored};

/// Most attributes that series are grouped by.
const MAX_GROUPS: usize = 5;

/// What is wrong, where it starts, and whether the reference knows it but cannot do it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Invalid {
    pub(crate) message: String,
    pub(crate) start: usize,
    pub(crate) unsupported: bool,
}

type Checked = Result<(), Invalid>;

fn invalid(start: usize, message: impl Into<String>) -> Checked {
    Err(Invalid { message: message.into(), start, unsupported: false })
}

fn unsupported(start: usize, what: &str) -> Checked {
    Err(Invalid { message: format!("{what} not yet supported"), start, unsupported: true })
}

pub(crate) fn query(query: &Query) -> Checked {
    match &query.root {
        Root::Spansets(p) => pipeline(p),
        Root::Metrics(m) => metrics(m),
    }
}

pub(crate) fn pipeline(p: &Pipeline) -> Checked {
    p.stages.iter().try_for_each(|stage| match stage {
        Stage::Spanset(s) => spanset(s),
        Stage::Filter(f) => scalar_filter(f),
        Stage::By(e) => {
            if !references_span(e) {
                return invalid(e.start, format!("grouping field expressions must reference the span: {stage}"));
            }
            expression(e)
        }
        Stage::Coalesce => Ok(()),
        Stage::Select(list) => list.iter().try_for_each(|a| attribute(a, 0)),
        Stage::Scalar(s) => scalar(s),
    })
}

fn spanset(s: &Spanset) -> Checked {
    match s {
        Spanset::Filter(e) => filter(e),
        Spanset::Pipeline(p) => pipeline(p),
        Spanset::Op(_, sides) => {
            spanset(&sides.0)?;
            spanset(&sides.1)
        }
    }
}

fn filter(e: &Expr) -> Checked {
    expression(e)?;
    match kind_of(e) {
        Kind::Attribute | Kind::Bool => Ok(()),
        _ => invalid(e.start, format!("span filter field expressions must resolve to a boolean: {{ {e} }}")),
    }
}

fn scalar(s: &Scalar) -> Checked {
    match s {
        Scalar::Static(_) | Scalar::Aggregate(_, None) => Ok(()),
        Scalar::Aggregate(_, Some(e)) => {
            expression(e)?;
            let kind = kind_of(e);
            if kind != Kind::Attribute && !kind.is_numeric() {
                return invalid(e.start, format!("aggregate field expressions must resolve to a number type: {s}"));
            }
            if !references_span(e) {
                return invalid(e.start, format!("aggregate field expressions must reference the span: {s}"));
            }
            Ok(())
        }
        Scalar::Op(op, sides) => {
            scalar(&sides.0)?;
            scalar(&sides.1)?;
            sides_fit(*op, scalar_kind(&sides.0), scalar_kind(&sides.1), 0, || s.to_string())
        }
        Scalar::Pipeline(p) => pipeline(p),
    }
}

fn scalar_kind(s: &Scalar) -> Kind {
    match s {
        Scalar::Static(v) => v.kind(),
        Scalar::Aggregate(_, None) => Kind::Int,
        Scalar::Aggregate(_, Some(e)) => kind_of(e),
        Scalar::Op(_, sides) => match scalar_kind(&sides.0) {
            Kind::Attribute => scalar_kind(&sides.1),
            kind => kind,
        },
        Scalar::Pipeline(p) => match p.stages.last() {
            Some(Stage::Scalar(s)) => scalar_kind(s),
            _ => Kind::Spanset,
        },
    }
}

fn scalar_filter(f: &ScalarFilter) -> Checked {
    scalar(&f.left)?;
    scalar(&f.right)?;
    sides_fit(f.op, scalar_kind(&f.left), scalar_kind(&f.right), 0, || f.to_string())?;
    // The format is the reference's, unfilled.
    if !matches!(f.left, Scalar::Aggregate(..)) {
        return unsupported(0, "scalar filter lhs of type (%v)");
    }
    if !matches!(f.right, Scalar::Static(_)) {
        return unsupported(0, "scalar filter rhs of type (%v)");
    }
    Ok(())
}

fn sides_fit(op: Op, left: Kind, right: Kind, start: usize, text: impl Fn() -> String) -> Checked {
    if !left.matches(right) {
        return invalid(start, format!("binary operations must operate on the same type: {}", text()));
    }
    if !left.fits(op) || !right.fits(op) {
        return invalid(start, format!("illegal operation for the given types: {}", text()));
    }
    Ok(())
}

pub(crate) fn expression(e: &Expr) -> Checked {
    match &e.node {
        Node::Static(_) => Ok(()),
        Node::Attribute(a) => attribute(a, e.start),
        Node::Binary(op, sides) => {
            expression(&sides.0)?;
            expression(&sides.1)?;
            sides_fit(*op, kind_of(&sides.0), kind_of(&sides.1), e.start, || e.to_string())?;
            if !matches!(op, Op::Matches | Op::NotMatches) {
                return Ok(());
            }
            match &sides.1.node {
                Node::Static(Static::Text(pattern)) if anchored(pattern).is_ok() => Ok(()),
                Node::Static(_) => invalid(sides.1.start, format!("invalid regex: {}", sides.1)),
                _ => invalid(sides.1.start, format!("invalid type for =~ or !~: {}", sides.1)),
            }
        }
        Node::Unary(op, inner) => {
            expression(inner)?;
            let kind = kind_of(inner);
            match op {
                UnaryOp::Not | UnaryOp::Negate => {
                    let fits = if *op == UnaryOp::Not { kind == Kind::Bool } else { kind.is_numeric() };
                    if kind != Kind::Attribute && !fits {
                        return invalid(e.start, format!("illegal operation for the given type: {e}"));
                    }
                    Ok(())
                }
                UnaryOp::Exists => Ok(()),
                UnaryOp::NotExists => match &inner.node {
                    Node::Attribute(Attribute { intrinsic: Some(i), .. }) => {
                        let name = i.as_str();
                        invalid(e.start, format!("{name}=nil is not valid because intrinsics cannot be nil"))
                    }
                    Node::Attribute(a) if a.scope == AttributeScope::Resource && a.name == "service.name" => {
                        invalid(e.start, format!("{a}=nil is not valid because {a} cannot be nil"))
                    }
                    _ => Ok(()),
                },
            }
        }
    }
}

fn attribute(a: &Attribute, start: usize) -> Checked {
    if a.parent {
        return unsupported(start, "parent");
    }
    if a.intrinsic == Some(Intrinsic::Parent) {
        return unsupported(start, "intrinsic (parent)");
    }
    Ok(())
}

/// The type of an expression's value.
pub(crate) fn kind_of(e: &Expr) -> Kind {
    match &e.node {
        Node::Static(s) => s.kind(),
        Node::Attribute(a) => a.intrinsic.map_or(Kind::Attribute, Intrinsic::kind),
        Node::Binary(op, _) if op.is_boolean() => Kind::Bool,
        Node::Binary(_, sides) => match kind_of(&sides.0) {
            Kind::Attribute => kind_of(&sides.1),
            kind => kind,
        },
        Node::Unary(UnaryOp::Exists | UnaryOp::NotExists, _) => Kind::Bool,
        Node::Unary(_, inner) => kind_of(inner),
    }
}

/// Whether it reads anything of a span.
pub(crate) fn references_span(e: &Expr) -> bool {
    match &e.node {
        Node::Static(_) => false,
        Node::Attribute(_) => true,
        Node::Binary(_, sides) => references_span(&sides.0) || references_span(&sides.1),
        Node::Unary(_, inner) => references_span(inner),
    }
}

fn metrics(m: &Metrics) -> Checked {
    let compares = match &m.node {
        MetricsNode::Query(p, a) => {
            pipeline(p)?;
            aggregate(a)?;
            matches!(a.function, Function::Compare(_))
        }
        MetricsNode::Op(_, sides) => {
            for side in [&sides.0, &sides.1] {
                if let Operand::Metrics(m) = side {
                    metrics(m)?;
                    if let MetricsNode::Query(_, Aggregate { function: Function::Compare(_), .. }) = m.node {
                        return invalid(0, "`compare()` cannot be used with second stage functions");
                    }
                }
            }
            false
        }
    };
    if compares && !m.second.is_empty() {
        return invalid(0, "`compare()` cannot be used with second stage functions");
    }
    m.second.iter().try_for_each(|stage| match stage {
        SecondStage::TopK(k) | SecondStage::BottomK(k) if *k <= 0 => invalid(0, "limit must be greater than 0"),
        _ => Ok(()),
    })
}

fn aggregate(a: &Aggregate) -> Checked {
    let groups = || unsupported(0, &format!("metrics group by {} values", a.by.len()));
    match &a.function {
        Function::Compare(c) => {
            filter(&c.filter)?;
            if c.top <= 0 {
                return invalid(0, "compare() top number of values must be integer greater than 0");
            }
            if (c.start, c.end) == (0, 0) {
                return Ok(());
            }
            if c.start <= 0 || c.end <= 0 {
                return invalid(0, "compare() timestamps must be positive integer unix nanoseconds");
            }
            if c.end <= c.start {
                return invalid(0, "compare() end timestamp must be greater than start timestamp");
            }
            return Ok(());
        }
        Function::QuantileOverTime(quantiles) => {
            if a.by.len() >= MAX_GROUPS {
                return groups();
            }
            if let Some(q) = quantiles.iter().find(|q| !(0.0..=1.0).contains(*q)) {
                return invalid(0, format!("quantile must be between 0 and 1: {}", crate::print::float(*q, 21)));
            }
        }
        // One place is kept for the bucket, and for the count of averages.
        Function::HistogramOverTime | Function::AvgOverTime if a.by.len() >= MAX_GROUPS => return groups(),
        _ => {}
    }
    if a.by.len() > MAX_GROUPS {
        return groups();
    }
    a.by.iter().chain(&a.attribute).try_for_each(|a| attribute(a, 0))
}
