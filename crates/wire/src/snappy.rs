//! The snappy block format, as Loki push and remote write use it
//! (<https://github.com/google/snappy/blob/main/format_description.txt>).

use std::cell::Cell;

use crate::WireError;

/// Buffers larger than this are given back to the allocator after use.
const KEEP: usize = 16 << 20;

thread_local! {
    /// Decompressed bodies are short-lived and large: one buffer a thread saves the page faults of a new one each time.
    static SCRATCH: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

fn snappy(e: snap::Error) -> WireError {
    WireError::Snappy(e.to_string().trim_start_matches("snappy: ").to_owned())
}

/// The length that `bytes` declare, where it is at most `max`.
pub(crate) fn declared(bytes: &[u8], max: usize) -> Result<usize, WireError> {
    let declared = snap::raw::decompress_len(bytes).map_err(snappy)?;
    if declared > max {
        return Err(WireError::TooLarge { what: "the decompressed body", limit: max });
    }
    // The longest copy makes 64 bytes of 3: no honest body declares more than that.
    if declared > bytes.len().saturating_mul(22).saturating_add(64) {
        return Err(WireError::Snappy("the declared length cannot come out of so few bytes".to_owned()));
    }
    Ok(declared)
}

/// Decompresses `bytes` into `room`, which is as long as they declare or longer; the length.
pub(crate) fn decompress(bytes: &[u8], room: &mut [u8]) -> Result<usize, WireError> {
    snap::raw::Decoder::new().decompress(bytes, room).map_err(snappy)
}

/// Decompresses `bytes` and hands them to `read`. The declared length is checked before anything is allocated.
pub(crate) fn decompressed<T>(
    bytes: &[u8],
    max: usize,
    read: impl FnOnce(&[u8]) -> Result<T, WireError>,
) -> Result<T, WireError> {
    let declared = declared(bytes, max)?;
    let mut scratch = SCRATCH.take();
    if scratch.len() < declared {
        scratch.resize(declared, 0);
    }
    let result = decompress(bytes, &mut scratch).and_then(|len| read(&scratch[..len]));
    if scratch.len() <= KEEP {
        SCRATCH.set(scratch);
    }
    result
}

/// A snappy block, decompressed; `None` where it is none or holds more than `max` bytes.
#[must_use]
pub fn block(bytes: &[u8], max: usize) -> Option<Vec<u8>> {
    decompressed(bytes, max, |plain| Ok(plain.to_vec())).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bomb_is_refused_before_it_is_allocated() {
        let text = vec![b'a'; 100_000];
        let packed = snap::raw::Encoder::new().compress_vec(&text).expect("compresses");
        let len = |max| decompressed(&packed, max, |b| Ok(b.len()));
        assert_eq!(len(1 << 20), Ok(100_000));
        assert_eq!(len(99_999), Err(WireError::TooLarge { what: "the decompressed body", limit: 99_999 }));
        let lie = [0xff, 0xff, 0xff, 0x1f, 0x00];
        assert!(matches!(decompressed(&lie, usize::MAX, |b| Ok(b.len())), Err(WireError::Snappy(_))));
        assert!(matches!(decompressed(b"", usize::MAX, |b| Ok(b.len())), Err(WireError::Snappy(_))));
    }
}
