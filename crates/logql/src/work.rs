//! How much the templates of a query may do.

use crate::EvalError;

/// Steps that the templates of a query may take: so many, and besides so many for each line. A step is a node of a template or a kilobyte
/// of text, a tenth of a microsecond or a few. Usual templates take fewer than fifty a line; one that makes a label twice as long in each of
/// forty stages takes 22,000.
const MOST: usize = 10_000_000;
const A_LINE: usize = 2_000;

/// The steps that were taken, and those that may be.
#[derive(Debug)]
pub(crate) struct Work {
    taken: usize,
    may_take: usize,
}

impl Default for Work {
    fn default() -> Self {
        Self { taken: 0, may_take: MOST }
    }
}

impl Work {
    /// A line of a query begins.
    pub(crate) fn line(&mut self) {
        self.may_take = self.may_take.saturating_add(A_LINE);
    }

    /// A line of a tail begins. Its lines have no end: what they do not take is saved, but not for ever.
    pub(crate) fn line_of_tail(&mut self) {
        (self.taken, self.may_take) = (0, self.left().min(MOST) + A_LINE);
    }

    /// What may still be taken.
    pub(crate) fn left(&self) -> usize {
        self.may_take.saturating_sub(self.taken)
    }

    /// Where steps that are taken are counted.
    pub(crate) fn taken(&mut self) -> &mut usize {
        &mut self.taken
    }

    /// Fails once more was taken than may be.
    pub(crate) fn within(&self) -> Result<(), EvalError> {
        if self.taken <= self.may_take {
            return Ok(());
        }
        Err(EvalError::TooMuchWork(format!(
            "the templates of the query take too long or write too much: more than {A_LINE} steps a line, and {MOST} \
             besides (a step is a node of the template, or {} bytes of text)",
            template::BYTES_A_STEP
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tail_saves_what_lines_do_not_take_but_no_more_than_a_query_begins_with() {
        let mut work = Work::default();
        for _ in 0..3 {
            work.line_of_tail();
            assert_eq!(work.left(), MOST + A_LINE);
        }
        *work.taken() += MOST;
        work.line_of_tail();
        assert_eq!(work.left(), 2 * A_LINE);
        *work.taken() += 2 * A_LINE;
        assert!(work.within().is_ok() && work.left() == 0);
        *work.taken() += 1;
        assert!(work.within().is_err_and(|e| e.to_string().contains("2000 steps a line")));
    }
}
