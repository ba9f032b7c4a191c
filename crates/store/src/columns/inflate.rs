//! Pages decompressed: zstd's context and the room for a page are kept from one to the next.

use parking_lot::Mutex;

/// Room that is kept for the next page; more of it goes back.
const ROOM: usize = 4 << 20;

/// Whoever reads a page lends one of these, and it comes back: at most as many as threads read at once, and not more than a few are kept.
pub(crate) struct Inflaters {
    idle: Mutex<Vec<Inflater>>,
    most: usize,
}

impl Inflaters {
    /// None yet, at most `most` are kept.
    pub(crate) fn new(most: usize) -> Self {
        Self { idle: Mutex::default(), most }
    }

    /// One of them for `work`.
    pub(crate) fn with<T>(&self, work: impl FnOnce(&mut Inflater) -> T) -> T {
        let mut inflater = self.idle.lock().pop().unwrap_or_default();
        let done = work(&mut inflater);
        let mut idle = self.idle.lock();
        if idle.len() < self.most {
            inflater.shed();
            idle.push(inflater);
        }
        done
    }
}

/// A zstd context and room for a page.
#[derive(Default)]
pub(crate) struct Inflater {
    zstd: Option<zstd::bulk::Decompressor<'static>>,
    page: Vec<u8>,
}

impl Inflater {
    /// The page that a zstd frame holds, of `bytes` bytes. `None` for a frame of another size, and for what is no frame.
    pub(super) fn inflate(&mut self, frame: &[u8], bytes: usize) -> Option<&[u8]> {
        // Asked before there is room for it: a size from a damaged file must not become an allocation.
        if zstd::zstd_safe::get_frame_content_size(frame).ok()? != Some(bytes as u64) {
            return None;
        }
        let zstd = match &mut self.zstd {
            Some(zstd) => zstd,
            none => none.insert(zstd::bulk::Decompressor::new().ok()?),
        };
        self.page.clear();
        self.page.reserve(bytes);
        let read = zstd.decompress_to_buffer(frame, &mut self.page).ok()?;
        (read == bytes).then_some(&self.page[..])
    }

    fn shed(&mut self) {
        if self.page.capacity() > ROOM {
            self.page = Vec::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_come_back_and_little_is_kept() {
        let inflaters = Inflaters::new(1);
        let long = vec![b'x'; ROOM + 1];
        for text in [&b"a page"[..], &long, b"", b"another"] {
            let frame = zstd::bulk::compress(text, 1).expect("zstd");
            inflaters.with(|own| assert_eq!(own.inflate(&frame, text.len()), Some(text)));
            inflaters.with(|own| assert_eq!(own.inflate(&frame, text.len() + 1), None));
            inflaters.with(|own| assert_eq!(own.inflate(&frame[..frame.len() - 1], text.len()), None));
        }
        inflaters.with(|_| inflaters.with(|_| ()));
        let idle = inflaters.idle.lock();
        assert_eq!(idle.len(), 1);
        assert!(idle.iter().all(|own| own.page.capacity() <= ROOM));
    }
}
