//! Exporters from outside: one Braid sends to another, to an absent one, through a crash, and to a server that checks what it gets.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;

use crate::asking::{encode, instant, lines, spans};
use crate::braid::Braid;
use crate::client::post;
use crate::protobuf::{attribute, bytes, export, fixed64, gauge, int, log, message, now, span, write_request};

const PROTOBUF: (&str, &str) = ("Content-Type", "application/x-protobuf");
const JSON: (&str, &str) = ("Content-Type", "application/json");
const TRACE: [u8; 16] = [7; 16];

/// Retries soon and sends soon, so that tests end soon.
const SOON: &str = "retry_on_failure: {initial_interval: 20ms, max_interval: 100ms}";
const QUEUE: &str = "{batch: {flush_timeout: 20ms}}";

/// Starts a Braid with these exporters in pipelines of these signals.
fn start(dir: &Path, exporters: &str, signals: &[&str], name: &str) -> Braid {
    let pipelines: Vec<String> = signals.iter().map(|s| format!("    {s}: {{exporters: [{name}]}}\n")).collect();
    let text = format!("exporters:\n{exporters}service:\n  pipelines:\n{}", pipelines.concat());
    let file = dir.join("braid.yaml");
    std::fs::write(&file, text).expect("written");
    Braid::start_with(dir, &["--config", &file.display().to_string()])
}

/// `Metric` with one point of a monotonic cumulative sum.
fn counter(time: u64, name: &str, value: f64) -> Vec<u8> {
    let point = message(1, &[attribute(7, "route", "/a"), fixed64(3, time), fixed64(4, value.to_bits())]);
    message(2, &[bytes(1, name.as_bytes()), message(7, &[point, int(2, 2), int(3, 1)])])
}

