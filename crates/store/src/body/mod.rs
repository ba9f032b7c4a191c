//! How log bodies are kept: a line of JSON or logfmt, or of plain text that recurs, split into typed columns; any other
//! line whole. Every line comes back byte for byte, for every input.
//!
//! A split line is a *layout* (the exact text around the values: keys, their order, white space) and *variables* (the
//! values). The layout is a text that names its variables, so it needs no table beside it: batches are moved, merged and
//! read on their own. Figures and reasons: `docs/experiments/log-body.md`.
//!
//! ```text
//! {"status":200,"duration_ms":12.50,"message":"ok"}
//!   body.layout            {"status":␁status:int␂,"duration_ms":␁duration_ms:dec2␂,"message":"␁message:str␂"}
//!   body.status:int        200        Int64
//!   body.duration_ms:dec2  12.50      Decimal64(18, 2)
//!   body.message:str       ok         Utf8
//! ```
//!
//! JSON and logfmt variables are named by their keys, those of plain text (words with a digit, what stands in quotes) by
//! their number in the line.
//!
//! Writing: [`BodyBuilder::append`] a line at a time (no allocation once a layout is known), then [`BodyBuilder::seal`] or
//! [`BodyBuilder::take`]. Both give [`BodyColumns`]: columns that a table stores beside
//! its others under [`BodyColumnId::name`] and finds again with [`BodyColumnId::parse`]. A column is absent when all of it
//! would be null.
//!
//! *Invariant:* a row's value in a variable column is not null exactly when the row's layout names the variable. So a
//! filter, `take` or sort may treat body columns like any others, and statistics of a variable column speak of exactly
//! the lines that have it. [`BodyColumns::interleave`] merges batches of different columns and bounds their number.
//!
//! Reading: [`BodyColumns::new`] from whatever columns were read, [`BodyColumns::view`], then [`BodyView::restore`]
//! (chosen rows as a `StringArray`) and [`BodyView::contains`] (without restoring, never wrong). To restore a row all
//! body columns that its layout names must have been read.
mod builder;
mod column;
mod contains;
mod json;
mod layout;
mod logfmt;
mod member;
mod merge;
mod repeats;
#[cfg(test)]
mod tests;
mod values;
mod view;
mod words;

use arrow_array::ArrayRef;

pub use builder::{BodyBuilder, COLUMNS_MAX};
pub use column::{BodyColumnId, Kind, Variable};
pub(crate) use contains::Searched;
pub(crate) use member::{InLayout, KnownLayout, number_of};
pub use member::{Member, may_be_number, member};
pub use repeats::repeats;
pub use view::{BodyView, Run};

/// Bodies as columns of equal length.
#[derive(Debug, Clone)]
pub struct BodyColumns {
    /// How many.
    pub rows: usize,
    /// Sorted by id, each id once.
    pub columns: Vec<(BodyColumnId, ArrayRef)>,
}

/// Why columns do not give their lines back.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// A layout that is none.
    #[error("'{0}' is no layout of a log body")]
    Layout(String),
    /// A variable that a layout names and that the columns, or the row, lack.
    #[error("the variable '{0}' of a log body is missing")]
    Missing(String),
    /// A column of another type or length than its name says.
    #[error("the column '{0}' of a log body has another type or length than its name says")]
    Type(String),
    /// More text than an array holds.
    #[error("the lines of a batch are longer than 2 GiB")]
    TooLong,
    /// Arrow refused to merge.
    #[error("merging log bodies: {0}")]
    Merge(String),
}
