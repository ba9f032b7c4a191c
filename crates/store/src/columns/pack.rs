//! Parquet's integer encodings: the RLE/bit-packed hybrid (levels, dictionary keys) and DELTA_BINARY_PACKED.
//! <https://parquet.apache.org/docs/file-format/data-pages/encodings/>

/// Bits that `max` needs, at least one (some readers dislike a width of zero).
pub(crate) fn width(max: u32) -> u32 {
    (32 - max.leading_zeros()).max(1)
}

/// Appends an unsigned LEB128 number.
pub(crate) fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Appends `values` of `width` bits as the hybrid of runs and bit-packed groups of eight.
pub(crate) fn hybrid(out: &mut Vec<u8>, values: &[u32], width: u32) {
    let mut at = 0;
    while at < values.len() {
        let run = run_at(values, at);
        if run >= 8 {
            varint(out, (run as u64) << 1);
            out.extend_from_slice(&values[at].to_le_bytes()[..width.div_ceil(8) as usize]);
            at += run;
            continue;
        }
        let start = at;
        while at < values.len() && !long_run(values, at) {
            at = (at + 8).min(values.len());
        }
        varint(out, (((at - start).div_ceil(8) as u64) << 1) | 1);
        bits(out, &values[start..at], width);
    }
}

fn run_at(values: &[u32], at: usize) -> usize {
    let first = values[at];
    values[at..].iter().take_while(|&&v| v == first).count()
}

/// Whether a run starts here that is worth leaving a bit-packed stretch for.
fn long_run(values: &[u32], at: usize) -> bool {
    let Some(window) = values.get(at..at + 24) else { return false };
    window.iter().all(|&v| v == window[0])
}

/// Bit-packs, least significant bit first, padded with zeros to a multiple of eight values.
fn bits(out: &mut Vec<u8>, values: &[u32], width: u32) {
    let (mut word, mut filled) = (0u64, 0u32);
    let mut put = |value: u32| {
        word |= u64::from(value) << filled;
        filled += width;
        if filled >= 32 {
            out.extend_from_slice(&(word as u32).to_le_bytes());
            word >>= 32;
            filled -= 32;
        }
    };
    values.iter().for_each(|&v| put(v));
    (values.len()..values.len().next_multiple_of(8)).for_each(|_| put(0));
    // Eight values fill whole bytes.
    out.extend_from_slice(&word.to_le_bytes()[..filled.div_ceil(8) as usize]);
}

const BLOCK: usize = 128;
const MINI: usize = 32;

/// Appends `values` as DELTA_BINARY_PACKED (blocks of 128 in four miniblocks).
pub(crate) fn delta(out: &mut Vec<u8>, values: &[i64]) {
    varint(out, BLOCK as u64);
    varint(out, (BLOCK / MINI) as u64);
    varint(out, values.len() as u64);
    let Some((&first, _)) = values.split_first() else {
        varint(out, 0);
        return;
    };
    varint(out, zigzag(first));
    let mut previous = first;
    let mut deltas = [0i64; BLOCK];
    for block in values[1..].chunks(BLOCK) {
        let mut least = i64::MAX;
        for (d, &v) in deltas.iter_mut().zip(block) {
            *d = v.wrapping_sub(previous);
            least = least.min(*d);
            previous = v;
        }
        varint(out, zigzag(least));
        let widths_at = out.len();
        out.extend_from_slice(&[0; BLOCK / MINI]);
        for (m, mini) in deltas[..block.len()].chunks(MINI).enumerate() {
            let mut packed = [0u64; MINI];
            let mut all = 0;
            for (p, &d) in packed.iter_mut().zip(mini) {
                *p = d.wrapping_sub(least) as u64;
                all |= *p;
            }
            let width = 64 - all.leading_zeros();
            out[widths_at + m] = width as u8;
            bits64(out, &packed, width);
        }
    }
}

fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

/// Bit-packs 32 values.
fn bits64(out: &mut Vec<u8>, values: &[u64; MINI], width: u32) {
    let (mut word, mut filled) = (0u128, 0u32);
    for &value in values {
        word |= u128::from(value) << filled;
        filled += width;
        if filled >= 64 {
            out.extend_from_slice(&(word as u64).to_le_bytes());
            word >>= 64;
            filled -= 64;
        }
    }
    out.extend_from_slice(&(word as u64).to_le_bytes()[..filled.div_ceil(8) as usize]);
}
