//! Requests that mean harm: the right status with a reason, counted, and the next request is served.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use crate::braid::Braid;
use crate::client::{post, send};
use crate::protobuf::{attribute, bytes, export, fixed64, int, message, now, span, varint, write_request};

const PROTOBUF: (&str, &str) = ("Content-Type", "application/x-protobuf");
const JSON: (&str, &str) = ("Content-Type", "application/json");

fn gzip(plain: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(plain).expect("memory");
    encoder.finish().expect("memory")
}

fn refused(braid: &Braid, receiver: &str, signal: &str, reason: &str) -> f64 {
    braid.metric(&format!(
        "braid_receiver_refused_requests_total{{receiver=\"{receiver}\",signal=\"{signal}\",reason=\"{reason}\"}}"
    ))
}

/// Posts traces, and then a good request, which must go through.
fn traces(braid: &Braid, headers: &[(&str, &str)], body: &[u8]) -> crate::client::Reply {
    let reply = post(braid.at("otlp_http"), "/v1/traces", headers, body);
    post(braid.at("otlp_http"), "/v1/traces", &[PROTOBUF], &export("next", &[span([9; 16], [9; 8], "next", now())])).expect(200);
    reply
}

#[test]
fn bodies_that_break_off_or_make_no_sense_are_malformed() {
    let dir = tempfile::tempdir().expect("a directory");
    let braid = Braid::start(dir.path());
    let good = export("shop", &[span([1; 16], [1; 8], "GET /", now())]);
    let mut count = 0.0;
    for cut in [1, 2, good.len() / 2, good.len() - 1] {
        let reply = traces(&braid, &[PROTOBUF], &good[..cut]).expect(400);
        assert!(reply.body.starts_with(b"\x08\x03\x12"), "google.rpc.Status with INVALID_ARGUMENT: {:?}", reply.body);
        count += 1.0;
    }
    for bad in [&b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"[..], b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\x7f", b"hello"] {
        traces(&braid, &[PROTOBUF], bad).expect(400);
        count += 1.0;
    }
    for bad in
        [&b""[..], b"{", b"[]", b"{\"resourceSpans\":[{\"scopeSpans\":[{\"spans\":[{\"traceId\":\"xyz\"}]}]}]}", b"\xff\xfe"]
    {
        traces(&braid, &[JSON], bad).expect(400);
        count += 1.0;
    }
    assert_eq!(refused(&braid, "otlp_http", "traces", "malformed"), count);
    traces(&braid, &[("Content-Type", "text/plain")], &good).expect(415);
    traces(&braid, &[PROTOBUF, ("Content-Encoding", "lzma")], &good).expect(415);
    traces(&braid, &[PROTOBUF, ("Content-Encoding", "gzip")], &good).expect(400);
    traces(&braid, &[PROTOBUF, ("Content-Encoding", "gzip")], &gzip(&good)[..20]).expect(400);
    send(braid.at("otlp_http"), "GET", "/v1/traces", &[], b"").expect(405);
    send(braid.at("otlp_http"), "POST", "/v1/nothing", &[PROTOBUF], &good).expect(404);
}

