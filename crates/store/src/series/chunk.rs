//! A run of samples of one series as bytes: times and values each with the codec that fits them.
//!
//! The first byte of a coded run names the codec; the number of samples stands beside the run, in the row that holds it.
//! Numbers that print as short decimals (counters, bucket counts, percentages) are kept as integers times a power of ten
//! and give back the very same bits: a run is coded that way only where every value was proved to survive it. Values that
//! do not fit (staleness markers among integers) stand apart with their bits. That choice is made here and not by `pco`'s
//! own search for a mode, which costs 70 to 220 ns a sample and chooses worse; see docs/experiments/metrics-ingest.md.

use pco::wrapped::{FileCompressor, FileDecompressor};
use pco::{ChunkConfig, DeltaSpec, ModeSpec};

use super::starts::{decode_starts, encode_starts};
use super::varint;

/// The most samples that a coded run may claim to have; larger claims are damage.
pub(super) const MAX_COUNT: usize = 1 << 16;

/// Codecs; the numbers are persisted.
mod codec {
    /// Values: eight bytes, all values have these bits. Times: first time and step, eight bytes each.
    pub(super) const CONSTANT: u8 = 0;
    /// Eight bytes each, little endian.
    pub(super) const RAW: u8 = 1;
    /// `pco` of the numbers themselves.
    pub(super) const PCO: u8 = 2;
    /// Values only: `pco` of integers; the codec minus this is the power of ten that they are divided by (0 to 6).
    pub(super) const DECIMAL: u8 = 16;
    /// A prefix: the length of coded start timestamps, these, then the run as it would be without them.
    pub(super) const STARTS: u8 = 64;
    /// Set in a decimal codec: a list of exceptions comes first: count, then position (both `u16`) and bits (`u64`).
    pub(super) const EXCEPTIONS: u8 = 128;
}

const POWERS: [f64; 7] = [1.0, 10.0, 100.0, 1e3, 1e4, 1e5, 1e6];
/// Largest magnitude for which every integer is a double.
const EXACT: f64 = 9_007_199_254_740_992.0;
/// `pco`'s effort. From 4 to 8 the bytes shrink by 0.1 % and the time doubles.
const LEVEL: usize = 4;

/// Buffers that coding needs; keep one for many runs.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    integers: Vec<i64>,
    exceptions: Vec<(u16, u64)>,
}

fn config() -> ChunkConfig {
    ChunkConfig::default()
        .with_compression_level(LEVEL)
        .with_mode_spec(ModeSpec::Classic)
        .with_delta_spec(DeltaSpec::TryConsecutive(1))
}

/// Appends `pco` of `numbers`; whether that worked.
fn pack<T: pco::data_types::Number>(numbers: &[T], out: &mut Vec<u8>) -> bool {
    let files = FileCompressor::default();
    let write = |out: &mut Vec<u8>| -> pco::errors::PcoResult<()> {
        files.write_header(&mut *out)?;
        let mut chunk = files.chunk_compressor(numbers, &config())?;
        chunk.write_meta(&mut *out)?;
        chunk.write_page(0, &mut *out)?;
        Ok(())
    };
    write(out).is_ok()
}

/// Fills `out` from what [`pack`] wrote.
fn unpack<T: pco::data_types::Number>(bytes: &[u8], out: &mut [T]) -> Result<(), String> {
    let mut read = || -> pco::errors::PcoResult<usize> {
        let (files, rest) = FileDecompressor::new(bytes)?;
        let (mut chunk, rest) = files.chunk_decompressor::<T, _>(rest)?;
        let mut page = chunk.page_decompressor(rest, out.len())?;
        Ok(page.read(out)?.n_processed)
    };
    match read() {
        Ok(n) if n == out.len() => Ok(()),
        Ok(n) => Err(format!("{n} numbers where {} were expected", out.len())),
        Err(e) => Err(e.to_string()),
    }
}

