//! A cursor over one message.

use crate::WireError;

/// The fields of one message that are still to be read. Copying it is cheap and starts a second pass.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
    /// Offset in the body of the first byte after `rest`; so that errors can say where they are.
    end: usize,
}

/// One field: its number and what follows the tag.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Field<'a> {
    pub(crate) number: u32,
    pub(crate) wire: Wire<'a>,
    at: usize,
}

/// What follows a tag, by wire type. Groups are refused: proto3 has none.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Wire<'a> {
    Varint(u64),
    Fixed64(u64),
    Fixed32(u32),
    Bytes(Reader<'a>),
}

impl<'a> Reader<'a> {
    /// A reader of a whole body.
    #[inline]
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes, end: bytes.len() }
    }

    /// A reader of what follows `rest`'s first `len` bytes; `None` when there are fewer.
    #[inline]
    pub(crate) fn skip(self, len: usize) -> Option<Self> {
        Some(Self { rest: self.rest.get(len..)?, end: self.end })
    }

    /// Offset of the next byte in the body.
    #[inline]
    pub(crate) fn at(&self) -> usize {
        self.end - self.rest.len()
    }

    /// The bytes that are still to be read.
    #[inline]
    pub(crate) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// The next field, or `None` at the end of the message.
    #[inline(always)]
    pub(crate) fn field(&mut self, message: &'static str) -> Result<Option<Field<'a>>, WireError> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let at = self.at();
        let tag = self.varint(message)?;
        let number = (tag >> 3) as u32;
        if number == 0 || tag > u64::from(u32::MAX) {
            return Err(WireError::Malformed { what: "a field number that cannot be", at });
        }
        let wire = match tag & 7 {
            0 => Wire::Varint(self.varint(message)?),
            1 => Wire::Fixed64(self.fixed64(message)?),
            2 => Wire::Bytes(self.delimited(message)?),
            5 => Wire::Fixed32(self.fixed32(message)?),
            3 | 4 => return Err(WireError::Malformed { what: "a group", at }),
            _ => return Err(WireError::Malformed { what: "a wire type that cannot be", at }),
        };
        Ok(Some(Field { number, wire, at }))
    }

    /// A base-128 integer of at most 64 bits.
    #[inline]
    pub(crate) fn varint(&mut self, message: &'static str) -> Result<u64, WireError> {
        match *self.rest {
            [a, ref rest @ ..] if a < 0x80 => {
                self.rest = rest;
                Ok(u64::from(a))
            }
            // Lengths of messages: two bytes nearly always.
            [a, b, ref rest @ ..] if b < 0x80 => {
                self.rest = rest;
                Ok(u64::from(a & 0x7f) | u64::from(b) << 7)
            }
            _ => self.long_varint(message),
        }
    }

    fn long_varint(&mut self, message: &'static str) -> Result<u64, WireError> {
        let mut value = 0u64;
        for (i, &b) in self.rest.iter().take(10).enumerate() {
            if i == 9 && b > 1 {
                break;
            }
            value |= u64::from(b & 0x7f) << (7 * i);
            if b < 0x80 {
                self.rest = &self.rest[i + 1..];
                return Ok(value);
            }
        }
        if self.rest.len() < 10 {
            return Err(self.truncated(message));
        }
        Err(WireError::Malformed { what: "an integer of more than 64 bits", at: self.at() })
    }

    #[inline]
    pub(crate) fn fixed64(&mut self, message: &'static str) -> Result<u64, WireError> {
        let Some((bytes, rest)) = self.rest.split_first_chunk() else { return Err(self.truncated(message)) };
        self.rest = rest;
        Ok(u64::from_le_bytes(*bytes))
    }

    #[inline]
    fn fixed32(&mut self, message: &'static str) -> Result<u32, WireError> {
        let Some((bytes, rest)) = self.rest.split_first_chunk() else { return Err(self.truncated(message)) };
        self.rest = rest;
        Ok(u32::from_le_bytes(*bytes))
    }

    /// A length and so many bytes.
    #[inline]
    pub(crate) fn delimited(&mut self, message: &'static str) -> Result<Self, WireError> {
        let len = self.varint(message)?;
        let split = usize::try_from(len).ok().and_then(|len| self.rest.split_at_checked(len));
        let Some((inside, rest)) = split else { return Err(self.truncated(message)) };
        self.rest = rest;
        Ok(Self { rest: inside, end: self.end - rest.len() })
    }

    #[cold]
    fn truncated(&self, what: &'static str) -> WireError {
        WireError::Truncated { what, at: self.at() }
    }
}

