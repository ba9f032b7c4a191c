//! `AnyValue` and `KeyValue` (`opentelemetry/proto/common/v1/common.proto`).

use std::borrow::Cow;

use model::{Attr, Value};

use super::schema::ANY_VALUE;
use super::to_json::{Style, to_json};
use crate::protobuf::Reader;
use crate::{Limits, WireError};

/// A list of attributes that is filled anew for each record; its memory is kept.
#[derive(Debug, Default)]
pub(crate) struct Attributes<'a> {
    pub(crate) list: Vec<Attr<'a>>,
    /// What was dropped here: attributes without a key, and those past the limit.
    pub(crate) dropped: u32,
    /// Those past the limit alone.
    pub(crate) cut: u64,
}

impl<'a> Attributes<'a> {
    #[inline]
    pub(crate) fn clear(&mut self) {
        self.list.clear();
        self.dropped = 0;
        self.cut = 0;
    }

    /// The same, unless its key comes first, as encoders write it, and nobody `wants` it: then it is passed over unread.
    #[inline]
    pub(crate) fn push_wanted(
        &mut self,
        key_value: Reader<'a>,
        limits: &Limits,
        wants: impl FnOnce(&[u8]) -> bool,
    ) -> Result<(), WireError> {
        if let [KEY, len @ 1..=0x7f, rest @ ..] = key_value.rest()
            && rest.get(..usize::from(*len)).is_some_and(|key| !wants(key))
        {
            return Ok(());
        }
        self.push(key_value, limits)
    }

    /// Reads one `KeyValue`. Past the limit it is left out and counted, as SDKs do at limits of theirs.
    #[inline]
    pub(crate) fn push(&mut self, key_value: Reader<'a>, limits: &Limits) -> Result<(), WireError> {
        match attribute(key_value, limits)? {
            Some(_) if self.list.len() >= limits.max_attributes_per_record => {
                self.dropped = self.dropped.saturating_add(1);
                self.cut += 1;
                Ok(())
            }
            Some(attr) => {
                self.list.push(attr);
                Ok(())
            }
            None => {
                self.dropped = self.dropped.saturating_add(1);
                Ok(())
            }
        }
    }
}

/// Tag of a `KeyValue`'s key.
const KEY: u8 = 1 << 3 | 2;

/// A key and a text, both shorter than 128 bytes, in this order and with nothing else: what most attributes are.
/// Tags and lengths are ASCII then, so that both texts are UTF-8 if the message as a whole is: one check for both.
#[inline]
fn short_text(bytes: &[u8]) -> Option<Attr<'_>> {
    const VALUE: u8 = 2 << 3 | 2;
    const STRING_VALUE: u8 = 1 << 3 | 2;
    let [KEY, key_len @ 1..=0x7f, rest @ ..] = bytes else { return None };
    let key_len = usize::from(*key_len);
    let [VALUE, value_len @ ..=0x7f, STRING_VALUE, text_len @ ..=0x7f, text @ ..] = rest.get(key_len..)? else {
        return None;
    };
    if usize::from(*text_len) != text.len() || usize::from(*value_len) != text.len() + 2 {
        return None;
    }
    let all = std::str::from_utf8(bytes).ok()?;
    Some(Attr { key: all.get(2..2 + key_len)?, value: Value::Str(all.get(key_len + 6..)?) })
}

/// `None` for an attribute without a key, which OTLP does not allow.
#[inline]
fn attribute<'a>(mut r: Reader<'a>, limits: &Limits) -> Result<Option<Attr<'a>>, WireError> {
    if let Some(attr) = short_text(r.rest()) {
        return Ok(Some(attr));
    }
    let mut key = "";
    let mut value = None;
    while let Some(f) = r.field("KeyValue")? {
        match f.number {
            1 => key = f.string("an attribute's key")?,
            2 => value = Some(any_value(f.message()?, limits)?),
            _ => {}
        }
    }
    let value = value.unwrap_or(Value::Nested(Cow::Borrowed("{}")));
    Ok((!key.is_empty()).then_some(Attr { key, value }))
}

/// Reads an `AnyValue`. Of several members of its `oneof` the last one counts.
#[inline]
pub(crate) fn any_value<'a>(whole: Reader<'a>, limits: &Limits) -> Result<Value<'a>, WireError> {
    let mut r = whole;
    let mut value = Value::Nested(Cow::Borrowed("{}"));
    let mut nested = false;
    while let Some(f) = r.field("AnyValue")? {
        nested = matches!(f.number, 5 | 6) || (nested && !matches!(f.number, 1..=4 | 7));
        match f.number {
            1 => value = Value::Str(f.string("an attribute's value")?),
            2 => value = Value::Bool(f.varint()? != 0),
            3 => value = Value::Int(f.varint()? as i64),
            4 => value = Value::Double(f.double()?),
            7 => value = Value::Bytes(Cow::Borrowed(f.bytes()?)),
            _ => {}
        }
    }
    if nested { nested_value(whole, limits) } else { Ok(value) }
}

#[cold]
fn nested_value<'a>(whole: Reader<'a>, limits: &Limits) -> Result<Value<'a>, WireError> {
    let mut text = String::new();
    to_json(&ANY_VALUE, whole, Style::Otlp, limits.max_depth, &mut text)?;
    Ok(Value::Nested(Cow::Owned(text)))
}
