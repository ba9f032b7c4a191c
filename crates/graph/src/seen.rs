//! Which spans were counted a short while ago: a batch that is sent again must not count again.
//!
//! A span's hash says in which line of the table it is looked for; there stands a mark of 32 more bits of it, and a new one takes
//! the place of the oldest. So a span costs one access to memory, and the table never grows. Two different spans pass for one in
//! one of 2^32 / 15 = 286 million cases.

/// Lines of 64 bytes: one mebibyte, for the last quarter of a million spans.
const LINES: usize = 16 * 1024;
const MARKS: usize = 15;

/// As long as the processor's own lines, and where they begin.
#[derive(Debug, Clone)]
#[repr(align(64))]
struct Line {
    /// 0 for none.
    marks: [u32; MARKS],
    /// The oldest.
    next: u32,
}

/// Remembers the last spans, however long ago they came.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// None until something is to be remembered.
    lines: Vec<Line>,
}

impl Seen {
    /// Whether this is the first time, of each. One answer does not wait for another, so that the processor fetches several
    /// lines at once.
    pub(crate) fn are_new(&mut self, hashes: &[u64], answers: &mut Vec<bool>) {
        answers.extend(hashes.iter().map(|hash| self.is_new(*hash)));
    }

    /// Whether this is the first time.
    #[inline]
    pub(crate) fn is_new(&mut self, hash: u64) -> bool {
        if self.lines.is_empty() {
            self.lines = vec![Line { marks: [0; MARKS], next: 0 }; LINES];
        }
        let line = &mut self.lines[(hash >> 32) as usize % LINES];
        let mark = (hash as u32).max(1);
        // All of them: that is a few instructions, leaving off at the right one is more.
        if line.marks.iter().fold(false, |found, known| found | (*known == mark)) {
            return false;
        }
        line.marks[line.next as usize] = mark;
        line.next = (line.next + 1) % MARKS as u32;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_spans_are_known_and_the_oldest_make_room() {
        let mut seen = Seen::default();
        // Well spread, as hashes are.
        let hash = |n: u64| n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let many = 100_000;
        assert!((1..=many).all(|n| seen.is_new(hash(n))));
        let again = (1..=many).filter(|n| !seen.is_new(hash(*n))).count();
        assert!(again as f64 > 0.999 * many as f64, "{again} of {many} were known");
        assert!((many + 1..=many * 20).all(|n| seen.is_new(hash(n))), "none of these came before");
        assert!(seen.is_new(hash(1)), "it was long ago");
        assert_eq!(seen.lines.len(), LINES);
    }
}