impl<'a> Field<'a> {
    #[cold]
    fn wrong_type(&self) -> WireError {
        WireError::Malformed { what: "a field with another wire type than it has in this message", at: self.at }
    }

    /// A message inside the message.
    #[inline]
    pub(crate) fn message(&self) -> Result<Reader<'a>, WireError> {
        match self.wire {
            Wire::Bytes(r) => Ok(r),
            _ => Err(self.wrong_type()),
        }
    }

    #[inline]
    pub(crate) fn bytes(&self) -> Result<&'a [u8], WireError> {
        self.message().map(|r| r.rest)
    }

    /// Text; `what` names the field where it is not UTF-8.
    #[inline]
    pub(crate) fn string(&self, what: &'static str) -> Result<&'a str, WireError> {
        std::str::from_utf8(self.bytes()?).map_err(|_| WireError::Utf8 { what })
    }

    #[inline]
    pub(crate) fn varint(&self) -> Result<u64, WireError> {
        match self.wire {
            Wire::Varint(v) => Ok(v),
            _ => Err(self.wrong_type()),
        }
    }

    /// `uint32`, `int32` and enums: the low 32 bits, as every protobuf library reads them.
    #[inline]
    pub(crate) fn u32(&self) -> Result<u32, WireError> {
        self.varint().map(|v| v as u32)
    }

    #[inline]
    pub(crate) fn fixed64(&self) -> Result<u64, WireError> {
        match self.wire {
            Wire::Fixed64(v) => Ok(v),
            _ => Err(self.wrong_type()),
        }
    }

    #[inline]
    pub(crate) fn double(&self) -> Result<f64, WireError> {
        self.fixed64().map(f64::from_bits)
    }

    #[inline]
    pub(crate) fn fixed32(&self) -> Result<u32, WireError> {
        match self.wire {
            Wire::Fixed32(v) => Ok(v),
            _ => Err(self.wrong_type()),
        }
    }

    /// A repeated integer, packed or not: calls `each` for this occurrence's values.
    pub(crate) fn repeated_varint(&self, mut each: impl FnMut(u64)) -> Result<(), WireError> {
        match self.wire {
            Wire::Varint(v) => each(v),
            Wire::Bytes(mut r) => {
                while !r.is_empty() {
                    each(r.varint("a packed field")?);
                }
            }
            _ => return Err(self.wrong_type()),
        }
        Ok(())
    }

    /// A repeated 64-bit fixed-width field, packed or not: appends this occurrence's values.
    pub(crate) fn repeated_fixed64(&self, out: &mut Vec<u64>) -> Result<(), WireError> {
        match self.wire {
            Wire::Fixed64(v) => out.push(v),
            Wire::Bytes(mut r) => {
                while !r.is_empty() {
                    out.push(r.fixed64("a packed field")?);
                }
            }
            _ => return Err(self.wrong_type()),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_come_back_with_their_types_and_unknown_ones_can_be_passed_over() {
        let body = [0x08, 0x96, 0x01, 0x12, 0x02, b'h', b'i', 0x1d, 1, 0, 0, 0, 0x21, 2, 0, 0, 0, 0, 0, 0, 0];
        let mut r = Reader::new(&body);
        let mut seen = Vec::new();
        while let Some(f) = r.field("test").expect("well formed") {
            seen.push(match f.wire {
                Wire::Varint(v) => format!("{} varint {v}", f.number),
                Wire::Fixed32(v) => format!("{} fixed32 {v}", f.number),
                Wire::Fixed64(v) => format!("{} fixed64 {v}", f.number),
                Wire::Bytes(b) => format!("{} bytes {:?}", f.number, b.rest()),
            });
        }
        assert_eq!(seen, ["1 varint 150", "2 bytes [104, 105]", "3 fixed32 1", "4 fixed64 2"]);
    }

    #[test]
    fn what_cannot_be_is_refused_with_its_place() {
        let cases: [(&[u8], &str); 7] = [
            (&[0x08], "protobuf: test ends early at byte 1"),
            (&[0x12, 0x05, b'x'], "protobuf: test ends early at byte 2"),
            (&[0x0b], "protobuf: a group at byte 0"),
            (&[0x0f], "protobuf: a wire type that cannot be at byte 0"),
            (&[0x00], "protobuf: a field number that cannot be at byte 0"),
            (
                &[8, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2],
                "protobuf: an integer of more than 64 bits at byte 1",
            ),
            (&[8, 0x80, 0x80], "protobuf: test ends early at byte 1"),
        ];
        for (body, message) in cases {
            let error = Reader::new(body).field("test").expect_err("malformed");
            assert_eq!(error.to_string(), message, "{body:?}");
        }
    }
}
