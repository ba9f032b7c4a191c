//! Correlation from outside: records in by several doors, events out; a process that is killed in an open window.

use std::io::Write;
use std::net::{TcpStream, UdpSocket};
use std::path::Path;

use serde_json::{Value, json};

use crate::braid::Braid;
use crate::client::post;

const JSON: (&str, &str) = ("Content-Type", "application/json");
const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

/// A configuration in `dir` with a window of so many seconds, and syslog.
fn config(dir: &Path, seconds: u32) -> String {
    let file = dir.join("braid.yaml");
    let text = format!(
        "correlation:\n  window: {seconds}s\nreceivers:\n  syslog:\n    udp: {{listen_address: \"127.0.0.1:0\"}}\n    tcp: {{listen_address: \"127.0.0.1:0\"}}\n"
    );
    std::fs::write(&file, text).expect("written");
    file.display().to_string()
}

fn start(dir: &Path, seconds: u32) -> Braid {
    Braid::start_with(dir, &["--config", &config(dir, seconds)])
}

fn now() -> u64 {
    std::time::UNIX_EPOCH.elapsed().expect("after 1970").as_nanos() as u64
}

fn send_span(braid: &Braid, trace: &str, span: &str, service: &str, circuit: &str) {
    let at = now().to_string();
    let body = json!({"resourceSpans": [{
        "resource": {"attributes": [{"key": "service.name", "value": {"stringValue": service}}]},
        "scopeSpans": [{"spans": [{
            "traceId": trace, "spanId": span, "name": "op", "kind": 2, "startTimeUnixNano": at, "endTimeUnixNano": at,
            "attributes": [{"key": "circuit_id", "value": {"stringValue": circuit}}],
        }]}],
    }]});
    post(braid.at("correlation"), "/api/otlp/v1/traces", &[JSON], body.to_string().as_bytes()).expect(200);
}

fn events(braid: &Braid, query: &str) -> Vec<Value> {
    let found = braid.get("correlation", &format!("/api/correlations?{query}")).expect(200).json();
    found.as_array().expect("an array").clone()
}

/// The one event that has `lines` lines.
fn event(braid: &Braid, query: &str, lines: u64) -> Value {
    braid.eventually("the event", |b| {
        let found = events(b, query);
        assert!(found.len() <= 1, "{found:?}");
        found.into_iter().find(|e| e["log_count"] == lines)
    })
}