#[test]
fn bodies_that_are_too_large_are_refused_before_and_after_inflating() {
    let dir = tempfile::tempdir().expect("a directory");
    let braid = Braid::start(dir.path());
    traces(&braid, &[PROTOBUF], &vec![0; 21 << 20]).expect(413);
    let zeros = vec![0; 200 << 20];
    traces(&braid, &[PROTOBUF, ("Content-Encoding", "gzip")], &gzip(&zeros)).expect(413);
    traces(&braid, &[PROTOBUF, ("Content-Encoding", "zstd")], &zstd::encode_all(&zeros[..], 1).expect("memory")).expect(413);
    assert_eq!(refused(&braid, "otlp_http", "traces", "too_large"), 3.0);

    // Snappy that claims four gigabytes.
    let claim = [varint(u64::from(u32::MAX)), vec![0; 32]].concat();
    let reply = post(braid.at("prometheus"), "/api/v1/write", &[PROTOBUF], &claim);
    assert!(matches!(reply.status, 400 | 413), "{reply:?}");
    let snappy = snap::raw::Encoder::new().compress_vec(&vec![0; 70 << 20]).expect("below 4 GiB");
    post(braid.at("prometheus"), "/api/v1/write", &[PROTOBUF], &snappy).expect(413);
    post(braid.at("loki"), "/loki/api/v1/push", &[PROTOBUF], &snappy).expect(413);
    // Ten megabytes of a query: the refusal is read, although nobody takes in all that was sent.
    let form = ("Content-Type", "application/x-www-form-urlencoded");
    let query = [&b"query="[..], &vec![b'1'; 10 << 20]].concat();
    for face in ["prometheus", "loki"] {
        let path = if face == "loki" { "/loki/api/v1/query" } else { "/api/v1/query" };
        let reply = post(braid.at(face), path, &[form], &query).expect(400);
        assert!(reply.text().contains("http: POST too large"), "{reply:?}");
    }
    assert_eq!(braid.metric("braid_in_flight_bytes"), 0.0, "everything was given back");
    assert!(braid.metric("process_resident_memory_max_bytes") < 400e6, "bombs did not go off");
}

#[test]
fn a_million_attributes_are_cut_and_deep_nesting_is_refused() {
    let dir = tempfile::tempdir().expect("a directory");
    let braid = Braid::start(dir.path());
    let many: Vec<u8> = (0..1_000_000).flat_map(|i| attribute(9, &i.to_string(), "x")).collect();
    let wide = message(2, &[bytes(1, &[1; 16]), bytes(2, &[1; 8]), fixed64(7, now()), fixed64(8, now()), many]);
    let reply = traces(&braid, &[PROTOBUF], &export("shop", &[wide])).expect(200);
    assert!(reply.text().contains("past the limit of a span: 990000"), "{}", reply.text());

    // AnyValue { array_value { values: AnyValue { … } } }, ten thousand deep.
    let mut deep = bytes(1, b"x");
    for _ in 0..10_000 {
        deep = bytes(5, &bytes(1, &deep));
    }
    let attribute = message(9, &[bytes(1, b"deep"), bytes(2, &deep)]);
    let nested = message(2, &[bytes(1, &[1; 16]), bytes(2, &[1; 8]), fixed64(7, now()), fixed64(8, now()), attribute]);
    let reply = traces(&braid, &[PROTOBUF], &export("shop", &[nested]));
    assert!(matches!(reply.status, 400 | 413), "{reply:?}");

    for text in ["[".repeat(1_000_000), format!("{{\"resourceSpans\":{}", "[".repeat(1_000_000)), "{\"a\":".repeat(1_000_000)] {
        let reply = traces(&braid, &[JSON], text.as_bytes());
        assert!(matches!(reply.status, 400 | 413), "{reply:?}");
    }
}

#[test]
fn bad_items_are_left_out_and_their_good_neighbours_kept() {
    let dir = tempfile::tempdir().expect("a directory");
    let braid = Braid::start(dir.path());
    let good = || span([1; 16], [1; 8], "good", now());
    let before = braid.metric("braid_receiver_accepted_items_total{receiver=\"otlp_http\",signal=\"traces\"}");
    assert_eq!(before, 0.0);
    let short_id = message(2, &[bytes(1, &[1; 4]), bytes(2, &[1; 8]), fixed64(7, now()), fixed64(8, now()), int(6, 1)]);
    let spans = [
        good(),
        span([0; 16], [1; 8], "no trace id", now()),
        span([1; 16], [0; 8], "no span id", now()),
        short_id,
        span([2; 16], [2; 8], "in the year 2500", u64::MAX - 5),
        span([3; 16], [3; 8], "another good one", now()),
    ];
    let reply = post(braid.at("otlp_http"), "/v1/traces", &[PROTOBUF], &export("shop", &spans)).expect(200);
    assert!(!reply.body.is_empty(), "a partial success");
    let text = braid.get("braid", "/metrics").text();
    let left_out: f64 = text
        .lines()
        .filter(|l| l.starts_with("braid_receiver_refused_items_total{receiver=\"otlp_http\",signal=\"traces\""))
        .filter_map(|l| l.rsplit_once(' ')?.1.parse::<f64>().ok())
        .sum();
    let kept = braid.metric("braid_receiver_accepted_items_total{receiver=\"otlp_http\",signal=\"traces\"}");
    assert_eq!(kept + left_out, 6.0, "{text}");
    assert!((2.0..=3.0).contains(&kept), "{kept}");

    // Text that is not UTF-8 is the whole message's fault, as for every protobuf decoder.
    let invalid = message(2, &[bytes(1, &[1; 16]), bytes(2, &[1; 8]), bytes(5, b"\xff\xfe")]);
    traces(&braid, &[PROTOBUF], &export("shop", &[good(), invalid])).expect(400);
}

