//! JSON to protobuf, for any message of the [schema](super::schema). Lenient as protobuf JSON asks: names in
//! lowerCamelCase or as in the `.proto` file, 64-bit numbers as text or number, enums as number or name, `null` for
//! what is absent; unknown fields are passed over.

use std::borrow::Cow;

use super::schema::{FieldType, Kind, Message};
use crate::json::{Parser, Token};
use crate::protobuf::write;
use crate::{WireError, base64};

/// Reads a whole body as one `message`; values may be nested `depth` deep.
pub(crate) fn from_json(message: &Message, body: &[u8], depth: usize) -> Result<Vec<u8>, WireError> {
    let mut out = Vec::with_capacity(body.len());
    append_json(message, body, depth, &mut out)?;
    Ok(out)
}

/// [`from_json`] that appends.
pub(crate) fn append_json(message: &Message, body: &[u8], depth: usize, out: &mut Vec<u8>) -> Result<(), WireError> {
    let mut parser = Parser::new(body)?;
    let done = object(message, &mut parser, depth, out).and_then(|()| parser.end());
    done.map_err(|e| match e {
        WireError::TooLarge { what, .. } => WireError::TooLarge { what, limit: depth },
        e => e,
    })
}

fn object(message: &Message, parser: &mut Parser<'_>, depth: usize, out: &mut Vec<u8>) -> Result<(), WireError> {
    parser.object(|parser, key| {
        let Some(field) = message.fields.iter().find(|t| same_name(t.name, &key)) else { return parser.skip() };
        if parser.null()? {
            return Ok(());
        }
        if field.repeated { parser.array(|parser, _| value(field, parser, depth, out)) } else { value(field, parser, depth, out) }
    })
}

/// Whether `key` is `name`, in lowerCamelCase or in snake_case.
fn same_name(name: &str, key: &str) -> bool {
    if name == key {
        return true;
    }
    let mut key = key.bytes();
    name.bytes().all(|n| match n {
        b'A'..=b'Z' => key.next() == Some(b'_') && key.next() == Some(n.to_ascii_lowercase()),
        _ => key.next() == Some(n),
    }) && key.next().is_none()
}

fn value(field: &FieldType, parser: &mut Parser<'_>, depth: usize, out: &mut Vec<u8>) -> Result<(), WireError> {
    let number = field.number;
    // A zero is written only where it differs from nothing.
    let keep = field.repeated || field.oneof;
    let varint = if keep { write::set_varint } else { write::put_varint };
    let fixed32 = if keep { write::set_fixed32 } else { write::put_fixed32 };
    let fixed64 = if keep { write::set_fixed64 } else { write::put_fixed64 };
    let bytes = if keep { write::set_bytes } else { write::put_bytes };
    match field.kind {
        Kind::String => bytes(out, number, parser.string()?.as_bytes()),
        Kind::Bytes => {
            let decoded = base64::decode(&parser.string()?).ok_or_else(|| invalid(parser, field, "base64"))?;
            bytes(out, number, &decoded);
        }
        Kind::Id => {
            let id = hex(&parser.string()?).ok_or_else(|| invalid(parser, field, "a hexadecimal id"))?;
            bytes(out, number, &id);
        }
        Kind::Bool => varint(out, number, u64::from(parser.bool()?)),
        Kind::Uint32 => varint(out, number, u64::from(integer::<u32>(field, parser)?)),
        Kind::Sint32 => {
            let n = integer::<i32>(field, parser)?;
            varint(out, number, u64::from((n << 1 ^ n >> 31) as u32));
        }
        Kind::Int64 => varint(out, number, integer::<i64>(field, parser)? as u64),
        Kind::Uint64 => varint(out, number, integer::<u64>(field, parser)?),
        Kind::Fixed32 => fixed32(out, number, integer::<u32>(field, parser)?),
        Kind::Fixed64 => fixed64(out, number, integer::<u64>(field, parser)?),
        Kind::Sfixed64 => fixed64(out, number, integer::<i64>(field, parser)? as u64),
        Kind::Double => fixed64(out, number, double(field, parser)?.to_bits()),
        Kind::Enum(names) => {
            let n = match parser.peek()? {
                Token::String => {
                    let name = parser.string()?;
                    let known = names.iter().position(|n| *n == name);
                    known.ok_or_else(|| invalid(parser, field, "a value of its enum"))? as i32
                }
                _ => integer::<i32>(field, parser)?,
            };
            varint(out, number, i64::from(n) as u64);
        }
        Kind::Message(inner) => {
            let depth = if inner.nests() { depth.checked_sub(1) } else { Some(depth) };
            let Some(depth) = depth else {
                return Err(WireError::TooLarge { what: "the nesting of a value", limit: 0 });
            };
            write::try_message(out, number, |out| object(inner, parser, depth, out))?;
        }
    }
    Ok(())
}

#[cold]
fn invalid(parser: &Parser<'_>, field: &FieldType, wanted: &str) -> WireError {
    parser.error(format_args!("{} is not {wanted}", field.name))
}

