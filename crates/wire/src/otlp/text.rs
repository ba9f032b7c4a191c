//! A value as one line of text, as the OpenTelemetry Collector and Loki print it (`pcommon.Value.AsString`).

use std::borrow::Cow;
use std::collections::BTreeMap;

use model::Value;

use crate::WireError;
use crate::json::{Parser, Token, push_string};

/// How deep a nested value is printed; deeper ones, which no walker passes on, are given as they are kept.
const DEPTH: usize = 128;

/// The value as text: text as it is, numbers and booleans as they print, bytes in base64, arrays and key-value lists as
/// plain JSON with sorted keys (`{"a":1}`), an empty value as nothing.
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
        Value::Nested(n) => {
            let mut text = String::new();
            let done = Parser::new(n.as_bytes()).and_then(|mut p| plain(&mut p, DEPTH, &mut text));
            if done.is_ok() { Cow::Owned(text) } else { n.clone() }
        }
    }
}

/// Reads an `AnyValue` in OTLP/JSON and appends it as plain JSON.
fn plain(parser: &mut Parser<'_>, depth: usize, out: &mut String) -> Result<(), WireError> {
    let depth = depth.checked_sub(1).ok_or(WireError::TooLarge { what: "the nesting of a value", limit: DEPTH })?;
    let mut empty = true;
    parser.object(|parser, member| {
        empty = false;
        match &*member {
            "stringValue" | "bytesValue" => push_string(out, &parser.string()?),
            "boolValue" => out.push_str(if parser.bool()? { "true" } else { "false" }),
            "intValue" => out.push_str(&parser.number_or_string()?),
            "doubleValue" => match parser.peek()? {
                Token::String => push_string(out, &parser.string()?),
                _ => out.push_str(&parser.number()?.parse().map_or_else(|_| String::new(), double)),
            },
            "arrayValue" => {
                out.push('[');
                values(parser, |parser, index| {
                    out.push_str(if index > 0 { "," } else { "" });
                    plain(parser, depth, out)
                })?;
                out.push(']');
            }
            "kvlistValue" => {
                let mut pairs = BTreeMap::new();
                values(parser, |parser, _| {
                    let (mut key, mut value) = (Cow::Borrowed(""), "null".to_owned());
                    parser.object(|parser, member| {
                        match &*member {
                            "key" => key = parser.string()?,
                            "value" => {
                                value.clear();
                                plain(parser, depth, &mut value)?;
                            }
                            _ => parser.skip()?,
                        }
                        Ok(())
                    })?;
                    pairs.insert(key, value);
                    Ok(())
                })?;
                out.push('{');
                for (i, (key, value)) in pairs.iter().enumerate() {
                    out.push_str(if i > 0 { "," } else { "" });
                    push_string(out, key);
                    out.push(':');
                    out.push_str(value);
                }
                out.push('}');
            }
            _ => parser.skip()?,
        }
        Ok(())
    })?;
    if empty {
        out.push_str("null");
    }
    Ok(())
}

/// The elements of `{"values":[…]}`.
fn values<'a>(
    parser: &mut Parser<'a>,
    mut each: impl FnMut(&mut Parser<'a>, usize) -> Result<(), WireError>,
) -> Result<(), WireError> {
    parser.object(|parser, key| if key == "values" { parser.array(&mut each) } else { parser.skip() })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_print_as_the_collector_prints_them() {
        let nested = |json: &'static str| Value::Nested(Cow::Borrowed(json));
        for (value, text) in [
            (Value::Str("a \"b\""), "a \"b\""),
            (Value::Bool(true), "true"),
            (Value::Int(-5), "-5"),
            (Value::Double(1.0), "1"),
            (Value::Double(1e21), "1e+21"),
            (Value::Double(1e-7), "1e-7"),
            (Value::Double(f64::NEG_INFINITY), "-Inf"),
            (Value::Bytes(Cow::Borrowed(b"\x00\xff")), "AP8="),
            (nested("{}"), ""),
            (
                nested(r#"{"arrayValue":{"values":[{"intValue":"1"},{"stringValue":"a"},{},{"doubleValue":0.5}]}}"#),
                r#"[1,"a",null,0.5]"#,
            ),
            (
                nested(
                    r#"{"kvlistValue":{"values":[{"key":"b","value":{"boolValue":false}},{"key":"a","value":{"kvlistValue":{"values":[]}}}]}}"#,
                ),
                r#"{"a":{},"b":false}"#,
            ),
        ] {
            assert_eq!(as_text(&value), text);
        }
    }
}
