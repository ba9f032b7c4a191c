//! Tempo's side: spans in other forms, the service graph, the streaming API, and traces that are no good.

use crate::asking::{encode, instant, spans};
use crate::braid::Braid;
use crate::client::post;
use crate::grpc::{call, framed};
use crate::protobuf::{attribute, bytes, export, fixed64, int, message, now};

const JSON: (&str, &str) = ("Content-Type", "application/json");
const SECOND: u64 = 1_000_000_000;

fn trace(braid: &Braid, id: &str) -> serde_json::Value {
    braid.get("tempo", &format!("/api/v2/traces/{id}")).expect(200).json()
}

fn accepted(braid: &Braid, receiver: &str) -> f64 {
    braid.metric(&format!("braid_receiver_accepted_items_total{{receiver=\"{receiver}\",signal=\"traces\"}}"))
}

#[test]
fn zipkins_spans_are_taken_and_translated() {
    let dir = tempfile::tempdir().expect("a directory");
    let braid = Braid::start(dir.path());
    let micros = now() / 1000;
    let body = format!(
        r#"[{{"traceId":"00000000000000aa","id":"1","name":"get /","kind":"CLIENT","timestamp":{micros},"duration":1500,
             "localEndpoint":{{"serviceName":"web","ipv4":"10.0.0.1","port":80}},"remoteEndpoint":{{"serviceName":"shop"}},
             "tags":{{"http.path":"/","host.name":"h","error":"true"}},"annotations":[{{"timestamp":{micros},"value":"retry"}}]}},
            {{"traceId":"aa","id":"1","parentId":"0","name":"get /","kind":"SERVER","shared":true,"timestamp":{micros},
             "duration":900,"localEndpoint":{{"serviceName":"shop"}}}}]"#
    );
    for face in ["zipkin", "braid"] {
        let reply = post(braid.at(face), "/api/v2/spans", &[JSON], body.as_bytes()).expect(202);
        assert!(reply.body.is_empty());
    }
    assert_eq!(accepted(&braid, "zipkin"), 4.0, "a request that is sent again is acknowledged again");
    assert_eq!(spans(&braid, "aa"), ["get /", "get /"], "a shared id does not hide one of two spans");
    let found = trace(&braid, "aa");
    let batches = found["trace"]["resourceSpans"].as_array().expect("a list");
    let web = batches.iter().find(|b| b.to_string().contains("\"web\"")).expect("the client").to_string();
    for part in
        ["host.name", "net.host.ip", "10.0.0.1", "peer.service", "STATUS_CODE_ERROR", "SPAN_KIND_CLIENT", "retry", "http.path"]
    {
        assert!(web.contains(part), "{part} in {web}");
    }
    for (bad, status) in [("{}", 400), ("[{\"id\":\"1\"}]", 400), ("[{\"traceId\":\"x\",\"id\":\"1\"}]", 400), ("[]", 202)] {
        post(braid.at("zipkin"), "/api/v2/spans", &[JSON], bad.as_bytes()).expect(status);
    }
    let zero = r#"[{"traceId":"0","id":"1"}]"#;
    let reply = post(braid.at("zipkin"), "/api/v2/spans", &[JSON], zero.as_bytes()).expect(400);
    assert!(reply.text().contains("trace id"), "{}", reply.text());
    post(braid.at("zipkin"), "/api/v2/spans", &[("Content-Type", "application/x-protobuf")], b"").expect(415);
    post(braid.at("zipkin"), "/v1/traces", &[JSON], b"{}").expect(404);
}

/// A field of Thrift's binary protocol.
fn thrift(kind: u8, id: i16, value: &[u8]) -> Vec<u8> {
    [&[kind][..], &id.to_be_bytes(), value].concat()
}

fn thrift_text(id: i16, text: &str) -> Vec<u8> {
    thrift(11, id, &[&(text.len() as i32).to_be_bytes()[..], text.as_bytes()].concat())
}

fn thrift_list(id: i16, structs: &[Vec<u8>]) -> Vec<u8> {
    thrift(15, id, &[&[12][..], &(structs.len() as i32).to_be_bytes(), &structs.concat()].concat())
}