fn integer<T: TryFrom<i128>>(field: &FieldType, parser: &mut Parser<'_>) -> Result<T, WireError> {
    let text: Cow<'_, str> = parser.number_or_string()?;
    let exact = text.parse::<i128>().ok();
    // 1.0 and 1e3 are whole numbers to protobuf JSON.
    let rounded = || text.parse::<f64>().ok().filter(|d| d.trunc() == *d && d.abs() < 1e20).map(|d| d as i128);
    let whole = exact.or_else(rounded).and_then(|n| T::try_from(n).ok());
    whole.ok_or_else(|| invalid(parser, field, "a whole number in its range"))
}

fn double(field: &FieldType, parser: &mut Parser<'_>) -> Result<f64, WireError> {
    let text = parser.number_or_string()?;
    match &*text {
        "NaN" => return Ok(f64::NAN),
        "Infinity" => return Ok(f64::INFINITY),
        "-Infinity" => return Ok(f64::NEG_INFINITY),
        // Rust reads "inf" and "nan" too, protobuf does not.
        t if t.bytes().all(|b| matches!(b, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E')) => t.parse().ok(),
        _ => None,
    }
    .ok_or_else(|| invalid(parser, field, "a number"))
}

fn hex(text: &str) -> Option<Vec<u8>> {
    let digit = |b: u8| char::from(b).to_digit(16).map(|d| d as u8);
    if !text.len().is_multiple_of(2) {
        return None;
    }
    text.as_bytes().chunks(2).map(|pair| Some(digit(pair[0])? << 4 | digit(pair[1])?)).collect()
}

#[cfg(test)]
mod tests {
    use super::super::schema::{ANY_VALUE, METRICS, TRACES};
    use super::super::to_json::{Style, to_json};
    use super::*;
    use crate::protobuf::Reader;

    /// JSON to protobuf and back.
    fn round(message: &Message, json: &str) -> Result<String, WireError> {
        let bytes = from_json(message, json.as_bytes(), 8)?;
        let mut out = String::new();
        to_json(message, Reader::new(&bytes), Style::Otlp, 8, &mut out)?;
        Ok(out)
    }

    #[test]
    fn every_kind_of_value_comes_back_as_it_was() {
        for same in [
            "{}",
            r#"{"stringValue":""}"#,
            r#"{"stringValue":"a\"\\\n\u0001é"}"#,
            r#"{"boolValue":false}"#,
            r#"{"intValue":"-9223372036854775808"}"#,
            r#"{"doubleValue":0.1}"#,
            r#"{"doubleValue":-0}"#,
            r#"{"doubleValue":1e300}"#,
            r#"{"doubleValue":"NaN"}"#,
            r#"{"doubleValue":"-Infinity"}"#,
            r#"{"bytesValue":"AP8="}"#,
            r#"{"arrayValue":{"values":[]}}"#,
            r#"{"kvlistValue":{"values":[]}}"#,
            r#"{"arrayValue":{"values":[{"intValue":"1"},{},{"stringValue":"a"}]}}"#,
            r#"{"kvlistValue":{"values":[{"key":"k","value":{"arrayValue":{"values":[{"boolValue":true}]}}}]}}"#,
        ] {
            assert_eq!(round(&ANY_VALUE, same).as_deref(), Ok(same));
        }
    }

    #[test]
    fn the_lenient_forms_mean_the_same() {
        for (lenient, strict) in [
            (r#"{"string_value":"a"}"#, r#"{"stringValue":"a"}"#),
            (r#"{"intValue":12,"unknown":[{}]}"#, r#"{"intValue":"12"}"#),
            (r#"{"intValue":"1e3"}"#, r#"{"intValue":"1000"}"#),
            (r#"{"doubleValue":"1.5"}"#, r#"{"doubleValue":1.5}"#),
            (r#"{"stringValue":null}"#, "{}"),
            (r#"{"stringValue":"a","intValue":"1"}"#, r#"{"intValue":"1"}"#),
        ] {
            assert_eq!(round(&ANY_VALUE, lenient).as_deref(), Ok(strict), "{lenient}");
        }
        let span = r#"{"resource_spans":[{"scopeSpans":[{"spans":[{"trace_id":"0aFF","kind":"SPAN_KIND_SERVER"}]}]}]}"#;
        let strict = r#"{"resourceSpans":[{"scopeSpans":[{"spans":[{"traceId":"0aff","kind":2}]}]}]}"#;
        assert_eq!(round(&TRACES, span).as_deref(), Ok(strict));
        let packed = r#"{"resourceMetrics":[{"scopeMetrics":[{"metrics":[{"histogram":{"dataPoints":[{"bucketCounts":["1","2"],"explicitBounds":[0.5]}]}}]}]}]}"#;
        assert_eq!(round(&METRICS, packed).as_deref(), Ok(packed));
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        for bad in [
            r#"{"intValue":"1.5"}"#,
            r#"{"intValue":"9223372036854775808"}"#,
            r#"{"doubleValue":"inf"}"#,
            r#"{"boolValue":"true"}"#,
            r#"{"bytesValue":"!"}"#,
            r#"{"stringValue":1}"#,
            r#"{"arrayValue":[]}"#,
            "[]",
            "{} {}",
        ] {
            assert!(matches!(round(&ANY_VALUE, bad), Err(WireError::Json(_))), "{bad}");
        }
        let deep = format!("{}{}", r#"{"arrayValue":{"values":["#.repeat(9), "]}}".repeat(9));
        let limit = WireError::TooLarge { what: "the nesting of a value", limit: 8 };
        assert_eq!(round(&ANY_VALUE, &deep), Err(limit));
    }
}
