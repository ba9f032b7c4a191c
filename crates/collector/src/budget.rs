//! How many bytes the requests in flight may hold together: a share of the one memory budget.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::tenants::State;
use crate::{Refusal, Tenants};

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
    share: Option<Share>,
}

/// Whose bytes they are, so that one tenant leaves room for others.
#[derive(Debug)]
struct Share {
    tenants: Arc<Tenants>,
    own: Arc<State>,
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
        Held { account: Arc::clone(&self.0), bytes: 0, share: None }
    }

    /// The same for a tenant: while others have something under way it may hold as much as each of them, and never so much
    /// that nobody else finds room; a request alone may hold everything.
    #[must_use]
    pub(crate) fn hold_for(&self, tenants: &Arc<Tenants>, own: Arc<State>) -> Held {
        let mut held = self.hold();
        held.share = Some(Share { tenants: Arc::clone(tenants), own });
        held
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
    /// [`Refusal::InFlight`] when the budget has not so much left; what was held stays held.
    pub fn at_least(&mut self, total: usize) -> Result<(), Refusal> {
        let Some(more) = total.checked_sub(self.bytes).filter(|m| *m > 0) else { return Ok(()) };
        let limit = self.account.limit;
        if let Some(share) = &self.share {
            let held = share.own.in_flight.load(Ordering::Relaxed);
            let others = held > self.bytes;
            let fair = (limit / share.tenants.active().max(1)).min(limit / 4 * 3);
            if others && held + more > fair {
                return Err(Refusal::InFlight(format!(
                    "requests of this tenant in flight already hold its share of {fair} bytes"
                )));
            }
        }
        let taken = self
            .account
            .used
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| used.checked_add(more).filter(|sum| *sum <= limit));
        if taken.is_err() {
            return Err(Refusal::InFlight(format!(
                "requests in flight already hold the {limit} bytes that they may hold together"
            )));
        }
        self.bytes = total;
        if let Some(share) = &self.share {
            share.tenants.begin(&share.own, more);
        }
        Ok(())
    }

    /// Gives back all but `total` bytes.
    pub fn at_most(&mut self, total: usize) {
        if let Some(less) = self.bytes.checked_sub(total) {
            self.account.used.fetch_sub(less, Ordering::Relaxed);
            self.bytes = total;
            if let Some(share) = &self.share {
                share.tenants.end(&share.own, less);
            }
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.at_most(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenant_that_floods_leaves_room_for_others_and_a_single_request_may_have_it_all() {
        let tenants = Arc::new(Tenants::default());
        let state = |name: &str| tenants.state(&model::Tenant::new(name).expect("a name"));
        let budget = Budget::new(100);
        let hold = |name: &str| budget.hold_for(&tenants, state(name));
        let mut alone = hold("a");
        alone.at_least(100).expect("nobody else is there");
        drop(alone);
        let mut flood: Vec<Held> = Vec::new();
        loop {
            let mut next = hold("a");
            if next.at_least(10).is_err() {
                break;
            }
            flood.push(next);
        }
        assert_eq!(budget.used(), 70, "three quarters at most");
        let mut other = hold("b");
        other.at_least(30).expect("there is room");
        flood.truncate(3);
        let mut more = hold("a");
        more.at_least(20).expect("up to half, as two share it");
        assert!(hold("a").at_least(10).is_err());
        drop((flood, other, more));
        assert_eq!((budget.used(), tenants.active()), (0, 0));
    }

    #[test]
    fn what_is_held_is_never_more_than_the_limit_and_comes_back() {
        let budget = Budget::new(100);
        let (mut a, mut b) = (budget.hold(), budget.hold());
        a.at_least(60).expect("fits");
        assert!(matches!(b.at_least(41), Err(Refusal::InFlight(_))));
        b.at_least(40).expect("fits exactly");
        assert_eq!(budget.used(), 100);
        a.at_most(10);
        assert_eq!(budget.used(), 50);
        a.at_least(5).expect("less than held");
        drop((a, b));
        assert_eq!(budget.used(), 0);
    }
}