/// A Jaeger batch of one span with a tag and a log.
fn batch() -> Vec<u8> {
    let long = |id, n: i64| thrift(10, id, &n.to_be_bytes());
    let tag = |key: &str, value: &str| {
        [thrift_text(1, key), thrift(8, 2, &0i32.to_be_bytes()), thrift_text(3, value), vec![0]].concat()
    };
    let micros = (now() / 1000) as i64;
    let log = [long(1, micros), thrift_list(2, &[tag("event", "paid")]), vec![0]].concat();
    let span = [
        [long(1, 0xbb), long(2, 0), long(3, 7), long(4, 6), thrift_text(5, "order")].concat(),
        [long(8, micros), long(9, 2000), thrift_list(10, &[tag("span.kind", "server"), tag("city", "Ulm")])].concat(),
        thrift_list(11, &[log]),
        vec![0],
    ]
    .concat();
    let process = [thrift_text(1, "jaeger-shop"), vec![0]].concat();
    [thrift(12, 1, &process), thrift_list(2, &[span]), vec![0]].concat()
}

#[test]
fn jaegers_spans_are_taken_over_both_doors() {
    let dir = tempfile::tempdir().expect("a directory");
    let braid = Braid::start(dir.path());
    let thrift = ("Content-Type", "application/x-thrift");
    for face in ["jaeger_http", "braid"] {
        post(braid.at(face), "/api/traces?format=jaeger.thrift", &[thrift], &batch()).expect(202);
    }
    let found = trace(&braid, "bb").to_string();
    for part in ["jaeger-shop", "order", "SPAN_KIND_SERVER", "Ulm", "paid", "parentSpanId"] {
        assert!(found.contains(part), "{part} in {found}");
    }
    let bad = [&b""[..], b"\x0c\x00\x01", &[0x0f; 64], &batch()[..40]];
    bad.iter().for_each(|bad| drop(post(braid.at("jaeger_http"), "/api/traces", &[thrift], bad).expect(400)));
    post(braid.at("jaeger_http"), "/api/traces", &[JSON], b"{}").expect(415);

    let time = [int(1, now() / SECOND), int(2, 5)].concat();
    let span = [bytes(1, &[0xcc; 16]), bytes(2, &[3; 8]), bytes(3, b"ask"), bytes(6, &time), bytes(7, &int(2, 5000))].concat();
    let request = message(1, &[bytes(1, &span), message(2, &[bytes(1, b"jaeger-web")])]);
    for face in ["jaeger_grpc", "braid"] {
        let ended = call(braid.at(face), "/jaeger.api_v2.CollectorService/PostSpans", &[], framed(false, &request));
        assert_eq!((ended.code, ended.body), (0, framed(false, b"")), "{}", ended.message);
    }
    assert_eq!(spans(&braid, &"cc".repeat(16)), ["ask"]);
    let ended = call(braid.at("jaeger_grpc"), "/jaeger.api_v2.CollectorService/PostSpans", &[], framed(false, b"\x0a\xff"));
    assert_eq!(ended.code, 3, "{}", ended.message);
    let ended = call(braid.at("jaeger_grpc"), "/jaeger.api_v2.SamplingManager/GetSamplingStrategy", &[], framed(false, b""));
    assert_eq!(ended.code, 12);
    assert!(accepted(&braid, "jaeger_http") >= 2.0 && accepted(&braid, "jaeger_grpc") >= 2.0);
}

/// A span of a kind with a parent and attributes, as field 2 of `ScopeSpans`.
fn span(trace: u8, id: u8, parent: u8, kind: u64, millis: u64, more: &[Vec<u8>]) -> Vec<u8> {
    let start = now() - 2 * SECOND;
    let parent = if parent == 0 { Vec::new() } else { bytes(4, &[parent; 8]) };
    let ids = [bytes(1, &[trace; 16]), bytes(2, &[id; 8]), parent, bytes(5, b"op"), int(6, kind)].concat();
    message(2, &[ids, fixed64(7, start), fixed64(8, start + millis * 1_000_000), more.concat()])
}

