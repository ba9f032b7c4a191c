//! beorn, palantir and arda against an OTLP sink: one trace crosses the three, with the five keys on every span and line.

use std::collections::BTreeSet;

use http::{Method, StatusCode};
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use rustix::process::Signal;
use serde_json::json;

use crate::common::{Part, Received, SENSE, Sense, Sink, ask, eventually, get, hex, text};

const KEYS: [&str; 5] = ["circuit_id", "product_id", "resource_id", "resource_type_id", "request_id"];

/// The spans of a trace with their services, once there are `count`.
async fn trace(sink: &Sink, trace_id: &str, count: usize) -> Vec<(String, Span)> {
    let find = |received: &Received| {
        let of_trace = received.spans.iter().filter(|(_, span)| hex(&span.trace_id) == trace_id);
        let spans: Vec<_> = of_trace.map(|(resource, span)| (text(resource, "service.name"), span.clone())).collect();
        (spans.len() >= count).then_some(spans)
    };
    sink.wait_for(&format!("{count} spans of {trace_id}"), find).await
}

#[tokio::test(flavor = "multi_thread")]
async fn one_trace_crosses_all_three_wherever_it_starts_and_every_span_has_the_five_keys() {
    let sink = Sink::start().await;
    let sense = Sense::start(&sink.endpoint).await;
    let mut requests = BTreeSet::new();
    for (at, url) in sense.urls.iter().enumerate() {
        let ring = [0, 1, 2].map(|step| SENSE[(at + step) % 3]);
        let headers =
            [("x-product-id", "ELINE"), ("baggage", "resource_id=NE-1,other=x"), ("baggage", "resource_type_id=PO%20RT")];
        let answer = ask(Method::GET, &format!("{url}/api/test?circuit_id=DEMO-1&request_id=mine"), &headers, "").await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
        let answer = answer.json();
        assert_eq!((&answer["status"], &answer["path"]), (&json!("ok"), &json!(ring)));
        let expected = ["DEMO-1", "ELINE", "NE-1", "PO RT", answer["request_id"].as_str().unwrap()];
        assert!(requests.insert(expected[4].to_owned()) && expected[4] != "mine", "{answer}");

        // Each service: a server span and its work; the first two: a call of the next.
        let trace_id = answer["trace_id"].as_str().unwrap();
        let spans = trace(&sink, trace_id, 8).await;
        assert_eq!(spans.len(), 8, "{spans:?}");
        for (service, span) in &spans {
            let keys = KEYS.map(|key| text(&span.attributes, key));
            assert_eq!(keys, expected, "{service} {}", span.name);
        }
        let the = |service: &str, kind: SpanKind| {
            let mut found = spans.iter().filter(|(name, span)| name == service && span.kind() == kind);
            let one = found.next().unwrap_or_else(|| panic!("no {kind:?} span of {service}")).1.clone();
            assert!(found.next().is_none(), "{service} has one {kind:?} span: nobody is asked twice");
            one
        };
        assert!(the(ring[0], SpanKind::Server).parent_span_id.is_empty());
        for step in 0..3 {
            let (server, work) = (the(ring[step], SpanKind::Server), the(ring[step], SpanKind::Internal));
            assert_eq!((server.name.as_str(), work.name.as_str()), ("GET /api/test", "test_circuit"));
            assert_eq!(work.parent_span_id, server.span_id);
            if step > 0 {
                let call = the(ring[step - 1], SpanKind::Client);
                assert_eq!(server.parent_span_id, call.span_id);
                assert_eq!(call.parent_span_id, the(ring[step - 1], SpanKind::Internal).span_id);
            }
        }
        // The lines, too, on stdout and over OTLP.
        for part in &sense.parts {
            let find =
                || part.lines().into_iter().find(|line| line["trace_id"] == trace_id && line["message"] == "Circuit tested");
            let line = eventually("the line of each service", async || find()).await;
            assert_eq!(KEYS.map(|key| line[key].as_str().unwrap().to_owned()), expected);
        }
        let records = |received: &Received| {
            let of_trace = received.records.iter().filter(|(_, record)| hex(&record.trace_id) == trace_id);
            let mut keyed = of_trace.filter(|(_, record)| text(&record.attributes, "circuit_id") == "DEMO-1");
            let services: BTreeSet<_> = keyed.by_ref().map(|(resource, _)| text(resource, "service.name")).collect();
            (services.len() == 3).then_some(())
        };
        sink.wait_for("log records of all three", records).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_without_keys_gets_its_own() {
    let sink = Sink::start().await;
    let sense = Sense::start(&sink.endpoint).await;
    let url = format!("{}/api/test", sense.urls[0]);
    let (one, other) = (get(&url).await.json(), get(&url).await.json());
    for answer in [&one, &other] {
        assert!(KEYS.iter().all(|key| answer[*key].as_str().is_some_and(|value| !value.is_empty())), "{answer}");
    }
    assert_ne!(one["request_id"], other["request_id"]);
    assert_ne!(one["circuit_id"], other["circuit_id"]);
    let refused = get(&format!("{url}?circuit_id={}", "x".repeat(200))).await;
    assert_eq!(refused.status, StatusCode::BAD_REQUEST);
    assert!(refused.json()["error"].as_str().unwrap().starts_with("circuit_id must have 1 to 128 characters"));
    // What the outside does wrong is traced with keys as well.
    for (path, status) in [("/api/nothing?circuit_id=lost", 404), ("/api/trace-context?circuit_id=lost", 405)] {
        assert_eq!(get(&format!("{}{path}", sense.urls[0])).await.status.as_u16(), status, "{path}");
    }
    let lost = |received: &Received| {
        let lost = received.spans.iter().filter(|(_, span)| text(&span.attributes, "circuit_id") == "lost");
        (lost.count() == 2).then_some(())
    };
    sink.wait_for("both spans with their circuit", lost).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_alone_answers_and_says_whom_it_missed() {
    let sink = Sink::start().await;
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let neighbours = format!("beorn=http://{nobody},palantir=http://{nobody}");
    let mut arda = Part::start(&["--otlp", &sink.endpoint, "arda", "--port", "0", "--neighbours", &neighbours]);
    let url = arda.url().await;
    assert_eq!(get(&format!("{url}/health")).await.json(), json!({"status": "healthy", "service": "arda"}));
    let answer = get(&format!("{url}/api/test?circuit_id=c")).await;
    assert_eq!(answer.status, StatusCode::OK);
    let answer = answer.json();
    assert_eq!((&answer["status"], &answer["path"]), (&json!("degraded"), &json!(["arda"])));
    let missed: Vec<_> = answer["neighbours"].as_array().unwrap().iter().map(|one| (&one["service"], &one["status"])).collect();
    assert_eq!(missed, [(&json!("beorn"), &json!("unreachable")), (&json!("palantir"), &json!("unreachable"))]);
    let metrics = get(&format!("{url}/metrics")).await.text;
    for line in [
        r#"sense_requests_total{method="GET",endpoint="test",status_code="200"} 1"#,
        r#"sense_neighbour_calls_total{neighbour="beorn",outcome="failed"} 1"#,
    ] {
        assert!(metrics.lines().any(|found| found == line), "{line} in\n{metrics}");
    }
    arda.signal(Signal::TERM);
    assert!(arda.ended().await.success());
    let spans = trace(&sink, answer["trace_id"].as_str().unwrap(), 4).await;
    let failed = spans.iter().filter(|(_, span)| span.status.as_ref().is_some_and(|status| status.code == 2)).count();
    assert_eq!(failed, 3, "both calls and the work above them");
    assert!(!sink.look(|received| received.spans.iter().any(|(_, span)| span.name.contains("health"))));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_test_ends_however_the_services_are_wired() {
    let sink = Sink::start().await;
    let reserved = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = reserved.local_addr().unwrap().port();
    drop(reserved);
    // Both neighbours are the service itself.
    let neighbours = format!("palantir=http://127.0.0.1:{port},arda=http://127.0.0.1:{port}/");
    let beorn = Part::start(&["--otlp", &sink.endpoint, "beorn", "--port", &port.to_string(), "--neighbours", &neighbours]);
    let url = format!("{}/api/test?circuit_id=c", beorn.url().await);
    let answer = get(&url).await.json();
    assert_eq!(answer["path"], json!(["beorn"]));
    let metrics = get(&url.replace("/api/test?circuit_id=c", "/metrics")).await.text;
    let requests = r#"sense_requests_total{method="GET",endpoint="test",status_code="200"} 3"#;
    assert!(metrics.lines().any(|line| line == requests), "{metrics}");
    let visited = ask(Method::GET, &url, &[("x-sense-path", "arda, palantir, nobody")], "").await.json();
    assert_eq!((&visited["path"], &visited["neighbours"]), (&json!(["arda", "palantir", "beorn"]), &json!([])));
}

#[tokio::test(flavor = "multi_thread")]
async fn traffic_has_circuits_tested() {
    let sink = Sink::start().await;
    let sense = Sense::start(&sink.endpoint).await;
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (page, targets) = (format!("http://{nobody}"), sense.urls.join(","));
    let flags = [
        "--otlp",
        &sink.endpoint,
        "traffic",
        "--target",
        &page,
        "--sense",
        &targets,
        "--shop",
        "",
        "--rate",
        "40",
        "--duration",
        "2",
    ];
    assert!(Part::start(&flags).ended().await.success());
    let find = |received: &Received| {
        let tests = received.spans.iter().filter(|(_, span)| span.name == "test-circuit" && span.parent_span_id.is_empty());
        tests.map(|(_, span)| span.clone()).next()
    };
    let root = sink.wait_for("a test of a circuit", find).await;
    let spans = trace(&sink, &hex(&root.trace_id), 10).await;
    let services: BTreeSet<&str> = spans.iter().map(|(service, _)| service.as_str()).collect();
    assert_eq!(services, BTreeSet::from(["arda", "beorn", "palantir", "traffic"]));
    let circuits: BTreeSet<String> = spans.iter().map(|(_, span)| text(&span.attributes, "circuit_id")).collect();
    assert_eq!(circuits.len(), 1);
    assert!(circuits.first().unwrap().starts_with("CIRCUIT-"), "{circuits:?}");
}
