//! Go's own functions.

use std::cmp::Ordering;

use crate::{Function, Kind, Value, printf};

const ANY: &[Kind] = &[Kind::Any];
const NONE: &[Kind] = &[];

/// The function of that name.
pub(crate) fn find(name: &str) -> Option<Function> {
    let f = |parameters, variadic, call| Some(Function { parameters, variadic, call, cost: 1 });
    let any = Some(Kind::Any);
    match name {
        "and" => f(ANY, any, |v| Ok(v.iter().find(|v| !v.truth()).or(v.last()).cloned().unwrap_or_default())),
        "or" => f(ANY, any, |v| Ok(v.iter().find(|v| v.truth()).or(v.last()).cloned().unwrap_or_default())),
        "not" => f(ANY, None, |v| Ok(Value::Bool(!v[0].truth()))),
        "len" => f(ANY, None, |v| len(&v[0])),
        "index" => f(ANY, any, index),
        "slice" => f(ANY, any, slice),
        "print" => f(NONE, any, |v| Ok(print(v).into())),
        "println" => f(NONE, any, |v| Ok(format!("{}\n", v.iter().map(shown).collect::<Vec<_>>().join(" ")).into())),
        "printf" => f(&[Kind::Str], any, |v| Ok(printf(v[0].as_str().unwrap_or(""), &v[1..]).into())),
        "html" => f(NONE, any, |v| Ok(html(&text(v)).into())),
        "js" => f(NONE, any, |v| Ok(js(&text(v)).into())),
        "urlquery" => f(NONE, any, |v| Ok(urlquery(&text(v)).into())),
        "eq" => f(ANY, any, eq),
        "ne" => f(&[Kind::Any, Kind::Any], None, |v| Ok(Value::Bool(!equal(&v[0], &v[1])?))),
        "lt" => f(&[Kind::Any, Kind::Any], None, |v| Ok(Value::Bool(order(&v[0], &v[1])? == Some(Ordering::Less)))),
        "le" => f(&[Kind::Any, Kind::Any], None, |v| Ok(Value::Bool(order(&v[0], &v[1])?.is_some_and(Ordering::is_le)))),
        "gt" => f(&[Kind::Any, Kind::Any], None, |v| Ok(Value::Bool(order(&v[0], &v[1])? == Some(Ordering::Greater)))),
        "ge" => f(&[Kind::Any, Kind::Any], None, |v| Ok(Value::Bool(order(&v[0], &v[1])?.is_some_and(Ordering::is_ge)))),
        _ => None,
    }
}

fn len(v: &Value) -> Result<Value, String> {
    Ok(Value::Int(match v {
        Value::Str(s) => s.len(),
        Value::List(l) => l.len(),
        Value::Map(m) => m.entries.len(),
        Value::Nil => return Err("len of nil pointer".to_owned()),
        other => return Err(format!("len of type {}", other.type_name())),
    } as i64))
}

/// Where `index` and `slice` point to.
fn place(v: &Value, len: usize) -> Result<usize, String> {
    let Some(i) = v.as_int() else {
        return Err(match v {
            Value::Nil => "cannot index slice/array with nil".to_owned(),
            v => format!("cannot index slice/array with type {}", v.type_name()),
        });
    };
    usize::try_from(i).ok().filter(|i| *i <= len).ok_or_else(|| format!("index out of range: {i}"))
}

fn index(v: &[Value]) -> Result<Value, String> {
    let mut value = v[0].clone();
    for key in &v[1..] {
        value = match &value {
            Value::Nil => return Err("index of untyped nil".to_owned()),
            Value::Str(s) => {
                let at = place(key, s.len())?;
                let byte = s.as_bytes().get(at).ok_or_else(|| format!("index out of range: {at}"))?;
                Value::Int(i64::from(*byte))
            }
            Value::List(l) => {
                let at = place(key, l.len())?;
                l.get(at).cloned().ok_or_else(|| format!("index out of range: {at}"))?
            }
            Value::Map(m) => match key {
                Value::Str(key) => match m.entries.get(&**key) {
                    Some(v) => v.clone(),
                    None if m.texts => Value::text(""),
                    None => Value::Nil,
                },
                Value::Nil => return Err("value is nil; should be of type string".to_owned()),
                other => return Err(format!("value has type {}; should be string", other.type_name())),
            },
            other => return Err(format!("can't index item of type {}", other.type_name())),
        };
    }
    Ok(value)
}

