//! `/api/compare`.

use super::*;

/// Forty spans of one second each: every fourth is slow and comes from the region `eu`.
fn regions() -> Router {
    let store = Memory::new();
    let mut sink = store.ingest(&Tenant::default());
    let resource = [attr("service.name", Value::Str("shop"))];
    SpanSink::group(&mut sink, &Group { resource: &resource, ..Group::default() });
    for i in 0..40_u8 {
        let slow = i % 4 == 0;
        let id = format!("order-{i}");
        sink.span(&Span {
            trace_id: TraceId([i + 1; 16]),
            span_id: SpanId([i + 1; 8]),
            name: "GET /",
            kind: 2,
            start: i64::from(i) * SECOND,
            end: i64::from(i) * SECOND + if slow { SECOND } else { SECOND / 100 },
            status_code: if i == 0 { 2 } else { 0 },
            attributes: &[
                attr("region", Value::Str(if slow { "eu" } else { "us" })),
                attr("order", Value::Str(&id)),
                attr("shards", Value::Int(3)),
            ],
            ..Span::default()
        });
    }
    drop(sink);
    every_port(&Arc::new(Api::new(Arc::new(store), Arc::new(NoTargets), Settings::default())))
}

#[tokio::test]
async fn a_comparison_counts_every_span_and_names_first_what_tells_them_apart() {
    let router = regions();
    let answer = get_json(&router, "/api/compare?start=0&end=40&min=500ms").await;
    assert_eq!((&answer["inside"], &answer["outside"]), (&json!(10), &json!(30)));
    assert_eq!(
        answer["attributes"][0],
        json!({"scope": "span", "key": "region", "numeric": false, "score": 1.0, "inside": 10, "outside": 30, "distinct": 2,
               "values": [{"value": "eu", "inside": 10, "outside": 0}, {"value": "us", "inside": 0, "outside": 30}]})
    );
    let keys: Vec<&str> = answer["attributes"].as_array().expect("a list").iter().filter_map(|a| a["key"].as_str()).collect();
    // What is the same everywhere (service.name, shards, name, kind) tells nothing; of what tells as much (one of ten inside), the
    // scope's and the key's names decide.
    assert_eq!(keys, ["region", "status", "order"]);

    // Of a metrics query, the spans that its series are made of.
    let same = get_json(&router, "/api/compare?q=%7B%7D%20%7C%20rate()%20by(name)&start=0&end=40&min=500ms").await;
    assert_eq!(same, answer);
    assert_eq!(same["of"], "{ true }");

    // A box in time, among the spans that a filter selects.
    let boxed = "/api/compare?q=%7Bspan.region%3D%22eu%22%7D&start=0&end=40&from=0&to=8&min=1s&max=2s";
    let answer = get_json(&router, boxed).await;
    assert_eq!((&answer["inside"], &answer["outside"]), (&json!(2), &json!(8)));
    let status = answer["attributes"].as_array().expect("a list").iter().find(|a| a["key"] == "status").expect("ranked");
    assert_eq!(status["values"][0], json!({"value": "error", "inside": 1, "outside": 0}));

    for (query, why) in [
        ("q=%7B%7D%20%7C%20count()%3E1", "one filter"),
        ("q=%7B%7D&promql=up", "one of q, query and promql"),
        ("query=vector(1)", "selects no log lines"),
        ("query=%7B", "invalid LogQL query"),
        ("promql=1", "selects no series"),
        ("promql=up%7B", "invalid PromQL query"),
        ("q=%7BnestedSetParent%3D3%7D", "one filter"),
        ("q=%7B", "invalid TraceQL query"),
        ("min=long", "invalid min"),
        ("from=yesterday", "invalid from"),
    ] {
        let (status, body) = get(&router, &format!("/api/compare?{query}")).await;
        assert!(status == 400 && body.contains(why), "{query}: {status} {body}");
    }
}

#[tokio::test]
async fn lines_are_compared_by_labels_metadata_and_what_the_pipeline_finds() {
    let store = Memory::new();
    let mut sink = store.ingest(&Tenant::default());
    LogSink::group(&mut sink, &Group { labels: &[("app", "shop")], ..Group::default() });
    for i in 0..40_i64 {
        let (region, code) = if i >= 30 { ("eu", 500) } else { ("us", 200) };
        sink.log(&log(i * SECOND, &format!("code={code} n={i}"), &[attr("region", Value::Str(region))]));
    }
    drop(sink);
    let router = every_port(&Arc::new(Api::new(Arc::new(store), Arc::new(NoTargets), Settings::default())));
    let ask = |query: &str| format!("/api/compare?query={query}&start=0&end=40&from=30&to=40");
    let answer = get_json(&router, &ask("%7Bapp=%22shop%22%7D%20%7C%20logfmt%20%7C%20n%20!=%20%2235%22")).await;
    assert_eq!((&answer["inside"], &answer["outside"]), (&json!(9), &json!(30)));
    let first: Vec<_> =
        answer["attributes"].as_array().expect("a list").iter().take(2).map(|a| (a["scope"].clone(), a["key"].clone())).collect();
    assert_eq!(first, [(json!("metadata"), json!("region")), (json!("parsed"), json!("code"))]);
    assert_eq!(
        answer["attributes"][1]["values"],
        json!([{"value": "200", "inside": 0, "outside": 30}, {"value": "500", "inside": 9, "outside": 0}])
    );
    // Of a metric query, the lines that it counts.
    let counted =
        get_json(&router, &ask("sum%20by(app)(rate(%7Bapp=%22shop%22%7D%20%7C%20logfmt%20%7C%20n%20!=%20%2235%22[1m]))")).await;
    assert_eq!(counted, answer);
    assert_eq!(counted["of"], r#"{app="shop"} | logfmt | n!="35""#);
}

#[tokio::test]
async fn samples_are_compared_by_how_much_each_label_adds() {
    let store = Memory::new();
    let mut sink = store.ingest(&Tenant::default());
    for (route, early, late) in [("/a", 1.0, 1.0), ("/b", 1.0, 9.0)] {
        let labels = Labels::from_pairs([("__name__", "hits_total"), ("route", route)]);
        SampleSink::series(&mut sink, RawLabels::from_pairs(route.as_bytes(), &labels.iter().collect::<Vec<_>>()));
        let mut sum = 0.0;
        for i in 0..=40_i64 {
            sink.sample(i * 15_000, sum);
            sum += if i >= 20 { late } else { early };
        }
    }
    drop(sink);
    let router = every_port(&Arc::new(Api::new(Arc::new(store), Arc::new(NoTargets), Settings::default())));
    let answer = get_json(&router, "/api/compare?promql=sum(rate(hits_total[1m]))&start=0&end=600&from=300&to=600").await;
    assert_eq!((&answer["of"], &answer["measure"]), (&json!("{__name__=\"hits_total\"}"), &json!("increase")));
    assert_eq!(answer["attributes"].as_array().map(Vec::len), Some(1));
    let (route, values) = (&answer["attributes"][0]["key"], &answer["attributes"][0]["values"]);
    assert_eq!((route, &values[0]["value"]), (&json!("route"), &json!("/a")));
    let share = |side: &str| values[1][side].as_f64().expect("a number") / answer[side].as_f64().expect("a number");
    assert!((share("inside") - 0.9).abs() < 0.02 && (share("outside") - 0.5).abs() < 0.02, "{answer}");
}
