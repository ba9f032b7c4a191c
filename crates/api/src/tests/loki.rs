//! What is Loki's alone.

use super::*;

#[tokio::test]
async fn loki_thins_lines_out_and_says_what_it_read() {
    let router = every();
    let all = "/loki/api/v1/query_range?query=%7Bapp=~%22.%2B%22%7D&start=0&end=10000000000";
    for (more, times) in [
        ("", &["3000000000", "2000000000", "1000000000"][..]),
        ("&interval=1", &["3000000000", "2000000000", "1000000000"]),
        ("&interval=2s", &["3000000000", "1000000000"]),
        ("&interval=1.5&direction=forward", &["1000000000", "3000000000"]),
        ("&interval=2s&limit=1", &["3000000000"]),
        ("&interval=1h", &["3000000000"]),
    ] {
        let found = get_json(&router, &format!("{all}{more}")).await;
        let streams = found["data"]["result"].as_array().expect("streams");
        let values = streams.iter().flat_map(|s| s["values"].as_array().expect("values"));
        let mut got: Vec<&str> = values.filter_map(|v| v[0].as_str()).collect();
        got.sort_unstable();
        let mut times = times.to_vec();
        times.sort_unstable();
        assert_eq!(got, times, "{more}");
    }
    let read = async |path: &str| {
        let stats = get_json(&router, path).await["data"]["stats"].clone();
        let n = |key: &str| stats["summary"][key].as_u64();
        (n("totalLinesProcessed"), n("totalBytesProcessed"), n("totalEntriesReturned"))
    };
    assert_eq!(read(all).await, (Some(3), Some(12 + 3 + 5), Some(3)));
    let of = |query: &str| format!("/loki/api/v1/query_range?query={query}&start=0&end=4&step=2");
    assert_eq!(read(&of("count_over_time(%7Bapp=%22shop%22%7D%5B2s%5D)")).await.0, Some(2));
    assert_eq!(read(&of("bytes_over_time(%7Bapp=%22shop%22%7D%5B2s%5D)")).await.1, Some(15));
    let request = Request::get("/loki/api/v1/labels").body(Body::empty()).expect("a request");
    assert_eq!(send(&router, request).await.1["content-type"], "application/json; charset=UTF-8");
}

#[tokio::test]
async fn loki_answers_are_those_of_loki() {
    let router = every();
    let data = |json: Json| json["data"].clone();
    let range = "start=0&end=10000000000";
    let all = data(get_json(&router, &format!("/loki/api/v1/query_range?query=%7Bapp=~%22.%2B%22%7D&{range}")).await);
    assert_eq!(all["resultType"], "streams");
    assert_eq!(
        all["result"],
        json!([
            {"stream": {"app": "db", "detected_level": "unknown", "env": "prod"}, "values": [["3000000000", "three"]]},
            {"stream": {"app": "shop", "detected_level": "unknown"}, "values": [["2000000000", "two"]]},
            {"stream": {"app": "shop", "detected_level": "unknown", "trace_id": "x"}, "values": [["1000000000", "one \"quoted\""]]},
        ])
    );
    let request = Request::get(format!("/loki/api/v1/query_range?query=%7Bapp=%22shop%22%7D&direction=forward&{range}"))
        .header("X-Loki-Response-Encoding-Flags", "categorize-labels");
    let (_, _, body) = send(&router, request.body(Body::empty()).expect("a request")).await;
    let categorized = data(serde_json::from_slice(&body).expect("JSON"));
    assert_eq!(categorized["encodingFlags"], json!(["categorize-labels"]));
    assert_eq!(
        categorized["result"],
        json!([{"stream": {"app": "shop"}, "values": [
            ["1000000000", "one \"quoted\"", {"structuredMetadata": {"detected_level": "unknown", "trace_id": "x"}}],
            ["2000000000", "two", {"structuredMetadata": {"detected_level": "unknown"}}],
        ]}])
    );
    // Start is inside, end is not.
    let edges = data(get_json(&router, "/loki/api/v1/query_range?query=%7Bapp=~%22.%2B%22%7D&start=2&end=3&limit=5").await);
    let two = json!([{"stream": {"app": "shop", "detected_level": "unknown"}, "values": [["2000000000", "two"]]}]);
    assert_eq!(edges["result"], two);
    // Grafana's health check.
    let health =
        data(get_json(&router, "/loki/api/v1/query?query=vector(1)%2Bvector(1)&time=4000000000&direction=backward").await);
    assert_eq!(health["resultType"], "vector");
    assert_eq!(health["result"], json!([{"metric": {}, "value": [4_000_000_000i64, "2"]}]));
    let counts = data(
        get_json(
            &router,
            "/loki/api/v1/query_range?query=sum%20by(app)(count_over_time(%7Bapp=~%22.%2B%22%7D%5B2s%5D))&start=0&end=4&step=2",
        )
        .await,
    );
    assert_eq!(
        counts["result"],
        json!([
            {"metric": {"app": "db"}, "values": [[4, "1"]]},
            {"metric": {"app": "shop"}, "values": [[2, "2"]]},
        ])
    );
    for (path, expected) in [
        ("labels", json!(["app", "env"])),
        ("label/app/values", json!(["db", "shop"])),
        ("label/app/values?query=%7Benv=%22prod%22%7D", json!(["db"])),
        ("series?match[]=%7Bapp=%22db%22%7D", json!([{"app": "db", "env": "prod"}])),
    ] {
        let separator = if path.contains('?') { '&' } else { '?' };
        assert_eq!(data(get_json(&router, &format!("/loki/api/v1/{path}{separator}{range}")).await), expected, "{path}");
    }
    let stats = get_json(&router, &format!("/loki/api/v1/index/stats?query=%7Bapp=%22shop%22%7D&{range}")).await;
    assert_eq!(stats, json!({"streams": 1, "chunks": 1, "entries": 2, "bytes": 15}));
    assert_eq!(get(&router, "/loki/api/v1/query_range?query=%7Ba=%22b%22%7D&limit=5001").await.0, 400);
}
