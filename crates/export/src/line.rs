//! A log record as one line of JSON: its message, its attributes by their own names, and what it belongs to.

use std::fmt::Write;

use model::{Attr, Group, Log, Value};

use crate::streams::ids;

/// Members that an attribute does not get to be.
const OWN: [&str; 9] =
    ["message", "severity", "severity_number", "trace_id", "span_id", "event_name", "resource", "labels", "scope"];

/// What the lines of a group end with: resource, labels and scope.
pub(crate) fn tail(group: &Group<'_>) -> String {
    let mut out = String::new();
    if !group.resource.is_empty() {
        out.push_str(",\"resource\":{");
        object(&mut out, group.resource);
        out.push('}');
    }
    if group.resource.is_empty() && !group.labels.is_empty() {
        out.push_str(",\"labels\":{");
        for (i, (name, value)) in group.labels.iter().enumerate() {
            out.push_str(if i > 0 { "," } else { "" });
            string(&mut out, name);
            out.push(':');
            string(&mut out, value);
        }
        out.push('}');
    }
    if !group.scope_name.is_empty() {
        out.push_str(",\"scope\":");
        string(&mut out, group.scope_name);
    }
    out.push('}');
    out
}

/// Writes the line; `with_trace` where the trace id is not said beside it.
pub(crate) fn write(out: &mut String, log: &Log<'_>, tail: &str, with_trace: bool) {
    out.push_str("{\"message\":");
    value(out, &log.body);
    let text = |out: &mut String, name: &str, text: &str| {
        if !text.is_empty() {
            // Writing to a `String` cannot fail.
            let _ = write!(out, ",\"{name}\":");
            string(out, text);
        }
    };
    text(out, "severity", log.severity_text);
    if log.severity_number != 0 {
        let _ = write!(out, ",\"severity_number\":{}", log.severity_number);
    }
    let (trace, span) = ids(log);
    if with_trace && !trace.is_none() {
        let _ = write!(out, ",\"trace_id\":\"{trace}\"");
    }
    if !span.is_none() {
        let _ = write!(out, ",\"span_id\":\"{span}\"");
    }
    text(out, "event_name", log.event_name);
    for attr in log.attributes {
        if attr.key == "trace_id" && !trace.is_none() || attr.key == "span_id" && !span.is_none() {
            continue;
        }
        out.push(',');
        if OWN.contains(&attr.key) {
            string(out, &format!("attributes.{}", attr.key));
        } else {
            string(out, attr.key);
        }
        out.push(':');
        value(out, &attr.value);
    }
    out.push_str(tail);
}

fn object(out: &mut String, attributes: &[Attr<'_>]) {
    for (i, attr) in attributes.iter().enumerate() {
        out.push_str(if i > 0 { "," } else { "" });
        string(out, attr.key);
        out.push(':');
        value(out, &attr.value);
    }
}

/// A value as JSON.
pub(crate) fn value(out: &mut String, value: &Value<'_>) {
    match value {
        Value::Str(text) => string(out, text),
        Value::Bool(b) => out.push_str(if *b { "true" } else { "false" }),
        Value::Int(n) => {
            let _ = write!(out, "{n}");
        }
        Value::Double(d) => number(out, *d),
        Value::Bytes(_) => string(out, &wire::otlp::as_text(value)),
        Value::Nested(_) => match wire::otlp::as_text(value) {
            text if text.is_empty() => out.push_str("null"),
            text => out.push_str(&text),
        },
    }
}

/// A number; JSON has no infinities.
pub(crate) fn number(out: &mut String, n: f64) {
    match serde_json::Number::from_f64(n) {
        Some(n) => {
            let _ = write!(out, "{n}");
        }
        None => string(out, &n.to_string()),
    }
}

/// A JSON string.
pub(crate) fn string(out: &mut String, text: &str) {
    // A text always has a JSON form.
    out.push_str(&serde_json::to_string(text).unwrap_or_default());
}
