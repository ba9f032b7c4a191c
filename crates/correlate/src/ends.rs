//! Where names may end in a text.

/// Bytes that are looked at together.
const BLOCK: usize = 64;

/// Finds names by how they end: nearly all that are looked for end alike (`_id`), and little else does. Blocks of bytes are compared
/// at once, which takes a tenth of what an automaton of all names takes.
#[derive(Debug)]
pub(crate) struct Ends {
    /// The last two bytes of names, folded.
    pairs: Box<[[u8; 2]]>,
    /// Names of one byte, folded.
    single: Box<[u8]>,
}

/// The same for a letter and its capital, and for some other bytes.
#[inline]
fn fold(byte: u8) -> u8 {
    byte | 0x20
}

impl Ends {
    /// Of these names in any case of their letters.
    pub(crate) fn new<'n>(names: impl Iterator<Item = &'n [u8]>) -> Self {
        let (mut pairs, mut single) = (Vec::new(), Vec::new());
        for name in names {
            match name {
                [.., before, last] => pairs.push([fold(*before), fold(*last)]),
                [last] => single.push(fold(*last)),
                [] => {}
            }
        }
        pairs.sort_unstable();
        pairs.dedup();
        single.sort_unstable();
        single.dedup();
        // Another byte in front of it changes nothing.
        pairs.retain(|[_, last]| !single.contains(last));
        Self { pairs: pairs.into(), single: single.into() }
    }

    /// Where names end, ascending: at least all of those that are looked for.
    #[inline]
    pub(crate) fn each(&self, text: &[u8], mut each: impl FnMut(usize)) {
        // Places are those of the last byte; block by block with the byte before it.
        if let Some(first) = text.first()
            && self.single.contains(&fold(*first))
        {
            each(1);
        }
        let mut at = 1;
        let mut rest = [0; BLOCK + 1];
        while at < text.len() {
            let block = match text.get(at - 1..at + BLOCK) {
                Some(block) => block,
                None => {
                    let left = &text[at - 1..];
                    rest[..left.len()].copy_from_slice(left);
                    // Zeros end no name that ends in letters; what else is found behind the text is passed over below.
                    rest[left.len()..].fill(0);
                    &rest[..]
                }
            };
            let (Some(before), Some(last)) = (block.first_chunk(), block.last_chunk()) else { return };
            for (number, eight) in self.marks(before, last).as_chunks().0.iter().enumerate() {
                let mut marks = u64::from_le_bytes(*eight);
                while marks != 0 {
                    let end = at + number * 8 + (marks.trailing_zeros() / 8) as usize + 1;
                    if end <= text.len() {
                        each(end);
                    }
                    marks &= marks - 1;
                }
            }
            at += BLOCK;
        }
    }

    /// A 1 for each byte of `last`, behind that of `before`, with which a name may end. Loops without exits over so many bytes become
    /// vector instructions; iterators over three arrays did not, without link-time optimisation.
    #[inline]
    #[allow(clippy::needless_range_loop)]
    fn marks(&self, before: &[u8; BLOCK], last: &[u8; BLOCK]) -> [u8; BLOCK] {
        let mut marks = [0; BLOCK];
        for [first, second] in &self.pairs {
            for i in 0..BLOCK {
                marks[i] |= u8::from(fold(before[i]) == *first) & u8::from(fold(last[i]) == *second);
            }
        }
        for letter in &self.single {
            for i in 0..BLOCK {
                marks[i] |= u8::from(fold(last[i]) == *letter);
            }
        }
        marks
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn found(names: &[&str], line: &str) -> Vec<usize> {
        let mut all = Vec::new();
        Ends::new(names.iter().map(|n| n.as_bytes())).each(line.as_bytes(), |at| all.push(at));
        all
    }

    #[test]
    fn names_that_end_otherwise_are_passed_over() {
        let line = r#"{"method":"GET","a":{"TraceID":"x","z\":1,\"span_id\":2}}"#;
        let at = |name: &str| line.find(name).unwrap_or(0) + name.len();
        assert_eq!(found(&["trace_id"], line), [at("TraceID"), at("span_id")]);
        assert_eq!(found(&["z", "a", "xz"], "a zaz"), [1, 3, 4, 5]);
        assert!(found(&[], line).is_empty());
        assert!(found(&["trace_id"], "").is_empty());
    }

    proptest! {
        #[test]
        fn every_end_of_a_name_is_found_in_order_and_nothing_behind_the_text(
            names in proptest::sample::subsequence(vec!["trace_id", "x", "größe", "id", "a b", "-.", "sku", "a:b", "\0", " \0"], 1..8),
            line in "(trace_id|Trace-ID|x|X|größe|GRÖßE|sku|a b|a:b|-\\.|\"|\":|\\\\\":|:|\\\\|\\{|,|i|d|\0|[a-z ]{1,80}){0,40}",
        ) {
            let some = found(&names, &line);
            prop_assert!(some.is_sorted_by(|a, b| a < b));
            prop_assert!(some.iter().all(|end| (1..=line.len()).contains(end)));
            for end in (1..=line.len()).filter(|end| line.is_char_boundary(*end)) {
                let before = line[..end].to_ascii_lowercase();
                if names.iter().any(|name| before.ends_with(name)) {
                    prop_assert!(some.contains(&end), "{line:?} at {end}");
                }
            }
        }
    }
}
