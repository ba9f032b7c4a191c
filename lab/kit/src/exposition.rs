//! Counters and histograms that render as Prometheus text exposition 0.0.4, plus the `process_*` metrics that every
//! Prometheus client library offers.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What `/metrics` answers with.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The default buckets of the Python client library, in seconds; `+Inf` is implied.
pub const DEFAULT_BUCKETS: &[f64] = &[0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0];

/// A counter with one value per combination of its labels' values.
#[derive(Debug)]
pub struct Counter<const LABELS: usize> {
    name: String,
    help: &'static str,
    labels: [&'static str; LABELS],
    values: Mutex<BTreeMap<[String; LABELS], u64>>,
}

impl<const LABELS: usize> Counter<LABELS> {
    /// A counter without series yet. `help` is one line.
    pub fn new(name: impl Into<String>, help: &'static str, labels: [&'static str; LABELS]) -> Self {
        Self { name: name.into(), help, labels, values: Mutex::default() }
    }

    /// Adds one to the series with these label values, in the order of the label names.
    pub fn increment(&self, values: [&str; LABELS]) {
        self.add(values, 1);
    }

    /// Adds to the series with these label values; zero makes a series that has not counted yet.
    pub fn add(&self, values: [&str; LABELS], count: u64) {
        *lock(&self.values).entry(values.map(str::to_owned)).or_default() += count;
    }

    /// What the series with these label values has counted.
    pub fn value(&self, values: [&str; LABELS]) -> u64 {
        lock(&self.values).get(&values.map(str::to_owned)).copied().unwrap_or_default()
    }

    /// Appends the family to `text`.
    pub fn render(&self, text: &mut String) {
        head(text, &self.name, self.help, "counter");
        for (values, count) in lock(&self.values).iter() {
            let labels = pairs(&self.labels, values);
            let _ = writeln!(text, "{}{} {count}", self.name, braces(&labels));
        }
    }
}

/// A histogram with one set of buckets per combination of its labels' values.
#[derive(Debug)]
pub struct Histogram<const LABELS: usize> {
    name: String,
    help: &'static str,
    labels: [&'static str; LABELS],
    bounds: &'static [f64],
    values: Mutex<BTreeMap<[String; LABELS], Buckets>>,
}

#[derive(Debug)]
struct Buckets {
    /// Observations per bucket, not cumulative; the last one is `+Inf`.
    counts: Vec<u64>,
    sum: f64,
}

impl<const LABELS: usize> Histogram<LABELS> {
    /// `bounds` are upper bounds in ascending order, without `+Inf`.
    pub fn new(name: impl Into<String>, help: &'static str, labels: [&'static str; LABELS], bounds: &'static [f64]) -> Self {
        Self { name: name.into(), help, labels, bounds, values: Mutex::default() }
    }

    /// Counts one observation in the series with these label values.
    pub fn observe(&self, values: [&str; LABELS], observed: f64) {
        let bucket = self.bounds.partition_point(|bound| *bound < observed);
        let mut series = lock(&self.values);
        let buckets = series
            .entry(values.map(str::to_owned))
            .or_insert_with(|| Buckets { counts: vec![0; self.bounds.len() + 1], sum: 0.0 });
        buckets.counts[bucket] += 1;
        buckets.sum += observed;
    }

    /// Appends the family to `text`.
    pub fn render(&self, text: &mut String) {
        head(text, &self.name, self.help, "histogram");
        for (values, buckets) in lock(&self.values).iter() {
            let labels = pairs(&self.labels, values);
            let separator = if labels.is_empty() { "" } else { "," };
            let mut cumulative = 0;
            for (at, count) in buckets.counts.iter().enumerate() {
                cumulative += count;
                let bound = self.bounds.get(at).map_or_else(|| "+Inf".to_owned(), |bound| format!("{bound:?}"));
                let _ = writeln!(text, "{}_bucket{{{labels}{separator}le=\"{bound}\"}} {cumulative}", self.name);
            }
            let _ = writeln!(text, "{}_sum{} {}", self.name, braces(&labels), buckets.sum);
            let _ = writeln!(text, "{}_count{} {cumulative}", self.name, braces(&labels));
        }
    }
}

/// Appends a gauge without labels.
pub fn gauge(text: &mut String, name: &str, help: &str, value: f64) {
    head(text, name, help, "gauge");
    let _ = writeln!(text, "{name} {value}");
}