fn slice(v: &[Value]) -> Result<Value, String> {
    let len = match &v[0] {
        Value::Str(s) => s.len(),
        Value::List(l) => l.len(),
        Value::Nil => return Err("slice of untyped nil".to_owned()),
        other => return Err(format!("can't slice item of type {}", other.type_name())),
    };
    if v.len() > 4 {
        return Err(format!("too many slice indexes: {}", v.len() - 1));
    }
    if v.len() == 4 && matches!(v[0], Value::Str(_)) {
        return Err("cannot 3-index slice a string".to_owned());
    }
    let from = v.get(1).map_or(Ok(0), |i| place(i, len))?;
    let to = v.get(2).map_or(Ok(len), |i| place(i, len))?;
    if from > to {
        return Err(format!("invalid slice index: {from} > {to}"));
    }
    Ok(match &v[0] {
        Value::Str(s) => Value::from(String::from_utf8_lossy(&s.as_bytes()[from..to]).into_owned()),
        Value::List(l) => Value::List(l[from..to].into()),
        _ => Value::Nil,
    })
}

fn shown(v: &Value) -> String {
    v.to_string()
}

/// `fmt.Sprint`: spaces between operands where neither is a text.
fn print(v: &[Value]) -> String {
    let mut out = String::new();
    let mut before: Option<&Value> = None;
    for value in v {
        if before.is_some_and(|b| b.as_str().is_none()) && value.as_str().is_none() {
            out.push(' ');
        }
        out.push_str(&shown(value));
        before = Some(value);
    }
    out
}

fn text(v: &[Value]) -> String {
    match v {
        [Value::Str(s)] => s.to_string(),
        v => print(v),
    }
}

fn html(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\0' => out.push('\u{fffd}'),
            '"' => out.push_str("&#34;"),
            '\'' => out.push_str("&#39;"),
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            c => out.push(c),
        }
    }
    out
}

fn js(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\'' => out.push_str("\\'"),
            '"' => out.push_str("\\\""),
            '<' => out.push_str("\\u003C"),
            '>' => out.push_str("\\u003E"),
            '&' => out.push_str("\\u0026"),
            '=' => out.push_str("\\u003D"),
            c if c.is_control() => out.push_str(&format!("\\u{:04X}", c as u32)),
            c => out.push(c),
        }
    }
    out
}

/// `url.QueryEscape`.
pub(crate) fn urlquery(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for b in text.bytes() {
        match b {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => out.push(char::from(b)),
            b' ' => out.push('+'),
            b => out.push_str(&format!("%{b:02X}")),
        }
    }
    out
}

fn eq(v: &[Value]) -> Result<Value, String> {
    if v.len() < 2 {
        return Err("missing argument for comparison".to_owned());
    }
    for other in &v[1..] {
        if equal(&v[0], other)? {
            return Ok(Value::Bool(true));
        }
    }
    Ok(Value::Bool(false))
}

fn equal(a: &Value, b: &Value) -> Result<bool, String> {
    Ok(match (a, b) {
        (Value::Nil, Value::Nil) => true,
        (Value::Nil, _) | (_, Value::Nil) => false,
        (Value::Bool(a), Value::Bool(b)) => a == b,
        (Value::Int(a) | Value::Int64(a), Value::Int(b) | Value::Int64(b)) => a == b,
        (Value::Float(a), Value::Float(b)) => a == b,
        (Value::Str(a), Value::Str(b)) => a == b,
        (Value::Time(a), Value::Time(b)) => a == b,
        (Value::List(_) | Value::Map(_), _) | (_, Value::List(_) | Value::Map(_)) => {
            return Err(format!("non-comparable types {a}: {}, {b}: {}", a.type_name(), b.type_name()));
        }
        _ => return Err("incompatible types for comparison".to_owned()),
    })
}

fn order(a: &Value, b: &Value) -> Result<Option<Ordering>, String> {
    Ok(match (a, b) {
        (Value::Int(a) | Value::Int64(a), Value::Int(b) | Value::Int64(b)) => Some(a.cmp(b)),
        (Value::Float(a), Value::Float(b)) => a.partial_cmp(b),
        (Value::Str(a), Value::Str(b)) => Some(a.as_bytes().cmp(b.as_bytes())),
        (Value::Bool(_) | Value::Nil | Value::List(_) | Value::Map(_) | Value::Object(_) | Value::Time(_), _) => {
            return Err("invalid type for comparison".to_owned());
        }
        _ => return Err("incompatible types for comparison".to_owned()),
    })
}