#[test]
fn syslog_lines_with_only_a_circuit_are_tied_to_the_trace_with_evidence() {
    let dir = tempfile::tempdir().expect("a directory");
    let braid = start(dir.path(), 2);
    send_span(&braid, TRACE, "1111111111111111", "beorn", "CKT-7");
    send_span(&braid, TRACE, "2222222222222222", "palantir", "CKT-7");
    let udp = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    udp.send_to(b"<131>bp1 blueplanet[7]: LOS on circuit id CKT-7", braid.at("syslog_udp")).expect("sent");
    let mut tcp = TcpStream::connect(braid.at("syslog_tcp")).expect("listening");
    tcp.write_all(b"63 <132>1 - bp1 blueplanet 7 - - {\"msg\":\"up\",\"circuit_id\":\"CKT-7\"}").expect("sent");
    tcp.write_all(b"\n<132>bp1 other[7]: circuit id CKT-8\n").expect("sent");
    drop(tcp);
    let records = json!({"resource": {"service": "gateway"}, "records": [
        {"timestamp": "2026-11-27T10:00:00Z", "message": "with the id", "trace_id": TRACE},
        {"timestamp": "never", "message": "x"},
    ]});
    let answer = post(braid.at("braid"), "/api/logs", &[JSON], records.to_string().as_bytes()).expect(200).json();
    assert_eq!((&answer["accepted"], &answer["rejected"][0]["index"]), (&json!(1), &json!(1)));

    let event = event(&braid, "circuit_id=CKT-7", 3);
    assert_eq!(event["trace_id"], TRACE);
    assert_eq!(event["span_count"], 2);
    assert_eq!((&event["log_count_by_key"], &event["log_count_by_trace_id"]), (&json!(2), &json!(1)));
    assert_eq!(
        (&event["error_log_count"], &event["error_count"]),
        (&json!(1), &json!(0)),
        "a joined line of severity error is one"
    );
    let evidence = &event["joined_logs"][0]["evidence"];
    assert_eq!(
        (&evidence["key"], &evidence["value"], &evidence["candidates"]),
        (&json!("circuit_id"), &json!("CKT-7"), &json!(1))
    );

    let lines = braid.get("correlation", &format!("/api/traces/{TRACE}/logs")).expect(200).json();
    assert_eq!((&lines["counts"]["key"], &lines["counts"]["trace_id"]), (&json!(2), &json!(1)), "{lines}");
    let all = braid.get("correlation", "/api/correlate?key=circuit_id:CKT-7&start=1").expect(200).json();
    // A value alone is looked for under every name that a key may have.
    let bare = braid.get("correlation", "/api/correlate?key=CKT-7&start=1").expect(200).json();
    assert_eq!((&bare["correlations"], &bare["items"]), (&all["correlations"], &all["items"]));
    assert_eq!(events(&braid, "key=CKT-7").len(), 1);
    assert!(events(&braid, "key=CKT-0").is_empty());
    let kinds: Vec<&str> = all["items"].as_array().expect("items").iter().filter_map(|i| i["kind"].as_str()).collect();
    assert_eq!(kinds.iter().filter(|k| **k == "span").count(), 2, "{all}");
    assert_eq!(kinds.iter().filter(|k| **k == "log").count(), 3, "{all}");

    // The synthetic span is in the trace, and nowhere else unless it is asked for.
    let trace = braid.get("tempo", &format!("/api/traces/{TRACE}")).expect(200).text();
    assert!(trace.contains("braid-correlation"), "{trace}");
    let query = |q: &str| braid.get("tempo", &format!("/api/search?q={q}")).expect(200).text();
    assert!(!query("%7B%7D").contains("braid-correlation"));
    assert!(query("%7Bresource.service.name=%22braid-correlation%22%7D").contains("braid-correlation"));
    let services = braid.get("correlation", "/api/entities").expect(200).text();
    assert!(services.contains("\"blueplanet\"") && services.contains("\"bp1\""), "{services}");
    assert!(braid.metric("correlation_events_total") >= 1.0);
    assert_eq!(braid.get("correlation", "/health").expect(200).json()["status"], "healthy");
}

#[test]
fn a_process_that_is_killed_in_an_open_window_loses_and_doubles_no_event() {
    let dir = tempfile::tempdir().expect("a directory");
    let braid = start(dir.path(), 3);
    let trace = |n: u32| format!("{n:032x}");
    for n in 1..=3 {
        send_span(&braid, &trace(n), "1111111111111111", "beorn", &format!("C-{n}"));
    }
    // The first three close and are durable, the next three are open when it is killed.
    braid.eventually("three events", |b| (events(b, "").len() == 3).then_some(()));
    for n in 2..=6 {
        send_span(&braid, &trace(n), "2222222222222222", "palantir", &format!("C-{n}"));
    }
    braid.kill();
    let braid = start(dir.path(), 3);
    send_span(&braid, &trace(6), "3333333333333333", "arda", "C-6");
    let found = braid.eventually("all spans in events", |b| {
        let found = events(b, "");
        let spans: u64 = found.iter().filter_map(|e| e["span_count"].as_u64()).sum();
        assert!(spans <= 9, "doubled: {found:?}");
        (spans == 9).then_some(found)
    });
    let mut counts: Vec<(&str, u64)> =
        found.iter().map(|e| (e["trace_id"].as_str().expect("an id"), e["span_count"].as_u64().expect("a count"))).collect();
    counts.sort_unstable();
    assert_eq!(counts.iter().map(|(_, n)| *n).collect::<Vec<_>>(), [1, 2, 2, 1, 1, 2]);
}

