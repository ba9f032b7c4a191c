//! What requests to object stores came to.

use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};

/// What an object store can be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// Write an object.
    Put,
    /// Read an object, or a range of it.
    Get,
    /// Its size.
    Head,
    /// The objects below a folder.
    List,
    /// Remove an object.
    Delete,
    /// Copy an object within the store.
    Copy,
}

impl Operation {
    /// All of them.
    pub const ALL: [Self; 6] = [Self::Put, Self::Get, Self::Head, Self::List, Self::Delete, Self::Copy];

    /// As in metrics and messages.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Put => "put",
            Self::Get => "get",
            Self::Head => "head",
            Self::List => "list",
            Self::Delete => "delete",
            Self::Copy => "copy",
        }
    }
}

/// How an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    Ok,
    /// Not found, exists already: answers, too.
    Answered,
    Refused,
    /// Failed, cut off or timed out.
    Failed,
}

const OUTCOMES: [(Outcome, &str); 4] =
    [(Outcome::Ok, "ok"), (Outcome::Answered, "condition"), (Outcome::Refused, "refused"), (Outcome::Failed, "failed")];

/// Attempts by operation and result, retries, bytes.
#[derive(Debug, Default)]
pub struct Counters {
    attempts: [[AtomicU64; 4]; 6],
    retries: [AtomicU64; 6],
    sent: AtomicU64,
    received: AtomicU64,
}

impl Counters {
    pub(crate) fn attempt(&self, operation: Operation, outcome: Outcome) {
        self.attempts[operation as usize][outcome as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn retry(&self, operation: Operation) {
        self.retries[operation as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn sent(&self, bytes: u64) {
        self.sent.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn received(&self, bytes: u64) {
        self.received.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Attempts that succeeded.
    #[must_use]
    pub fn succeeded(&self, operation: Operation) -> u64 {
        self.attempts[operation as usize][Outcome::Ok as usize].load(Ordering::Relaxed)
    }

    /// Attempts that were made again, of all operations.
    #[must_use]
    pub fn retried(&self) -> u64 {
        self.retries.iter().map(|n| n.load(Ordering::Relaxed)).sum()
    }

    /// Bytes of objects written and read.
    #[must_use]
    pub fn bytes(&self) -> (u64, u64) {
        (self.sent.load(Ordering::Relaxed), self.received.load(Ordering::Relaxed))
    }

    /// In Prometheus' text format.
    pub fn write_text(&self, out: &mut String) {
        let head = |out: &mut String, name: &str, help: &str| {
            let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} counter");
        };
        let name = "braid_object_store_requests_total";
        head(out, name, "Requests to the object store, each attempt; condition: exists already, or does not exist.");
        for operation in Operation::ALL {
            for (outcome, word) in OUTCOMES {
                let n = self.attempts[operation as usize][outcome as usize].load(Ordering::Relaxed);
                let _ = writeln!(out, "{name}{{operation=\"{}\",result=\"{word}\"}} {n}", operation.as_str());
            }
        }
        let name = "braid_object_store_retries_total";
        head(out, name, "Requests that were made again after a failure.");
        for operation in Operation::ALL {
            let n = self.retries[operation as usize].load(Ordering::Relaxed);
            let _ = writeln!(out, "{name}{{operation=\"{}\"}} {n}", operation.as_str());
        }
        let name = "braid_object_store_bytes_total";
        head(out, name, "Bytes of objects, as sent and received.");
        let (sent, received) = self.bytes();
        let _ = writeln!(out, "{name}{{direction=\"sent\"}} {sent}\n{name}{{direction=\"received\"}} {received}");
    }
}
