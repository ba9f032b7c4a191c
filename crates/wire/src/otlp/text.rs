//! A value as one line of text, as the OpenTelemetry Collector and Loki print it (`pcommon.Value.AsString`).

use std::borrow::Cow;

use model::Value;

/// The value as text: text as it is, numbers and booleans as they print, bytes in base64, an empty value as nothing.
#[must_use]
pub fn as_text<'a>(value: &Value<'a>) -> Cow<'a, str> {
    match value {
        Value::Str(s) => Cow::Borrowed(s),
        Value::Bool(true) => Cow::Borrowed("true"),
        Value::Bool(false) => Cow::Borrowed("false"),
        Value::Int(i) => Cow::Owned(i.to_string()),
        Value::Double(d) => Cow::Owned(double(*d)),
        Value::Bytes(b) => {
            let mut text = String::new();
            crate::base64::push(&mut text, b);
            Cow::Owned(text)
        }
        Value::Nested(n) if n == "{}" => Cow::Borrowed(""),
        Value::Nested(n) => n.clone(),
    }
}

/// As Go's `encoding/json`: plain digits between 1e-6 and 1e21, an exponent outside.
fn double(d: f64) -> String {
    if d.is_nan() || d.is_infinite() {
        return if d.is_nan() {
            "NaN"
        } else if d > 0.0 {
            "+Inf"
        } else {
            "-Inf"
        }
        .to_owned();
    }
    let size = d.abs();
    if size != 0.0 && !(1e-6..1e21).contains(&size) {
        let text = format!("{d:e}");
        // Go writes the exponent's sign: 1e+21.
        return if text.contains("e-") { text } else { text.replace('e', "e+") };
    }
    format!("{d}")
}
