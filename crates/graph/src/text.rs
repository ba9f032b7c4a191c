//! Attributes as labels have them.

use std::borrow::Cow;

use model::{Attr, Value};

/// Bytes of a label's value that are kept, as in Tempo.
const LONGEST: usize = 2048;

/// A value as text.
pub(crate) fn text<'v>(value: &'v Value<'_>) -> Cow<'v, str> {
    match value {
        Value::Str(text) => Cow::Borrowed(text),
        Value::Bool(b) => Cow::Borrowed(if *b { "true" } else { "false" }),
        Value::Int(i) => Cow::Owned(i.to_string()),
        Value::Double(d) => Cow::Owned(d.to_string()),
        Value::Bytes(bytes) => Cow::Owned(String::from_utf8_lossy(bytes).into_owned()),
        Value::Nested(json) => Cow::Borrowed(json),
    }
}

/// No more of a text than a label may have.
pub(crate) fn cut(text: &str) -> &str {
    if text.len() <= LONGEST {
        return text;
    }
    let end = (0..=LONGEST).rev().find(|i| text.is_char_boundary(*i)).unwrap_or(0);
    &text[..end]
}

/// The attribute `key`.
#[inline]
pub(crate) fn find<'l, 'v>(attributes: &'l [Attr<'v>], key: &str) -> Option<&'l Value<'v>> {
    attributes.iter().find(|a| a.key == key).map(|a| &a.value)
}

/// A name that Prometheus' classic rules allow.
pub(crate) fn label_name(name: &str) -> String {
    let mut out: String = name.chars().map(|c| if c.is_ascii_alphanumeric() || c == '_' { c } else { '_' }).collect();
    if out.starts_with(|c: char| c.is_ascii_digit()) {
        out.insert(0, '_');
    }
    out
}

/// [`label_name`]; one that `taken` has already gets two underscores in front, as in Tempo.
pub(crate) fn free_label_name(name: &str, taken: &[&str]) -> String {
    let name = label_name(name);
    if taken.contains(&name.as_str()) { format!("__{name}") } else { name }
}

pub(crate) fn kind(kind: i32) -> Cow<'static, str> {
    Cow::Borrowed(match kind {
        0 => "SPAN_KIND_UNSPECIFIED",
        1 => "SPAN_KIND_INTERNAL",
        2 => "SPAN_KIND_SERVER",
        3 => "SPAN_KIND_CLIENT",
        4 => "SPAN_KIND_PRODUCER",
        5 => "SPAN_KIND_CONSUMER",
        other => return Cow::Owned(other.to_string()),
    })
}

pub(crate) fn status(code: i32) -> Cow<'static, str> {
    Cow::Borrowed(match code {
        0 => "STATUS_CODE_UNSET",
        1 => "STATUS_CODE_OK",
        2 => "STATUS_CODE_ERROR",
        other => return Cow::Owned(other.to_string()),
    })
}

/// How much one span stands for, from the ratio at which spans were sampled.
#[inline]
pub(crate) fn multiplier(attributes: &[Attr<'_>], key: &str) -> f64 {
    if key.is_empty() {
        return 1.0;
    }
    match find(attributes, key) {
        Some(Value::Double(ratio)) if *ratio > 0.0 => 1.0 / ratio,
        _ => 1.0,
    }
}

/// Seconds between two times; 0 where the second comes first.
#[inline]
pub(crate) fn seconds(start: i64, end: i64) -> f64 {
    if end > start { end.abs_diff(start) as f64 / 1e9 } else { 0.0 }
}
