//! Queries that mean harm: refused with a reason or finished within their limits, while samples go on coming in.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::asking::encode;
use crate::braid::Braid;
use crate::client::{Reply, post};
use crate::protobuf::{now, write_request};

const FORM: (&str, &str) = ("Content-Type", "application/x-www-form-urlencoded");
const REMOTE_WRITE: [(&str, &str); 2] = [("Content-Type", "application/x-protobuf"), ("Content-Encoding", "snappy")];

const LIMITS: &str = "queries: {timeout: 10s, max_samples: 20000, max_series: 150, max_memory: 4MiB, max_concurrent: 2}\n";

/// Sends one sample each of 100 series of `a_total` and 100 of `b_total`.
fn feed(braid: &Braid, time: i64) {
    let numbers: Vec<String> = (0..100).map(|i| format!("{}aab{i}", "a".repeat(20))).collect();
    let labels: Vec<[(&str, &str); 1]> = numbers.iter().map(|i| [("i", i.as_str())]).collect();
    let samples = [(time, time as f64)];
    let each = |name| labels.iter().map(move |labels| (name, &labels[..]));
    let series: Vec<_> = each("a_total").chain(each("b_total")).map(|(name, labels)| (name, labels, &samples[..])).collect();
    post(braid.at("prometheus"), "/api/v1/write", &REMOTE_WRITE, &write_request(&series)).expect(204);
}

fn ask(braid: &Braid, path: &str, form: &str) -> Reply {
    post(braid.at("prometheus"), path, &[FORM], form.as_bytes())
}

/// Says so when it ends, by a failure too: without it the other thread would feed on, and the test never end.
struct Done<'a>(&'a AtomicBool);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn refused(reply: Reply, status: u16, why: &str) {
    let json = reply.expect(status).json();
    let error = json["error"].as_str().unwrap_or_default();
    assert!(json["status"] == "error" && error.contains(why), "{why}: {json}");
}

#[test]
fn hostile_queries_are_refused_or_end_while_samples_come_in() {
    let (dir, written) = (tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("another"));
    let config = written.path().join("braid.yaml");
    std::fs::write(&config, LIMITS).expect("a file");
    let braid = Braid::start_with(dir.path(), &["--config", &config.display().to_string()]);
    let end = (now() / 1_000_000) as i64;
    (0..240).for_each(|i| feed(&braid, end - (240 - i) * 15_000));
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let feeding = scope.spawn(|| {
            let mut sent = 0;
            while !done.load(Ordering::Relaxed) {
                sent += 1;
                feed(&braid, end + sent);
            }
            sent
        });
        let asked = Done(&done);
        let instant = |query: &str| ask(&braid, "/api/v1/query", &format!("query={}", encode(query)));
        let range = |query: &str, span: i64, step: &str| {
            let (start, end) = ((end / 1000) - span, end / 1000);
            ask(&braid, "/api/v1/query_range", &format!("query={}&start={start}&end={end}&step={step}", encode(query)))
        };
        refused(instant("{__name__=~\".+\"}[30d]"), 422, "selects 200 series, the limit is 150");
        refused(instant("a_total[30d]"), 422, "too many samples");
        refused(range("a_total", 3600, "1"), 422, "too many samples");
        refused(range("a_total", 3000, "15"), 422, "too many samples");
        refused(range("sum(a_total)", 100_000, "1"), 400, "exceeded maximum resolution of 11,000 points");
        refused(instant("max_over_time(vector(1)[30d:1s])"), 422, "too many samples");
        refused(range("sum by (i) (label_replace(a_total, \"x\", \"$1\", \"i\", \"(.*)\"))", 900, "5"), 422, "too many samples");
        refused(instant("a_total * on() group_left() b_total"), 422, "many-to-many matching not allowed");
        refused(instant("a_total * on() b_total"), 422, "many-to-many matching not allowed");
        refused(instant("{i=~\"((a{0,99}){0,99}){0,99}\"}"), 400, "invalid repeat count: `{0,99}`");
        refused(instant("{i=~\"\\\\pL{1000}\"}"), 400, "too large");
        // What only folds is not limited by what it reads.
        let folded = range("sum(rate(a_total[1h]))", 3600, "1").expect(200).json();
        assert_eq!(folded["data"]["result"].as_array().map(Vec::len), Some(1));
        let slow = instant("count(a_total{i=~\"(a+)+(a+)+(a+)+b|(.*)(.*)(.*)(.*)(.*)(.*)(.*)(.*)x\"})").expect(200).json();
        assert_eq!(slow["data"]["result"].as_array().map(Vec::len), Some(0));
        let long = format!("query={}", "a".repeat(10 << 20));
        let reply = ask(&braid, "/api/v1/query", &long);
        assert!(matches!(reply.status, 400 | 413), "{}", reply.text());
        refused(instant(&format!("a_total + {}", "a_total + ".repeat(30_000))), 400, "longer than");
        refused(instant(&"(".repeat(50_000)), 400, "parse error");
        refused(ask(&braid, "/api/v1/query", "query=a_total&timeout=0.000001"), 503, "timed out");
        drop(asked);
        assert!(feeding.join().expect("every request was taken") > 0);
    });
    assert!(!braid.log().contains("panicked"), "{}", braid.log());
}
