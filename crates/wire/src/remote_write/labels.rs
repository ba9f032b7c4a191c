//! The labels of a `TimeSeries`: consecutive `Label` messages.

use crate::protobuf::{Reader, write};
use crate::{Limits, WireError};

pub(super) const NO_NAME: &str = "series without a metric name";
pub(super) const EMPTY_NAME: &str = "series with an empty label name";
pub(super) const DUPLICATE: &str = "series with a duplicate label name";
pub(super) const NOT_UTF8: &str = "series with labels that are not UTF-8";

/// Reads the `Label` fields (number 1) of a message.
pub(crate) fn read_labels<'a>(mut r: Reader<'a>, out: &mut Vec<(&'a str, &'a str)>) -> Result<(), WireError> {
    while let Some(f) = r.field("TimeSeries")? {
        if f.number != 1 {
            continue;
        }
        let (name, value) = label(f.message()?)?;
        let utf8 = |b| std::str::from_utf8(b).map_err(|_| WireError::Utf8 { what: "a label" });
        out.push((utf8(name)?, utf8(value)?));
    }
    Ok(())
}

fn label<'a>(mut r: Reader<'a>) -> Result<(&'a [u8], &'a [u8]), WireError> {
    let (mut name, mut value): (&[u8], &[u8]) = (b"", b"");
    while let Some(f) = r.field("Label")? {
        match f.number {
            1 => name = f.bytes()?,
            2 => value = f.bytes()?,
            _ => {}
        }
    }
    Ok((name, value))
}

/// The labels that `series` starts with, and the reader after them; `None` unless they are as nearly every sender writes
/// them: in order of their names, without empty values, ASCII, nothing else in between. The hot path: no label is looked
/// at twice, nothing is kept.
#[inline]
pub(super) fn canonical<'a>(series: Reader<'a>, limits: &Limits) -> Option<(&'a [u8], Reader<'a>)> {
    let all = series.rest();
    let mut rest = all;
    let mut previous: &[u8] = b"";
    let mut named = false;
    let mut count = 0;
    while let [LABEL, tail @ ..] = rest {
        let (label, after) = delimited(tail)?;
        let [NAME, label @ ..] = label else { return None };
        let (name, label) = delimited(label)?;
        let [VALUE, label @ ..] = label else { return None };
        let (value, nothing) = delimited(label)?;
        // The first letters differ nearly always: no call to compare the rest.
        let ascending = match (previous.first(), name.first()) {
            (Some(a), Some(b)) if a != b => a < b,
            (None, Some(_)) => true,
            _ => previous < name,
        };
        if !ascending || value.is_empty() || !nothing.is_empty() {
            return None;
        }
        named |= name.len() == 8 && name == b"__name__";
        previous = name;
        count += 1;
        rest = after;
    }
    let labels = &all[..all.len() - rest.len()];
    if !named || count > limits.max_labels || !labels.is_ascii() {
        return None;
    }
    Some((labels, series.skip(labels.len())?))
}

/// Tags: field 1 of `TimeSeries`, fields 1 and 2 of `Label`.
const LABEL: u8 = 1 << 3 | 2;
const NAME: u8 = 1 << 3 | 2;
const VALUE: u8 = 2 << 3 | 2;

/// A length below 2^14 and so many bytes; `None` for anything else.
#[inline]
fn delimited(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    match *bytes {
        [a, ref rest @ ..] if a < 0x80 => rest.split_at_checked(a.into()),
        [a, b, ref rest @ ..] if b < 0x80 => rest.split_at_checked(usize::from(a & 0x7f) | usize::from(b) << 7),
        _ => None,
    }
}

/// Labels of any order and shape, brought into order.
#[derive(Debug, Default)]
pub(super) struct Sorted<'a> {
    pairs: Vec<(&'a str, &'a str)>,
    /// The labels as [`canonical`] would accept them.
    bytes: Vec<u8>,
}

impl<'a> Sorted<'a> {
    /// Reads all labels of `series`. The inner error says why its samples are refused.
    pub(super) fn read(&mut self, mut series: Reader<'a>, limits: &Limits) -> Result<Result<&[u8], &'static str>, WireError> {
        self.pairs.clear();
        self.bytes.clear();
        let mut refused = None;
        while let Some(f) = series.field("TimeSeries")? {
            if f.number != 1 {
                continue;
            }
            let (name, value) = label(f.message()?)?;
            if self.pairs.len() >= limits.max_labels {
                return Err(WireError::TooLarge { what: "the number of a series' labels", limit: limits.max_labels });
            }
            match (std::str::from_utf8(name), std::str::from_utf8(value)) {
                (Ok(""), Ok(_)) => refused = Some(EMPTY_NAME),
                (Ok(name), Ok(value)) => self.pairs.push((name, value)),
                _ => refused = Some(NOT_UTF8),
            }
        }
        self.pairs.sort_unstable();
        if self.pairs.windows(2).any(|w| w[0].0 == w[1].0) {
            refused = refused.or(Some(DUPLICATE));
        }
        self.pairs.retain(|(_, value)| !value.is_empty());
        if !self.pairs.iter().any(|(name, _)| *name == "__name__") {
            refused = refused.or(Some(NO_NAME));
        }
        if let Some(reason) = refused {
            return Ok(Err(reason));
        }
        for (name, value) in &self.pairs {
            put_label(&mut self.bytes, name, value);
        }
        Ok(Ok(&self.bytes))
    }
}

/// Appends a label as a field of `TimeSeries`.
pub(crate) fn put_label(out: &mut Vec<u8>, name: &str, value: &str) {
    write::message(out, 1, |out| {
        write::put_bytes(out, 1, name.as_bytes());
        write::put_bytes(out, 2, value.as_bytes());
    });
}
