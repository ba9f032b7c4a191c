//! `/api/v1/format_query` and `/api/v1/parse_query`: a query as text and as a tree (`web/api/v1/translate_ast.go`).

use std::sync::Arc;

use promql::{At, Binary, Expr, Extension, Length, Matching, Node, Selector, Shift, Side, Type};
use serde_json::{Value, json};
use store::{LabelMatcher, MatchOp};

use super::envelope;
use crate::Api;
use crate::answer::{Answer, Failure};
use crate::ask::Ask;
use crate::json;

fn parsed(ask: &Ask) -> Result<Expr, Failure> {
    let text = ask.get("query").unwrap_or("");
    promql::parse(text).map_err(|e| Failure::BadData(format!("invalid parameter \"query\": {e}")))
}

pub(super) async fn format(_: Arc<Api>, ask: Ask) -> Result<Answer, Failure> {
    let mut out = String::new();
    json::string(&mut out, &parsed(&ask)?.pretty());
    Ok(envelope(&out, 1, &[], &[]))
}

pub(super) async fn parse(_: Arc<Api>, ask: Ask) -> Result<Answer, Failure> {
    Ok(envelope(&tree(&parsed(&ask)?).to_string(), 1, &[], &[]))
}

/// Milliseconds; 0 for a length that is yet to be computed.
fn milliseconds(length: &Length) -> i64 {
    match length {
        Length::Fixed(ms) => *ms,
        Length::Computed(_) => 0,
    }
}

fn tree(expr: &Expr) -> Value {
    match &expr.node {
        Node::Number { value, .. } => json!({"type": "numberLiteral", "val": number(*value)}),
        Node::Text(text) => json!({"type": "stringLiteral", "val": text}),
        Node::Paren(inner) => json!({"type": "parenExpr", "expr": tree(inner)}),
        Node::Unary { minus, expr } => {
            json!({"type": "unaryExpr", "op": if *minus { "-" } else { "+" }, "expr": tree(expr)})
        }
        Node::Selector(s) => selector("vectorSelector", s),
        Node::Range { selector: s, range } => {
            let mut tree = selector("matrixSelector", s);
            tree["range"] = milliseconds(range).into();
            tree
        }
        Node::Subquery { expr, range, step, shift } => {
            let mut tree = json!({
                "type": "subquery",
                "expr": tree(expr),
                "range": milliseconds(range),
                "step": step.as_ref().map_or(0, milliseconds),
            });
            shifted(&mut tree, shift);
            tree
        }
        Node::Call { function, args } => {
            let types: Vec<&str> = function.args.iter().map(|t| t.name()).collect();
            let variadic = function.repeats.map_or(-1, |repeats| (function.optional + repeats) as i64);
            json!({
                "type": "call",
                "func": {
                    "name": function.name,
                    "argTypes": types,
                    "variadic": variadic,
                    "returnType": function.returns.name(),
                },
                "args": args.iter().map(tree).collect::<Vec<_>>(),
            })
        }
        Node::Aggregate { op, expr, param, grouping } => json!({
            "type": "aggregation",
            "op": op.as_str(),
            "expr": tree(expr),
            "param": param.as_ref().map(|p| tree(p)),
            "grouping": grouping.labels,
            "without": grouping.without,
        }),
        Node::Binary(b) => json!({
            "type": "binaryExpr",
            "op": b.op.as_str(),
            "lhs": tree(&b.left),
            "rhs": tree(&b.right),
            "matching": matching(b),
            "bool": b.returns_bool,
        }),
    }
}

fn number(value: f64) -> String {
    if value.is_finite() { value.to_string() } else { promql::number(value) }
}

fn matching(b: &Binary) -> Value {
    if b.left.value_type() != Type::Vector || b.right.value_type() != Type::Vector {
        return Value::Null;
    }
    let Matching { on, labels, many, include, fill_left, fill_right } = &b.matching;
    let card = match many {
        Some(Side::Left) => "many-to-one",
        Some(Side::Right) => "one-to-many",
        None if b.op.is_set() => "many-to-many",
        None => "one-to-one",
    };
    json!({
        "card": card,
        "labels": labels,
        "on": on,
        "include": include,
        "fillValues": {"lhs": fill_left, "rhs": fill_right},
    })
}

fn selector(kind: &str, s: &Selector) -> Value {
    let mut tree = json!({
        "type": kind,
        "name": s.name.as_deref().unwrap_or(""),
        "matchers": s.matchers.iter().map(matcher).collect::<Vec<_>>(),
        "anchored": s.extension == Some(Extension::Anchored),
        "smoothed": s.extension == Some(Extension::Smoothed),
    });
    shifted(&mut tree, &s.shift);
    tree
}

fn matcher(m: &LabelMatcher) -> Value {
    let kind = match m.op {
        MatchOp::Eq => "=",
        MatchOp::Ne => "!=",
        MatchOp::Re => "=~",
        MatchOp::NotRe => "!~",
    };
    json!({"name": m.name, "value": m.value, "type": kind})
}

/// `offset` and `@`.
fn shifted(tree: &mut Value, shift: &Shift) {
    tree["offset"] = milliseconds(&shift.offset).into();
    let (timestamp, edge) = match shift.at {
        Some(At::Time(ms)) => (Value::from(ms), Value::Null),
        Some(At::Start) => (Value::Null, "start".into()),
        Some(At::End) => (Value::Null, "end".into()),
        None => (Value::Null, Value::Null),
    };
    tree["timestamp"] = timestamp;
    tree["startOrEnd"] = edge;
}