/// Appends the standard `process_*` families, from `/proc/self`. What cannot be read is left out.
pub fn process(text: &mut String) {
    let ticks = rustix::param::clock_ticks_per_second() as f64;
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The command name, in parentheses, may hold anything; the fields start behind the last parenthesis, at number 3.
    let fields: Vec<&str> = stat.rsplit_once(')').map(|(_, rest)| rest.split_whitespace().collect()).unwrap_or_default();
    let field = |number: usize| fields.get(number - 3).and_then(|text| text.parse::<f64>().ok());
    if let (Some(user), Some(system)) = (field(14), field(15)) {
        head(text, "process_cpu_seconds_total", "Total user and system CPU time spent in seconds.", "counter");
        let _ = writeln!(text, "process_cpu_seconds_total {}", (user + system) / ticks);
    }
    if let Some(bytes) = field(23) {
        gauge(text, "process_virtual_memory_bytes", "Virtual memory size in bytes.", bytes);
    }
    if let Some(pages) = field(24) {
        let bytes = pages * rustix::param::page_size() as f64;
        gauge(text, "process_resident_memory_bytes", "Resident memory size in bytes.", bytes);
    }
    let boot = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    let boot = boot.lines().find_map(|line| line.strip_prefix("btime ")).and_then(|at| at.trim().parse::<f64>().ok());
    if let (Some(boot), Some(start)) = (boot, field(22)) {
        let help = "Start time of the process since unix epoch in seconds.";
        gauge(text, "process_start_time_seconds", help, boot + start / ticks);
    }
    if let Ok(open) = std::fs::read_dir("/proc/self/fd") {
        gauge(text, "process_open_fds", "Number of open file descriptors.", open.count() as f64);
    }
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    if let Some(limit) = limit {
        gauge(text, "process_max_fds", "Maximum number of open file descriptors.", limit as f64);
    }
}

fn head(text: &mut String, name: &str, help: &str, kind: &str) {
    let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
}

fn pairs(names: &[&str], values: &[String]) -> String {
    let pairs: Vec<String> = names.iter().zip(values).map(|(name, value)| format!("{name}=\"{}\"", escape(value))).collect();
    pairs.join(",")
}

fn braces(labels: &str) -> String {
    if labels.is_empty() { String::new() } else { format!("{{{labels}}}") }
}

fn escape(value: &str) -> String {
    value.replace('\\', "\\\\").replace('\n', "\\n").replace('"', "\\\"")
}

/// A panic in a holder leaves a counter at worst one behind, so the value is used all the same.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_renders_sorted_and_escaped() {
        let counter = Counter::new("http_requests_total", "Requests.", ["method", "endpoint"]);
        counter.increment(["POST", "b\"\\\n"]);
        counter.increment(["GET", "a"]);
        counter.increment(["GET", "a"]);
        let mut text = String::new();
        counter.render(&mut text);
        assert_eq!(
            text,
            "# HELP http_requests_total Requests.\n# TYPE http_requests_total counter\n\
             http_requests_total{method=\"GET\",endpoint=\"a\"} 2\n\
             http_requests_total{method=\"POST\",endpoint=\"b\\\"\\\\\\n\"} 1\n"
        );
    }

    #[test]
    fn buckets_are_cumulative_and_include_their_bound() {
        let histogram = Histogram::new("d_seconds", "D.", ["operation"], &[0.5, 1.0]);
        for observed in [0.25, 0.5, 0.75, 2.0] {
            histogram.observe(["SELECT"], observed);
        }
        let mut text = String::new();
        histogram.render(&mut text);
        assert_eq!(
            text,
            "# HELP d_seconds D.\n# TYPE d_seconds histogram\n\
             d_seconds_bucket{operation=\"SELECT\",le=\"0.5\"} 2\n\
             d_seconds_bucket{operation=\"SELECT\",le=\"1.0\"} 3\n\
             d_seconds_bucket{operation=\"SELECT\",le=\"+Inf\"} 4\n\
             d_seconds_sum{operation=\"SELECT\"} 3.5\n\
             d_seconds_count{operation=\"SELECT\"} 4\n"
        );
    }

    #[test]
    fn the_process_metrics_of_a_live_process_are_all_there() {
        let mut text = String::new();
        process(&mut text);
        for name in ["cpu_seconds_total", "virtual_memory_bytes", "resident_memory_bytes", "start_time_seconds", "open_fds"] {
            assert!(text.contains(&format!("\nprocess_{name} ")), "process_{name} in {text}");
        }
    }
}
