//! Bodies that were decompressed to be checked, kept until the table has walked them: decompressing lines a second time is several per
//! cent of what taking them in costs.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::loki::push;
use crate::{Encoding, Limits, Summary, WireError, check_at, snappy};

/// Buffers that wait for the next body, and how large they may be: a new one for each would cost the faults of its pages.
const IDLE: usize = 8;
const IDLE_BYTES: usize = 1 << 20;

/// Room for such bodies. Copies share it.
#[derive(Debug, Clone)]
pub struct Plains(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    idle: Mutex<Vec<Vec<u8>>>,
    held: AtomicUsize,
    most: usize,
}

/// The body of a request as it is without its compression. Its room goes back when it is dropped.
#[derive(Debug)]
pub struct Plain {
    room: Vec<u8>,
    len: usize,
    home: Arc<Shared>,
}

impl Plains {
    /// Room for `most` bytes of bodies at once.
    #[must_use]
    pub fn new(most: usize) -> Self {
        Self(Arc::new(Shared { idle: Mutex::default(), held: AtomicUsize::new(0), most }))
    }

    /// What [`check_at`] does, and the body for [`crate::walk_plain_logs`] where it had to be decompressed and there is room for it.
    ///
    /// # Errors
    /// As for [`check_at`].
    pub fn check(
        &self,
        encoding: Encoding,
        bytes: &[u8],
        limits: &Limits,
        received: i64,
    ) -> Result<(Summary, Option<Plain>), WireError> {
        let mut plain = match encoding {
            Encoding::LokiPush => self.room(snappy::declared(bytes, limits.max_uncompressed)?),
            _ => None,
        };
        let Some(own) = &mut plain else { return Ok((check_at(encoding, bytes, limits, received)?, None)) };
        own.len = snappy::decompress(bytes, &mut own.room)?;
        let summary = push::walk_body(own.bytes(), limits, received, &mut crate::Discard)?;
        Ok((summary, plain))
    }

    fn room(&self, len: usize) -> Option<Plain> {
        let held = self.0.held.fetch_add(len, Ordering::Relaxed);
        // From here on what is dropped gives its share back.
        let mut plain = Plain { room: Vec::new(), len, home: Arc::clone(&self.0) };
        if held.saturating_add(len) > self.0.most {
            return None;
        }
        plain.room = plain.home.idle.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default();
        if plain.room.len() < len {
            plain.room.resize(len, 0);
        }
        Some(plain)
    }
}

impl Plain {
    /// The bytes.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.room[..self.len]
    }
}

impl Drop for Plain {
    fn drop(&mut self) {
        self.home.held.fetch_sub(self.len, Ordering::Relaxed);
        if (1..=IDLE_BYTES).contains(&self.room.len()) {
            let mut idle = self.home.idle.lock().unwrap_or_else(PoisonError::into_inner);
            if idle.len() < IDLE {
                idle.push(std::mem::take(&mut self.room));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{PushEncoder, walk_plain_logs};

    fn request(lines: usize) -> Vec<u8> {
        let mut encoder = PushEncoder::default();
        for n in 0..lines {
            encoder.line([("app", "a")], n as i64, "a line");
        }
        encoder.finish().expect("a request")
    }

    #[test]
    fn a_body_is_kept_while_there_is_room_and_walked_like_the_request() {
        let limits = Limits::default();
        let (small, large) = (request(3), request(2000));
        let plains = Plains::new(200);
        let (summary, plain) = plains.check(Encoding::LokiPush, &small, &limits, 0).expect("a good request");
        let plain = plain.expect("there is room");
        assert_eq!(summary, check_at(Encoding::LokiPush, &small, &limits, 0).expect("a good request"));
        for plain in [Some(&plain), None] {
            let walked = walk_plain_logs(Encoding::LokiPush, &small, plain, &limits, 0, &mut crate::Discard);
            assert_eq!(walked.as_ref(), Ok(&summary));
        }
        let (summary, none) = plains.check(Encoding::LokiPush, &large, &limits, 0).expect("a good request");
        assert!(summary.accepted == 2000 && none.is_none());
        drop(plain);
        assert_eq!(plains.0.held.load(Ordering::Relaxed), 0);
        // Room that came back is lent again, also for less than it had.
        let (_, plain) = plains.check(Encoding::LokiPush, &request(1), &limits, 0).expect("a good request");
        assert!(plain.is_some_and(|plain| plain.room.len() > plain.len));
        for bad in [&small[..small.len() / 2], b"", b"\xff\xff\xff\x1f\x00"] {
            assert!(plains.check(Encoding::LokiPush, bad, &limits, 0).is_err());
        }
        assert_eq!(plains.0.held.load(Ordering::Relaxed), 0);
        let json = br#"{"streams":[]}"#;
        assert!(plains.check(Encoding::LokiPushJson, json, &limits, 0).is_ok_and(|(_, plain)| plain.is_none()));
    }
}