/// Sends something of every signal through several doors.
fn fill(braid: &Braid, time: u64) {
    let otlp = |signal: &str, request: &[u8]| {
        post(braid.at("otlp_http"), &format!("/v1/{signal}"), &[PROTOBUF], request).expect(200);
    };
    otlp("traces", &export("shop", &[span(TRACE, [1; 8], "GET /", time), span(TRACE, [2; 8], "query", time)]));
    otlp("logs", &export("shop", &[log(time, "hello"), log(time + 1, "a \"quoted\" line")]));
    otlp("metrics", &export("shop", &[gauge(time, "queue.size", 7.0), counter(time, "requests", 3.0)]));
    let push = format!(r#"{{"streams":[{{"stream":{{"app":"web","env":"dev"}},"values":[["{time}","GET /cart 200"]]}}]}}"#);
    post(braid.at("loki"), "/loki/api/v1/push", &[JSON], push.as_bytes()).expect(204);
    let ms = (time / 1_000_000) as i64;
    let samples = write_request(&[
        ("up", &[("instance", "h:1"), ("job", "node")], &[(ms, 1.0)]),
        ("http_requests_total", &[("instance", "h:1"), ("job", "node")], &[(ms, 42.0)]),
        ("latency_bucket", &[("job", "node"), ("le", "0.1")], &[(ms, 5.0)]),
    ]);
    post(braid.at("prometheus"), "/api/v1/write", &[PROTOBUF], &samples).expect(204);
}

/// All series at a moment, in order.
fn series(braid: &Braid, time: u64) -> Vec<(BTreeMap<String, String>, String)> {
    let mut all = instant(braid, "{__name__=~\".+\"}", time as f64 / 1e9 + 1.0);
    all.sort();
    all
}

/// Two answers, the second until it is the first.
fn same<T: PartialEq + std::fmt::Debug>(what: &str, one: &Braid, other: &Braid, ask: impl Fn(&Braid) -> Vec<T>) {
    let expected = ask(one);
    assert!(!expected.is_empty(), "{what}");
    let deadline = std::time::Instant::now() + Duration::from_secs(30);
    loop {
        let found = ask(other);
        if found == expected {
            return;
        }
        assert!(std::time::Instant::now() < deadline, "{what}: {found:?} instead of {expected:?}\n{}", one.log());
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn sent(braid: &Braid, what: &str, exporter: &str) -> f64 {
    braid.metric(&format!("braid_exporter_sent_{what}_total{{exporter=\"{exporter}\"}}"))
}

#[test]
fn another_braid_answers_the_same_by_otlp_over_grpc_and_http() {
    for (kind, face, compression) in
        [("otlp", "otlp_grpc", "gzip"), ("otlphttp", "otlp_http", "zstd"), ("otlphttp", "braid", "none")]
    {
        let (here, there) = (tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("a directory"));
        let other = Braid::start(there.path());
        let yaml = format!(
            "  {kind}/b:\n    endpoint: 'http://{}'\n    compression: {compression}\n    sending_queue: {QUEUE}\n    {SOON}\n",
            other.at(face)
        );
        let name = format!("{kind}/b");
        let braid = start(here.path(), &yaml, &["traces", "logs", "metrics"], &name);
        let time = now();
        fill(&braid, time);
        same("spans", &braid, &other, |b| spans(b, &"07".repeat(16)));
        for query in ["{service_name=\"shop\"}", "{service_name=\"web\"}"] {
            same(query, &braid, &other, |b| lines(b, query, time - 1, time + 10));
        }
        same("series", &braid, &other, |b| series(b, time));
        assert_eq!(series(&braid, time).len(), 5, "{:?}", series(&braid, time));
        braid.eventually("all counted", |b| {
            let counts = [sent(b, "spans", &name), sent(b, "log_records", &name), sent(b, "metric_points", &name)];
            (counts == [2.0, 3.0, 5.0]).then_some(())
        });
        let page = braid.get("braid", "/metrics").text();
        assert!(!page.contains("send_failed"), "{page}");
        assert!(page.contains(&format!("braid_exporter_queue_capacity{{exporter=\"{name}\",signal=\"traces\"}} 10737418240")));
    }
}

#[test]
fn another_braid_answers_the_same_by_loki_push_and_remote_write() {
    let (here, there) = (tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("a directory"));
    let other = Braid::start(there.path());
    let yaml = format!(
        "  loki:\n    endpoint: 'http://{}'\n    sending_queue: {QUEUE}\n    {SOON}\n  prometheusremotewrite:\n    endpoint: 'http://{}/api/v1/write'\n    remote_write_queue: {QUEUE}\n    {SOON}\n",
        other.at("loki"),
        other.at("prometheus")
    );
    let yaml = format!(
        "{yaml}service:\n  pipelines:\n    logs: {{exporters: [loki]}}\n    metrics: {{exporters: [prometheusremotewrite]}}\n"
    );
    let file = here.path().join("braid.yaml");
    std::fs::write(&file, format!("exporters:\n{yaml}")).expect("written");
    let braid = Braid::start_with(here.path(), &["--config", &file.display().to_string()]);
    let time = now();
    fill(&braid, time);
    same("series", &braid, &other, |b| series(b, time));

    // The line is in the member `message`; labels are these three and no others but what Loki's rules add.
    for (here, there) in
        [("{service_name=\"shop\"}", "{service=\"shop\"}"), ("{service_name=\"web\"}", "{service=\"web\", env=\"dev\"}")]
    {
        let expected = lines(&braid, here, time - 1, time + 10);
        let found =
            other.eventually("lines", |b| Some(lines(b, there, time - 1, time + 10)).filter(|l| l.len() == expected.len()));
        let members: Vec<Value> = found.iter().map(|l| serde_json::from_str(l).expect("JSON")).collect();
        let messages: Vec<&str> = members.iter().filter_map(|m| m["message"].as_str()).collect();
        assert_eq!(messages, expected);
    }
    let labels = other.get("loki", &format!("/loki/api/v1/labels?start={}&end={}", time - 1, time + 10)).expect(200).json();
    assert_eq!(labels["data"], serde_json::json!(["env", "service", "service_name"]));
    let query = encode("{service=\"shop\"} | json | severity=\"INFO\"");
    let found =
        other.get("loki", &format!("/loki/api/v1/query_range?query={query}&start={}&end={}", time - 1, time + 10)).expect(200);
    assert!(found.text().contains("hello"), "{}", found.text());
}

#[test]
fn remote_write_carries_the_external_labels_of_the_whole_and_its_own() {
    let (here, there) = (tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("a directory"));
    let other = Braid::start(there.path());
    let yaml = format!(
        "global: {{external_labels: {{cluster: all, zone: all, job: all}}}}\nexporters:\n  prometheusremotewrite:\n    endpoint: \
         'http://{}/api/v1/write'\n    external_labels: {{zone: own}}\n    remote_write_queue: {QUEUE}\n    {SOON}\nservice: \
         {{pipelines: {{metrics: {{exporters: [prometheusremotewrite]}}}}}}\n",
        other.at("prometheus")
    );
    let file = here.path().join("braid.yaml");
    std::fs::write(&file, yaml).expect("written");
    let braid = Braid::start_with(here.path(), &["--config", &file.display().to_string()]);
    let time = now();
    let samples = write_request(&[("up", &[("job", "node")], &[((time / 1_000_000) as i64, 1.0)])]);
    post(braid.at("prometheus"), "/api/v1/write", &[PROTOBUF], &samples).expect(204);
    let found = other.eventually("the sample", |b| series(b, time).first().map(|(labels, _)| labels.clone()));
    let expected = [("__name__", "up"), ("cluster", "all"), ("job", "node"), ("zone", "own")];
    assert_eq!(found, expected.into_iter().map(|(n, v)| (n.to_owned(), v.to_owned())).collect());
}

/// Lets connections through to somewhere, or closes them.
struct Gate {
    address: String,
    to: Arc<Mutex<Option<String>>>,
}

impl Gate {
    fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("bound").to_string();
        let to: Arc<Mutex<Option<String>>> = Arc::default();
        let open = Arc::clone(&to);
        std::thread::spawn(move || {
            for from in listener.incoming().flatten() {
                let Some(to) = open.lock().expect("no panic").clone() else { continue };
                let Ok(there) = TcpStream::connect(to) else { continue };
                for (mut a, mut b) in [(from.try_clone(), there.try_clone()), (Ok(there), Ok(from))]
                    .map(|(a, b)| (a.expect("a stream"), b.expect("a stream")))
                {
                    std::thread::spawn(move || {
                        let _ = std::io::copy(&mut a, &mut b);
                        let _ = b.shutdown(std::net::Shutdown::Both);
                    });
                }
            }
        });
        Self { address, to }
    }

    fn open(&self, to: &str) {
        *self.to.lock().expect("no panic") = Some(to.to_owned());
    }
}

fn one(n: u8) -> Vec<u8> {
    export("shop", &[span(TRACE, [n; 8], &format!("span {n}"), now())])
}

#[test]
fn a_peer_that_was_away_and_a_kill_in_between_lose_nothing() {
    let (here, there) = (tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("a directory"));
    let gate = Gate::new();
    for kind in ["otlp", "otlphttp"] {
        let other = Braid::start(there.path());
        *gate.to.lock().expect("no panic") = None;
        let yaml = format!("  {kind}:\n    endpoint: 'http://{}'\n    sending_queue: {QUEUE}\n    {SOON}\n", gate.address);
        let go = || start(here.path(), &yaml, &["traces"], kind);
        let send = |braid: &Braid, n: u8| {
            post(braid.at("otlp_http"), "/v1/traces", &[PROTOBUF], &one(n)).expect(200);
        };
        let braid = go();
        (1..=10).for_each(|n| send(&braid, n));
        let retries = format!("braid_exporter_retries_total{{exporter=\"{kind}\",signal=\"traces\"}}");
        braid.eventually("retries", |b| (b.metric(&retries) > 2.0).then_some(()));
        let waiting = format!("braid_exporter_queue_size{{exporter=\"{kind}\",signal=\"traces\"}}");
        braid.eventually("what waits", |b| (b.metric(&waiting) > 500.0).then_some(()));
        braid.kill();
        let braid = go();
        send(&braid, 11);
        gate.open(other.at(if kind == "otlp" { "otlp_grpc" } else { "otlp_http" }));
        let all = |upto: u8| {
            let mut names: Vec<String> = (1..=upto).map(|n| format!("span {n}")).collect();
            names.sort();
            names
        };
        let id = "07".repeat(16);
        other.eventually("all spans", |b| (spans(b, &id) == all(11)).then_some(()));
        // While it is sending.
        for n in 12..=40 {
            send(&braid, n);
        }
        braid.kill();
        let braid = go();
        other.eventually("all spans, each once", |b| (spans(b, &id) == all(40)).then_some(()));
        let (status, log) = braid.stop("-TERM");
        assert!(status.success(), "{log}");
        assert!(!log.contains("panicked"), "{log}");
        // The next kind starts afresh.
        drop(other);
        for dir in [&here, &there] {
            std::fs::remove_dir_all(dir.path().join("data")).expect("removed");
        }
    }
}

#[test]
fn a_peer_that_is_silent_drips_resets_or_speaks_something_else_gets_everything_when_it_is_well() {
    let (here, there) = (tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("a directory"));
    let other = Braid::start(there.path());
    let ill = ill_peers();
    let (grpc, http) = (Gate::new(), Gate::new());
    let yaml = format!(
        "  otlp:\n    endpoint: 'http://{}'\n    timeout: 300ms\n    sending_queue: {QUEUE}\n    {SOON}\n  otlphttp:\n    endpoint: \
         'http://{}'\n    timeout: 300ms\n    sending_queue: {QUEUE}\n    {SOON}\n",
        grpc.address, http.address
    );
    let braid = start(here.path(), &yaml, &["traces", "logs"], "otlp, otlphttp");
    let retries = |b: &Braid, kind: &str| {
        ["traces", "logs"].map(|s| b.metric(&format!("braid_exporter_retries_total{{exporter=\"{kind}\",signal=\"{s}\"}}")))
    };
    let mut sent = 0;
    for (what, address) in &ill {
        let before = ["otlp", "otlphttp"].map(|kind| retries(&braid, kind));
        grpc.open(address);
        http.open(address);
        sent += 1;
        post(braid.at("otlp_http"), "/v1/traces", &[PROTOBUF], &one(sent)).expect(200);
        post(braid.at("otlp_http"), "/v1/logs", &[PROTOBUF], &export("shop", &[log(now(), &format!("line {sent}"))])).expect(200);
        // Both, of both signals, have met it.
        braid.eventually(what, |b| {
            let after = ["otlp", "otlphttp"].map(|kind| retries(b, kind));
            after.iter().flatten().zip(before.iter().flatten()).all(|(after, before)| after > before).then_some(())
        });
    }
    grpc.open(other.at("otlp_grpc"));
    http.open(other.at("otlp_http"));
    let mut names: Vec<String> = (1..=sent).map(|n| format!("span {n}")).collect();
    names.sort();
    other.eventually("all spans, each once", |b| (spans(b, &"07".repeat(16)) == names).then_some(()));
    for kind in ["otlp", "otlphttp"] {
        for signal in ["spans", "log_records"] {
            braid.eventually("everything is sent", |b| (self::sent(b, signal, kind) == f64::from(sent)).then_some(()));
        }
    }
    let text = braid.get("braid", "/metrics").text();
    let failed: Vec<&str> = text.lines().filter(|l| l.starts_with("braid_exporter_send_failed") && !l.ends_with(" 0")).collect();
    assert!(failed.is_empty(), "{failed:?}");
    let (status, said) = braid.stop("-TERM");
    assert!(status.success() && !said.contains("panicked"), "{said}");
}

/// Servers that are not well, by what is wrong with them.
fn ill_peers() -> Vec<(&'static str, String)> {
    type Behave = fn(TcpStream);
    let behave: [(&str, Behave); 6] = [
        ("silent", |stream| {
            std::thread::sleep(Duration::from_secs(60));
            drop(stream);
        }),
        ("drips", |mut stream| {
            for byte in OK.bytes().cycle() {
                if stream.write_all(&[byte]).is_err() {
                    return;
                }
                std::thread::sleep(Duration::from_millis(100));
            }
        }),
        // Closed with bytes unread: the other end gets a reset.
        ("resets", |stream| {
            std::thread::sleep(Duration::from_millis(20));
            drop(stream);
        }),
        ("is cut off", |mut stream| {
            let _ = read(&mut stream);
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nhalf");
        }),
        ("speaks something else", |mut stream| {
            let _ = stream.write_all(&[0xff; 4096]);
            std::thread::sleep(Duration::from_millis(50));
        }),
        ("answers without end", |mut stream| {
            let _ = read(&mut stream);
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
            let chunk = [&b"10000\r\n"[..], &[b'x'; 65536], b"\r\n"].concat();
            while stream.write_all(&chunk).is_ok() {}
        }),
    ];
    behave
        .into_iter()
        .map(|(what, behave)| {
            let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
            let address = listener.local_addr().expect("bound").to_string();
            std::thread::spawn(move || {
                for stream in listener.incoming().flatten() {
                    std::thread::spawn(move || behave(stream));
                }
            });
            (what, address)
        })
        .collect()
}

/// What a scripted server is asked.
struct Asked {
    path: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Asked {
    fn header(&self, name: &str) -> &str {
        self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map_or("", |(_, v)| v)
    }

    /// The body, inflated.
    fn plain(&self) -> Vec<u8> {
        if self.header("content-encoding") != "gzip" {
            return self.body.clone();
        }
        let mut plain = Vec::new();
        flate2::read::GzDecoder::new(&self.body[..]).read_to_end(&mut plain).expect("gzip");
        plain
    }
}

/// A server that gives one answer after the other, then goes on with the last one, and tells what it was asked. An empty answer
/// closes the connection.
fn scripted(answers: &[&'static str]) -> (String, Receiver<Asked>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("bound").to_string();
    let (tell, told): (Sender<Asked>, _) = channel();
    let mut answers = answers.to_vec();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let Some(asked) = read(&mut stream) else { continue };
            let answer = if answers.len() > 1 { answers.remove(0) } else { answers[0] };
            let _ = stream.write_all(answer.as_bytes());
            let _ = tell.send(asked);
        }
    });
    (address, told)
}

fn read(stream: &mut TcpStream) -> Option<Asked> {
    stream.set_read_timeout(Some(Duration::from_secs(10))).ok()?;
    let (mut raw, mut buffer) = (Vec::new(), [0; 65536]);
    let end = loop {
        let n = stream.read(&mut buffer).ok().filter(|n| *n > 0)?;
        raw.extend_from_slice(&buffer[..n]);
        if let Some(end) = raw.windows(4).position(|w| w == b"\r\n\r\n") {
            break end;
        }
    };
    let head = String::from_utf8_lossy(&raw[..end]).into_owned();
    let mut head = head.split("\r\n");
    let path = head.next()?.split(' ').nth(1)?.to_owned();
    let headers: Vec<(String, String)> =
        head.filter_map(|l| l.split_once(": ")).map(|(n, v)| (n.to_owned(), v.to_owned())).collect();
    let mut asked = Asked { path, headers, body: raw.split_off(end + 4) };
    let length: usize = asked.header("content-length").parse().ok()?;
    while asked.body.len() < length {
        let n = stream.read(&mut buffer).ok().filter(|n| *n > 0)?;
        asked.body.extend_from_slice(&buffer[..n]);
    }
    Some(asked)
}

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
const ACCEPTED: &str = "HTTP/1.1 202 Accepted\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}";
const AGAIN: &str = "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
const MANY: &str = "HTTP/1.1 429 Too Many Requests\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
const BAD: &str = "HTTP/1.1 400 Bad Request\r\nContent-Length: 3\r\nConnection: close\r\n\r\nno!";

#[test]
fn what_a_peer_answers_decides_what_is_sent_again_and_what_is_given_up() {
    let dir = tempfile::tempdir().expect("a directory");
    let (address, asked) = scripted(&["", "SSH-2.0-garbage\r\n", AGAIN, MANY, OK, BAD, OK]);
    let yaml = format!(
        "  otlphttp:\n    endpoint: 'http://{address}'\n    headers: {{Authorization: 'Bearer very-secret'}}\n    forward_tenant: true\n    tenants: [blue]\n    sending_queue: {QUEUE}\n    {SOON}\n"
    );
    let braid = start(dir.path(), &yaml, &["traces"], "otlphttp");
    let send = |tenant: &str, n: u8| {
        post(braid.at("otlp_http"), "/v1/traces", &[PROTOBUF, ("X-Scope-OrgID", tenant)], &one(n)).expect(200);
    };
    send("red", 1);
    send("blue", 2);
    let asked_for = || asked.recv_timeout(Duration::from_secs(20)).expect("asked");
    for _ in 0..5 {
        let asked = asked_for();
        assert_eq!((asked.path.as_str(), asked.header("authorization")), ("/v1/traces", "Bearer very-secret"));
        assert_eq!((asked.header("x-scope-orgid"), asked.header("content-encoding")), ("blue", "gzip"));
        let plain = asked.plain();
        assert!(String::from_utf8_lossy(&plain).contains("span 2") && !String::from_utf8_lossy(&plain).contains("span 1"));
    }
    braid.eventually("one sent", |b| (sent(b, "spans", "otlphttp") == 1.0).then_some(()));
    assert_eq!(braid.metric("braid_exporter_retries_total{exporter=\"otlphttp\",signal=\"traces\"}"), 4.0);
    send("blue", 3);
    asked_for();
    braid.eventually("one refused", |b| {
        let failed = b.metric("braid_exporter_send_failed_spans_total{exporter=\"otlphttp\",reason=\"refused\"}");
        (failed == 1.0).then_some(())
    });
    send("blue", 4);
    asked_for();
    braid.eventually("it goes on", |b| (sent(b, "spans", "otlphttp") == 2.0).then_some(()));
    let (status, log) = braid.stop("-TERM");
    assert!(status.success() && log.contains("400 Bad Request: no!") && !log.contains("very-secret"), "{log}");
}

#[test]
fn one_bad_sample_does_not_take_the_others_of_its_request_along() {
    let dir = tempfile::tempdir().expect("a directory");
    // The whole, both halves, the two parts of the second.
    let (address, asked) = scripted(&[BAD, OK, BAD, BAD, OK]);
    let yaml = format!(
        "  prometheusremotewrite:\n    endpoint: 'http://{address}/api/v1/write'\n    remote_write_queue: {QUEUE}\n    {SOON}\n"
    );
    let braid = start(dir.path(), &yaml, &["metrics"], "prometheusremotewrite");
    let ms = (now() / 1_000_000) as i64;
    let series: Vec<_> = ["a", "b", "c", "d"].map(|name| (name, &[][..], [(ms, 1.0)])).into();
    let series: Vec<_> = series.iter().map(|(name, labels, samples)| (*name, *labels, &samples[..])).collect();
    post(braid.at("prometheus"), "/api/v1/write", &[PROTOBUF], &write_request(&series)).expect(204);
    for _ in 0..5 {
        asked.recv_timeout(Duration::from_secs(20)).expect("asked");
    }
    braid.eventually("three sent", |b| (sent(b, "metric_points", "prometheusremotewrite") == 3.0).then_some(()));
    let failed = "braid_exporter_send_failed_metric_points_total{exporter=\"prometheusremotewrite\",reason=\"refused\"}";
    assert_eq!(braid.metric(failed), 1.0);
}

#[test]
fn a_peer_that_does_not_answer_holds_up_neither_ingest_nor_the_end() {
    let dir = tempfile::tempdir().expect("a directory");
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let at = silent.local_addr().expect("bound");
    let yaml = format!("  otlphttp:\n    endpoint: 'http://{at}'\n    sending_queue: {QUEUE}\n");
    let braid = start(dir.path(), &yaml, &["traces", "logs", "metrics"], "otlphttp");
    for n in 1..=20 {
        post(braid.at("otlp_http"), "/v1/traces", &[PROTOBUF], &one(n)).expect(200);
    }
    braid.eventually("batches under way", |b| {
        (b.metric("braid_exporter_in_flight_batches{exporter=\"otlphttp\",signal=\"traces\"}") > 0.0).then_some(())
    });
    let (status, log) = braid.stop("-TERM");
    assert!(status.success(), "{log}");
}

/// One of `HTTPLogItem`: `message` is there, everything is text.
fn check_logs(body: &[u8]) -> Vec<BTreeMap<String, String>> {
    let items: Vec<BTreeMap<String, String>> = serde_json::from_slice(body).expect("an array of objects of texts");
    assert!(!items.is_empty() && items.len() <= 1000 && body.len() <= 5_000_000);
    assert!(items.iter().all(|i| i.contains_key("message")));
    items
}

/// `MetricPayload`: what is required, of the types that the documentation names, and nothing that it does not know.
fn check_metrics(body: &[u8]) -> Vec<Value> {
    assert!(body.len() <= 5_242_880);
    let payload: Value = serde_json::from_slice(body).expect("JSON");
    let series = payload["series"].as_array().expect("series").clone();
    assert!(!series.is_empty());
    for s in &series {
        let known = ["metric", "type", "points", "interval", "resources", "tags", "unit", "metadata", "source_type_name"];
        assert!(s.as_object().expect("an object").keys().all(|k| known.contains(&k.as_str())), "{s}");
        assert!(s["metric"].as_str().is_some_and(|m| !m.is_empty() && m.len() <= 200), "{s}");
        assert!(s["type"].as_u64().is_some_and(|t| t <= 3), "{s}");
        assert!(s.get("interval").is_none_or(Value::is_i64), "{s}");
        for point in s["points"].as_array().expect("points") {
            assert!(point["timestamp"].is_i64() && point["value"].is_number(), "{s}");
        }
        for resource in s["resources"].as_array().expect("resources") {
            assert!(resource["name"].is_string() && resource["type"] == "host", "{s}");
        }
        assert!(s["tags"].as_array().expect("tags").iter().all(|t| t.as_str().is_some_and(|t| t.contains(':'))), "{s}");
    }
    series
}

/// The fields of a message, by number.
fn fields(mut raw: &[u8]) -> Vec<(u64, Vec<u8>)> {
    fn varint(raw: &mut &[u8]) -> u64 {
        let (mut n, mut shift) = (0, 0);
        loop {
            let (first, rest) = raw.split_first().expect("a varint");
            *raw = rest;
            n |= u64::from(first & 0x7f) << shift;
            shift += 7;
            if *first < 0x80 {
                return n;
            }
        }
    }
    let mut out = Vec::new();
    while !raw.is_empty() {
        let tag = varint(&mut raw);
        let value = match tag & 7 {
            0 => varint(&mut raw).to_le_bytes().to_vec(),
            1 => raw.split_off(..8).expect("eight bytes").to_vec(),
            2 => {
                let len = varint(&mut raw) as usize;
                raw.split_off(..len).expect("so many bytes").to_vec()
            }
            other => panic!("wire type {other}"),
        };
        out.push((tag >> 3, value));
    }
    out
}

#[test]
fn datadog_gets_what_its_schema_says() {
    let dir = tempfile::tempdir().expect("a directory");
    let (address, asked) = scripted(&[ACCEPTED]);
    let yaml = format!(
        "  datadog:\n    api: {{key: 0123456789abcdef}}\n    hostname: myhost\n    traces: {{endpoint: 'http://{address}'}}\n    logs: {{endpoint: 'http://{address}'}}\n    metrics: {{endpoint: 'http://{address}'}}\n    sending_queue: {QUEUE}\n    {SOON}\n"
    );
    let braid = start(dir.path(), &yaml, &["traces", "logs", "metrics"], "datadog");
    let time = now();
    fill(&braid, time);
    // A counter shows what it gained from its second sample on.
    let later = export("shop", &[counter(time + 10_000_000_000, "requests", 8.0)]);
    post(braid.at("otlp_http"), "/v1/metrics", &[PROTOBUF], &later).expect(200);
    let (mut lines, mut series, mut spans) = (Vec::new(), Vec::new(), Vec::new());
    while lines.len() < 3 || series.len() < 3 || spans.len() < 2 {
        let asked = asked.recv_timeout(Duration::from_secs(20)).expect("asked");
        assert_eq!((asked.header("dd-api-key"), asked.header("content-encoding")), ("0123456789abcdef", "gzip"));
        let body = asked.plain();
        match (asked.path.as_str(), asked.header("content-type")) {
            ("/api/v2/logs", "application/json") => lines.extend(check_logs(&body)),
            ("/api/v2/series", "application/json") => series.extend(check_metrics(&body)),
            ("/api/v0.2/traces", "application/x-protobuf") => {
                let payload = fields(&body);
                assert!(payload.iter().any(|(n, v)| *n == 1 && v == b"myhost"));
                for (_, tracer) in payload.iter().filter(|(n, _)| *n == 5) {
                    for (_, chunk) in fields(tracer).into_iter().filter(|(n, _)| *n == 6) {
                        spans.extend(fields(&chunk).into_iter().filter(|(n, _)| *n == 3).map(|(_, span)| fields(&span)));
                    }
                }
            }
            other => panic!("{other:?}"),
        }
    }
    let line = lines.iter().find(|l| l["message"] == "hello").expect("the line");
    assert_eq!((line["service"].as_str(), line["status"].as_str(), line["hostname"].as_str()), ("shop", "info", "myhost"));
    assert!(lines.iter().any(|l| l["service"] == "web" && l["ddtags"].contains("env:dev")), "{lines:?}");
    let gauge = series.iter().find(|s| s["metric"] == "queue_size").expect("the gauge");
    assert_eq!((&gauge["type"], &gauge["points"][0]["value"]), (&Value::from(3), &Value::from(7.0)));
    assert!(gauge["tags"].as_array().expect("tags").contains(&Value::from("service:shop")));
    let count = series.iter().find(|s| s["metric"] == "requests_total").expect("the counter");
    assert_eq!((&count["type"], &count["points"][0]["value"], &count["interval"]), (&1.into(), &5.0.into(), &10.into()));
    for span in &spans {
        let field = |n| span.iter().find(|(number, _)| *number == n).map(|(_, v)| v.clone()).expect("the field");
        assert_eq!((field(1), field(2)), (b"shop".to_vec(), b"server.request".to_vec()));
        assert_eq!(field(4), u64::from_be_bytes([7; 8]).to_le_bytes(), "the lower half of the trace id");
        assert_eq!(field(7), time.to_le_bytes());
        assert_eq!(field(8), 1_000_000u64.to_le_bytes());
        let meta: Vec<Vec<u8>> = span.iter().filter(|(n, _)| *n == 10).map(|(_, v)| v.clone()).collect();
        assert!(meta.iter().any(|m| fields(m) == [(1, b"_dd.p.tid".to_vec()), (2, "07".repeat(8).into_bytes())]));
    }
}