#[test]
fn what_correlation_is_not_told_rightly_is_refused_with_the_reason() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("bad.yaml");
    for (text, why) in [
        ("correlation:\n  window: 5ms\n", "correlation.window"),
        ("correlation:\n  keys: [{name: a, patterns: ['(']}]\n", "correlation.keys"),
        ("receivers:\n  syslog: {}\n", "receivers.syslog"),
    ] {
        std::fs::write(&file, text).expect("written");
        let (_, log) = Braid::try_start(dir.path(), &["--config", &file.display().to_string()]).err().expect("refused");
        assert!(log.contains(why), "{text}: {log}");
    }
    let braid = Braid::start(dir.path());
    for path in [
        "/api/correlations?trace_id=x",
        "/api/correlations?limit=0",
        "/api/correlate",
        "/api/correlate?key=:x",
        "/api/traces/x/logs",
    ] {
        let answer = braid.get("correlation", path).expect(400).json();
        assert!(answer["error"].is_string(), "{path}: {answer}");
    }
    braid.get("correlation", "/api/nothing").expect(404);
}

#[test]
fn settling_lets_the_log_go_although_its_readers_write_into_it() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("braid.yaml");
    std::fs::write(&file, "correlation: {window: 30s}\nmetrics_generator: {enabled: true}\n").expect("written");
    let braid = Braid::start_with(dir.path(), &["--config", &file.display().to_string()]);
    send_span(&braid, TRACE, "1111111111111111", "beorn", "CKT-7");
    send_span(&braid, TRACE, "2222222222222222", "palantir", "CKT-7");
    post(braid.at("braid"), "/api/admin/settle", &[], b"").expect(204);
    assert_eq!(event(&braid, "circuit_id=CKT-7", 0)["span_count"], 2);
    assert!(braid.metric("braid_graph_samples_total") > 0.0);
    // A file of the log begins with a block of 4 KiB.
    assert!(braid.metric("braid_log_bytes") <= 4096.0, "{} bytes of the log are left", braid.metric("braid_log_bytes"));
}

#[test]
fn a_trace_id_that_is_used_for_long_is_one_event_that_grows() {
    let dir = tempfile::tempdir().expect("a directory");
    let braid = start(dir.path(), 1);
    for n in 0..16 {
        send_span(&braid, TRACE, &format!("{:016x}", n + 1), if n % 2 == 0 { "beorn" } else { "arda" }, "CKT-7");
        let record = json!({"resource": {"service": "beorn"}, "records": [
            {"timestamp": "2026-11-27T10:00:00Z", "message": format!("line {n}"), "trace_id": TRACE}]});
        post(braid.at("correlation"), "/api/logs", &[JSON], record.to_string().as_bytes()).expect(200);
        std::thread::sleep(std::time::Duration::from_millis(250));
    }
    let event = event(&braid, "circuit_id=CKT-7", 16);
    assert_eq!((&event["span_count"], &event["amended"]), (&json!(16), &json!(true)), "{event}");
    assert!(event["windows"].as_u64().is_some_and(|n| (3..=16).contains(&n)), "{event}");
    braid.eventually("the end of the windows", |b| (b.metric("braid_correlation_open_windows") == 0.0).then_some(()));
    assert_eq!(events(&braid, "").len(), 1);
}

#[test]
fn keys_of_a_mebibyte_and_contradictory_times_harm_nothing() {
    let dir = tempfile::tempdir().expect("a directory");
    let braid = start(dir.path(), 1);
    let long = "x".repeat(1 << 20);
    // (start, end): backwards, before 1970 began, beyond what 64 bits of nanoseconds with a sign can say, and far ahead of each other.
    let times = [("2000", "1000"), ("0", "0"), ("18446744073709551615", "9223372036854775808"), ("1", "9223372036854775807")];
    for (n, (start, end)) in times.into_iter().enumerate() {
        let body = json!({"resourceSpans": [{
            "resource": {"attributes": [{"key": "service.name", "value": {"stringValue": format!("s{n}")}}]},
            "scopeSpans": [{"spans": [{
                "traceId": TRACE, "spanId": format!("{:016x}", n + 1), "name": "op", "startTimeUnixNano": start, "endTimeUnixNano": end,
                "attributes": [
                    {"key": "circuit_id", "value": {"stringValue": long}},
                    {"key": "product_id", "value": {"stringValue": "P-1"}},
                ],
            }]}],
        }]});
        let answer = post(braid.at("correlation"), "/api/otlp/v1/traces", &[JSON], body.to_string().as_bytes()).expect(200);
        // A time that no 64 bits with a sign can say is refused, and nothing else.
        assert_eq!(answer.text().contains("rejectedSpans"), n == 2, "{}", answer.text());
    }
    let records = json!({"resource": {"service": "legacy"}, "records": [
        {"timestamp": "1970-01-01T00:00:01Z", "message": "old", "product_id": "P-1"},
        {"timestamp": "2261-01-01T00:00:00Z", "message": "new", "trace_id": TRACE, "circuit_id": long},
        {"timestamp": "2026-11-27T10:00:00Z", "message": format!("circuit_id={long}"), "trace_id": TRACE},
    ]});
    let answer = post(braid.at("correlation"), "/api/logs", &[JSON], records.to_string().as_bytes()).expect(200).json();
    assert_eq!(answer["accepted"], 3, "{answer}");
    let event = event(&braid, "product_id=P-1", 3);
    assert_eq!((&event["span_count"], &event["log_count_by_key"]), (&json!(times.len() - 1), &json!(1)), "{event}");
    assert_eq!(event["keys"], json!({"product_id": ["P-1"]}), "what is too long is left out");
    assert!(event["odd_times"].as_u64().is_some_and(|n| n > 0), "and times that cannot be are counted: {event}");
    assert!(braid.metric("braid_correlation_oversized_keys_total") >= 3.0);
    let (status, log) = braid.stop("-TERM");
    assert!(status.success() && !log.contains("panicked"), "{log}");
}

