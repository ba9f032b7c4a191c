//! What is Tempo's alone.

use super::*;

#[tokio::test]
async fn tempo_takes_other_parameters_for_tags_where_nothing_else_is_asked() {
    let router = every();
    let found =
        async |query: &str| get_json(&router, &format!("/api/search?{query}")).await["traces"].as_array().map_or(0, Vec::len);
    assert_eq!(found("service.name=shop").await, 1);
    assert_eq!(found("service.name=other&limit=5&spss=1").await, 0);
    assert_eq!(found("service.name=other&start=1&end=100").await, 1, "a search of a range");
}

#[tokio::test]
async fn a_trace_comes_back_as_it_was_sent() {
    let router = every();
    let v1 = get_json(&router, "/api/traces/a01").await;
    let v2 = get_json(&router, "/api/v2/traces/00000000000000000000000000000a01?start=1&end=20").await;
    assert_eq!(v1["batches"], v2["trace"]["resourceSpans"]);
    assert_eq!(v2["metrics"], json!({}));
    let [shop, db] = &v1["batches"].as_array().expect("batches")[..] else { panic!("{v1}") };
    assert_eq!(shop["resource"]["droppedAttributesCount"], 2);
    assert_eq!(shop["scopeSpans"][0]["scope"]["name"], "lib");
    let root = &shop["scopeSpans"][0]["spans"][0];
    assert_eq!((&root["name"], &root["kind"]), (&json!("GET /"), &json!("SPAN_KIND_SERVER")));
    assert_eq!(root["startTimeUnixNano"], "10000000000");
    let span = &db["scopeSpans"][0]["spans"][0];
    assert_eq!(span["status"]["code"], "STATUS_CODE_ERROR");
    assert_eq!(span["attributes"], json!([{"key": "http.code", "value": {"doubleValue": 0.5}}]));
    assert_eq!(span["events"][0]["attributes"], json!([{"key": "message", "value": {"stringValue": "no"}}]));
    assert_eq!(span["links"][0]["attributes"], json!([{"key": "n", "value": {"intValue": "-1"}}]));
    // Protobuf: version 2 wraps what version 1 sends bare.
    let protobuf = async |uri: &str| {
        let request = Request::get(uri).header("accept", "application/protobuf").body(Body::empty()).expect("a request");
        let (status, headers, body) = send(&router, request).await;
        assert_eq!(status, 200);
        assert_eq!(headers.get("content-type").map(|v| v.as_bytes()), Some(&b"application/protobuf"[..]));
        body
    };
    let (bare, wrapped) = (protobuf("/api/traces/a01").await, protobuf("/api/v2/traces/a01").await);
    let json = wire::otlp::traces_json(&bare, wire::otlp::Style::Protobuf, "batches").expect("a trace");
    assert_eq!(serde_json::from_str::<Json>(&json).expect("JSON"), v1);
    let at = wrapped.windows(bare.len()).position(|w| w == &bare[..]).expect("the trace is inside");
    assert_eq!((wrapped[0], &wrapped[at + bare.len()..]), (0x0a, &[0x12, 0][..]));
    assert_eq!(get_json(&router, "/api/v2/traces/a02").await, json!({"trace": {}, "metrics": {}}));
    assert_eq!(get(&router, "/api/traces/a02").await, (404, "trace not found".to_owned()));
}