fn send(braid: &Braid, service: &str, spans: &[Vec<u8>]) {
    let protobuf = ("Content-Type", "application/x-protobuf");
    post(braid.at("otlp_http"), "/v1/traces", &[protobuf], &export(service, spans)).expect(200);
}

#[test]
fn a_service_graph_is_made_of_spans_and_laid_out() {
    let dir = tempfile::tempdir().expect("a directory");
    let config = dir.path().join("braid.yaml");
    std::fs::write(&config, "metrics_generator: {enabled: true}\n").expect("written");
    let braid = Braid::start_with(dir.path(), &["--config", &config.display().to_string()]);
    let database = attribute(9, "db.name", "orders");
    for trace in 1..=10 {
        let failed = if trace == 1 { vec![message(15, &[int(3, 2)])] } else { Vec::new() };
        send(&braid, "shop", &[span(trace, 1, 0, 1, 300, &[]), span(trace, 2, 1, 3, 150, &[])]);
        send(&braid, "cart", &[span(trace, 3, 2, 2, 100, &failed), span(trace, 4, 3, 3, 50, std::slice::from_ref(&database))]);
    }
    post(braid.at("braid"), "/api/admin/settle", &[], b"").expect(204);
    let at = now() as f64 / 1e9 + 1.0;
    let value = |query: &str| instant(&braid, query, at).first().map(|(_, v)| v.clone());
    let edge = "{client=\"shop\",server=\"cart\",connection_type=\"\"}";
    assert_eq!(value(&format!("traces_service_graph_request_total{edge}")).as_deref(), Some("10"));
    assert_eq!(value(&format!("traces_service_graph_request_failed_total{edge}")).as_deref(), Some("1"));
    assert_eq!(value(&format!("traces_service_graph_request_server_seconds_count{edge}")).as_deref(), Some("10"));
    let database = "traces_service_graph_request_total{server=\"orders\",connection_type=\"database\"}";
    assert_eq!(value(database).as_deref(), Some("10"));
    let calls =
        "traces_spanmetrics_calls_total{service=\"cart\",span_kind=\"SPAN_KIND_SERVER\",status_code=\"STATUS_CODE_ERROR\"}";
    assert_eq!(value(calls).as_deref(), Some("1"));
    let end = now() / SECOND + 2;
    let path = format!("/api/v1/query_exemplars?query=traces_spanmetrics_latency_bucket&start={}&end={end}", end - 600);
    let exemplars = braid.get("prometheus", &path).expect(200).text();
    assert!(exemplars.contains(&"0a".repeat(16)) && exemplars.contains("traceID"), "{exemplars}");

    let graph = braid.get("braid", &format!("/api/graph?start={}&end={end}", end - 600)).expect(200).json();
    let names = |list: &str, key: &str| -> Vec<String> {
        graph[list].as_array().expect("a list").iter().map(|n| n[key].as_str().unwrap_or("").to_owned()).collect()
    };
    assert_eq!(names("nodes", "id"), ["cart", "orders", "shop"]);
    assert_eq!(names("nodes", "type"), ["service", "database", "service"]);
    assert_eq!(names("edges", "id"), ["cart->orders (database)", "shop->cart"]);
    let cart = &graph["nodes"][0];
    assert_eq!((cart["requests"].as_f64(), cart["failed"].as_f64(), cart["layer"].as_u64()), (Some(10.0), Some(1.0), Some(1)));
    assert!(cart["latency"]["p95"].as_f64().is_some_and(|p| p > 0.06 && p < 0.14), "{cart}");
    braid.get("braid", "/api/graph?start=5&end=4").expect(400);

    assert_eq!(braid.metric("braid_graph_edges_total"), 20.0);
    let (status, log) = braid.stop("-TERM");
    assert!(status.success(), "{log}");
    let braid = Braid::start_with(dir.path(), &["--config", &config.display().to_string()]);
    send(&braid, "cart", &[span(11, 4, 3, 3, 50, &[attribute(9, "db.name", "orders")])]);
    post(braid.at("braid"), "/api/admin/settle", &[], b"").expect(204);
    let at = now() as f64 / 1e9 + 1.0;
    let after = instant(&braid, database, at).first().map(|(_, v)| v.clone());
    assert_eq!(after.as_deref(), Some("11"), "counts go on over a restart");
}