/// `value` as an integer times `10^-power`, if that gives back the same bits.
#[inline]
fn as_decimal(value: f64, scale: f64) -> Option<i64> {
    let scaled = (value * scale).round_ties_even();
    if scaled.is_nan() || scaled.abs() > EXACT {
        return None;
    }
    let integer = scaled as i64;
    ((integer as f64 / scale).to_bits() == value.to_bits()).then_some(integer)
}

/// The smallest power of ten that fits the values, judged by a few of them.
fn guess_power(values: &[f64]) -> Option<usize> {
    let step = (values.len() / 8).max(1);
    let mut power = 0;
    let (mut seen, mut misfits) = (0, 0);
    for value in values.iter().step_by(step) {
        seen += 1;
        match (power..POWERS.len()).find(|p| as_decimal(*value, POWERS[*p]).is_some()) {
            Some(p) => power = p,
            None => misfits += 1,
        }
    }
    (misfits * 4 <= seen).then_some(power)
}

/// Fills the scratch with the values as integers; false where too many do not fit.
fn to_decimals(values: &[f64], scale: f64, scratch: &mut Scratch) -> bool {
    scratch.integers.clear();
    scratch.exceptions.clear();
    let allowed = values.len() / 16;
    let mut previous = 0;
    for (at, value) in values.iter().enumerate() {
        if let Some(integer) = as_decimal(*value, scale) {
            previous = integer;
        } else {
            if scratch.exceptions.len() >= allowed {
                return false;
            }
            scratch.exceptions.push((at as u16, value.to_bits()));
        }
        scratch.integers.push(previous);
    }
    true
}

/// Appends `values` (1 to [`MAX_COUNT`]) to `out`; every bit survives.
pub(super) fn encode_values(values: &[f64], scratch: &mut Scratch, out: &mut Vec<u8>) {
    let start = out.len();
    let first = values.first().map_or(0, |v| v.to_bits());
    if values.iter().all(|v| v.to_bits() == first) {
        out.push(codec::CONSTANT);
        out.extend_from_slice(&first.to_le_bytes());
        return;
    }
    let mut packed = false;
    if let Some(mut power) = guess_power(values) {
        while power < POWERS.len() && !packed {
            if to_decimals(values, POWERS[power], scratch) {
                out.push(codec::DECIMAL + power as u8);
                if !scratch.exceptions.is_empty() {
                    out[start] |= codec::EXCEPTIONS;
                    out.extend_from_slice(&(scratch.exceptions.len() as u16).to_le_bytes());
                    for (at, bits) in &scratch.exceptions {
                        out.extend_from_slice(&at.to_le_bytes());
                        out.extend_from_slice(&bits.to_le_bytes());
                    }
                }
                packed = pack(&scratch.integers, out);
                break;
            }
            power += 1;
        }
    }
    if !packed {
        out.truncate(start);
        out.push(codec::PCO);
        packed = pack(values, out);
    }
    if !packed || out.len() - start > 1 + values.len() * 8 {
        out.truncate(start);
        out.push(codec::RAW);
        values.iter().for_each(|v| out.extend_from_slice(&v.to_bits().to_le_bytes()));
    }
}

/// Appends values and, unless they are empty, a start timestamp for each.
pub(super) fn encode_run(values: &[f64], starts: &[i64], scratch: &mut Scratch, out: &mut Vec<u8>) {
    put_starts(starts, out);
    encode_values(values, scratch, out);
}

/// Appends the start timestamps that stand before a run, unless there are none.
pub(super) fn put_starts(starts: &[i64], out: &mut Vec<u8>) {
    if starts.iter().any(|start| *start != 0) {
        let mut coded = Vec::new();
        encode_starts(starts, &mut coded);
        out.push(codec::STARTS);
        varint::put_bytes(&coded, out);
    }
}

