//! How many bytes the requests in flight may hold together: a share of the one memory budget.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::Refusal;

/// A number of bytes to lend from; clones share it.
#[derive(Debug, Clone)]
pub struct Budget(Arc<Account>);

#[derive(Debug)]
struct Account {
    limit: usize,
    used: AtomicUsize,
}

/// Bytes lent to one request; dropping it gives them back.
#[derive(Debug)]
pub struct Held {
    account: Arc<Account>,
    bytes: usize,
}

impl Budget {
    /// A budget of `limit` bytes.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self(Arc::new(Account { limit, used: AtomicUsize::new(0) }))
    }

    /// Nothing yet, to grow.
    #[must_use]
    pub fn hold(&self) -> Held {
        Held { account: Arc::clone(&self.0), bytes: 0 }
    }

    /// Bytes that are lent now.
    #[must_use]
    pub fn used(&self) -> usize {
        self.0.used.load(Ordering::Relaxed)
    }

    /// Bytes that can be lent.
    #[must_use]
    pub fn limit(&self) -> usize {
        self.0.limit
    }
}

impl Held {
    /// Makes sure that at least `total` bytes are held.
    ///
    /// # Errors
    /// [`Refusal::Busy`] when the budget has not so much left; what was held stays held.
    pub fn at_least(&mut self, total: usize) -> Result<(), Refusal> {
        let Some(more) = total.checked_sub(self.bytes).filter(|m| *m > 0) else { return Ok(()) };
        let limit = self.account.limit;
        let taken = self
            .account
            .used
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| used.checked_add(more).filter(|sum| *sum <= limit));
        if taken.is_err() {
            return Err(Refusal::Busy(format!("requests in flight already hold the {limit} bytes that they may hold together")));
        }
        self.bytes = total;
        Ok(())
    }

    /// Gives back all but `total` bytes.
    pub fn at_most(&mut self, total: usize) {
        if let Some(less) = self.bytes.checked_sub(total) {
            self.account.used.fetch_sub(less, Ordering::Relaxed);
            self.bytes = total;
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.account.used.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_is_never_more_than_the_limit_and_comes_back() {
        let budget = Budget::new(100);
        let (mut a, mut b) = (budget.hold(), budget.hold());
        a.at_least(60).expect("fits");
        assert!(matches!(b.at_least(41), Err(Refusal::Busy(_))));
        b.at_least(40).expect("fits exactly");
        assert_eq!(budget.used(), 100);
        a.at_most(10);
        assert_eq!(budget.used(), 50);
        a.at_least(5).expect("less than held");
        drop((a, b));
        assert_eq!(budget.used(), 0);
    }
}
