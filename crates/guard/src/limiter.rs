//! How often one address may be wrong: ten times at once, then once every six seconds.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

/// Wrong credentials at once.
const BURST: f64 = 10.0;
/// After so long one more is allowed.
const EACH: Duration = Duration::from_secs(6);
/// Addresses that are remembered; the one that was wrong longest ago is forgotten first.
const MOST: usize = 4096;

/// What is left to each address that was wrong lately.
#[derive(Default)]
pub(crate) struct Limiter {
    left: HashMap<IpAddr, (f64, Instant)>,
}

impl Limiter {
    /// When `address` may try again; `None` where it may now.
    pub(crate) fn wait(&self, address: IpAddr, now: Instant) -> Option<Duration> {
        let left = self.left(prefix(address), now);
        (left < 1.0).then(|| EACH.mul_f64(1.0 - left))
    }

    /// `address` presents something that argon2 must be asked about.
    pub(crate) fn take(&mut self, address: IpAddr, now: Instant) {
        let address = prefix(address);
        let left = self.left(address, now) - 1.0;
        if self.left.len() >= MOST && !self.left.contains_key(&address) {
            self.left.retain(|_, (left, since)| refilled(*left, *since, now) < BURST);
            if self.left.len() >= MOST
                && let Some(oldest) = self.left.iter().min_by_key(|(_, (_, since))| *since).map(|(a, _)| *a)
            {
                self.left.remove(&oldest);
            }
        }
        self.left.insert(address, (left, now));
    }

    /// It was good, so nothing is held against the address.
    pub(crate) fn give_back(&mut self, address: IpAddr, now: Instant) {
        let address = prefix(address);
        let left = (self.left(address, now) + 1.0).min(BURST);
        self.left.insert(address, (left, now));
    }

    fn left(&self, address: IpAddr, now: Instant) -> f64 {
        self.left.get(&address).map_or(BURST, |(left, since)| refilled(*left, *since, now))
    }
}

fn refilled(left: f64, since: Instant, now: Instant) -> f64 {
    (left + now.duration_since(since).as_secs_f64() / EACH.as_secs_f64()).min(BURST)
}

/// A host of IPv6 has a whole /64 to itself.
fn prefix(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from(u128::from(v6) & !u128::from(u64::MAX))),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_is_wrong_waits_and_others_do_not() {
        let mut limiter = Limiter::default();
        let now = Instant::now();
        let [a, b]: [IpAddr; 2] = ["192.0.2.1", "192.0.2.2"].map(|t| t.parse().expect("an address"));
        for _ in 0..10 {
            assert_eq!(limiter.wait(a, now), None);
            limiter.take(a, now);
        }
        assert_eq!(limiter.wait(a, now), Some(EACH));
        assert_eq!(limiter.wait("::ffff:192.0.2.1".parse().expect("an address"), now), Some(EACH), "the same host");
        assert_eq!(limiter.wait(b, now), None);
        assert_eq!(limiter.wait(a, now + EACH), None);
        limiter.take(a, now + EACH);
        assert!(limiter.wait(a, now + EACH).is_some());
        limiter.give_back(a, now + EACH);
        assert_eq!(limiter.wait(a, now + EACH), None, "it was right");
    }

    #[test]
    fn a_flood_of_addresses_is_bounded() {
        let mut limiter = Limiter::default();
        let now = Instant::now();
        for n in 0..3 * MOST as u128 {
            limiter.take(IpAddr::V6(Ipv6Addr::from(n << 64)), now);
        }
        assert_eq!(limiter.left.len(), MOST);
        let [a, b]: [IpAddr; 2] = ["2001:db8::1", "2001:db8::2"].map(|t| t.parse().expect("an address"));
        for _ in 0..10 {
            limiter.take(a, now);
        }
        assert!(limiter.wait(b, now).is_some(), "one /64, one host");
    }
}