/// Takes off the start timestamps that stand before a run of `count` samples and appends them to `starts`; whether there
/// were any.
///
/// # Errors
/// What is wrong with the bytes; `starts` is as before then.
pub(super) fn take_starts(bytes: &mut &[u8], count: usize, starts: &mut Vec<i64>) -> Result<bool, String> {
    let [codec::STARTS, rest @ ..] = *bytes else { return Ok(false) };
    *bytes = rest;
    let coded = varint::get_bytes(bytes).ok_or("start timestamps end early")?;
    decode_starts(coded, count, starts)?;
    Ok(true)
}

fn words<const N: usize>(bytes: &[u8]) -> Result<[u64; N], String> {
    if bytes.len() != N * 8 {
        return Err(format!("{} bytes where {} were expected", bytes.len(), N * 8));
    }
    let mut out = [0; N];
    for (word, eight) in out.iter_mut().zip(bytes.as_chunks::<8>().0) {
        *word = u64::from_le_bytes(*eight);
    }
    Ok(out)
}

fn check_count(count: usize) -> Result<(), String> {
    if count == 0 || count > MAX_COUNT { Err(format!("{count} samples in a run")) } else { Ok(()) }
}

/// Appends the `count` values in `bytes` to `out`, whatever start timestamps they have.
///
/// # Errors
/// What is wrong with the bytes; `out` is as before then.
pub(super) fn decode_values(bytes: &[u8], count: usize, scratch: &mut Scratch, out: &mut Vec<f64>) -> Result<(), String> {
    check_count(count)?;
    let (&kind, bytes) = bytes.split_first().ok_or("no bytes")?;
    if kind == codec::STARTS {
        let mut rest = bytes;
        varint::get_bytes(&mut rest).ok_or("start timestamps end early")?;
        return if rest.first() == Some(&codec::STARTS) {
            Err("two lists of start timestamps".to_owned())
        } else {
            decode_values(rest, count, scratch, out)
        };
    }
    let start = out.len();
    match kind {
        codec::CONSTANT => {
            let [bits] = words(bytes)?;
            out.resize(start + count, f64::from_bits(bits));
        }
        codec::RAW => {
            if bytes.len() != count * 8 {
                return Err(format!("{} bytes for {count} raw values", bytes.len()));
            }
            out.extend(bytes.as_chunks::<8>().0.iter().map(|b| f64::from_bits(u64::from_le_bytes(*b))));
        }
        codec::PCO => {
            out.resize(start + count, 0.0);
            unpack(bytes, &mut out[start..]).inspect_err(|_| out.truncate(start))?;
        }
        _ => {
            let power = usize::from((kind & !codec::EXCEPTIONS).wrapping_sub(codec::DECIMAL));
            let scale = *POWERS.get(power).ok_or_else(|| format!("unknown codec {kind}"))?;
            let mut rest = bytes;
            let mut exceptions: &[u8] = &[];
            if kind & codec::EXCEPTIONS != 0 {
                let (n, after) = rest.split_first_chunk::<2>().ok_or("exceptions end early")?;
                let len = usize::from(u16::from_le_bytes(*n)) * 10;
                (exceptions, rest) = after.split_at_checked(len).ok_or("exceptions end early")?;
            }
            scratch.integers.clear();
            scratch.integers.resize(count, 0);
            unpack(rest, &mut scratch.integers)?;
            out.extend(scratch.integers.iter().map(|i| *i as f64 / scale));
            for exception in exceptions.as_chunks::<10>().0 {
                let [a, b, bits @ ..] = *exception;
                let at = usize::from(u16::from_le_bytes([a, b]));
                let Some(value) = out.get_mut(start + at) else {
                    out.truncate(start);
                    return Err(format!("exception at {at} of {count}"));
                };
                *value = f64::from_bits(u64::from_le_bytes(bits));
            }
        }
    }
    Ok(())
}