#[tokio::test]
async fn tempo_searches_are_those_of_tempo() {
    let router = every();
    let found = get_json(&router, "/api/search?q=%7B%20.http.code%20%3E%201%20%7D&start=5&end=20").await;
    let set = json!({"matched": 1, "spans": [{
        "spanID": "0101010101010101",
        "startTimeUnixNano": "10000000000",
        "durationNanos": "1000000000",
        "attributes": [{"key": "http.code", "value": {"intValue": "200"}}],
    }]});
    let read = found["metrics"]["inspectedBytes"].as_str().and_then(|n| n.parse::<u64>().ok());
    assert!(read.is_some_and(|n| n > 0), "{}", found["metrics"]);
    assert_eq!(
        found["traces"],
        json!([{
            "traceID": "a01",
            "rootServiceName": "shop",
            "rootTraceName": "GET /",
            "startTimeUnixNano": "10000000000",
            "durationMs": 1000,
            "spanSet": set,
            "spanSets": [set],
            "serviceStats": {"db": {"spanCount": 1, "errorCount": 1}, "shop": {"spanCount": 1}},
        }])
    );
    for (query, traces) in [
        ("tags=service.name%3Ddb%20http.code%3D0.5", 1),
        ("tags=service.name%3Ddb%20ok%3Dtrue", 0),
        ("tags=name%3DSELECT&minDuration=2s", 0),
        ("q=%7B%7D&start=1&end=9", 0),
        ("", 1),
    ] {
        let found = get_json(&router, &format!("/api/search?{query}")).await;
        assert_eq!(found["traces"].as_array().map(Vec::len), Some(traces), "{query}");
    }
    let series = get_json(&router, "/api/metrics/query_range?q=%7B%7D%7Crate()by(name)&start=9&end=20&step=10&exemplars=0").await;
    assert_eq!(
        series["series"][0],
        json!({
            "labels": [{"key": "name", "value": {"stringValue": "GET /"}}],
            "samples": [{"timestampMs": "10000", "value": 0.1}, {"timestampMs": "20000"}],
        })
    );
    let instant = get_json(&router, "/api/metrics/query?q=%7B%7D%7Ccount_over_time()&start=5&end=20").await;
    assert_eq!(
        instant["series"],
        json!([{"labels": [{"key": "__name__", "value": {"stringValue": "count_over_time"}}], "value": 2}])
    );
    assert_eq!(get(&router, "/api/metrics/query_range?q=%7B%7D&start=9&end=20").await.0, 400);
    let tags = get_json(&router, "/api/v2/search/tags").await;
    assert_eq!(tags["scopes"][0], json!({"name": "resource", "tags": ["service.name"]}));
    assert_eq!(tags["scopes"][1], json!({"name": "span", "tags": ["http.code", "ok"]}));
    assert_eq!(get_json(&router, "/api/search/tags?scope=event").await["tagNames"], json!(["message"]));
    assert_eq!(get_json(&router, "/api/search/tags?scope=span").await["tagNames"], json!(["http.code", "ok"]));
    for (path, expected) in [
        ("/api/search/tag/service.name/values", json!(["db", "shop"])),
        (
            "/api/v2/search/tag/resource.service.name/values",
            json!([{"type": "string", "value": "db"}, {"type": "string", "value": "shop"}]),
        ),
        ("/api/v2/search/tag/.service.name/values?q=%7Bstatus%3Derror%7D", json!([{"type": "string", "value": "db"}])),
        ("/api/v2/search/tag/span.http.code/values", json!([{"type": "float", "value": "0.5"}, {"type": "int", "value": "200"}])),
        ("/api/v2/search/tag/span.ok/values", json!([{"type": "bool", "value": "true"}])),
        (
            "/api/v2/search/tag/status/values",
            json!([{"type": "keyword", "value": "unset"}, {"type": "keyword", "value": "ok"}, {"type": "keyword", "value": "error"}]),
        ),
        ("/api/v2/search/tag/event.message/values", json!([{"type": "string", "value": "no"}])),
        ("/api/v2/search/tag/rootName/values", json!([{"type": "string", "value": "GET /"}])),
    ] {
        assert_eq!(get_json(&router, path).await["tagValues"], expected, "{path}");
    }
    assert_eq!(get(&router, "/api/echo").await, (200, "echo".to_owned()));
}

#[tokio::test]
async fn unknown_methods_of_grpc_are_unimplemented() {
    let api = api(Arc::new(NoTargets));
    for router in [tempo_port(&api), every_port(&api)] {
        let request = Request::post("/tempopb.StreamingQuerier/Nothing").header("content-type", "application/grpc");
        let (status, headers, body) = send(&router, request.body(Body::empty()).expect("a request")).await;
        assert_eq!((status.as_u16(), headers["grpc-status"].as_bytes(), body.len()), (200, &b"12"[..], 0));
        assert_eq!(get(&router, "/tempopb.StreamingQuerier/Nothing").await.0, 404);
    }
}
