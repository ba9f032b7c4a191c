//! Counts of who was let in and who was not.

use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};

/// What came of a request; the label `result`.
pub(crate) const RESULTS: [&str; 8] = ["ok", "open", "missing", "wrong", "forbidden", "forged", "limited", "busy"];

/// How somebody said who they are; the label `by`.
pub(crate) const WAYS: [&str; 5] = ["none", "key", "password", "session", "certificate"];

#[derive(Default)]
pub(crate) struct Counters {
    requests: [[AtomicU64; WAYS.len()]; RESULTS.len()],
    /// How often argon2 was asked.
    pub(crate) verified: AtomicU64,
    /// Sessions that began.
    pub(crate) logins: AtomicU64,
    /// How often the file was read well, and not.
    pub(crate) reloads: [AtomicU64; 2],
}

impl Counters {
    pub(crate) fn count(&self, result: &str, way: &str) {
        let place = |names: &[&str], name: &str| names.iter().position(|n| *n == name).unwrap_or_default();
        self.requests[place(&RESULTS, result)][place(&WAYS, way)].fetch_add(1, Ordering::Relaxed);
    }

    /// Appends them in Prometheus' text format.
    pub(crate) fn write_text(&self, cached: usize, sessions: usize, out: &mut String) {
        out.push_str(
            "# HELP braid_auth_requests_total Requests by what came of asking who sends them, and by what they showed.\n",
        );
        out.push_str("# TYPE braid_auth_requests_total counter\n");
        for (result, ways) in RESULTS.iter().zip(&self.requests) {
            for (way, count) in WAYS.iter().zip(ways) {
                let count = count.load(Ordering::Relaxed);
                if count > 0 {
                    let _ = writeln!(out, "braid_auth_requests_total{{result=\"{result}\",by=\"{way}\"}} {count}");
                }
            }
        }
        let [good, bad] = &self.reloads;
        for (name, kind, help, value) in [
            ("verifications_total", "counter", "Secrets that argon2 was asked about.", self.verified.load(Ordering::Relaxed)),
            ("logins_total", "counter", "Sessions that began.", self.logins.load(Ordering::Relaxed)),
            ("reloads_total", "counter", "Times that the file of keys and users was read anew.", good.load(Ordering::Relaxed)),
            (
                "reload_failures_total",
                "counter",
                "Times that it could not be read; the old one holds then.",
                bad.load(Ordering::Relaxed),
            ),
            ("cached_credentials", "gauge", "Credentials that were found good lately.", cached as u64),
            ("sessions", "gauge", "Sessions of the page.", sessions as u64),
        ] {
            let _ = writeln!(out, "# HELP braid_auth_{name} {help}\n# TYPE braid_auth_{name} {kind}\nbraid_auth_{name} {value}");
        }
    }
}