#[test]
fn wild_times_and_values_of_samples_do_no_harm() {
    let dir = tempfile::tempdir().expect("a directory");
    let braid = Braid::start(dir.path());
    let time = (now() / 1_000_000) as i64;
    let values = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, f64::MIN_POSITIVE, -0.0, f64::from_bits(0x7ff0_0000_0000_0002)];
    let samples: Vec<(i64, f64)> = values.iter().enumerate().map(|(i, v)| (time + i as i64, *v)).collect();
    let body = write_request(&[("odd", &[], &samples)]);
    let reply = post(braid.at("prometheus"), "/api/v1/write", &[PROTOBUF], &body).expect(204);
    assert_eq!(reply.header("x-prometheus-remote-write-samples-written"), Some("6"));
    for wild in [i64::MIN, -1, 0, i64::MAX] {
        let body = write_request(&[("wild", &[], &[(wild, 1.0)]), ("fine", &[], &[(time, 1.0)])]);
        let reply = post(braid.at("prometheus"), "/api/v1/write", &[PROTOBUF], &body);
        assert!(matches!(reply.status, 204 | 400), "{wild}: {reply:?}");
    }
    post(braid.at("prometheus"), "/api/v1/write", &[PROTOBUF], &body).expect(204);
}

#[test]
fn a_body_that_never_ends_or_never_comes_costs_one_connection() {
    let dir = tempfile::tempdir().expect("a directory");
    let braid = Braid::start(dir.path());
    let mut slow = TcpStream::connect(braid.at("otlp_http")).expect("listening");
    slow.write_all(
        b"POST /v1/traces HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-protobuf\r\nContent-Length: 1000\r\n\r\nab",
    )
    .expect("sent");
    // Chunks without an end, past the limit.
    let mut endless = TcpStream::connect(braid.at("otlp_http")).expect("listening");
    endless.set_read_timeout(Some(Duration::from_secs(30))).expect("set");
    endless
        .write_all(
            b"POST /v1/traces HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-protobuf\r\nTransfer-Encoding: chunked\r\n\r\n",
        )
        .expect("sent");
    let chunk = [b"100000\r\n".to_vec(), vec![0; 0x10_0000], b"\r\n".to_vec()].concat();
    for _ in 0..100 {
        if endless.write_all(&chunk).is_err() {
            break;
        }
    }
    let mut answer = [0; 12];
    endless.read_exact(&mut answer).expect("an answer");
    assert_eq!(&answer, b"HTTP/1.1 413");
    traces(&braid, &[PROTOBUF], &export("shop", &[])).expect(200);
    drop(slow);
    braid.eventually("giving back what the broken connection held", |b| (b.metric("braid_in_flight_bytes") == 0.0).then_some(()));
}

#[test]
fn lines_that_are_no_http_are_answered_or_dropped() {
    let dir = tempfile::tempdir().expect("a directory");
    let braid = Braid::start(dir.path());
    for noise in
        [&b"\0\0\0\0\0\0\0\0\r\n\r\n"[..], b"GET\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nnonsense", &[0x16, 3, 1, 2, 0, 1, 0]]
    {
        for face in ["braid", "otlp_grpc", "otlp_http", "prometheus", "loki", "tempo"] {
            let mut stream = TcpStream::connect(braid.at(face)).expect("listening");
            stream.write_all(noise).expect("sent");
            stream.shutdown(std::net::Shutdown::Write).expect("open");
            let mut answer = Vec::new();
            let _ = stream.read_to_end(&mut answer);
        }
    }
    braid.get("braid", "/ready").expect(200);
}
