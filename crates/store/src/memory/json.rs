//! Attributes as OTLP/JSON (`opentelemetry.proto.common.v1.AnyValue`, `KeyValue`).

use model::{Attr, Value};
use serde_json::{Value as Json, json};

/// An array of `KeyValue`.
pub(super) fn key_values(attributes: &[Attr<'_>]) -> String {
    let pairs = attributes.iter().map(|a| json!({"key": a.key, "value": any_value(&a.value)}));
    Json::Array(pairs.collect()).to_string()
}

/// One `AnyValue`.
pub(super) fn any_value(value: &Value<'_>) -> Json {
    match value {
        Value::Str(s) => json!({"stringValue": s}),
        Value::Bool(b) => json!({"boolValue": b}),
        Value::Int(i) => json!({"intValue": i.to_string()}),
        Value::Double(d) if d.is_finite() => json!({"doubleValue": d}),
        Value::Double(d) if d.is_nan() => json!({"doubleValue": "NaN"}),
        Value::Double(d) => json!({"doubleValue": if *d > 0.0 { "Infinity" } else { "-Infinity" }}),
        Value::Bytes(b) => json!({"bytesValue": base64(b)}),
        Value::Nested(text) => serde_json::from_str(text).unwrap_or_else(|_| json!({})),
    }
}

/// Base64 of RFC 4648 with padding, as protobuf's JSON writes bytes.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let word = chunk.iter().fold(0u32, |w, b| w << 8 | u32::from(*b)) << (8 * (3 - chunk.len()));
        for i in 0..4 {
            match i <= chunk.len() {
                true => out.push(char::from(DIGITS[(word >> (18 - 6 * i)) as usize & 63])),
                false => out.push('='),
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_that_of_the_rfc() {
        for (plain, coded) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg==")] {
            assert_eq!(base64(plain.as_bytes()), coded);
        }
    }
}