/// Appends `times` (1 to [`MAX_COUNT`], milliseconds, ascending) to `out`.
pub(super) fn encode_times(times: &[i64], out: &mut Vec<u8>) {
    let start = out.len();
    let first = times.first().copied().unwrap_or(0);
    let step = times.get(1).map_or(0, |t| t.wrapping_sub(first));
    if times.windows(2).all(|w| w[1].wrapping_sub(w[0]) == step) {
        out.push(codec::CONSTANT);
        out.extend_from_slice(&first.to_le_bytes());
        out.extend_from_slice(&step.to_le_bytes());
        return;
    }
    out.push(codec::PCO);
    if !pack(times, out) || out.len() - start > 1 + times.len() * 8 {
        out.truncate(start);
        out.push(codec::RAW);
        times.iter().for_each(|t| out.extend_from_slice(&t.to_le_bytes()));
    }
}

/// The `count` times in `bytes`, ascending.
///
/// # Errors
/// What is wrong with the bytes.
pub(super) fn decode_times(bytes: &[u8], count: usize) -> Result<Vec<i64>, String> {
    check_count(count)?;
    let (&kind, bytes) = bytes.split_first().ok_or("no bytes")?;
    let mut out = Vec::with_capacity(count);
    match kind {
        codec::CONSTANT => {
            let [first, step] = words(bytes)?.map(|w: u64| w as i64);
            out.extend((0..count as i64).map(|i| first.wrapping_add(step.wrapping_mul(i))));
        }
        codec::RAW if bytes.len() == count * 8 => {
            out.extend(bytes.as_chunks::<8>().0.iter().map(|b| i64::from_le_bytes(*b)));
        }
        codec::PCO => {
            out.resize(count, 0);
            unpack(bytes, &mut out)?;
        }
        _ => return Err(format!("codec {kind} with {} bytes for {count} times", bytes.len())),
    }
    if out.windows(2).any(|w| w[0] >= w[1]) {
        return Err("times do not ascend".to_owned());
    }
    Ok(out)
}

/// What a query can know of a run without decoding it. Staleness markers count in `stale` and nowhere else.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Stats {
    /// Smallest value; NaN only where all are.
    pub min: f64,
    /// Largest value; NaN only where all are.
    pub max: f64,
    /// Values added in their order.
    pub sum: f64,
    /// First value; NaN where all are staleness markers.
    pub first: f64,
    /// Last value.
    pub last: f64,
    /// How often a value is less than the one before it.
    pub resets: u32,
    /// Staleness markers.
    pub stale: u32,
}

impl Stats {
    /// Of these values.
    pub(super) fn of(values: &[f64]) -> Self {
        let mut stats = Self { min: f64::NAN, max: f64::NAN, sum: 0.0, first: f64::NAN, last: f64::NAN, resets: 0, stale: 0 };
        let mut any = false;
        for &value in values {
            if value.to_bits() == model::STALE_NAN_BITS {
                stats.stale += 1;
                continue;
            }
            if any {
                stats.resets += u32::from(value < stats.last);
            } else {
                stats.first = value;
                any = true;
            }
            // `min` and `max` prefer the number to the NaN.
            stats.min = stats.min.min(value);
            stats.max = stats.max.max(value);
            stats.sum += value;
            stats.last = value;
        }
        stats
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check_values(values: &[f64]) -> usize {
        let (mut bytes, mut scratch, mut back) = (Vec::new(), Scratch::default(), Vec::new());
        encode_values(values, &mut scratch, &mut bytes);
        decode_values(&bytes, values.len(), &mut scratch, &mut back).expect("what was written is read");
        let bits = |v: &[f64]| v.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(&back), bits(values));
        bytes.len()
    }

    #[test]
    fn every_bit_of_a_value_survives_whatever_its_neighbours_are() {
        let odd = [
            f64::from_bits(model::STALE_NAN_BITS),
            f64::from_bits(0x7ff8_0000_0000_0001),
            f64::from_bits(0xfff8_0000_dead_beef),
            f64::from_bits(0x7ff0_0000_0000_0001),
            f64::NAN,
            f64::INFINITY,
            f64::NEG_INFINITY,
            -0.0,
            0.0,
            f64::MIN_POSITIVE,
            f64::from_bits(1),
            f64::MAX,
            f64::MIN,
            EXACT,
            EXACT + 2.0,
            0.1 + 0.2,
        ];
        check_values(&odd);
        for value in odd {
            check_values(&[value]);
            check_values(&[1.0, value]);
            let mut counter: Vec<f64> = (0..240).map(|i| f64::from(i * 7)).collect();
            counter[100] = value;
            check_values(&counter);
            let mut percent: Vec<f64> = (0..120).map(|i| f64::from(i * i % 997) / 100.0).collect();
            percent[119] = value;
            check_values(&percent);
            let mut noise: Vec<f64> = (0..120).map(|i| f64::from(i).sin()).collect();
            noise[0] = value;
            check_values(&noise);
        }
    }

