//! How far something at the start of a text may go, without looking through all of it.

/// Longest text of a duration, or of a size.
const LONGEST: usize = 128;

/// How many bytes at the start of `text` are such characters; `None` where they are more than a duration or a size may have. A query of
/// numbers and dots must not be looked through once for each of them.
pub fn short_run(text: &str, of: impl Fn(char) -> bool) -> Option<usize> {
    let end = text.char_indices().take(LONGEST + 1).find(|(_, c)| !of(*c)).map(|(at, _)| at);
    end.or((text.len() <= LONGEST).then_some(text.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_next_bytes_are_looked_at() {
        let digit = |c: char| c.is_ascii_digit();
        assert_eq!(short_run("12 ", digit), Some(2));
        assert_eq!(short_run("", digit), Some(0));
        assert_eq!(short_run(&"1".repeat(LONGEST), digit), Some(LONGEST));
        let looked = std::cell::Cell::new(0);
        let count = |_: char| {
            looked.set(looked.get() + 1);
            true
        };
        assert_eq!(short_run(&"1.".repeat(50_000), count), None);
        assert_eq!(looked.get(), LONGEST + 1);
    }
}
