//! Where something stands in a query.

/// A place in a text, as the reference implementations count it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Position {
    /// Bytes from the start.
    pub offset: usize,
    /// From 1.
    pub line: usize,
    /// In bytes, from 1.
    pub column: usize,
}

impl Position {
    /// Of byte `offset` of `text`; the end of the text for offsets beyond it.
    #[must_use]
    pub fn of(text: &str, offset: usize) -> Self {
        let before = &text.as_bytes()[..offset.min(text.len())];
        let line_start = before.iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
        Self { offset, line: before.iter().filter(|b| **b == b'\n').count() + 1, column: before.len() - line_start + 1 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_and_columns_count_from_one() {
        for (text, offset, line, column) in [("", 0, 1, 1), ("ab", 1, 1, 2), ("a\nbc", 3, 2, 2), ("a\n", 2, 2, 1), ("a", 9, 1, 2)]
        {
            let position = Position::of(text, offset);
            assert_eq!((position.line, position.column), (line, column), "{text:?} {offset}");
        }
    }
}