#[test]
fn generated_metrics_can_be_switched_off() {
    let dir = tempfile::tempdir().expect("a directory");
    let config = dir.path().join("braid.yaml");
    std::fs::write(&config, "metrics_generator:\n  enabled: false\n").expect("written");
    let braid = Braid::start_with(dir.path(), &["--config", config.to_str().expect("UTF-8")]);
    send(&braid, "cart", &[span(1, 4, 3, 3, 50, &[attribute(9, "db.name", "orders")])]);
    post(braid.at("braid"), "/api/admin/settle", &[], b"").expect(204);
    assert!(instant(&braid, "traces_spanmetrics_calls_total", now() as f64 / 1e9 + 1.0).is_empty());
    assert!(!braid.get("braid", "/metrics").text().contains("braid_graph_"));
}

#[test]
fn tempos_streaming_api_answers_on_the_port_of_http() {
    let dir = tempfile::tempdir().expect("a directory");
    let braid = Braid::start(dir.path());
    send(&braid, "shop", &[span(1, 1, 0, 2, 300, &[attribute(9, "city", "Ulm")])]);
    let seconds = now() / SECOND;
    let query = "{ resource.service.name = \"shop\" }";
    let metrics = format!("{query} | count_over_time()");
    let times = [int(2, (seconds - 60) * SECOND), int(3, (seconds + 60) * SECOND)].concat();
    let cases: [(&str, Vec<u8>, &str); 7] = [
        ("Search", [bytes(8, query.as_bytes()), int(5, seconds - 60), int(6, seconds + 60)].concat(), "shop"),
        ("SearchTags", Vec::new(), "city"),
        ("SearchTagsV2", bytes(1, b"span"), "city"),
        ("SearchTagValues", bytes(1, b"city"), "Ulm"),
        ("SearchTagValuesV2", [bytes(1, b"span.city"), bytes(2, query.as_bytes())].concat(), "Ulm"),
        ("MetricsQueryRange", [bytes(1, metrics.as_bytes()), times.clone(), int(4, 30 * SECOND)].concat(), "count_over_time"),
        ("MetricsQueryInstant", [bytes(1, metrics.as_bytes()), times].concat(), "count_over_time"),
    ];
    for face in ["tempo", "braid"] {
        for (method, request, expected) in &cases {
            let ended = call(braid.at(face), &format!("/tempopb.StreamingQuerier/{method}"), &[], framed(false, request));
            assert_eq!(ended.code, 0, "{method}: {}", ended.message);
            assert!(String::from_utf8_lossy(&ended.body).contains(expected), "{method}: {:?}", ended.body);
        }
    }
    // Whoever wants many hears of them before the last answer: traces (1) and how far the search is (2).
    let many = [bytes(8, query.as_bytes()), int(4, 5000), int(9, 1)].concat();
    let ended = call(braid.at("tempo"), "/tempopb.StreamingQuerier/Search", &[], framed(false, &many));
    let (mut rest, mut messages) = (&ended.body[..], 0);
    while let Some((prefix, tail)) = rest.split_first_chunk::<5>() {
        let length = u32::from_be_bytes([prefix[1], prefix[2], prefix[3], prefix[4]]) as usize;
        assert!(String::from_utf8_lossy(&tail[..length]).contains("shop"), "{:?}", ended.body);
        (rest, messages) = (&tail[length..], messages + 1);
    }
    assert_eq!((messages, rest.len()), (2, 0));
    for (request, code) in [(framed(false, &bytes(8, b"{ not")), 3), (framed(false, b"\xff"), 3), (b"\0".to_vec(), 3)] {
        let ended = call(braid.at("tempo"), "/tempopb.StreamingQuerier/Search", &[], request);
        assert_eq!(ended.code, code, "{}", ended.message);
    }
    let protobuf = [("Accept", "application/protobuf")];
    let reply =
        crate::client::send(braid.at("tempo"), "GET", &format!("/api/search?q={}", encode(query)), &protobuf, b"").expect(200);
    assert_eq!(reply.header("content-type"), Some("application/protobuf"));
    assert!(String::from_utf8_lossy(&reply.body).contains("shop"));
}

