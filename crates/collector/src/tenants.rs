//! What each tenant may send: rates with bursts, sizes, and a fair share of what is under way; and what each has sent.
//!
//! A rate is a bucket of tokens that fills at the rate, up to the burst. A request is taken while the bucket is not empty,
//! and may leave it in debt: so one that is larger than the burst passes, and the next ones wait for longer.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use model::Tenant;
use parking_lot::Mutex;
use wire::Signal;

use crate::Refusal;

/// Tenants that are told apart in `/metrics`; all others count as [`OTHERS`].
const COUNTED: usize = 100;
/// How the tenants beyond [`COUNTED`] are called.
const OTHERS: &str = "(others)";
/// Tenants whose buckets are remembered; idle ones are forgotten first.
const REMEMBERED: usize = 10_000;

/// What one tenant may send. `None`: no limit but those of the whole process.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TenantLimits {
    /// Spans, lines and samples a second.
    pub items_per_second: Option<f64>,
    /// As many of them at once; default: those of ten seconds.
    pub items_burst: Option<f64>,
    /// Bytes a second, after inflating.
    pub bytes_per_second: Option<f64>,
    /// As many of them at once; default: those of ten seconds.
    pub bytes_burst: Option<f64>,
    /// Bytes of a request as it is sent.
    pub body: Option<usize>,
}

/// The limits of all tenants, and what they are doing.
#[derive(Debug, Default)]
pub struct Tenants {
    defaults: TenantLimits,
    named: HashMap<String, TenantLimits>,
    states: Mutex<HashMap<Tenant, Arc<State>>>,
    counts: Mutex<Counts>,
    /// Tenants with something under way.
    active: AtomicUsize,
}

/// What a tenant is doing.
#[derive(Debug)]
pub(crate) struct State {
    limits: TenantLimits,
    items: Mutex<Bucket>,
    bytes: Mutex<Bucket>,
    /// Bytes of its requests under way.
    pub(crate) in_flight: AtomicUsize,
}

#[derive(Debug)]
struct Bucket {
    tokens: f64,
    filled: Instant,
}

#[derive(Debug, Default)]
struct Counts {
    by_tenant: BTreeMap<String, Count>,
}

#[derive(Debug, Default)]
struct Count {
    items: [u64; 3],
    bytes: u64,
    refused: BTreeMap<&'static str, u64>,
}

impl Bucket {
    /// Takes `cost`, or says how long to wait until something can be taken.
    fn take(&mut self, cost: f64, rate: f64, burst: f64, now: Instant) -> Result<(), Duration> {
        let passed = now.saturating_duration_since(self.filled).as_secs_f64();
        self.tokens = (self.tokens + passed * rate).min(burst);
        self.filled = now;
        if self.tokens <= 0.0 {
            return Err(Duration::try_from_secs_f64(-self.tokens / rate).unwrap_or(Duration::MAX));
        }
        self.tokens -= cost;
        Ok(())
    }
}

/// A rate and the burst that belongs to it.
fn rate(per_second: Option<f64>, burst: Option<f64>) -> Option<(f64, f64)> {
    per_second.map(|rate| (rate, burst.unwrap_or(rate * 10.0)))
}

impl State {
    fn new(limits: TenantLimits) -> Self {
        let full = |burst: Option<(f64, f64)>| {
            Mutex::new(Bucket { tokens: burst.map_or(0.0, |(_, burst)| burst), filled: Instant::now() })
        };
        Self {
            items: full(rate(limits.items_per_second, limits.items_burst)),
            bytes: full(rate(limits.bytes_per_second, limits.bytes_burst)),
            in_flight: AtomicUsize::new(0),
            limits,
        }
    }

    /// The limits.
    pub(crate) fn limits(&self) -> &TenantLimits {
        &self.limits
    }

    /// Takes a request of so many items and bytes from the tenant's rates.
    ///
    /// # Errors
    /// [`Refusal::Rate`].
    pub(crate) fn spend(&self, items: u64, bytes: usize) -> Result<(), Refusal> {
        let now = Instant::now();
        let of = |what: &'static str, bucket: &Mutex<Bucket>, cost: f64, limit: Option<(f64, f64)>| {
            let Some((rate, burst)) = limit else { return Ok(()) };
            let taken = bucket.lock().take(cost, rate, burst, now);
            taken.map_err(|after| Refusal::Rate { what, rate, after })
        };
        let limits = &self.limits;
        of("bytes", &self.bytes, bytes as f64, rate(limits.bytes_per_second, limits.bytes_burst))?;
        of("items", &self.items, items as f64, rate(limits.items_per_second, limits.items_burst))
    }
}

impl Tenants {
    /// Limits by tenant; those that are not named have `defaults`.
    #[must_use]
    pub fn new(defaults: TenantLimits, named: HashMap<String, TenantLimits>) -> Self {
        Self { defaults, named, ..Self::default() }
    }

    /// What a tenant is doing.
    pub(crate) fn state(&self, tenant: &Tenant) -> Arc<State> {
        let mut states = self.states.lock();
        if let Some(state) = states.get(tenant) {
            return Arc::clone(state);
        }
        if states.len() >= REMEMBERED {
            // Whoever has nothing under way loses a debt at most.
            states.retain(|_, state| Arc::strong_count(state) > 1);
        }
        let limits = self.named.get(tenant.as_str()).unwrap_or(&self.defaults);
        let state = Arc::new(State::new(limits.clone()));
        states.insert(tenant.clone(), Arc::clone(&state));
        state
    }

