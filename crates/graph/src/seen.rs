//! Which spans were counted a short while ago: a batch that is sent again must not count again.

use hashbrown::HashSet;

/// Spans of a generation.
const GENERATION: usize = 128 * 1024;

/// Takes hashes as they are.
#[derive(Debug, Default, Clone, Copy)]
struct Identity(u64);

impl std::hash::Hasher for Identity {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|b| self.0 = self.0.rotate_left(8) ^ u64::from(*b));
    }
    fn write_u64(&mut self, n: u64) {
        self.0 = n;
    }
}

type Hashes = HashSet<u64, std::hash::BuildHasherDefault<Identity>>;

/// Remembers the last one to two generations of hashes.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    current: Hashes,
    before: Hashes,
    /// When the current generation began, nanoseconds.
    began: i64,
}

impl Seen {
    /// Whether this is the first time.
    #[inline]
    pub(crate) fn is_new(&mut self, hash: u64) -> bool {
        if self.before.contains(&hash) || !self.current.insert(hash) {
            return false;
        }
        if self.current.len() >= GENERATION {
            self.turn();
        }
        true
    }

    fn turn(&mut self) {
        std::mem::swap(&mut self.current, &mut self.before);
        // The memory is kept: at this pace it is needed again at once.
        self.current.clear();
    }

    /// Lets go of what is a minute old.
    pub(crate) fn age(&mut self, now: i64) {
        if now.saturating_sub(self.began) > 60_000_000_000 {
            self.before = std::mem::take(&mut self.current);
            self.began = now;
        }
    }
}