#[test]
fn synthetic_spans_go_out_with_their_links_and_are_nobody_elses_events() {
    let (here, there) = (tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("a directory"));
    let other = start(there.path(), 1);
    let yaml = format!(
        "correlation: {{window: 1s}}\nexporters:\n  otlphttp:\n    endpoint: 'http://{}'\n    sending_queue: {{batch: {{flush_timeout: \
         20ms}}}}\nservice: {{pipelines: {{traces: {{exporters: [otlphttp]}}}}}}\n",
        other.at("otlp_http")
    );
    let file = here.path().join("braid.yaml");
    std::fs::write(&file, yaml).expect("written");
    let braid = Braid::start_with(here.path(), &["--config", &file.display().to_string()]);
    let alone = "1af7651916cd43dd8448eb211c80319c";
    send_span(&braid, TRACE, "1111111111111111", "beorn", "CKT-7");
    send_span(&braid, TRACE, "2222222222222222", "palantir", "CKT-7");
    send_span(&braid, alone, "3333333333333333", "beorn", "CKT-8");
    let synthetic = |b: &Braid, trace: &str| {
        let reply = b.get("tempo", &format!("/api/traces/{trace}"));
        let batches = if reply.status == 200 { reply.json()["batches"].as_array().cloned() } else { None };
        let own = |batch: &Value| batch["resource"].to_string().contains("braid-correlation");
        let own: Vec<Value> = batches.unwrap_or_default().into_iter().filter(own).collect();
        own.iter().flat_map(|batch| batch["scopeSpans"].as_array().cloned().unwrap_or_default()).collect::<Vec<_>>()
    };
    // The other makes an event of its own, and has ours beside it.
    let both = other.eventually("two synthetic spans", |b| Some(synthetic(b, TRACE)).filter(|found| found.len() == 2));
    for scope in &both {
        let links = scope["spans"][0]["links"].as_array().expect("links");
        assert_eq!(links.len(), 2, "{scope}");
        assert!(links.iter().all(|link| link["traceId"].is_string() && link["spanId"].is_string()), "{scope}");
    }
    assert_eq!(both.iter().filter(|scope| scope["scope"]["version"] == "exported").count(), 1, "{both:?}");
    // Its event counts each span once, ours not at all.
    let event = other.eventually("the event", |b| events(b, &format!("trace_id={TRACE}")).into_iter().next());
    assert_eq!((&event["span_count"], &event["windows"]), (&json!(2), &json!(1)), "{event}");
    // An event that joins nothing is no span of its trace, and stays where it was made.
    other.eventually("the lone trace", |b| (b.get("tempo", &format!("/api/traces/{alone}")).status == 200).then_some(()));
    braid.eventually("its event", |b| events(b, &format!("trace_id={alone}")).into_iter().next());
    std::thread::sleep(std::time::Duration::from_millis(300));
    assert!(synthetic(&other, alone).is_empty());
}
