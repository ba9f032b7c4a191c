//! Protobuf to JSON, for any message of the [schema](super::schema)
//! (<https://protobuf.dev/programming-guides/json/>, with OTLP's own rules for ids and enums).

use std::fmt::Write;

use super::schema::{Kind, Message};
use crate::WireError;
use crate::json::push_string;
use crate::protobuf::{Field, Reader, Wire};

/// How ids and enums are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// OTLP/JSON: ids in hexadecimal, enums as numbers.
    Otlp,
    /// Plain protobuf JSON, as Tempo answers: ids in base64, enums as names.
    Protobuf,
}

/// Appends `reader`'s message as compact JSON. Fields come in the order of the schema, absent ones are left out;
/// values may be nested `depth` deep. Everything in it is checked.
pub(crate) fn to_json(
    message: &Message,
    reader: Reader<'_>,
    style: Style,
    depth: usize,
    out: &mut String,
) -> Result<(), WireError> {
    object(message, reader, style, depth, out).map_err(|e| match e {
        WireError::TooLarge { what, .. } => WireError::TooLarge { what, limit: depth },
        e => e,
    })
}

/// `depth` counts down here.
fn object(message: &Message, reader: Reader<'_>, style: Style, depth: usize, out: &mut String) -> Result<(), WireError> {
    // Fields that are present, by their place in the schema; of a oneof only the last member counts.
    let mut present = 0u64;
    let mut oneof = 0u64;
    let mut r = reader;
    while let Some(f) = r.field("a message")? {
        let Some(i) = message.fields.iter().position(|t| t.number == f.number) else { continue };
        if message.fields[i].oneof {
            present &= !oneof;
            oneof |= 1 << i;
        }
        present |= 1 << i;
    }
    out.push('{');
    let mut separator = "";
    for (i, t) in message.fields.iter().enumerate() {
        // Some readers miss the list in an empty array or key-value list.
        if present & 1 << i == 0 && !message.nests() {
            continue;
        }
        out.push_str(separator);
        separator = ",";
        push_string(out, t.name);
        out.push(':');
        let mut r = reader;
        if t.repeated {
            out.push('[');
            let mut separator = "";
            while let Some(f) = r.field("a message")? {
                if f.number == t.number {
                    elements(t.kind, &f, style, depth, &mut separator, out)?;
                }
            }
            out.push(']');
        } else {
            let mut last = None;
            while let Some(f) = r.field("a message")? {
                if f.number == t.number {
                    last = Some(f);
                }
            }
            if let Some(f) = last {
                value(t.kind, &f, style, depth, out)?;
            }
        }
    }
    out.push('}');
    Ok(())
}

/// One occurrence of a repeated field: one element, or several where numbers are packed.
fn elements(
    kind: Kind,
    f: &Field<'_>,
    style: Style,
    depth: usize,
    separator: &mut &str,
    out: &mut String,
) -> Result<(), WireError> {
    let packed = match (kind, f.wire) {
        (Kind::Fixed64 | Kind::Sfixed64 | Kind::Double | Kind::Uint64, Wire::Bytes(r)) => Some(r),
        _ => None,
    };
    let Some(mut r) = packed else {
        out.push_str(separator);
        *separator = ",";
        return value(kind, f, style, depth, out);
    };
    while !r.is_empty() {
        out.push_str(separator);
        *separator = ",";
        let bits = if matches!(kind, Kind::Uint64) { r.varint("a packed field")? } else { r.fixed64("a packed field")? };
        match kind {
            Kind::Double => push_double(out, f64::from_bits(bits)),
            Kind::Sfixed64 => push(out, format_args!("\"{}\"", bits as i64)),
            _ => push(out, format_args!("\"{bits}\"")),
        }
    }
    Ok(())
}

fn value(kind: Kind, f: &Field<'_>, style: Style, depth: usize, out: &mut String) -> Result<(), WireError> {
    match kind {
        Kind::String => push_string(out, f.string("a string field")?),
        Kind::Bytes => push_base64(out, f.bytes()?),
        Kind::Id => match style {
            Style::Otlp => {
                out.push('"');
                f.bytes()?.iter().for_each(|b| push(out, format_args!("{b:02x}")));
                out.push('"');
            }
            Style::Protobuf => push_base64(out, f.bytes()?),
        },
        Kind::Bool => out.push_str(if f.varint()? != 0 { "true" } else { "false" }),
        Kind::Uint32 => push(out, format_args!("{}", f.u32()?)),
        Kind::Sint32 => {
            let n = f.u32()?;
            push(out, format_args!("{}", (n >> 1) as i32 ^ -((n & 1) as i32)));
        }
        Kind::Int64 => push(out, format_args!("\"{}\"", f.varint()? as i64)),
        Kind::Uint64 => push(out, format_args!("\"{}\"", f.varint()?)),
        Kind::Fixed32 => push(out, format_args!("{}", f.fixed32()?)),
        Kind::Fixed64 => push(out, format_args!("\"{}\"", f.fixed64()?)),
        Kind::Sfixed64 => push(out, format_args!("\"{}\"", f.fixed64()? as i64)),
        Kind::Double => push_double(out, f.double()?),
        Kind::Enum(names) => {
            let number = f.u32()? as i32;
            match usize::try_from(number).ok().and_then(|n| names.get(n)) {
                Some(name) if style == Style::Protobuf => push_string(out, name),
                _ => push(out, format_args!("{number}")),
            }
        }
        Kind::Message(inner) => {
            let depth = if inner.nests() { depth.checked_sub(1) } else { Some(depth) };
            let Some(depth) = depth else {
                return Err(WireError::TooLarge { what: "the nesting of a value", limit: 0 });
            };
            object(inner, f.message()?, style, depth, out)?;
        }
    }
    Ok(())
}

fn push(out: &mut String, args: std::fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    let _ = out.write_fmt(args);
}

fn push_double(out: &mut String, v: f64) {
    if v.is_nan() {
        out.push_str("\"NaN\"");
    } else if v.is_infinite() {
        out.push_str(if v > 0.0 { "\"Infinity\"" } else { "\"-Infinity\"" });
    } else if v == 0.0 || (1e-5..1e16).contains(&v.abs()) {
        push(out, format_args!("{v}"));
    } else {
        push(out, format_args!("{v:e}"));
    }
}

fn push_base64(out: &mut String, bytes: &[u8]) {
    out.push('"');
    crate::base64::push(out, bytes);
    out.push('"');
}
