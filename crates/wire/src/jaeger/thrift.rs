//! `jaeger.thrift`'s `Batch`, in Thrift's binary and compact protocols
//! (<https://github.com/apache/thrift/tree/master/doc/specs>).

use model::{OwnedValue, SpanId, TraceId};

use super::span::{JaegerSpan, Process, Reference, Tag, Translator, micros};
use crate::{Limits, WireError};

/// How a Thrift struct is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// `TBinaryProtocol`.
    Binary,
    /// `TCompactProtocol`.
    Compact,
}

/// The spans of a `Batch` as an `ExportTraceServiceRequest`.
///
/// # Errors
/// [`WireError`] when the batch cannot be read or exceeds the limits.
pub fn to_otlp(bytes: &[u8], protocol: Protocol, limits: &Limits) -> Result<Vec<u8>, WireError> {
    let mut process = Process::default();
    // The process may stand behind the spans that it is of.
    let mut r = Reader { bytes, at: 0, protocol, limits };
    r.structure(|r, id, kind| match (id, kind) {
        (1, Kind::Struct) => {
            process = self::process(r)?;
            Ok(())
        }
        _ => r.skip(kind, 0),
    })?;
    let mut translator = Translator::new(limits);
    let mut r = Reader { bytes, at: 0, protocol, limits };
    r.structure(|r, id, kind| match (id, kind) {
        (2, Kind::List) => r.list(Kind::Struct, usize::MAX, |r| {
            let span = span(r)?;
            translator.span(&process, span)
        }),
        _ => r.skip(kind, 0),
    })?;
    translator.finish()
}

fn process(r: &mut Reader<'_>) -> Result<Process, WireError> {
    let mut process = Process::default();
    r.structure(|r, id, kind| match (id, kind) {
        (1, Kind::Text) => {
            process.service = r.text()?;
            Ok(())
        }
        (2, Kind::List) => r.tags(&mut process.tags),
        _ => r.skip(kind, 0),
    })?;
    Ok(process)
}

fn tag(r: &mut Reader<'_>) -> Result<Tag, WireError> {
    let (mut key, mut variant, mut value) = (String::new(), 0, None);
    r.structure(|r, id, kind| {
        match (id, kind) {
            (1, Kind::Text) => key = r.text()?,
            (2, Kind::I32) => variant = r.int(kind)?,
            (3, Kind::Text) => value = Some(OwnedValue::Str(r.text()?)),
            (4, Kind::Double) => value = Some(OwnedValue::Double(r.double()?)),
            (5, Kind::Bool(flag)) => value = Some(OwnedValue::Bool(r.boolean(flag)?)),
            (6, Kind::I64) => value = Some(OwnedValue::Int(r.int(kind)?)),
            (7, Kind::Text) => value = Some(OwnedValue::Bytes(r.binary()?.to_vec())),
            _ => r.skip(kind, 0)?,
        }
        Ok(())
    })?;
    // A value that was left out is the empty one of its type.
    let value = value.unwrap_or_else(|| match variant {
        1 => OwnedValue::Double(0.0),
        2 => OwnedValue::Bool(false),
        3 => OwnedValue::Int(0),
        4 => OwnedValue::Bytes(Vec::new()),
        _ => OwnedValue::Str(String::new()),
    });
    Ok(Tag { key, value })
}

fn trace_id(high: i64, low: i64) -> TraceId {
    TraceId((u128::from(high as u64) << 64 | u128::from(low as u64)).to_be_bytes())
}

fn reference(r: &mut Reader<'_>) -> Result<Reference, WireError> {
    let (mut reference, mut high, mut low) = (Reference::default(), 0, 0);
    r.structure(|r, id, kind| {
        match (id, kind) {
            (1, Kind::I32) => reference.follows = r.int(kind)? == 1,
            (2, Kind::I64) => low = r.int(kind)?,
            (3, Kind::I64) => high = r.int(kind)?,
            (4, Kind::I64) => reference.span = SpanId(r.int(kind)?.to_be_bytes()),
            _ => r.skip(kind, 0)?,
        }
        Ok(())
    })?;
    reference.trace = trace_id(high, low);
    Ok(reference)
}

