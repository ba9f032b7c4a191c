//! What is asked of, and within which bounds.

use std::sync::atomic::{AtomicBool, Ordering};

use model::{Tenant, TimeRange};
use store::{Column, Order, Predicate, Reader, Scan, Table};

use crate::EvalError;

/// What a query is asked of, and within which bounds.
#[derive(Clone, Copy)]
pub struct Question<'a> {
    /// The data.
    pub reader: &'a dyn Reader,
    /// Whose.
    pub tenant: &'a Tenant,
    /// Spans that start in it.
    pub range: TimeRange,
    /// At most so many traces.
    pub limit: usize,
    /// At most so many spans of each spanset.
    pub spans_per_set: usize,
    /// Bytes that the spans of the traces which are read at once may take, roughly.
    pub memory: usize,
    /// Set by whoever no longer wants the answer; looked at for each batch.
    pub cancelled: &'a AtomicBool,
}

impl Question<'_> {
    pub(crate) fn alive(&self) -> Result<(), EvalError> {
        if self.cancelled.load(Ordering::Relaxed) { Err(EvalError::Cancelled) } else { Ok(()) }
    }

    pub(crate) fn scan(&self, predicate: Predicate, projection: Vec<Column>) -> Scan {
        Scan {
            tenant: self.tenant.clone(),
            table: Table::Spans,
            range: self.range,
            predicate,
            projection,
            order: Order::Any,
            limit: None,
        }
    }
}
