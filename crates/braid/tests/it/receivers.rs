//! Each receiver, from a request to what is counted and found.

use std::io::Write;

use crate::asking::{instant, lines, spans};
use crate::braid::Braid;
use crate::client::{Reply, post, send};
use crate::grpc::{call, framed};
use crate::protobuf::{bytes, export, gauge, log, now, span, write_request};

const PROTOBUF: (&str, &str) = ("Content-Type", "application/x-protobuf");
const JSON: (&str, &str) = ("Content-Type", "application/json");

fn accepted(braid: &Braid, receiver: &str, signal: &str) -> f64 {
    braid.metric(&format!("braid_receiver_accepted_items_total{{receiver=\"{receiver}\",signal=\"{signal}\"}}"))
}

fn gzip(plain: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(plain).expect("memory");
    encoder.finish().expect("memory")
}

/// One request of each signal, protobuf.
fn otlp() -> [(&'static str, Vec<u8>); 3] {
    [
        ("traces", export("shop", &[span([1; 16], [1; 8], "GET /", now())])),
        ("logs", export("shop", &[log(now(), "hello")])),
        ("metrics", export("shop", &[gauge(now(), "queue.size", 7.0)])),
    ]
}

#[test]
fn otlp_over_http_takes_every_signal_in_every_content_encoding() {
    let dir = tempfile::tempdir().expect("a directory");
    let braid = Braid::start(dir.path());
    for face in ["otlp_http", "braid"] {
        for (signal, request) in otlp() {
            let path = format!("/v1/{signal}");
            let before = accepted(&braid, "otlp_http", signal);
            for (encoding, body) in [
                ("identity", request.clone()),
                ("gzip", gzip(&request)),
                ("zstd", zstd::encode_all(&request[..], 3).expect("memory")),
            ] {
                let reply = post(braid.at(face), &path, &[PROTOBUF, ("Content-Encoding", encoding)], &body).expect(200);
                assert_eq!(reply.header("content-type"), Some("application/x-protobuf"));
                assert!(reply.body.is_empty(), "no partial success: {:?}", reply.body);
            }
            assert_eq!(accepted(&braid, "otlp_http", signal), before + 3.0, "{signal} at {face}");
        }
    }
}

#[test]
fn otlp_json_is_taken_and_answered_in_json() {
    let dir = tempfile::tempdir().expect("a directory");
    let braid = Braid::start(dir.path());
    let time = now();
    let body = format!(
        r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[
            {{"traceId":"5b8efff798038103d269b633813fc60c","spanId":"eee19b7ec3c1b174","name":"a","startTimeUnixNano":"{time}","endTimeUnixNano":"{time}"}},
            {{"traceId":"00000000000000000000000000000000","spanId":"eee19b7ec3c1b174","name":"b","startTimeUnixNano":"{time}","endTimeUnixNano":"{time}"}}]}}]}}]}}"#
    );
    let reply = post(braid.at("otlp_http"), "/v1/traces", &[JSON], body.as_bytes()).expect(200);
    assert_eq!(reply.header("content-type"), Some("application/json"));
    let partial = &reply.json()["partialSuccess"];
    assert_eq!(partial["rejectedSpans"], "1", "{partial}");
    assert!(partial["errorMessage"].as_str().is_some_and(|m| m.contains("trace id")), "{partial}");
    assert_eq!(accepted(&braid, "otlp_http", "traces"), 1.0);

    let reply = post(braid.at("otlp_http"), "/v1/traces", &[JSON], b"{\"resourceSpans\":3}").expect(400);
    assert_eq!(reply.json()["code"], 3);
    assert!(reply.json()["message"].as_str().is_some_and(|m| !m.is_empty()));
}

#[test]
fn browsers_may_send_from_pages_of_this_machine() {
    let dir = tempfile::tempdir().expect("a directory");
    let braid = Braid::start(dir.path());
    let asking = [
        ("Origin", "http://localhost:8081"),
        ("Access-Control-Request-Method", "POST"),
        ("Access-Control-Request-Headers", "content-type,traceparent"),
    ];
    let reply = send(braid.at("otlp_http"), "OPTIONS", "/v1/traces", &asking, b"").expect(204);
    assert_eq!(reply.header("access-control-allow-origin"), Some("http://localhost:8081"));
    assert_eq!(reply.header("access-control-allow-headers"), Some("content-type,traceparent"));
    assert!(reply.header("access-control-allow-methods").is_some_and(|m| m.contains("POST")));

    let (_, body) = &otlp()[0];
    let reply = post(braid.at("otlp_http"), "/v1/traces", &[PROTOBUF, asking[0]], body).expect(200);
    assert_eq!(reply.header("access-control-allow-origin"), Some("http://localhost:8081"));
    let reply = post(braid.at("otlp_http"), "/v1/traces", &[PROTOBUF, ("Origin", "http://evil.example")], body).expect(200);
    assert_eq!(reply.header("access-control-allow-origin"), None);
}