#[test]
fn tempos_pages_and_absent_traces_are_tempos() {
    let dir = tempfile::tempdir().expect("a directory");
    let braid = Braid::start(dir.path());
    for path in
        ["/status", "/status/config", "/status/services", "/status/endpoints", "/status/usage-stats", "/api/echo", "/ready"]
    {
        assert!(!braid.get("tempo", path).expect(200).text().is_empty(), "{path}");
    }
    assert_eq!(braid.get("tempo", "/api/v2/traces/abc").expect(200).json()["trace"], serde_json::json!({}));
    send(
        &braid,
        "shop",
        &[span(1, 1, 0, 2, 9, &[]), span(1, 2, 1, 1, 9, &[]), span(1, 3, 2, 3, 9, &[]), span(1, 4, 1, 4, 9, &[])],
    );
    let count = |more: &str| {
        let found = braid.get("tempo", &format!("/api/v2/traces/{}{more}", "01".repeat(16))).expect(200).json();
        found["trace"]["resourceSpans"][0]["scopeSpans"][0]["spans"].as_array().map_or(0, Vec::len)
    };
    let client = encode("{ kind = client }");
    assert_eq!(count(""), 4);
    assert_eq!(count(&format!("?q={client}")), 1);
    assert_eq!(count(&format!("?q={client}&keep_hierarchy=true")), 3);
    assert_eq!(count(&format!("?q={}", encode("{ kind = server } > { } || { kind = client }"))), 3);
    assert_eq!(count(&format!("?q={}", encode("{ name = \"no\" }"))), 0);
    braid.get("tempo", &format!("/api/v2/traces/01?q={}", encode("{ not"))).expect(400);
    let absent = braid.get("tempo", "/api/traces/abc").expect(404);
    assert!(absent.header("content-type").is_some_and(|t| t.starts_with("text/plain")));
    assert!(braid.get("tempo", "/api/overrides").expect(200).json()["metrics_generator"].is_object());
    post(braid.at("tempo"), "/api/overrides", &[JSON], b"{}").expect(405);
}

#[test]
fn traces_that_are_no_good_are_kept_shown_and_searched() {
    let dir = tempfile::tempdir().expect("a directory");
    let braid = Braid::start(dir.path());
    // A cycle of two, a span that is its own parent, one whose parent never came, an id twice, an end before its start, and a
    // clock that is a day ahead.
    let start = now() - 2 * SECOND;
    let odd = |id: u8, start: u64, end: u64| {
        let ids = [bytes(1, &[7; 16]), bytes(2, &[id; 8]), bytes(5, b"odd"), int(6, 2)].concat();
        message(2, &[ids, fixed64(7, start), fixed64(8, end)])
    };
    let spans_of_it = [
        span(7, 1, 2, 3, 10, &[]),
        span(7, 2, 1, 2, 10, &[]),
        span(7, 3, 3, 3, 10, &[]),
        span(7, 4, 99, 2, 10, &[]),
        span(7, 5, 4, 1, 10, &[]),
        span(7, 5, 4, 1, 10, &[]),
        odd(6, start, start - SECOND),
        odd(8, start + 86_400 * SECOND, start + 86_401 * SECOND),
    ];
    send(&braid, "odd-shop", &spans_of_it);
    // Ids of zeros are refused one by one; the rest is kept.
    let zero = message(2, &[bytes(1, &[0; 16]), bytes(2, &[1; 8]), fixed64(7, start), fixed64(8, start)]);
    let body = export("odd-shop", &[zero, span(9, 1, 0, 2, 10, &[])]);
    let reply = post(braid.at("otlp_http"), "/v1/traces", &[("Content-Type", "application/x-protobuf")], &body).expect(200);
    assert!(reply.text().contains("invalid trace id"), "{:?}", reply.body);
    let id = "07".repeat(16);
    let ask = |query: &str| {
        let reply = braid.get("tempo", &format!("/api/search?limit=50&q={}", encode(query))).expect(200).json();
        reply["traces"].as_array().map_or(0, Vec::len)
    };
    for settled in [false, true] {
        if settled {
            post(braid.at("braid"), "/api/admin/settle", &[], b"").expect(204);
        }
        assert_eq!(spans(&braid, &id).len(), 7, "seven spans that differ (settled: {settled})");
        assert_eq!(spans(&braid, &"09".repeat(16)), ["op"]);
        for (query, found) in [
            ("{ resource.service.name = \"odd-shop\" }", 2),
            ("{ name = \"odd\" && duration < 1ms }", 1),
            ("{ name = \"odd\" } | count() > 1", 1),
        ] {
            assert_eq!(ask(query), found, "{query} (settled: {settled})");
        }
        // As in Tempo, spans that hang from no root have no place in the tree; a cycle must end.
        for query in [
            "{ } > { name = \"op\" }",
            "{ kind = server } &>> { }",
            "{ kind = server } >> { kind = client }",
            "{ } ~ { }",
            "{ } << { }",
            "{ nestedSetParent < 0 }",
        ] {
            ask(query);
        }
    }
    assert_eq!(braid.metric("braid_handler_panics_total"), 0.0);
}