    /// How many tenants have something under way.
    pub(crate) fn active(&self) -> usize {
        self.active.load(Ordering::Relaxed)
    }

    /// So many bytes more of a tenant are under way.
    pub(crate) fn begin(&self, state: &State, bytes: usize) {
        if bytes > 0 && state.in_flight.fetch_add(bytes, Ordering::Relaxed) == 0 {
            self.active.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// So many bytes less.
    pub(crate) fn end(&self, state: &State, bytes: usize) {
        if bytes > 0 && state.in_flight.fetch_sub(bytes, Ordering::Relaxed) == bytes {
            self.active.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// A request was kept, at least in part.
    pub(crate) fn taken(&self, tenant: &Tenant, signal: Signal, items: u64, bytes: usize) {
        self.count(tenant, |count| {
            count.items[signal as usize] += items;
            count.bytes += bytes as u64;
        });
    }

    /// Nothing of a request was kept.
    pub(crate) fn refused(&self, tenant: &Tenant, reason: &'static str) {
        self.count(tenant, |count| *count.refused.entry(reason).or_default() += 1);
    }

    fn count(&self, tenant: &Tenant, add: impl FnOnce(&mut Count)) {
        let mut counts = self.counts.lock();
        if let Some(count) = counts.by_tenant.get_mut(tenant.as_str()) {
            return add(count);
        }
        let name = if counts.by_tenant.len() < COUNTED { tenant.as_str() } else { OTHERS };
        add(counts.by_tenant.entry(name.to_owned()).or_default());
    }

    /// Appends what the tenants sent, in Prometheus' text format.
    pub(crate) fn write_text(&self, out: &mut String) {
        // Writing to a string does not fail.
        let _ = self.try_write(out);
    }

    fn try_write(&self, out: &mut String) -> std::fmt::Result {
        let counts = self.counts.lock();
        let mut family = |name: &str, help: &str| writeln!(out, "# HELP {name} {help}\n# TYPE {name} counter");
        family("braid_tenant_accepted_items_total", "Spans, log records and samples that were kept, by tenant.")?;
        for (tenant, count) in &counts.by_tenant {
            for signal in Signal::ALL {
                let n = count.items[signal as usize];
                if n > 0 {
                    let s = signal.as_str();
                    writeln!(out, "braid_tenant_accepted_items_total{{tenant=\"{tenant}\",signal=\"{s}\"}} {n}")?;
                }
            }
        }
        let name = "braid_tenant_accepted_bytes_total";
        writeln!(out, "# HELP {name} Bytes of kept requests, by tenant.\n# TYPE {name} counter")?;
        for (tenant, count) in &counts.by_tenant {
            writeln!(out, "{name}{{tenant=\"{tenant}\"}} {}", count.bytes)?;
        }
        let name = "braid_tenant_refused_requests_total";
        writeln!(out, "# HELP {name} Requests of which nothing was kept, by tenant.\n# TYPE {name} counter")?;
        for (tenant, count) in &counts.by_tenant {
            for (reason, n) in &count.refused {
                writeln!(out, "{name}{{tenant=\"{tenant}\",reason=\"{reason}\"}} {n}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_takes_a_burst_then_the_rate_and_large_requests_leave_a_debt() {
        let begun = Instant::now();
        let mut bucket = Bucket { tokens: 100.0, filled: begun };
        let at = |s: u64| begun + Duration::from_secs(s);
        assert_eq!(bucket.take(60.0, 10.0, 100.0, at(0)), Ok(()));
        assert_eq!(bucket.take(60.0, 10.0, 100.0, at(0)), Ok(()), "the rest and a debt");
        assert_eq!(bucket.take(1.0, 10.0, 100.0, at(0)), Err(Duration::from_secs(2)));
        assert_eq!(bucket.take(1000.0, 10.0, 100.0, at(3)), Ok(()));
        assert!(bucket.take(1.0, 10.0, 100.0, at(50)).is_err());
        assert_eq!(bucket.take(1.0, 10.0, 100.0, at(200)), Ok(()));
        assert!(bucket.tokens <= 99.0, "no more than the burst is saved");
    }

    #[test]
    fn tenants_have_their_own_limits_and_metrics_tell_a_bounded_number_apart() {
        let strict = TenantLimits { items_per_second: Some(1.0), items_burst: Some(2.0), ..TenantLimits::default() };
        let tenants = Tenants::new(TenantLimits::default(), HashMap::from([("small".to_owned(), strict)]));
        let of = |name: &str| Tenant::new(name).expect("a name");
        let small = tenants.state(&of("small"));
        assert!(small.spend(5, 10).is_ok());
        let refused = small.spend(1, 10).expect_err("over");
        assert_eq!((refused.http_status().as_u16(), refused.reason()), (503, "rate"));
        assert_eq!(refused.retry_after(), Some(Duration::from_secs(3)), "rounded up");
        assert!(tenants.state(&of("large")).spend(1_000_000, 1 << 30).is_ok());
        for n in 0..COUNTED + 50 {
            tenants.taken(&of(&format!("t{n}")), Signal::Logs, 1, 1);
            tenants.refused(&of(&format!("t{n}")), "rate");
        }
        let mut text = String::new();
        tenants.write_text(&mut text);
        assert_eq!(text.matches("braid_tenant_accepted_bytes_total{").count(), COUNTED + 1);
        assert!(text.contains("braid_tenant_refused_requests_total{tenant=\"(others)\",reason=\"rate\"} 50\n"), "{text}");
    }
}
