//! What is Prometheus' alone.

use super::*;

#[tokio::test]
async fn prometheus_answers_are_those_of_prometheus() {
    let router = every();
    let golden = [
        (
            "query?query=up&time=60",
            r#"{"status":"success","data":{"resultType":"vector","result":[{"metric":{"__name__":"up","job":"a"},"value":[60,"2.5"]},{"metric":{"__name__":"up","job":"b\""},"value":[60,"+Inf"]}]}}"#,
        ),
        ("query?query=1%2B1&time=4", r#"{"status":"success","data":{"resultType":"scalar","result":[4,"2"]}}"#),
        ("query?query=%22a%22&time=4.5", r#"{"status":"success","data":{"resultType":"string","result":[4.500,"a"]}}"#),
        (
            "query?query=up%7Bjob%3D%22a%22%7D%5B5m%5D&time=1970-01-01T00:01:00Z",
            r#"{"status":"success","data":{"resultType":"matrix","result":[{"metric":{"__name__":"up","job":"a"},"values":[[0,"1"],[60,"2.5"]]}]}}"#,
        ),
        (
            "query?query=up&time=60&limit=1",
            r#"{"status":"success","data":{"resultType":"vector","result":[{"metric":{"__name__":"up","job":"a"},"value":[60,"2.5"]}]},"warnings":["results truncated due to limit"]}"#,
        ),
        (
            "query_range?query=sum(up%7Bjob=%22a%22%7D)&start=0&end=60&step=30s",
            r#"{"status":"success","data":{"resultType":"matrix","result":[{"metric":{},"values":[[0,"1"],[30,"1"],[60,"2.5"]]}]}}"#,
        ),
        ("format_query?query=sum(rate(up%5B5m%5D))by(job)", r#"{"status":"success","data":"sum by (job) (rate(up[5m]))"}"#),
        (
            "parse_query?query=up%7Ba!=%27b%27%7D%5B5m%5D%20offset%201m",
            r#"{"status":"success","data":{"anchored":false,"matchers":[{"name":"a","type":"!=","value":"b"},{"name":"__name__","type":"=","value":"up"}],"name":"up","offset":60000,"range":300000,"smoothed":false,"startOrEnd":null,"timestamp":null,"type":"matrixSelector"}}"#,
        ),
        (
            "series?match[]=up%7Bjob=%22a%22%7D&match%5B%5D=nothing",
            r#"{"status":"success","data":[{"__name__":"up","job":"a"}]}"#,
        ),
        (
            "query_exemplars?query=rate(hits_total%5B5m%5D)%2Bup&start=0&end=60",
            r#"{"status":"success","data":[{"seriesLabels":{"__name__":"hits_total","job":"a"},"exemplars":[{"labels":{"trace_id":"ab"},"value":"6","timestamp":1.500}]}]}"#,
        ),
        ("query_exemplars?query=up&start=0&end=60", r#"{"status":"success","data":[]}"#),
        ("labels", r#"{"status":"success","data":["__name__","job"]}"#),
        ("label/job/values", r#"{"status":"success","data":["a","b\""]}"#),
        ("label/job/values?match[]=up%7Bjob!=%22a%22%7D", r#"{"status":"success","data":["b\""]}"#),
        ("label/job/values?start=100&end=200", r#"{"status":"success","data":[]}"#),
        ("metadata", r#"{"status":"success","data":{"up":[{"type":"gauge","help":"Whether.","unit":""}]}}"#),
        ("rules", r#"{"status":"success","data":{"groups":[]}}"#),
        ("alerts", r#"{"status":"success","data":{"alerts":[]}}"#),
        ("targets", r#"{"status":"success","data":{"activeTargets":[],"droppedTargetCounts":{},"droppedTargets":[]}}"#),
    ];
    for (query, expected) in golden {
        assert_eq!(get(&router, &format!("/api/v1/{query}")).await, (200, expected.to_owned()), "{query}");
    }
    assert_eq!(get(&router, "/-/healthy").await, (200, "Prometheus Server is Healthy.\n".to_owned()));
    let build = get_json(&router, "/api/v1/status/buildinfo").await;
    assert!(build["data"]["version"].as_str().is_some_and(|v| v.starts_with("3.")), "{build}");
    assert!(build["data"].get("features").is_none(), "Grafana takes features for Mimir");
}

#[tokio::test]
async fn pages_of_other_origins_may_ask_prometheus_api_where_the_pattern_allows_them() {
    let of = |pattern: &str| {
        let cors_origin = crate::CorsOrigin::new(pattern).expect("a pattern");
        let settings = Settings { cors_origin, ..Settings::default() };
        Arc::new(Api::new(Arc::new(store()), Arc::new(NoTargets), settings))
    };
    let (any, one) = (prometheus_port(&of(".*")), every_port(&of("https?://(a|b)\\.example")));
    let asked = async |router: &Router, method: &str, path: &str, origin: Option<&str>| {
        let mut request = Request::builder().method(method).uri(path);
        if let Some(origin) = origin {
            request = request.header("origin", origin);
        }
        let (status, headers, body) = send(router, request.body(Body::empty()).expect("a request")).await;
        let header = |name: &str| headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or("-").to_owned();
        let vary: Vec<_> = headers.get_all("vary").iter().filter_map(|v| v.to_str().ok()).collect();
        assert_eq!(vary.contains(&"Origin"), path.starts_with("/api/v1/"), "{method} {path}: {vary:?}");
        assert_eq!(headers.get("access-control-allow-credentials"), None);
        (status.as_u16(), body.is_empty(), header("access-control-allow-origin"), header("access-control-allow-methods"))
    };
    let (methods, page) = ("GET, POST, OPTIONS".to_owned(), Some("https://a.example"));
    let query = "/api/v1/query?query=1";
    assert_eq!(asked(&any, "OPTIONS", query, page).await, (204, true, "*".to_owned(), methods.clone()));
    assert_eq!(asked(&any, "OPTIONS", "/api/v1/nothing", page).await, (204, true, "*".to_owned(), methods.clone()));
    assert_eq!(asked(&any, "GET", query, page).await, (200, false, "*".to_owned(), methods.clone()));
    assert_eq!(asked(&any, "GET", query, None).await, (200, false, "-".to_owned(), "-".to_owned()));
    assert_eq!(asked(&one, "GET", query, page).await.2, "https://a.example");
    assert_eq!(asked(&one, "GET", "/api/v1/query?query=x%7B", page).await, (400, false, "https://a.example".to_owned(), methods));
    for stranger in ["https://a.example.evil", "https://c.example", "null", ""] {
        assert_eq!(asked(&one, "GET", query, Some(stranger)).await.2, "-", "{stranger}");
    }
    assert_eq!(asked(&one, "GET", "/loki/api/v1/labels", page).await.2, "-");
}

#[tokio::test]
async fn what_is_no_json_in_prometheus_fails_in_plain_text_and_the_lifecycle_stays_ours() {
    let router = prometheus_port(&api(Arc::new(NoTargets)));
    let (status, body) = get(&router, "/federate?match[]=%7B").await;
    assert_eq!((status, body.as_str()), (400, "1:2: parse error: unexpected end of input inside braces\n"));
    let request = |method: &str, path: &str| Request::builder().method(method).uri(path).body(Body::empty()).expect("a request");
    let (status, _, body) = send(&router, request("PUT", "/-/quit")).await;
    assert_eq!((status.as_u16(), &body[..]), (403, &b"Lifecycle API is not enabled."[..]));
    let (status, _, body) = send(&router, request("POST", "/api/v1/read")).await;
    assert!(status == 400 && body.starts_with(b"snappy"), "{status} {}", String::from_utf8_lossy(&body));
    assert_eq!(
        get_json(&router, "/version").await["version"],
        get_json(&router, "/api/v1/status/buildinfo").await["data"]["version"]
    );
    let (status, body) = get(&router, "/api/v1/rules?type=all").await;
    assert!(status == 400 && body.contains("not supported value"), "{status} {body}");
    assert_eq!(get_json(&router, "/api/v1/query_exemplars?query=up").await["data"], json!([]));
    assert_eq!(get(&router, "/api/v1/query_exemplars?query=1").await, (204, String::new()));
    let features = get_json(&router, "/api/v1/features").await;
    assert_eq!((&features["data"]["promql_functions"]["rate"], &features["data"]["api"]["admin"]), (&json!(true), &json!(false)));
    for (method, path) in [
        ("POST", "/api/v1/label/job/values"),
        ("POST", "/api/v1/metadata"),
        ("POST", "/api/v1/targets"),
        ("POST", "/api/v1/status/config"),
        ("POST", "/federate"),
        ("POST", "/-/healthy"),
        ("DELETE", "/api/v1/query"),
        ("GET", "/api/v1/read"),
    ] {
        let (status, headers, body) = send(&router, request(method, path)).await;
        assert_eq!((status.as_u16(), &body[..]), (405, &b"Method Not Allowed\n"[..]), "{method} {path}");
        assert!(headers.contains_key("allow"), "{method} {path}");
    }
    for path in ["/-/reload", "/-/quit"] {
        assert_eq!(get(&router, path).await, (405, "Only POST or PUT requests allowed".to_owned()), "{path}");
    }
}

#[tokio::test]
async fn federation_speaks_protobuf_with_histograms_and_escapes_names_for_those_that_do_not_read_them() {
    let store = Memory::new();
    let mut sink = store.ingest(&Tenant::default());
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_millis() as i64;
    SampleSink::series(&mut sink, RawLabels::from_pairs(b"a", &[("__name__", "a.b"), ("c.d", "x")]));
    sink.sample(now, 2.0);
    SampleSink::series(&mut sink, RawLabels::from_pairs(b"h", &[("__name__", "h"), ("job", "a")]));
    let spans = vec![model::BucketSpan { offset: 0, length: 1 }];
    let histogram = model::Histogram { count: 3.0, sum: 4.5, positive_spans: spans, positive: vec![3.0], ..Default::default() };
    SampleSink::histogram(&mut sink, now, &histogram);
    drop(sink);
    let router = prometheus_port(&Arc::new(Api::new(Arc::new(store), Arc::new(NoTargets), Settings::default())));
    let delimited = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited";
    for (accept, kind, shown, families) in [
        ("", "text/plain; version=0.0.4; charset=utf-8; escaping=underscores", "a_b{c_d=\"x\",instance=\"\"} 2 ", 1),
        (
            "text/plain;version=0.0.4;escaping=allow-utf-8",
            "text/plain; version=0.0.4; charset=utf-8; escaping=allow-utf-8",
            "{\"a.b\",\"c.d\"=\"x\",instance=\"\"} 2 ",
            1,
        ),
        (
            delimited,
            "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited; escaping=underscores",
            "a_b",
            2,
        ),
    ] {
        let uri = "/federate?match[]=%7B__name__=~%22.%2B%22%7D";
        let request = Request::builder().uri(uri).header("accept", accept).body(Body::empty()).expect("a request");
        let (status, headers, body) = send(&router, request).await;
        assert_eq!((status.as_u16(), headers["content-type"].to_str().expect("text")), (200, kind));
        let text = String::from_utf8_lossy(&body);
        assert!(text.contains(shown), "{text}");
        let found = if accept == delimited { lengths(&body) } else { text.matches("# TYPE").count() };
        assert_eq!(found, families, "{text}");
    }
}

/// Messages behind their lengths, each shorter than 128 bytes.
fn lengths(mut body: &[u8]) -> usize {
    let mut count = 0;
    while let Some((length, rest)) = body.split_first() {
        body = &rest[usize::from(*length)..];
        count += 1;
    }
    count
}

#[tokio::test]
async fn selectors_of_prometheus_are_read_as_there() {
    let router = prometheus_port(&api(Arc::new(NoTargets)));
    let none = "match[] must contain at least one non-empty matcher";
    for (selector, why) in [
        ("", "unknown position: parse error: unexpected end of input"),
        ("%7B%7D", none),
        ("%7Bx=~%22.*%22%7D", none),
        ("rate(x%5B1m%5D)", "1:5: parse error: unexpected \"(\""),
        ("up%5B1m%5D", "1:3: parse error: unexpected \"[\""),
        ("up+offset+1m", "1:4: parse error: unexpected <offset>"),
    ] {
        for (path, prefix) in [
            ("/api/v1/series", "invalid parameter \"match[]\": "),
            ("/api/v1/labels", ""),
            ("/api/v1/label/job/values", ""),
            ("/api/v1/rules", "invalid parameter \"match[]\": "),
        ] {
            let (status, body) = get(&router, &format!("{path}?match[]={selector}")).await;
            let error = &serde_json::from_str::<Json>(&body).expect("JSON")["error"];
            assert_eq!((status, error), (400, &json!(format!("{prefix}{why}"))), "{path} {selector}");
        }
    }
    assert_eq!(get(&router, "/api/v1/series?match=up").await.0, 400, "no match[]");
}