#[test]
fn otlp_over_grpc_takes_every_signal_plain_and_compressed() {
    let dir = tempfile::tempdir().expect("a directory");
    let braid = Braid::start(dir.path());
    for face in ["otlp_grpc", "braid"] {
        for ((signal, request), service) in otlp().into_iter().zip(["trace.v1.Trace", "logs.v1.Logs", "metrics.v1.Metrics"]) {
            let path = format!("/opentelemetry.proto.collector.{service}Service/Export");
            let before = accepted(&braid, "otlp_grpc", signal);
            for (encoding, body) in [
                ("identity", framed(false, &request)),
                ("gzip", framed(true, &gzip(&request))),
                ("zstd", framed(true, &zstd::encode_all(&request[..], 3).expect("memory"))),
            ] {
                let ended = call(braid.at(face), &path, &[("grpc-encoding", encoding)], body);
                assert_eq!((ended.code, &*ended.body), (0, &[0, 0, 0, 0, 0][..]), "{signal} {encoding}: {}", ended.message);
            }
            assert_eq!(accepted(&braid, "otlp_grpc", signal), before + 3.0, "{signal} at {face}");
        }
    }
}

#[test]
fn grpc_says_what_is_wrong_in_its_own_codes() {
    let dir = tempfile::tempdir().expect("a directory");
    let braid = Braid::start(dir.path());
    let path = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
    let at = braid.at("otlp_grpc");

    let ended = call(at, path, &[], framed(false, b"\xff\xff\xff"));
    assert_eq!(ended.code, 3, "{}", ended.message);
    let ended = call(at, path, &[], b"\0\0\0".to_vec());
    assert_eq!(ended.code, 3, "{}", ended.message);
    let ended = call(at, path, &[("grpc-encoding", "lzma")], framed(true, b"x"));
    assert_eq!(ended.code, 12, "{}", ended.message);
    let ended = call(at, "/opentelemetry.proto.collector.trace.v1.TraceService/Import", &[], framed(false, b""));
    assert_eq!(ended.code, 12, "{}", ended.message);
    let bomb = zstd::encode_all(&vec![0; 100 << 20][..], 3).expect("memory");
    let ended = call(at, path, &[("grpc-encoding", "zstd")], framed(true, &bomb));
    assert_eq!(ended.code, 8, "{}", ended.message);
    assert_eq!(ended.details, None, "it makes no sense to send that again");

    let partial = export("shop", &[span([1; 16], [1; 8], "good", now()), span([0; 16], [1; 8], "no trace", now())]);
    let ended = call(at, path, &[], framed(false, &partial));
    assert_eq!(ended.code, 0);
    // partial_success { rejected: 1, message }
    assert_eq!(ended.body.get(5..6), Some(&b"\x0a"[..]));
    assert_eq!(ended.body.get(7..9), Some(&b"\x08\x01"[..]), "{:?}", ended.body);
    assert_eq!(accepted(&braid, "otlp_grpc", "traces"), 1.0);
}

