//! Names as people spell them in plain text: `circuit_id`, `Circuit ID`, `circuitId`.

use std::cmp::Reverse;

use hashbrown::HashMap;

/// A name in a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Hit {
    pub(crate) start: usize,
    pub(crate) end: usize,
    /// What it names.
    pub(crate) key: u8,
}

/// All spellings, each with its key.
#[derive(Debug, Default)]
pub(crate) struct Spelled {
    keys: HashMap<Box<[u8]>, u8, foldhash::fast::RandomState>,
    /// How many bytes they have, each number once.
    lengths: Vec<usize>,
}

impl Spelled {
    /// Adds a spelling.
    pub(crate) fn add(&mut self, spelling: &str, key: u8) {
        self.keys.insert(spelling.as_bytes().into(), key);
        if !self.lengths.contains(&spelling.len()) {
            self.lengths.push(spelling.len());
        }
    }

    pub(crate) fn spellings(&self) -> impl Iterator<Item = &[u8]> {
        self.keys.keys().map(|spelling| &**spelling)
    }

    /// Adds the names that end at `end`, and are no parts of longer words, to `hits`.
    #[inline]
    pub(crate) fn ending_at(&self, text: &[u8], end: usize, hits: &mut Vec<Hit>) {
        if !text.get(end).is_some_and(|next| may_follow(*next)) {
            return;
        }
        for start in self.lengths.iter().filter_map(|length| end.checked_sub(*length)) {
            if start > 0 && is_of_a_word(text[start - 1]) {
                continue;
            }
            if let Some(key) = self.keys.get(&text[start..end]) {
                hits.push(Hit { start, end, key: *key });
            }
        }
    }
}

/// Whether a name's value may begin with this: the name's own quote, what separates them, or a blank.
#[inline]
fn may_follow(byte: u8) -> bool {
    matches!(byte, b'\\' | b'"' | b'\'' | b' ' | b'\t' | b':' | b'=' | b'#' | b',')
}

#[inline]
fn is_of_a_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// Of names that overlap only the first one stays, the longest of those that begin there.
pub(crate) fn apart(hits: &mut Vec<Hit>) {
    if hits.len() < 2 {
        return;
    }
    hits.sort_unstable_by_key(|hit| (hit.start, Reverse(hit.end)));
    let mut end = 0;
    hits.retain(|hit| {
        let stays = hit.start >= end;
        if stays {
            end = hit.end;
        }
        stays
    });
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ends::Ends;

    /// The plain way: all names at all places, the first one, then what follows it.
    fn plain(names: &[&str], text: &str) -> Vec<Hit> {
        let (mut out, mut start) = (Vec::new(), 0);
        while start < text.len() {
            let begins = |name: &str| {
                let rest = text.as_bytes().get(start..)?.strip_prefix(name.as_bytes())?;
                let whole = start == 0 || !is_of_a_word(text.as_bytes()[start - 1]);
                (whole && rest.first().is_some_and(|next| may_follow(*next))).then_some(name.len())
            };
            let longest = names.iter().enumerate().filter_map(|(key, name)| Some((begins(name)?, key as u8))).max();
            start += match longest {
                Some((length, key)) => {
                    out.push(Hit { start, end: start + length, key });
                    length
                }
                None => 1,
            };
        }
        out
    }

    #[test]
    fn the_longest_name_counts_where_several_begin_and_the_first_where_they_overlap() {
        let names = ["id", "circuit id", "a b", "b c"];
        let keys = |text: &str| found(&names, text).iter().map(|hit| hit.key).collect::<Vec<_>>();
        assert_eq!(keys("circuit id=1 id=2"), [1, 0]);
        assert_eq!(keys("a b c=1"), [2]);
        assert_eq!(keys("x b c=1"), [3]);
        assert_eq!(keys("subcircuit id=1"), [0]);
        assert!(keys("idle circuit id").is_empty());
    }

    fn found(names: &[&str], text: &str) -> Vec<Hit> {
        let mut spelled = Spelled::default();
        names.iter().enumerate().for_each(|(key, name)| spelled.add(name, key as u8));
        let mut hits = Vec::new();
        Ends::new(spelled.spellings()).each(text.as_bytes(), |end| spelled.ending_at(text.as_bytes(), end, &mut hits));
        apart(&mut hits);
        hits
    }

    proptest! {
        #[test]
        fn the_same_names_are_found_as_by_looking_everywhere(
            names in proptest::sample::subsequence(
                vec!["id", "trace_id", "otel trace id", "trace id", "x", "a b", "b a", "a b a", "größe", "id=", "Circuit-ID"], 1..11),
            text in "(id|trace_id|otel trace id|trace id|x|a|b|größe|ö|Circuit-ID|=|:|,|\"|_| |\\\\|7|[a-z ]{1,70}){0,30}",
        ) {
            prop_assert_eq!(found(&names, &text), plain(&names, &text));
        }
    }
}
