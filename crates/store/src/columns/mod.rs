//! How spans and log records are kept: columns from the door to the disk.
//!
//! A walker fills a builder per tenant and hour; builders are sealed into immutable rows; a flush puts
//! frozen rows in order and writes a level-0 segment (tenants with few rows share one: [`flush`]); merges make larger segments of small ones. A [`View`] reads all
//! of them alike: which rows pass is decided on the columns that the predicate names, then the projection is read for
//! those rows only.
//!
//! Invariants: rows are immutable once sealed; a segment's columns are what its metadata says, never what its names
//! say; a key is either a column or in the rest column within one part; nothing outside this folder knows any of it.

mod aggregate;
mod attributes;
mod bloom;
mod body;
mod builder;
mod cache;
mod carried;
mod chunk;
mod compare;
mod decode;
mod distinct;
mod encode;
mod eval;
mod flush;
mod footer;
mod footers;
mod gather;
mod groups;
mod head;
mod header;
mod id;
mod inflate;
mod keep;
mod keys;
mod members;
mod merge;
mod nested;
mod order;
mod ordered;
mod pack;
mod packed;
mod pages;
mod parallel;
mod pick;
mod project;
mod prune;
mod read;
mod repeats;
mod rest;
mod room;
mod rows;
mod runs;
mod scan;
mod scatter;
mod segment;
mod source;
mod table;
mod tally;
#[cfg(test)]
mod tests;
mod text;
mod unpack;
mod view;
mod xor;
mod zones;

pub use cache::CacheStats;
pub(crate) use cache::ColumnCache;
pub use parallel::{cores, map as in_parallel};
pub use table::{LogTable, SpanTable};
pub use view::View;

/// Whose rows a shared segment holds.
///
/// # Errors
/// IO and damage.
pub(crate) fn tenants(files: &dyn crate::Segments, meta: &crate::SegmentMeta) -> Result<Vec<String>, crate::StoreError> {
    let segment = read::OpenSegment::open(files, meta)?;
    Ok(segment.footer.tenants().iter().map(|(name, _)| name.clone()).collect())
}
