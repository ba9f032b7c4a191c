//! Backend and proxy as real processes against an OTLP sink: what they say about a request must hold together.

use crate::common::{Lab, Part, Sink, ask, body, eventually, get, hex, post_json, text};
use http::{Method, StatusCode};
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use rustix::process::Signal;

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CALLER: &str = "00f067aa0ba902b7";

#[tokio::test(flavor = "multi_thread")]
async fn one_trace_goes_from_the_caller_through_proxy_and_backend_to_the_database() {
    let sink = Sink::start().await;
    let lab = Lab::start(&sink.endpoint).await;
    let caller = format!("00-{TRACE}-{CALLER}-01");
    let headers = [("traceparent", caller.as_str()), ("tracestate", "vendor=1"), ("x-operation", "create-task")];
    let answer = post_json(&format!("{}/api/tasks", lab.proxy_url), &headers, r#"{"title":"Water the plants"}"#).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.text);

    let entry = sink.span(TRACE, "tasks-proxy", "POST /api/").await;
    let exit = sink.span(TRACE, "tasks-proxy", "POST").await;
    let server = sink.span(TRACE, "flask-backend", "POST /api/tasks").await;
    let handler = sink.span(TRACE, "flask-backend", "create_task").await;
    let query = sink.span(TRACE, "flask-backend", "INSERT tasks").await;
    assert_eq!(hex(&entry.parent_span_id), CALLER);
    assert_eq!(exit.parent_span_id, entry.span_id);
    assert_eq!(server.parent_span_id, exit.span_id);
    assert_eq!(handler.parent_span_id, server.span_id);
    assert_eq!(query.parent_span_id, handler.span_id);
    let kinds = [&entry, &exit, &server, &handler, &query].map(|span| span.kind());
    assert_eq!(kinds, [SpanKind::Server, SpanKind::Client, SpanKind::Server, SpanKind::Internal, SpanKind::Client]);
    assert_eq!(server.trace_state, "vendor=1");
    assert_eq!(text(&server.attributes, "app.operation"), "create-task");
    assert_eq!(text(&handler.attributes, "task.title"), "Water the plants");
    assert_eq!(text(&query.attributes, "db.system"), "sqlite");
    assert!(text(&query.attributes, "db.statement").starts_with("INSERT INTO tasks"));

    let resource = sink.look(|received| received.spans.iter().find(|(_, span)| *span == server).unwrap().0.clone());
    for (key, value) in [("service.version", "1.0.0"), ("team", "lab"), ("deployment.environment", "test")] {
        assert_eq!(text(&resource, key), value, "{key}");
    }

    // The same request in the logs, over OTLP and on stdout, and in the metrics.
    let find = |received: &crate::common::Received| {
        let of_server = received.records.iter().filter(|(_, record)| record.span_id == server.span_id);
        // The line itself names the trace: the link from a trace to its logs searches for that.
        (of_server.filter(|(_, record)| body(record).contains(TRACE)).count() >= 2).then_some(())
    };
    sink.wait_for("both log records of the server span", find).await;
    for message in ["Incoming request", "Request completed"] {
        let line = eventually(message, async || {
            lab.backend.lines().into_iter().find(|line| line["message"] == message && line["trace_id"] == TRACE)
        });
        let line = line.await;
        assert_eq!(line["span_id"], hex(&server.span_id));
        assert_eq!((&line["method"], &line["path"]), (&"POST".into(), &"/api/tasks".into()));
        assert_eq!((&line["levelname"], line["asctime"].as_str().unwrap().len()), (&"INFO".into(), 23));
    }
    let metrics = get(&format!("{}/metrics", lab.backend_url)).await;
    assert!(metrics.headers["content-type"].to_str().unwrap().starts_with("text/plain; version=0.0.4"));
    for line in [
        r#"http_requests_total{method="POST",endpoint="create_task",status_code="201"} 1"#,
        r#"http_request_duration_seconds_bucket{method="POST",endpoint="create_task",status_code="201",le="+Inf"} 1"#,
        r#"db_query_duration_seconds_count{operation="INSERT"} 1"#,
        "# TYPE http_errors_total counter",
    ] {
        assert!(metrics.text.lines().any(|found| found == line), "{line} in\n{}", metrics.text);
    }
    let reported = |received: &crate::common::Received| {
        received.metrics.iter().any(|name| name == "database_query_duration_seconds").then_some(())
    };
    sink.wait_for("the OTLP histogram", reported).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_parent_starts_a_new_trace_and_an_unsampled_one_stays_unsampled() {
    let sink = Sink::start().await;
    let lab = Lab::start(&sink.endpoint).await;
    let url = format!("{}/api/tasks", lab.proxy_url);
    let broken = format!("00-{TRACE}-0000000000000000-01");
    ask(Method::GET, &url, &[("traceparent", &broken), ("tracestate", "vendor=1")], "").await;
    let unsampled_trace = "11111111111111111111111111111111";
    let unsampled = format!("00-{unsampled_trace}-{CALLER}-00");
    ask(Method::GET, &url, &[("traceparent", &unsampled)], "").await;
    let last_trace = "22222222222222222222222222222222";
    let last = format!("00-{last_trace}-{CALLER}-01");
    ask(Method::GET, &url, &[("traceparent", &last)], "").await;

    // Spans leave in the order in which they ended: with the last trace's everything before it has come.
    sink.span(last_trace, "flask-backend", "GET /api/tasks").await;
    sink.span(last_trace, "tasks-proxy", "GET /api/").await;
    sink.look(|received| {
        assert!(received.spans.iter().all(|(_, span)| hex(&span.trace_id) != TRACE));
        assert!(received.spans.iter().all(|(_, span)| hex(&span.trace_id) != unsampled_trace));
        let roots = received.spans.iter().filter(|(_, span)| span.name == "GET /api/" && span.parent_span_id.is_empty());
        let roots: Vec<_> = roots.map(|(_, span)| span.trace_state.clone()).collect();
        assert_eq!(roots, [""], "one root, without the broken parent's state");
    });
    // Not recorded, but still known to the logs of everybody on the way.
    let known = async || lab.backend.lines().into_iter().find(|line| line["trace_id"] == unsampled_trace);
    eventually("the unsampled trace in the backend's log", known).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_lets_a_request_finish_and_sends_the_last_spans() {
    let sink = Sink::start().await;
    let mut lab = Lab::start(&sink.endpoint).await;
    let url = format!("{}/api/simulate-slow?delay=0.5", lab.backend_url);
    let request = tokio::spawn(async move { get(&url).await });
    lab.backend.line("Simulating slow request with 0.5s delay").await;
    lab.backend.signal(Signal::TERM);
    let answer = request.await.unwrap();
    assert_eq!(answer.json()["message"], "Delayed response after 0.5 seconds");
    assert!(lab.backend.ended().await.success());
    let names = sink.look(|received| received.spans.iter().map(|(_, span)| span.name.clone()).collect::<Vec<_>>());
    assert!(names.iter().any(|name| name == "simulate_slow_request"), "{names:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_collector_the_lab_works_and_says_so_once() {
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut lab = Lab::start(&format!("http://{nobody}")).await;
    let warning = "Telemetry is not delivered; work goes on, batches are dropped until it is";
    for _ in 0..3 {
        assert_eq!(get(&format!("{}/api/tasks", lab.proxy_url)).await.status, StatusCode::OK);
    }
    lab.backend.line(warning).await;
    assert_eq!(get(&format!("{}/api/tasks", lab.proxy_url)).await.status, StatusCode::OK);

    let sink = Sink::start_at(&nobody.to_string()).await;
    lab.backend.line("Telemetry is delivered again").await;
    get(&format!("{}/api/tasks", lab.proxy_url)).await;
    sink.wait_for("a span", |received| received.spans.first().map(|_| ())).await;
    lab.backend.signal(Signal::TERM);
    assert!(lab.backend.ended().await.success());
    let warnings = lab.backend.lines().iter().filter(|line| line["message"] == warning).count();
    assert_eq!(warnings, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn traffic_is_the_root_of_traces_that_reach_the_database() {
    let sink = Sink::start().await;
    let lab = Lab::start(&sink.endpoint).await;
    let flags = [
        "--otlp",
        &sink.endpoint,
        "traffic",
        "--target",
        &lab.proxy_url,
        "--sense",
        "",
        "--shop",
        "",
        "--rate",
        "40",
        "--duration",
        "2",
    ];
    let mut traffic = Part::start(&flags);
    assert!(traffic.ended().await.success());
    let find = |received: &crate::common::Received| {
        let root = |resource: &_, name: &str| text(resource, "service.name") == "traffic" && name == "create-task";
        let mut roots = received.spans.iter().filter(|(resource, span)| root(resource, &span.name));
        roots.find_map(|(_, root)| {
            let mut of_trace = received.spans.iter().filter(|(_, span)| span.trace_id == root.trace_id);
            of_trace.find(|(_, span)| span.name == "INSERT tasks").map(|_| root.clone())
        })
    };
    let root = sink.wait_for("a trace from traffic to the database", find).await;
    assert!(root.parent_span_id.is_empty());
}