    #[test]
    fn a_staleness_marker_among_integers_does_not_spoil_the_run() {
        let counter: Vec<f64> = (0..240).map(|i| f64::from(i * 7 + i % 3)).collect();
        let plain = check_values(&counter);
        let mut stale = counter;
        stale[239] = f64::from_bits(model::STALE_NAN_BITS);
        assert!(check_values(&stale) < plain + 64);
    }

    #[test]
    fn damaged_runs_are_errors() {
        let mut scratch = Scratch::default();
        let mut bytes = Vec::new();
        encode_values(&(0..240).map(|i| f64::from(i % 17)).collect::<Vec<_>>(), &mut scratch, &mut bytes);
        let mut out = vec![1.0];
        for cut in 0..bytes.len() {
            if decode_values(&bytes[..cut], 240, &mut scratch, &mut out).is_err() {
                assert_eq!(out, [1.0], "nothing is left behind");
            }
            out.truncate(1);
        }
        assert!(decode_values(&bytes, 0, &mut scratch, &mut out).is_err());
        assert!(decode_values(&bytes, usize::MAX, &mut scratch, &mut out).is_err());
        assert!(decode_values(&[99, 1, 2], 2, &mut scratch, &mut out).is_err());
        assert!(decode_times(&[], 2).is_err());
        assert!(decode_times(&[0, 1], 2).is_err());
        let mut falling = vec![0];
        falling.extend_from_slice(&5i64.to_le_bytes());
        falling.extend_from_slice(&(-1i64).to_le_bytes());
        assert_eq!(decode_times(&falling, 2).expect_err("falling"), "times do not ascend");
    }

    #[test]
    fn statistics_leave_staleness_markers_out() {
        let stale = f64::from_bits(model::STALE_NAN_BITS);
        let s = Stats::of(&[stale, 5.0, 7.0, stale, 2.0, 3.0]);
        assert_eq!((s.min, s.max, s.sum, s.first, s.last, s.resets, s.stale), (2.0, 7.0, 17.0, 5.0, 3.0, 1, 2));
    }

    proptest! {
        #[test]
        fn any_values_survive(bits in prop::collection::vec(any::<u64>(), 1..300)) {
            check_values(&bits.into_iter().map(f64::from_bits).collect::<Vec<_>>());
        }

        #[test]
        fn any_decimals_survive(values in prop::collection::vec(-100_000i64..100_000, 1..300), power in 0usize..8) {
            check_values(&values.into_iter().map(|v| v as f64 / 10f64.powi(power as i32)).collect::<Vec<_>>());
        }

        #[test]
        fn any_ascending_times_survive(steps in prop::collection::vec(1i64..100_000, 1..300), first in -10_000i64..2_000_000_000_000) {
            let times: Vec<i64> = steps.iter().scan(first, |t, s| { *t += s; Some(*t) }).collect();
            let mut bytes = Vec::new();
            encode_times(&times, &mut bytes);
            prop_assert_eq!(decode_times(&bytes, times.len()), Ok(times));
        }

        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), kind in 0u8..24, count in 0usize..300) {
            let mut bytes = bytes;
            if let Some(first) = bytes.first_mut() { *first = kind; }
            let (mut scratch, mut out) = (Scratch::default(), Vec::new());
            let _ = decode_values(&bytes, count, &mut scratch, &mut out);
            let _ = decode_times(&bytes, count);
        }
    }
}