#[test]
fn loki_push_is_taken_as_json_and_as_protobuf() {
    let dir = tempfile::tempdir().expect("a directory");
    let braid = Braid::start(dir.path());
    let time = now();
    let json = format!(
        r#"{{"streams":[{{"stream":{{"app":"shop"}},"values":[["{time}","one"],["{}","two",{{"trace_id":"x"}}]]}}]}}"#,
        time + 1
    );
    for path in ["/loki/api/v1/push", "/api/prom/push"] {
        post(braid.at("loki"), path, &[JSON], json.as_bytes()).expect(204);
    }
    post(braid.at("braid"), "/loki/api/v1/push", &[JSON, ("Content-Encoding", "gzip")], &gzip(json.as_bytes())).expect(204);
    assert_eq!(accepted(&braid, "loki_push", "logs"), 6.0);

    let timestamp = [crate::protobuf::int(1, time / 1_000_000_000), crate::protobuf::int(2, time % 1_000_000_000)].concat();
    let entry = [bytes(1, &timestamp), bytes(2, b"three")].concat();
    let stream = [bytes(1, b"{app=\"shop\"}"), bytes(2, &entry)].concat();
    let body = snap::raw::Encoder::new().compress_vec(&bytes(1, &stream)).expect("small");
    post(braid.at("loki"), "/loki/api/v1/push", &[PROTOBUF], &body).expect(204);
    assert_eq!(accepted(&braid, "loki_push", "logs"), 7.0);

    let reply = post(braid.at("loki"), "/loki/api/v1/push", &[JSON], b"{\"streams\":").expect(400);
    assert!(!reply.text().trim().is_empty());

    let (_, otlp) = &otlp()[1];
    post(braid.at("loki"), "/otlp/v1/logs", &[PROTOBUF], otlp).expect(204);
    assert_eq!(accepted(&braid, "otlp_http", "logs"), 1.0);
}

#[test]
fn remote_write_keeps_the_good_samples_and_says_how_many() {
    let dir = tempfile::tempdir().expect("a directory");
    let braid = Braid::start(dir.path());
    let time = (now() / 1_000_000) as i64;
    let write = |headers: &[(&str, &str)], body: &[u8]| -> Reply { post(braid.at("prometheus"), "/api/v1/write", headers, body) };

    let good = write_request(&[("a", &[("job", "x")], &[(time, 1.0), (time + 1, f64::NAN)])]);
    let reply = write(&[PROTOBUF, ("Content-Encoding", "snappy")], &good).expect(204);
    assert_eq!(reply.header("x-prometheus-remote-write-samples-written"), Some("2"));

    // A series without a name cannot be kept; 400, never 5xx, or the sender would try for ever.
    let mut encoder = wire::remote_write::Encoder::new();
    encoder.series([("job", "nameless")], &[(time, 1.0)]);
    encoder.series([("__name__", "b")], &[(time, 1.0)]);
    let mixed = encoder.finish().expect("small");
    let reply = write(&[PROTOBUF], &mixed);
    if reply.status == 400 {
        assert_eq!(reply.header("x-prometheus-remote-write-samples-written"), Some("1"), "{}", reply.text());
        assert!(!reply.text().trim().is_empty());
    } else {
        panic!("{reply:?}");
    }

    let unknown = ("Content-Type", "application/x-protobuf;proto=io.prometheus.write.v3.Request");
    write(&[unknown], &good).expect(415);
    write(&[("Content-Type", "text/plain")], &good).expect(415);
    write(&[PROTOBUF, ("Content-Encoding", "gzip")], &good).expect(415);
    write(&[PROTOBUF], b"not snappy at all").expect(400);
    assert_eq!(accepted(&braid, "remote_write", "metrics"), 3.0);

    let (_, otlp) = &otlp()[2];
    post(braid.at("prometheus"), "/api/v1/otlp/v1/metrics", &[PROTOBUF], otlp).expect(200);
    assert_eq!(accepted(&braid, "otlp_http", "metrics"), 1.0);
}

#[test]
fn a_sample_of_a_wrong_clock_is_refused_and_those_after_it_are_kept() {
    let dir = tempfile::tempdir().expect("a directory");
    let braid = Braid::start(dir.path());
    let time = (now() / 1_000_000) as i64;
    let write = |minutes: i64| {
        let body = write_request(&[("a", &[("job", "x")], &[(time + minutes * 60_000, 1.0)])]);
        post(braid.at("prometheus"), "/api/v1/write", &[PROTOBUF], &body)
    };
    write(9).expect(204);
    let refused = write(60).expect(400);
    assert!(refused.text().starts_with("out of bounds"), "{}", refused.text());
    assert_eq!(refused.header("x-prometheus-remote-write-samples-written"), Some("0"));
    write(0).expect(204);
}

