//! Memory of long texts that is used again. Pages that go back to the system and come anew cost more than writing the text into them:
//! of what taking in a line costs a sixteenth was the faults of the pages that the heads' bodies lie in.

use std::sync::Arc;

use arrow_buffer::Buffer;
use bytes::Bytes;
use parking_lot::Mutex;

/// Less is not worth it, more is rare.
const SIZES: std::ops::RangeInclusive<usize> = 256 << 10..=24 << 20;
/// Texts of one kind differ a little in length: what holds one of them is to hold the next.
const ROUNDED: usize = 1 << 20;

/// Keeps memory between its owners, and no more than was in use lately.
#[derive(Debug, Default)]
pub(crate) struct Room(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    idle: Vec<Vec<u8>>,
    /// How much was asked for since [`Room::settle`].
    asked: usize,
    /// How many may be idle.
    most: usize,
}

impl Room {
    /// One that keeps `most` at any time; it is for a task, and goes with it.
    pub(crate) fn keeping(most: usize) -> Arc<Self> {
        Arc::new(Self(Mutex::new(State { most, ..State::default() })))
    }

    /// Memory for `size` bytes that was in use before, if there is some.
    pub(crate) fn find(&self, size: usize) -> Option<Vec<u8>> {
        if !SIZES.contains(&size) {
            return None;
        }
        let mut state = self.0.lock();
        state.asked += 1;
        let fitting = state.idle.iter().enumerate().filter(|(_, bytes)| bytes.capacity() >= size);
        let at = fitting.min_by_key(|(_, bytes)| bytes.capacity())?.0;
        Some(state.idle.swap_remove(at))
    }

    /// Memory for `size` bytes.
    pub(crate) fn lend(&self, size: usize) -> Vec<u8> {
        let rounded = if SIZES.contains(&size) { size.next_multiple_of(ROUNDED) } else { size };
        self.find(size).unwrap_or_else(|| Vec::with_capacity(rounded))
    }

    /// The bytes as Arrow holds them; their memory comes back when nobody looks at them any more.
    pub(crate) fn buffer(self: &Arc<Self>, bytes: Vec<u8>) -> Buffer {
        if !SIZES.contains(&bytes.capacity()) {
            return Buffer::from_vec(bytes);
        }
        Buffer::from(Bytes::from_owner(Lent { bytes, room: Arc::clone(self) }))
    }

    /// From now on at most so much may be idle as was asked for since the last call: nothing, where nothing was.
    pub(crate) fn settle(&self) {
        let mut state = self.0.lock();
        state.most = std::mem::take(&mut state.asked);
        let most = state.most;
        state.idle.truncate(most);
    }

    fn take_back(&self, mut bytes: Vec<u8>) {
        bytes.clear();
        let mut state = self.0.lock();
        if state.idle.len() < state.most {
            state.idle.push(bytes);
        }
    }
}

struct Lent {
    bytes: Vec<u8>,
    room: Arc<Room>,
}

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        self.room.take_back(std::mem::take(&mut self.bytes));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: usize = 300 << 10;

    fn idle(room: &Room) -> usize {
        room.0.lock().idle.len()
    }

    #[test]
    fn memory_comes_back_when_the_last_has_let_go_of_it() {
        let room = Room::keeping(1);
        let mut bytes = room.lend(SIZE);
        bytes.extend_from_slice(b"text");
        let place = bytes.as_ptr();
        let buffer = room.buffer(bytes);
        let other = buffer.clone();
        drop(buffer);
        assert_eq!((other.as_slice(), idle(&room)), (&b"text"[..], 0));
        drop(other);
        // Also for a little more, rounded as it was.
        let again = room.find(SIZE + 1000).expect("idle");
        assert!(again.is_empty() && again.as_ptr() == place);
        assert!(room.find(SIZE).is_none());
        drop([room.buffer(again), room.buffer(room.lend(SIZE))]);
        assert_eq!(idle(&room), 1, "no more than it is to keep");
        assert!(room.find(2 * ROUNDED).is_none(), "too small");
        drop(room.buffer(room.lend(10)));
        assert_eq!(idle(&room), 1, "small ones are not kept");
    }

    #[test]
    fn what_is_not_asked_for_any_more_is_not_kept() {
        let room = Arc::new(Room::default());
        let three: Vec<Buffer> = (0..3).map(|_| room.buffer(room.lend(SIZE))).collect();
        room.settle();
        drop(three);
        assert_eq!(idle(&room), 3);
        let one = room.buffer(room.lend(SIZE));
        room.settle();
        assert_eq!(idle(&room), 1);
        room.settle();
        drop(one);
        assert_eq!(idle(&room), 0);
    }
}
