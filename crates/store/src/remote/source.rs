//! A file of the object store, read block by block through the cache.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use objects::{ObjectsError, Patience};

use super::Remote;
use super::cache::BLOCK;
use crate::{SegmentSource, StoreError};

/// Blocks that one request fetches at most.
const RUN: u64 = 8;

/// An object, with its size as its manifest says.
pub(super) struct Source {
    remote: Arc<Remote>,
    file: String,
    size: u64,
}

impl Source {
    pub(super) fn new(remote: Arc<Remote>, file: &str, size: u64) -> Self {
        Self { remote, file: file.to_owned(), size }
    }

    /// Fetches `blocks` blocks from `first` on, keeps them, and returns their bytes.
    fn fetch(&self, first: u64, blocks: u64) -> Result<Bytes, StoreError> {
        let range = first * BLOCK..((first + blocks) * BLOCK).min(self.size);
        let bytes = self.remote.bucket.range(&self.file, range, Patience::QUERY).map_err(|e| match e {
            ObjectsError::NotFound(object) => {
                StoreError::Corrupt { file: self.file.clone(), reason: format!("{object} is gone from the object store") }
            }
            e => StoreError::Io { what: format!("{} is not in the local cache", self.file), source: e.into() },
        })?;
        for (n, block) in (first..).zip(bytes.chunks(BLOCK as usize)) {
            self.remote.cache.keep_block(&self.file, n, block);
        }
        Ok(bytes)
    }
}

impl SegmentSource for Source {
    fn size(&self) -> u64 {
        self.size
    }

    fn read(&self, offset: u64, len: usize) -> Result<Bytes, StoreError> {
        let end = offset.checked_add(len as u64).filter(|end| *end <= self.size).ok_or_else(|| {
            let reason = format!("{len} bytes at {offset} are asked for, it has {}", self.size);
            StoreError::Corrupt { file: self.file.clone(), reason }
        })?;
        if len == 0 {
            return Ok(Bytes::new());
        }
        let mut whole = BytesMut::with_capacity(len);
        let mut at = offset;
        while at < end {
            let block = at / BLOCK;
            let upto = ((block + 1) * BLOCK).min(end);
            // One fetch at a time for a file: those who want the same block find it.
            let piece = match self.remote.cache.read(&self.file, block, at - block * BLOCK, (upto - at) as usize) {
                Some(piece) => piece,
                None => {
                    let _alone = self.remote.cache.fetching(&self.file);
                    match self.remote.cache.read(&self.file, block, at - block * BLOCK, (upto - at) as usize) {
                        Some(piece) => piece,
                        None => {
                            let last = (end - 1) / BLOCK;
                            let missing = (block + 1..=last.min(block + RUN - 1))
                                .take_while(|b| !self.remote.cache.has(&self.file, *b))
                                .count() as u64;
                            let fetched = self.fetch(block, missing + 1)?;
                            let from = (at - block * BLOCK) as usize;
                            let upto = fetched.len().min((end - block * BLOCK) as usize);
                            fetched.slice(from..upto)
                        }
                    }
                }
            };
            at += piece.len() as u64;
            if whole.is_empty() && piece.len() == len {
                return Ok(piece);
            }
            whole.extend_from_slice(&piece);
        }
        Ok(whole.freeze())
    }
}