fn span(r: &mut Reader<'_>) -> Result<JaegerSpan, WireError> {
    let (mut span, mut high, mut low) = (JaegerSpan::default(), 0, 0);
    let most = r.limits.max_events_per_span;
    r.structure(|r, id, kind| {
        match (id, kind) {
            (1, Kind::I64) => low = r.int(kind)?,
            (2, Kind::I64) => high = r.int(kind)?,
            (3, Kind::I64) => span.id = SpanId(r.int(kind)?.to_be_bytes()),
            (4, Kind::I64) => span.parent = SpanId(r.int(kind)?.to_be_bytes()),
            (5, Kind::Text) => span.name = r.text()?,
            (6, Kind::List) => {
                span.references.clear();
                r.list(Kind::Struct, most, |r| {
                    span.references.push(reference(r)?);
                    Ok(())
                })?;
            }
            (8, Kind::I64) => span.start = micros(r.int(kind)?),
            (9, Kind::I64) => span.duration = micros(r.int(kind)?),
            (10, Kind::List) => r.tags(&mut span.tags)?,
            (11, Kind::List) => {
                span.logs.clear();
                r.list(Kind::Struct, most, |r| {
                    span.logs.push(log(r)?);
                    Ok(())
                })?;
            }
            _ => r.skip(kind, 0)?,
        }
        Ok(())
    })?;
    span.trace = trace_id(high, low);
    Ok(span)
}

fn log(r: &mut Reader<'_>) -> Result<(i64, Vec<Tag>), WireError> {
    let (mut time, mut fields) = (0, Vec::new());
    r.structure(|r, id, kind| {
        match (id, kind) {
            (1, Kind::I64) => time = micros(r.int(kind)?),
            (2, Kind::List) => r.tags(&mut fields)?,
            _ => r.skip(kind, 0)?,
        }
        Ok(())
    })?;
    Ok((time, fields))
}

/// The type of a field or an element.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// In the compact protocol a field's type says its value.
    Bool(Option<bool>),
    Byte,
    I16,
    I32,
    I64,
    Double,
    Text,
    List,
    Map,
    Struct,
}

impl Kind {
    fn binary(number: u8) -> Option<Self> {
        Some(match number {
            2 => Self::Bool(None),
            3 => Self::Byte,
            4 => Self::Double,
            6 => Self::I16,
            8 => Self::I32,
            10 => Self::I64,
            11 => Self::Text,
            12 => Self::Struct,
            13 => Self::Map,
            14 | 15 => Self::List,
            _ => return None,
        })
    }

    fn compact(number: u8, field: bool) -> Option<Self> {
        Some(match number {
            1 | 2 if field => Self::Bool(Some(number == 1)),
            1 | 2 => Self::Bool(None),
            3 => Self::Byte,
            4 => Self::I16,
            5 => Self::I32,
            6 => Self::I64,
            7 => Self::Double,
            8 => Self::Text,
            9 | 10 => Self::List,
            11 => Self::Map,
            12 => Self::Struct,
            _ => return None,
        })
    }
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    protocol: Protocol,
    limits: &'a Limits,
}

impl<'a> Reader<'a> {
    fn wrong(&self, what: &'static str) -> WireError {
        WireError::Thrift { what, at: self.at }
    }

