//! Prometheus' XOR chunks of floats (`tsdb/chunkenc/xor.go`, after Facebook's Gorilla).

use super::bits::{Bits, Xor};

/// Samples of a chunk, as Prometheus cuts its own.
pub(super) const CHUNK_SAMPLES: usize = 120;

/// The chunk of `samples` (times in milliseconds ascending, values), at most 65,535 of them.
#[must_use]
pub(super) fn encode(samples: &[(i64, f64)]) -> Vec<u8> {
    let count = u16::try_from(samples.len()).unwrap_or(u16::MAX);
    let mut out = Bits::after(count.to_be_bytes().to_vec());
    let Some(((mut time, value), rest)) = samples.split_first().map(|((time, value), rest)| ((*time, *value), rest)) else {
        return out.into_bytes();
    };
    out.varint((time << 1 ^ time >> 63) as u64);
    let mut last = Xor::first(&mut out, value);
    let mut delta = 0i64;
    for (i, &(t, value)) in rest.iter().take(usize::from(count) - 1).enumerate() {
        let next = t.wrapping_sub(time);
        let change = next.wrapping_sub(delta);
        (time, delta) = (t, next);
        match change {
            _ if i == 0 => out.varint(next as u64),
            0 => out.bit(false),
            -8191..=8192 => {
                out.bits(0b10, 2);
                out.bits(change as u64, 14);
            }
            -65535..=65536 => {
                out.bits(0b110, 3);
                out.bits(change as u64, 17);
            }
            -524_287..=524_288 => {
                out.bits(0b1110, 4);
                out.bits(change as u64, 20);
            }
            _ => {
                out.bits(0b1111, 4);
                out.bits(change as u64, 64);
            }
        }
        last.next(&mut out, value);
    }
    out.into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Reads a chunk as Prometheus' iterator does.
    fn decode(bytes: &[u8]) -> Vec<(i64, f64)> {
        let mut at = 16;
        let mut bits = |n: u32| {
            (0..n).fold(0u64, |value, _| {
                let bit = bytes[at / 8] >> (7 - at % 8) & 1;
                at += 1;
                value << 1 | u64::from(bit)
            })
        };
        let count = u16::from_be_bytes([bytes[0], bytes[1]]);
        let (mut time, mut delta, mut value, mut leading, mut trailing) = (0i64, 0i64, 0u64, 0u32, 0u32);
        let mut out = Vec::new();
        for i in 0..count {
            let varint = |bits: &mut dyn FnMut(u32) -> u64| {
                let (mut v, mut shift) = (0u64, 0);
                loop {
                    let b = bits(8);
                    v |= (b & 0x7f) << shift;
                    shift += 7;
                    if b < 0x80 {
                        return v;
                    }
                }
            };
            if i == 0 {
                let t = varint(&mut bits);
                time = (t >> 1) as i64 ^ -((t & 1) as i64);
                value = bits(64);
            } else {
                if i == 1 {
                    delta = varint(&mut bits) as i64;
                } else {
                    let size = if bits(1) == 0 {
                        0
                    } else if bits(1) == 0 {
                        14
                    } else if bits(1) == 0 {
                        17
                    } else if bits(1) == 0 {
                        20
                    } else {
                        64
                    };
                    let mut change = bits(size) as i64;
                    if size < 64 && change > 1 << size.max(1) >> 1 {
                        change -= 1 << size;
                    }
                    delta = delta.wrapping_add(change);
                }
                time = time.wrapping_add(delta);
                if bits(1) == 1 {
                    if bits(1) == 1 {
                        leading = bits(5) as u32;
                        let significant = match bits(6) as u32 {
                            0 => 64,
                            n => n,
                        };
                        trailing = 64 - leading - significant;
                    }
                    value ^= bits(64 - leading - trailing) << trailing;
                }
            }
            out.push((time, f64::from_bits(value)));
        }
        out
    }

    proptest! {
        #[test]
        fn chunks_come_back(
            first in any::<i64>(),
            steps in proptest::collection::vec((prop_oneof![0i64..20, 1000i64..70_000, any::<u32>().prop_map(i64::from)], any::<u64>()), 0..200),
            small in any::<bool>(),
        ) {
            let mut time = first / 4;
            let samples: Vec<(i64, f64)> = steps
                .into_iter()
                .map(|(step, value)| {
                    time += step;
                    (time, if small { (value % 50) as f64 } else { f64::from_bits(value) })
                })
                .collect();
            let back = decode(&encode(&samples));
            prop_assert_eq!(back.len(), samples.len());
            for (a, b) in back.iter().zip(&samples) {
                prop_assert_eq!((a.0, a.1.to_bits()), (b.0, b.1.to_bits()));
            }
        }
    }
}