#[test]
fn tenants_are_named_by_a_header_that_is_checked() {
    let dir = tempfile::tempdir().expect("a directory");
    let braid = Braid::start(dir.path());
    let (_, traces) = &otlp()[0];
    post(braid.at("otlp_http"), "/v1/traces", &[PROTOBUF, ("X-Scope-OrgID", "team-a")], traces).expect(200);
    for bad in ["../../etc", "a/b", "a|b"] {
        let reply = post(braid.at("otlp_http"), "/v1/traces", &[PROTOBUF, ("X-Scope-OrgID", bad)], traces).expect(400);
        assert!(reply.text().contains("tenant"), "{}", reply.text());
        post(braid.at("loki"), "/loki/api/v1/push", &[JSON, ("X-Scope-OrgID", bad)], b"{\"streams\":[]}").expect(400);
    }
}

#[test]
fn what_came_in_through_any_door_is_found_at_once() {
    let dir = tempfile::tempdir().expect("a directory");
    let braid = Braid::start(dir.path());
    let time = now();

    // Traces: by HTTP in protobuf and in JSON, by gRPC; two requests of one trace.
    let http = |id: u8, name: &str| export("shop", &[span([0xab; 16], [id; 8], name, time)]);
    post(braid.at("otlp_http"), "/v1/traces", &[PROTOBUF], &http(1, "protobuf")).expect(200);
    let json = format!(
        r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{{"traceId":"{}","spanId":"0202020202020202","name":"json",
            "startTimeUnixNano":"{time}","endTimeUnixNano":"{time}"}}]}}]}}]}}"#,
        "ab".repeat(16)
    );
    post(braid.at("braid"), "/v1/traces", &[JSON], json.as_bytes()).expect(200);
    let path = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
    assert_eq!(call(braid.at("otlp_grpc"), path, &[], framed(false, &http(3, "grpc"))).code, 0);
    assert_eq!(spans(&braid, &"ab".repeat(16)), ["grpc", "json", "protobuf"]);
    // The same request again, as after a lost acknowledgement: taken, and not kept twice.
    post(braid.at("otlp_http"), "/v1/traces", &[PROTOBUF], &http(1, "protobuf")).expect(200);
    assert_eq!(spans(&braid, &"ab".repeat(16)), ["grpc", "json", "protobuf"]);

    // Logs: OTLP and both forms of Loki push.
    post(braid.at("otlp_http"), "/v1/logs", &[PROTOBUF], &export("shop", &[log(time, "from OTLP")])).expect(200);
    let push = format!(r#"{{"streams":[{{"stream":{{"service_name":"shop"}},"values":[["{}","from JSON"]]}}]}}"#, time + 1);
    post(braid.at("loki"), "/loki/api/v1/push", &[JSON], push.as_bytes()).expect(204);
    let later = time + 2;
    let timestamp = [crate::protobuf::int(1, later / 1_000_000_000), crate::protobuf::int(2, later % 1_000_000_000)].concat();
    let entry = [bytes(1, &timestamp), bytes(2, b"from protobuf")].concat();
    let stream = [bytes(1, b"{service_name=\"shop\"}"), bytes(2, &entry)].concat();
    let body = snap::raw::Encoder::new().compress_vec(&bytes(1, &stream)).expect("small");
    post(braid.at("loki"), "/loki/api/v1/push", &[PROTOBUF], &body).expect(204);
    let found = lines(&braid, "{service_name=\"shop\"}", time - 1, time + 3);
    assert_eq!(found, ["from OTLP", "from JSON", "from protobuf"]);

    // Metrics: OTLP and remote write.
    post(braid.at("otlp_http"), "/v1/metrics", &[PROTOBUF], &export("shop", &[gauge(time, "queue.size", 7.0)])).expect(200);
    let ms = (time / 1_000_000) as i64;
    let samples = write_request(&[("queue_size", &[("job", "other")], &[(ms, 8.0)])]);
    post(braid.at("prometheus"), "/api/v1/write", &[PROTOBUF], &samples).expect(204);
    let found: Vec<String> = instant(&braid, "queue_size", time as f64 / 1e9 + 1.0)
        .into_iter()
        .map(|(labels, value)| format!("{} {value}", labels["job"]))
        .collect();
    assert_eq!(found, ["other 8", "shop 7"]);

    // Another tenant sees none of it.
    post(braid.at("otlp_http"), "/v1/traces", &[PROTOBUF, ("X-Scope-OrgID", "b")], &http(4, "theirs")).expect(200);
    assert_eq!(spans(&braid, &"ab".repeat(16)), ["grpc", "json", "protobuf"]);
}