    fn take(&mut self, n: usize) -> Result<&'a [u8], WireError> {
        let end = self.at.checked_add(n).filter(|end| *end <= self.bytes.len());
        let end = end.ok_or_else(|| self.wrong("the message ends early"))?;
        let taken = &self.bytes[self.at..end];
        self.at = end;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], WireError> {
        let mut out = [0; N];
        out.copy_from_slice(self.take(N)?);
        Ok(out)
    }

    fn byte(&mut self) -> Result<u8, WireError> {
        self.array::<1>().map(|[b]| b)
    }

    fn varint(&mut self) -> Result<u64, WireError> {
        let mut out = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            out |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(out);
            }
        }
        Err(self.wrong("a number of more than ten bytes"))
    }

    fn zigzag(&mut self) -> Result<i64, WireError> {
        let n = self.varint()?;
        Ok((n >> 1) as i64 ^ -((n & 1) as i64))
    }

    fn int(&mut self, kind: Kind) -> Result<i64, WireError> {
        if self.protocol == Protocol::Compact && kind != Kind::Byte {
            return self.zigzag();
        }
        Ok(match kind {
            Kind::Byte => i64::from(self.byte()? as i8),
            Kind::I16 => i16::from_be_bytes(self.array()?).into(),
            Kind::I32 => i32::from_be_bytes(self.array()?).into(),
            _ => i64::from_be_bytes(self.array()?),
        })
    }

    fn double(&mut self) -> Result<f64, WireError> {
        let bytes = self.array()?;
        Ok(match self.protocol {
            Protocol::Binary => f64::from_be_bytes(bytes),
            Protocol::Compact => f64::from_le_bytes(bytes),
        })
    }

    fn boolean(&mut self, known: Option<bool>) -> Result<bool, WireError> {
        match known {
            Some(known) => Ok(known),
            None => Ok(self.byte()? == 1),
        }
    }

    /// A length or a number of elements; an element has a byte at least.
    fn size(&mut self) -> Result<usize, WireError> {
        let size = match self.protocol {
            Protocol::Binary => i64::from(i32::from_be_bytes(self.array()?)),
            Protocol::Compact => i64::try_from(self.varint()?).unwrap_or(-1),
        };
        usize::try_from(size).ok().filter(|s| *s <= self.bytes.len() - self.at).ok_or_else(|| self.wrong("a size past the end"))
    }

    fn binary(&mut self) -> Result<&'a [u8], WireError> {
        let size = self.size()?;
        self.take(size)
    }

    fn text(&mut self) -> Result<String, WireError> {
        let bytes = self.binary()?;
        // Jaeger's clients send what they have; a text that is none is kept as far as it is one.
        Ok(String::from_utf8_lossy(bytes).into_owned())
    }

    /// Calls `field` for each field of a struct; it must read the value or skip it.
    fn structure(&mut self, mut field: impl FnMut(&mut Self, i16, Kind) -> Result<(), WireError>) -> Result<(), WireError> {
        let mut last = 0i16;
        loop {
            let header = self.byte()?;
            let (id, kind) = match self.protocol {
                _ if header == 0 => return Ok(()),
                Protocol::Binary => (i16::from_be_bytes(self.array()?), Kind::binary(header)),
                Protocol::Compact => {
                    let id = match header >> 4 {
                        0 => i16::try_from(self.zigzag()?).map_err(|_| self.wrong("a field's number"))?,
                        delta => last.wrapping_add(i16::from(delta)),
                    };
                    (id, Kind::compact(header & 15, true))
                }
            };
            last = id;
            let kind = kind.ok_or_else(|| self.wrong("an unknown type"))?;
            field(self, id, kind)?;
        }
    }

    fn list_header(&mut self) -> Result<(Kind, usize), WireError> {
        let header = self.byte()?;
        let (kind, size) = match self.protocol {
            Protocol::Binary => (Kind::binary(header), self.size()?),
            Protocol::Compact => {
                let size = if header >> 4 == 15 { self.size()? } else { usize::from(header >> 4) };
                (Kind::compact(header & 15, false), size)
            }
        };
        match kind {
            Some(kind) => Ok((kind, size)),
            // An empty list may say that it is of nothing.
            None if size == 0 => Ok((Kind::Byte, 0)),
            None => Err(self.wrong("an unknown type")),
        }
    }

    /// Calls `element` for each element of a list of `kind`, at most `most`.
    fn list(
        &mut self,
        kind: Kind,
        most: usize,
        mut element: impl FnMut(&mut Self) -> Result<(), WireError>,
    ) -> Result<(), WireError> {
        let (found, size) = self.list_header()?;
        if size > 0 && found != kind {
            return Err(self.wrong("a list of another type"));
        }
        if size > most {
            return Err(WireError::TooLarge { what: "the number of tags, references or logs", limit: most });
        }
        (0..size).try_for_each(|_| element(self))
    }

    fn tags(&mut self, out: &mut Vec<Tag>) -> Result<(), WireError> {
        out.clear();
        self.list(Kind::Struct, self.limits.max_attributes_per_record, |r| {
            out.push(tag(r)?);
            Ok(())
        })
    }

    fn skip(&mut self, kind: Kind, depth: usize) -> Result<(), WireError> {
        if depth > self.limits.max_depth {
            return Err(WireError::TooLarge { what: "the depth of a value", limit: self.limits.max_depth });
        }
        match kind {
            Kind::Bool(known) => self.boolean(known).map(drop),
            Kind::Byte | Kind::I16 | Kind::I32 | Kind::I64 => self.int(kind).map(drop),
            Kind::Double => self.double().map(drop),
            Kind::Text => self.binary().map(drop),
            Kind::Struct => self.structure(|r, _, kind| r.skip(kind, depth + 1)),
            Kind::List => {
                let (kind, size) = self.list_header()?;
                (0..size).try_for_each(|_| self.skip(kind, depth + 1))
            }
            Kind::Map => {
                let (key, value, size) = match self.protocol {
                    Protocol::Binary => (Kind::binary(self.byte()?), Kind::binary(self.byte()?), self.size()?),
                    Protocol::Compact => match self.size()? {
                        0 => return Ok(()),
                        size => {
                            let kinds = self.byte()?;
                            (Kind::compact(kinds >> 4, false), Kind::compact(kinds & 15, false), size)
                        }
                    },
                };
                let (Some(key), Some(value)) = (key, value) else {
                    return if size == 0 { Ok(()) } else { Err(self.wrong("an unknown type")) };
                };
                (0..size).try_for_each(|_| {
                    self.skip(key, depth + 1)?;
                    self.skip(value, depth + 1)
                })
            }
        }
    }
}
