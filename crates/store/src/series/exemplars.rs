//! The exemplars of a series: the recent ones, as Prometheus keeps them, in the head and in segments.

use std::collections::VecDeque;

use model::Labels;

use super::chunk::MAX_COUNT;
use super::varint;
use crate::Exemplar;

/// So many of a series are kept in one part of the head, the newest.
pub(super) const IN_PART: usize = 128;
/// So many of a series are kept in one segment, the newest.
pub(super) const IN_SEGMENT: usize = 512;

/// Whether it is the same exemplar, bit by bit.
fn same(a: &Exemplar, b: &Exemplar) -> bool {
    (a.time, a.value.to_bits(), &a.labels) == (b.time, b.value.to_bits(), &b.labels)
}

/// Bytes that an exemplar holds, about.
fn memory(e: &Exemplar) -> usize {
    size_of::<Exemplar>() + e.labels.memory()
}

/// Exemplars of one series in a part of the head, ascending by time.
#[derive(Debug, Default)]
pub(super) struct Recent(VecDeque<Exemplar>);

impl Recent {
    /// Takes one; returns how many bytes more (or less) are held then.
    pub(super) fn take(&mut self, exemplar: Exemplar) -> isize {
        let at = self.0.partition_point(|e| e.time <= exemplar.time);
        if self.0.range(..at).rev().take_while(|e| e.time == exemplar.time).any(|e| same(e, &exemplar)) {
            return 0;
        }
        let mut more = memory(&exemplar) as isize;
        self.0.insert(at, exemplar);
        if self.0.len() > IN_PART {
            more -= self.0.pop_front().map_or(0, |e| memory(&e) as isize);
        }
        more
    }

    /// All of them.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Exemplar> {
        self.0.iter()
    }
}

/// Orders exemplars from several places by time and drops repetitions; `newest`: how many stay.
pub(super) fn settle(exemplars: &mut Vec<Exemplar>, newest: usize) {
    exemplars.sort_by_key(|e| e.time);
    let mut kept: Vec<Exemplar> = Vec::with_capacity(exemplars.len());
    for exemplar in exemplars.drain(..) {
        if !kept.iter().rev().take_while(|k| k.time == exemplar.time).any(|k| same(k, &exemplar)) {
            kept.push(exemplar);
        }
    }
    kept.drain(..kept.len().saturating_sub(newest));
    *exemplars = kept;
}

/// Appends exemplars: the names of their labels, then each with its time, value and labels.
pub(super) fn encode_exemplars(exemplars: &[Exemplar], out: &mut Vec<u8>) {
    let mut names: Vec<&str> = exemplars.iter().flat_map(|e| e.labels.iter().map(|(name, _)| name)).collect();
    names.sort_unstable();
    names.dedup();
    varint::put(names.len() as u64, out);
    names.iter().for_each(|name| varint::put_bytes(name.as_bytes(), out));
    varint::put(exemplars.len() as u64, out);
    let mut last = 0i64;
    for exemplar in exemplars {
        varint::put_signed(exemplar.time.wrapping_sub(last), out);
        last = exemplar.time;
        out.extend_from_slice(&exemplar.value.to_bits().to_le_bytes());
        varint::put(exemplar.labels.len() as u64, out);
        for (name, value) in exemplar.labels.iter() {
            varint::put(names.partition_point(|n| *n < name) as u64, out);
            varint::put_bytes(value.as_bytes(), out);
        }
    }
}

/// What [`encode_exemplars`] wrote.
///
/// # Errors
/// What is wrong with the bytes.
pub(super) fn decode_exemplars(mut bytes: &[u8]) -> Result<Vec<Exemplar>, String> {
    read(&mut bytes).filter(|_| bytes.is_empty()).ok_or_else(|| "exemplars that cannot be read".to_owned())
}

fn read(bytes: &mut &[u8]) -> Option<Vec<Exemplar>> {
    let mut names = Vec::new();
    for _ in 0..varint::get(bytes)? {
        names.push(std::str::from_utf8(varint::get_bytes(bytes)?).ok()?);
    }
    let count = usize::try_from(varint::get(bytes)?).ok().filter(|n| *n <= MAX_COUNT)?;
    let (mut out, mut time) = (Vec::new(), 0i64);
    for _ in 0..count {
        time = time.wrapping_add(varint::get_signed(bytes)?);
        let (value, rest) = bytes.split_first_chunk()?;
        *bytes = rest;
        let mut labels = Vec::new();
        for _ in 0..varint::get(bytes)? {
            let name = *names.get(usize::try_from(varint::get(bytes)?).ok()?)?;
            labels.push((name, std::str::from_utf8(varint::get_bytes(bytes)?).ok()?));
        }
        out.push(Exemplar { labels: Labels::from_pairs(labels), time, value: f64::from_bits(u64::from_le_bytes(*value)) });
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn exemplar() -> impl Strategy<Value = Exemplar> {
        let labels = prop::collection::vec(("[a-c]{1,2}", "[x-z\u{e9}]{1,3}"), 0..3);
        (labels, 0..200i64, 0..3u8).prop_map(|(labels, time, value)| Exemplar {
            labels: Labels::from_pairs(labels),
            time,
            value: f64::from(value),
        })
    }

    #[test]
    fn the_newest_stay_and_a_repetition_is_ignored() {
        let at = |time: i64| Exemplar { labels: Labels::from_pairs([("trace_id", "ab")]), time, value: 1.0 };
        let mut recent = Recent::default();
        let one = recent.take(at(1_000));
        assert!(one > 0);
        assert_eq!(recent.take(at(1_000)), 0);
        for time in 0..200 {
            recent.take(at(2_000 - time));
        }
        assert!(recent.iter().map(|e| e.time).eq(2_000 - IN_PART as i64 + 1..=2_000));
    }

    proptest! {
        #[test]
        fn any_exemplars_survive(exemplars in prop::collection::vec(exemplar(), 1..40)) {
            let mut bytes = Vec::new();
            encode_exemplars(&exemplars, &mut bytes);
            prop_assert_eq!(decode_exemplars(&bytes), Ok(exemplars));
            for cut in 0..bytes.len() {
                prop_assert!(decode_exemplars(&bytes[..cut]).is_err());
            }
        }

        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            let _ = decode_exemplars(&bytes);
        }
    }
}