#[test]
fn a_span_of_too_many_attributes_is_cut_and_it_is_said() {
    let dir = tempfile::tempdir().expect("a directory");
    let braid = Braid::start(dir.path());
    let many: Vec<Vec<u8>> = (0..100_000).map(|i| attribute(9, &format!("key.{i}"), "v")).collect();
    let body = export("wide", &[span(5, 1, 0, 2, 10, &many)]);
    let reply = post(braid.at("otlp_http"), "/v1/traces", &[("Content-Type", "application/x-protobuf")], &body).expect(200);
    assert!(reply.text().contains("past the limit of a span: 90000"), "{}", reply.text());
    for settled in [false, true] {
        if settled {
            post(braid.at("braid"), "/api/admin/settle", &[], b"").expect(204);
        }
        let found = trace(&braid, &"05".repeat(16));
        let span = &found["trace"]["resourceSpans"][0]["scopeSpans"][0]["spans"][0];
        assert_eq!(span["attributes"].as_array().map(Vec::len), Some(10_000), "settled: {settled}");
        assert_eq!(span["droppedAttributesCount"], 90_000);
        let query = encode("{ span.key.77 = \"v\" }");
        let found = braid.get("tempo", &format!("/api/search?q={query}")).expect(200).json();
        assert_eq!(found["traces"].as_array().map(Vec::len), Some(1), "settled: {settled}");
    }
}

#[test]
fn a_trace_without_end_is_cut_and_it_is_said() {
    let dir = tempfile::tempdir().expect("a directory");
    let braid = Braid::start(dir.path());
    let start = now() - 600 * SECOND;
    for part in 0..12u64 {
        let spans: Vec<Vec<u8>> = (0..10_000u64)
            .map(|i| {
                let n = part * 10_000 + i + 1;
                let ids =
                    [bytes(1, &[6; 16]), bytes(2, &n.to_be_bytes()), bytes(4, &(n / 2).to_be_bytes()), bytes(5, b"x"), int(6, 1)];
                message(2, &[ids.concat(), fixed64(7, start + n), fixed64(8, start + n + 5)])
            })
            .collect();
        send(&braid, "endless", &spans);
    }
    let id = "06".repeat(16);
    let found = trace(&braid, &id);
    assert_eq!(found["status"], "PARTIAL");
    assert!(found["message"].as_str().is_some_and(|m| m.contains("more than 100000 spans")), "{}", found["message"]);
    assert_eq!(spans(&braid, &id).len(), 100_000);
    let query = encode("{ resource.service.name = \"endless\" } | count() > 100000");
    let found = braid.get("tempo", &format!("/api/search?q={query}")).expect(200).json();
    assert_eq!(found["traces"][0]["spanSets"][0]["matched"], 120_000);
}
