//! Names of services and operations as small numbers: each text is kept once, and only for as long as something uses it.

use std::hash::BuildHasher;
use std::sync::Arc;

use foldhash::fast::RandomState;
use hashbrown::HashTable;

/// What a name takes beside its text, bytes, roughly.
const COST: usize = 64;
/// Longer names are cut.
const LONGEST: usize = 256;

/// The number of a name; the default is none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Name(u16);

impl Name {
    pub(crate) fn is_none(self) -> bool {
        self.0 == 0
    }
}

#[derive(Debug, Default)]
struct Entry {
    text: Arc<str>,
    hash: u64,
    uses: u32,
}

/// The names in use.
#[derive(Debug)]
pub(crate) struct Names {
    /// By number; the first is the empty name.
    entries: Vec<Entry>,
    free: Vec<u16>,
    found: HashTable<u16>,
    hasher: RandomState,
    /// Bytes that they take.
    pub(crate) bytes: usize,
}

impl Default for Names {
    fn default() -> Self {
        Self {
            entries: vec![Entry::default()],
            free: Vec::new(),
            found: HashTable::new(),
            hasher: RandomState::default(),
            bytes: 0,
        }
    }
}

impl Names {
    /// The number of a text, used once more. Past 65,535 names a new one goes without a number.
    pub(crate) fn hold(&mut self, text: &str) -> Name {
        let text = &text[..text.floor_char_boundary(LONGEST)];
        if text.is_empty() {
            return Name::default();
        }
        let hash = self.hasher.hash_one(text);
        let entries = &mut self.entries;
        if let Some(number) = self.found.find(hash, |n| *entries[usize::from(*n)].text == *text) {
            entries[usize::from(*number)].uses += 1;
            return Name(*number);
        }
        let entry = Entry { text: text.into(), hash, uses: 1 };
        let number = match self.free.pop() {
            Some(number) => {
                entries[usize::from(number)] = entry;
                number
            }
            None => {
                let Ok(number) = u16::try_from(entries.len()) else { return Name::default() };
                entries.push(entry);
                number
            }
        };
        self.found.insert_unique(hash, number, |n| entries[usize::from(*n)].hash);
        self.bytes += COST + text.len();
        Name(number)
    }

    /// The same name, used once more.
    pub(crate) fn again(&mut self, name: Name) -> Name {
        if !name.is_none() {
            self.entries[usize::from(name.0)].uses += 1;
        }
        name
    }

    /// One use ends.
    pub(crate) fn release(&mut self, name: Name) {
        if name.is_none() {
            return;
        }
        let entry = &mut self.entries[usize::from(name.0)];
        entry.uses -= 1;
        if entry.uses > 0 {
            return;
        }
        let Entry { text, hash, .. } = std::mem::take(entry);
        self.bytes -= COST + text.len();
        if let Ok(found) = self.found.find_entry(hash, |n| *n == name.0) {
            found.remove();
        }
        self.free.push(name.0);
    }

    /// Its text.
    pub(crate) fn text(&self, name: Name) -> &Arc<str> {
        &self.entries[usize::from(name.0)].text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_kept_as_long_as_it_is_used() {
        let mut names = Names::default();
        let (a, b) = (names.hold("a"), names.hold("b"));
        assert_ne!(a, b);
        assert_eq!(names.hold("a"), a);
        names.release(a);
        assert_eq!(&**names.text(a), "a");
        names.release(a);
        names.release(b);
        assert_eq!(names.bytes, 0);
        assert!(names.hold("").is_none());
        let c = names.hold("c");
        assert!(c == a || c == b, "numbers are used again");
        assert_eq!(&**names.text(c), "c");
    }

    #[test]
    fn past_the_last_number_new_names_go_without() {
        let mut names = Names::default();
        for i in 0..70_000 {
            names.hold(&i.to_string());
        }
        assert!(names.hold("one more").is_none());
        assert!(!names.hold("7").is_none());
    }
}
