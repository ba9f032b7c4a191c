//! Requests in, golden answers out, over the contract's in-memory model.

mod compare;

use std::io::Read;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use http::{HeaderMap, Request, StatusCode};
use model::{Attr, Event, Group, Labels, Link, Log, Span, SpanId, Tenant, TraceId, Value};
use serde_json::{Value as Json, json};
use store::memory::Memory;
use tower::ServiceExt;
use wire::{Exemplar, LogSink, MetricKind, RawLabels, SampleSink, SpanSink};

use crate::{
    Api, DroppedTargets, FamilyText, NoTargets, ScrapeTarget, Settings, Targets, every_port, loki_port, prometheus_port,
    tempo_port,
};

const SECOND: i64 = 1_000_000_000;

fn attr<'a>(key: &'a str, value: Value<'a>) -> Attr<'a> {
    Attr { key, value }
}

fn log<'a>(time: i64, line: &'a str, attributes: &'a [Attr<'a>]) -> Log<'a> {
    Log {
        time,
        observed: 0,
        severity_number: 0,
        severity_text: "",
        body: Value::Str(line),
        event_name: "",
        trace_id: TraceId::NONE,
        span_id: SpanId::NONE,
        flags: 0,
        attributes,
        dropped_attributes: 0,
    }
}

/// Two series, three log lines, one trace of two spans; another tenant has one series more.
fn store() -> Memory {
    let store = Memory::new();
    let mut sink = store.ingest(&Tenant::default());
    for (job, values) in [("a", [1.0, 2.5]), ("b\"", [f64::NAN, f64::INFINITY])] {
        let labels = Labels::from_pairs([("__name__", "up"), ("job", job)]);
        SampleSink::series(&mut sink, RawLabels::from_pairs(job.as_bytes(), &labels.iter().collect::<Vec<_>>()));
        values.into_iter().enumerate().for_each(|(i, v)| sink.sample(i as i64 * 60_000, v));
    }
    sink.metadata("up", MetricKind::Gauge, "Whether.", "");
    let trace_id = [("trace_id", "ab")];
    SampleSink::series(&mut sink, RawLabels::from_pairs(b"c", &[("__name__", "hits_total"), ("job", "a")]));
    sink.exemplar(&Exemplar { labels: &trace_id, time_ms: 1_500, value: 6.0 });
    sink.exemplar(&Exemplar { labels: &[], time_ms: 90_000, value: 0.5 });
    LogSink::group(&mut sink, &Group { labels: &[("app", "shop")], ..Group::default() });
    sink.log(&log(SECOND, "one \"quoted\"", &[attr("trace_id", Value::Str("x"))]));
    sink.log(&log(2 * SECOND, "two", &[]));
    LogSink::group(&mut sink, &Group { labels: &[("app", "db"), ("env", "prod")], ..Group::default() });
    sink.log(&log(3 * SECOND, "three", &[]));
    let shop = [attr("service.name", Value::Str("shop"))];
    SpanSink::group(&mut sink, &Group { resource: &shop, scope_name: "lib", resource_dropped: 2, ..Group::default() });
    sink.span(&Span {
        trace_id: "0a01".parse().expect("an id"),
        span_id: SpanId([1; 8]),
        name: "GET /",
        kind: 2,
        start: 10 * SECOND,
        end: 11 * SECOND,
        attributes: &[attr("http.code", Value::Int(200)), attr("ok", Value::Bool(true))],
        ..Span::default()
    });
    let db = [attr("service.name", Value::Str("db"))];
    SpanSink::group(&mut sink, &Group { resource: &db, ..Group::default() });
    let nested = [attr("message", Value::Str("no")), attr("n", Value::Int(-1))];
    sink.span(&Span {
        trace_id: "0a01".parse().expect("an id"),
        span_id: SpanId([2; 8]),
        parent_span_id: SpanId([1; 8]),
        name: "SELECT",
        kind: 3,
        start: 10 * SECOND + 1,
        end: 10 * SECOND + 2_000_000,
        status_code: 2,
        attributes: &[attr("http.code", Value::Double(0.5))],
        events: &[Event { time: 10 * SECOND + 5, name: "exception", attributes: 0..1, dropped_attributes: 0 }],
        links: &[Link { trace_id: TraceId([7; 16]), span_id: SpanId([7; 8]), attributes: 1..2, ..Link::default() }],
        nested: &nested,
        ..Span::default()
    });
    drop(sink);
    let mut sink = store.ingest(&Tenant::new("other").expect("valid"));
    SampleSink::series(&mut sink, RawLabels::from_pairs(b"", &[("__name__", "theirs")]));
    sink.sample(0, 1.0);
    drop(sink);
    store
}

struct OneTarget;

impl Targets for OneTarget {
    fn active(&self) -> Vec<ScrapeTarget> {
        vec![ScrapeTarget {
            pool: "j".into(),
            url: "http://h:1/metrics".into(),
            discovered: vec![("__address__".into(), "h:1".into())],
            labels: vec![("job".into(), "j".into())],
            health: "down",
            last_error: "refused".into(),
            last_scrape: None,
            last_duration: Duration::from_millis(10),
            interval: Duration::from_secs(15),
            timeout: Duration::from_millis(2500),
            families: vec![FamilyText { name: "m".into(), kind: "counter", help: "H".into(), unit: String::new() }],
        }]
    }

    fn dropped(&self) -> Vec<DroppedTargets> {
        vec![DroppedTargets { pool: "j".into(), discovered: vec![vec![("__address__".into(), "h:2".into())]], count: 1 }]
    }
}

fn api(targets: Arc<dyn Targets>) -> Arc<Api> {
    let api = Arc::new(Api::new(Arc::new(store()), targets, Settings::default()));
    api.set_ready(true);
    api
}

fn every() -> Router {
    every_port(&api(Arc::new(NoTargets)))
}

async fn send(router: &Router, request: Request<Body>) -> (StatusCode, HeaderMap, Vec<u8>) {
    let response = router.clone().oneshot(request).await.expect("routers do not fail");
    let (parts, body) = response.into_parts();
    (parts.status, parts.headers, to_bytes(body, usize::MAX).await.expect("a whole body").to_vec())
}

async fn get(router: &Router, uri: &str) -> (u16, String) {
    let (status, _, body) = send(router, Request::get(uri).body(Body::empty()).expect("a request")).await;
    (status.as_u16(), String::from_utf8(body).expect("text"))
}

async fn get_json(router: &Router, uri: &str) -> Json {
    let (status, body) = get(router, uri).await;
    assert_eq!(status, 200, "{uri}: {body}");
    serde_json::from_str(&body).unwrap_or_else(|e| panic!("{uri}: {e}: {body}"))
}

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
async fn failures_have_the_shape_of_their_api() {
    let router = every();
    let bad = |kind: &str, error: &str| json!({"status": "error", "errorType": kind, "error": error}).to_string();
    let sorted = |text: String| serde_json::from_str::<Json>(&text).map_or(text, |j| j.to_string());
    let cases = [
        ("/api/v1/query?query=up%7B", 400, bad("bad_data", "invalid parameter \"query\": 1:4: parse error: unexpected end of input inside braces")),
        ("/api/v1/query?query=up&time=x", 400, bad("bad_data", "invalid parameter \"time\": Invalid time value for 'time': cannot parse \"x\" to a valid timestamp")),
        ("/api/v1/query?query=up*on()up&time=60", 422, bad("execution", "found duplicate series for the match group {} on the right hand-side of the operation: [{__name__=\"up\", job=\"a\"}, {__name__=\"up\", job=\"b\\\"\"}];many-to-many matching not allowed: matching labels must be unique on one side")),
        ("/api/v1/query_range?query=up&start=2&end=1&step=1", 400, bad("bad_data", "invalid parameter \"end\": end timestamp must not be before start time")),
        ("/api/v1/query_range?query=up&start=0&end=1&step=0", 400, bad("bad_data", "invalid parameter \"step\": zero or negative query resolution step widths are not accepted. Try a positive integer")),
        ("/api/v1/query_range?query=up&start=0&end=11001&step=1", 400, bad("bad_data", "exceeded maximum resolution of 11,000 points per timeseries. Try decreasing the query resolution (?step=XX)")),
        ("/api/v1/series", 400, bad("bad_data", "no match[] parameter provided")),
        ("/api/v1/nothing", 404, "404 page not found\n".to_owned()),
        ("/loki/api/v1/nothing", 404, "404 page not found".to_owned()),
        ("/api/v2/nothing", 404, "404 page not found".to_owned()),
        ("/elsewhere", 404, "404 page not found".to_owned()),
        ("/loki/api/v1/query_range?query=%7B", 400, "parse error at line 1, col 2: syntax error: unexpected $end, expecting IDENTIFIER or }".to_owned()),
        ("/loki/api/v1/query?query=%7Ba=%22b%22%7D", 400, "log queries are not supported as an instant query type, please change your query to a range query type".to_owned()),
        ("/api/search?q=%7B", 400, "invalid TraceQL query: parse error at line 1, col 2: syntax error: unexpected $end, expecting an attribute, an intrinsic or a value".to_owned()),
        ("/api/traces/0", 404, "trace not found".to_owned()),
        ("/api/traces/xyz", 400, "trace IDs can only contain hex characters: invalid character 'x' at position 1".to_owned()),
    ];
    for (uri, status, body) in cases {
        let (got_status, got) = get(&router, uri).await;
        assert_eq!((got_status, sorted(got)), (status, body), "{uri}");
    }
    let request = Request::get("/api/v1/labels").header("X-Scope-OrgID", "a/b").body(Body::empty()).expect("a request");
    assert_eq!(send(&router, request).await.0, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn wrong_parameters_are_named_in_the_words_of_their_api() {
    let router = every();
    let logs = |more: &str| format!("/loki/api/v1/query_range?query=%7Ba=%22b%22%7D&{more}");
    let exact = |path: &str, error: &str| (path.to_owned(), error.to_owned());
    let mut cases = vec![
        exact("query?query=up&limit=x", "invalid parameter \"limit\": strconv.Atoi: parsing \"x\": invalid syntax"),
        exact("query?query=up&limit=-1&time=x", "invalid parameter \"limit\": limit must be non-negative"),
        exact("query?query=up&timeout=soon", "invalid parameter \"timeout\": cannot parse \"soon\" to a valid duration"),
        exact("query?query=&lookback_delta=x", "error parsing lookback delta duration: cannot parse \"x\" to a valid duration"),
        exact("labels?limit=-1", "invalid parameter \"limit\": limit must be non-negative"),
        exact("metadata?limit=x", "limit must be a number"),
        exact("status/tsdb?limit=0", "limit must be a positive number"),
        exact("status/tsdb?limit=10001", "limit must not exceed 10000"),
        exact("rules?type=x", "invalid parameter \"type\": not supported value \"x\""),
        exact(
            "rules?exclude_alerts=maybe",
            "invalid parameter \"exclude_alerts\": error converting exclude_alerts: strconv.ParseBool: parsing \"maybe\": invalid syntax",
        ),
        exact("rules?group_limit=0", "invalid parameter \"group_limit\": group_limit needs to be greater than 0"),
        exact(
            "rules?group_next_token=a",
            "invalid parameter \"group_next_token\": group_limit needs to be present in order to paginate over the groups",
        ),
    ];
    for (path, error) in &mut cases {
        *path = format!("/api/v1/{path}");
        *error = json!({"status": "error", "errorType": "bad_data", "error": error}).to_string();
    }
    cases.extend([
        (logs("limit=0"), "limit must be a positive value".to_owned()),
        (logs("limit=x"), "strconv.Atoi: parsing \"x\": invalid syntax".to_owned()),
        (
            logs("limit=5001"),
            "max entries limit per query exceeded, limit > max_entries_limit_per_query (5001 > 5000)".to_owned(),
        ),
        (logs("start=x"), "could not parse 'start' parameter: strconv.ParseInt: parsing \"x\": invalid syntax".to_owned()),
        (logs("since=60"), "could not parse 'since' parameter: not a valid duration string: \"60\"".to_owned()),
        (logs("start=2&end=1"), "end timestamp must not be before or equal to start time".to_owned()),
        (logs("direction=up"), "invalid direction 'up'".to_owned()),
        (logs("interval=-1"), "interval must be >= 0".to_owned()),
        (logs("interval=x"), "cannot parse \"x\" to a valid duration".to_owned()),
        (logs("step=0"), "zero or negative query resolution step widths are not accepted. Try a positive integer".to_owned()),
        ("/loki/api/v1/query?query=vector(1)&time=x".to_owned(), "strconv.ParseInt: parsing \"x\": invalid syntax".to_owned()),
        ("/loki/api/v1/query?query=vector(1)&direction=up".to_owned(), "invalid direction 'up'".to_owned()),
        ("/loki/api/v1/index/volume?query=%7B%7D&limit=-1".to_owned(), "limit must be a positive value".to_owned()),
        (
            "/loki/api/v1/detected_fields?query=%7Ba=%22b%22%7D&line_limit=0".to_owned(),
            "limit must be a positive value".to_owned(),
        ),
    ]);
    let tempo = [
        ("search?q=%7B%7D&tags=a%3Db", "invalid request: can't specify tags and q in the same query"),
        ("search?tags=a%3Db%20a%3Dc", "invalid tags: tag a has been set twice"),
        ("search?start=x", "invalid start: strconv.ParseUint: parsing \"x\": invalid syntax"),
        ("search?start=10&end=5", "http parameter start must be before end. received start=10 end=5"),
        ("search?start=10", "http parameter start must be before end. received start=10 end=0"),
        ("search?limit=x", "invalid limit: strconv.Atoi: parsing \"x\": invalid syntax"),
        ("search?limit=0", "invalid limit: must be a positive number"),
        ("search?spss=-1", "invalid spss: must be a non-negative number"),
        ("search?minDuration=10", "invalid minDuration: time: missing unit in duration \"10\""),
        ("search?minDuration=20s&maxDuration=5s", "invalid maxDuration: must be greater than minDuration"),
        ("search/tags?scope=x", "invalid scope: x"),
        ("traces/12g", "trace IDs can only contain hex characters: invalid character 'g' at position 3"),
        ("traces/000000000000000000000000000000001", "trace IDs can't be larger than 128 bits"),
        ("traces/1?start=2&end=1", "http parameter start must be before end. received start=2 end=1"),
    ];
    cases.extend(tempo.map(|(path, error)| (format!("/api/{path}"), error.to_owned())));
    for (uri, body) in cases {
        let request = Request::get(&uri).body(Body::empty()).expect("a request");
        let (status, headers, got) = send(&router, request).await;
        let got = String::from_utf8(got).expect("text");
        let sorted = serde_json::from_str::<Json>(&got).map_or(got.clone(), |j| j.to_string());
        assert_eq!((status.as_u16(), sorted), (400, body), "{uri}");
        // What is no JSON must not be taken for something else.
        let plain = !uri.starts_with("/api/v1/");
        assert_eq!(headers.get("x-content-type-options").is_some_and(|v| v == "nosniff"), plain, "{uri}");
    }
}

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
async fn tempo_takes_other_parameters_for_tags_where_nothing_else_is_asked() {
    let router = every();
    let found =
        async |query: &str| get_json(&router, &format!("/api/search?{query}")).await["traces"].as_array().map_or(0, Vec::len);
    assert_eq!(found("service.name=shop").await, 1);
    assert_eq!(found("service.name=other&limit=5&spss=1").await, 0);
    assert_eq!(found("service.name=other&start=1&end=100").await, 1, "a search of a range");
}

#[tokio::test]
async fn get_and_form_are_equal_and_tenants_are_apart() {
    let router = every();
    for (path, form) in [
        ("/api/v1/query", "query=up&time=60"),
        ("/loki/api/v1/query_range", "query=%7Bapp%3D%22db%22%7D&start=0&end=10000000000"),
    ] {
        let (_, by_get) = get(&router, &format!("{path}?{form}")).await;
        let request = Request::post(path)
            .header("content-type", "application/x-www-form-urlencoded")
            .body(Body::from(form))
            .expect("a request");
        let (status, _, body) = send(&router, request).await;
        let without_time = |text: &str| text.split("\"stats\"").next().unwrap_or("").to_owned();
        assert_eq!((status.as_u16(), without_time(&String::from_utf8_lossy(&body))), (200, without_time(&by_get)), "{path}");
    }
    let request = Request::get("/api/v1/label/__name__/values").header("x-scope-orgid", "other").body(Body::empty());
    let (_, _, body) = send(&router, request.expect("a request")).await;
    assert_eq!(String::from_utf8_lossy(&body), r#"{"status":"success","data":["theirs"]}"#);
}

#[tokio::test]
async fn answers_are_compressed_where_that_is_accepted() {
    let router = every();
    let uri = "/api/v1/query_range?query=up&start=0&end=60&step=1";
    let (_, plain) = get(&router, uri).await;
    let request = Request::get(uri).header("accept-encoding", "deflate, gzip").body(Body::empty()).expect("a request");
    let (_, headers, body) = send(&router, request).await;
    assert_eq!(headers.get("content-encoding").map(|v| v.as_bytes()), Some(&b"gzip"[..]));
    let mut unpacked = String::new();
    flate2::read::GzDecoder::new(&body[..]).read_to_string(&mut unpacked).expect("gzip");
    assert_eq!(unpacked, plain);
    let request = Request::get(uri).header("accept-encoding", "gzip;q=0").body(Body::empty()).expect("a request");
    assert!(send(&router, request).await.1.get("content-encoding").is_none());
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
async fn each_port_says_when_it_is_ready_and_404_in_its_own_shape() {
    let api = Arc::new(Api::new(Arc::new(store()), Arc::new(OneTarget), Settings::default()));
    let (prometheus, loki, tempo) = (prometheus_port(&api), loki_port(&api), tempo_port(&api));
    let ready = async || [get(&prometheus, "/-/ready").await.0, get(&loki, "/ready").await.0, get(&tempo, "/ready").await.0];
    assert_eq!(ready().await, [503, 503, 503]);
    api.set_ready(true);
    assert_eq!(ready().await, [200, 200, 200]);
    assert_eq!(get(&prometheus, "/nothing").await, (404, "404 page not found\n".to_owned()));
    assert_eq!(get(&loki, "/api/v1/query").await, (404, "404 page not found".to_owned()));
    let targets = get_json(&prometheus, "/api/v1/targets").await;
    assert_eq!(
        targets["data"]["activeTargets"][0],
        json!({
            "discoveredLabels": {"__address__": "h:1"},
            "labels": {"job": "j"},
            "scrapePool": "j",
            "scrapeUrl": "http://h:1/metrics",
            "globalUrl": "http://h:1/metrics",
            "lastError": "refused",
            "lastScrape": "0001-01-01T00:00:00Z",
            "lastScrapeDuration": 0.01,
            "health": "down",
            "scrapeInterval": "15s",
            "scrapeTimeout": "2s500ms",
        })
    );
    assert_eq!(targets["data"]["droppedTargets"], json!([{"discoveredLabels": {"__address__": "h:2"}, "scrapePool": "j"}]));
    assert_eq!(targets["data"]["droppedTargetCounts"], json!({"j": 1}));
    for (state, active, dropped, counts) in [
        ("Active", 1, 0, json!(null)),
        ("dropped", 0, 1, json!({"j": 1})),
        ("any", 1, 1, json!({"j": 1})),
        ("x", 0, 0, json!(null)),
    ] {
        let found = get_json(&prometheus, &format!("/api/v1/targets?state={state}")).await["data"].clone();
        let count = |list: &str| found[list].as_array().map(Vec::len);
        assert_eq!((count("activeTargets"), count("droppedTargets")), (Some(active), Some(dropped)), "{state}");
        assert_eq!(found["droppedTargetCounts"], counts, "{state}");
    }
    let row = json!({"target": {"job": "j"}, "metric": "m", "type": "counter", "help": "H", "unit": ""});
    for (query, rows) in [("", json!([row])), ("?match_target={job=\"other\"}", json!([])), ("?limit=0", json!([]))] {
        let found = get_json(
            &prometheus,
            &format!("/api/v1/targets/metadata{}", query.replace('"', "%22").replace('{', "%7B").replace('}', "%7D")),
        )
        .await;
        assert_eq!(found["data"], rows, "{query}");
    }
    assert_eq!(get_json(&prometheus, "/api/v1/scrape_pools").await["data"]["scrapePools"], json!(["j"]));
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
        ("", "1:1: parse error: unexpected end of input"),
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

#[tokio::test]
async fn queries_are_counted() {
    let api = api(Arc::new(NoTargets));
    let router = every_port(&api);
    get(&router, "/api/v1/labels").await;
    get(&router, "/api/v1/series").await;
    let mut text = String::new();
    api.metrics().write_text(&mut text);
    for line in [
        "braid_api_requests_total{api=\"prometheus\",route=\"/api/v1/labels\",code=\"200\"} 1",
        "braid_api_requests_total{api=\"prometheus\",route=\"/api/v1/series\",code=\"400\"} 1",
        "braid_api_request_duration_seconds_count{api=\"prometheus\",route=\"/api/v1/labels\"} 1",
        "braid_api_rows_total{api=\"prometheus\",route=\"/api/v1/labels\"} 2",
    ] {
        assert!(text.lines().any(|l| l == line), "{line}\n{text}");
    }
}

#[tokio::test]
async fn queries_that_run_into_a_limit_are_counted_by_it() {
    let limited = |settings: Settings| {
        let api = Arc::new(Api::new(Arc::new(store()), Arc::new(NoTargets), settings));
        (every_port(&api), api)
    };
    let lines = "/loki/api/v1/query?query=count_over_time(%7Bapp%3D~%22.%2B%22%7D%7Cline_format%22x%22%5B1h%5D)&time=100";
    for (settings, path, code, line) in [
        (
            Settings { max_samples: 1, ..Settings::default() },
            "/api/v1/query?query=up%5B1h%5D&time=100",
            422,
            "prometheus\",limit=\"samples",
        ),
        (
            Settings { max_series: 0, ..Settings::default() },
            "/api/v1/query?query=up&time=100",
            422,
            "prometheus\",limit=\"series",
        ),
        (
            Settings { max_query_memory: 1, ..Settings::default() },
            "/api/v1/query?query=up&time=100",
            422,
            "prometheus\",limit=\"memory",
        ),
        (Settings { max_lines: 0, ..Settings::default() }, lines, 400, "loki\",limit=\"lines"),
    ] {
        let (router, api) = limited(settings);
        let (status, body) = get(&router, path).await;
        assert_eq!(status, code, "{path}: {}", body);
        let mut text = String::new();
        api.metrics().write_text(&mut text);
        let line = format!("braid_api_limited_queries_total{{api=\"{line}\"}} 1");
        assert!(text.lines().any(|l| l == line), "{line}\n{text}");
    }
    use crate::answer::{Failure, Limit};
    let busy = Failure::Crowded(String::new());
    assert_eq!((Failure::Timeout.limit(), busy.limit()), (Some(Limit::Time), Some(Limit::Concurrency)));
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

#[tokio::test]
async fn a_query_takes_no_longer_than_it_may() {
    let api = Api::new(Arc::new(store()), Arc::new(NoTargets), Settings { timeout: Duration::ZERO, ..Settings::default() });
    let slow = |cancelled: &std::sync::atomic::AtomicBool| {
        while !cancelled.load(std::sync::atomic::Ordering::Relaxed) {
            std::thread::yield_now();
        }
        Ok(())
    };
    let result = crate::run::blocking(&api, None, slow).await;
    assert_eq!(result, Err(crate::answer::Failure::Timeout));
}

#[tokio::test]
async fn a_query_ends_when_its_client_leaves() {
    let api = api(Arc::new(NoTargets));
    let (began, begun) = tokio::sync::oneshot::channel();
    let (ended, end) = tokio::sync::oneshot::channel();
    let slow = move |cancelled: &std::sync::atomic::AtomicBool| {
        let _ = began.send(());
        while !cancelled.load(std::sync::atomic::Ordering::Relaxed) {
            std::thread::yield_now();
        }
        let _ = ended.send(());
        Ok(())
    };
    let asking = tokio::spawn(async move { crate::run::blocking(&api, None, slow).await });
    begun.await.expect("it runs");
    // A connection that is closed drops what answers it.
    asking.abort();
    end.await.expect("it ends by itself");
}

#[tokio::test]
async fn a_query_says_what_it_took_when_asked() {
    let router = every();
    let (status, body) = get(&router, "/api/v1/query?query=up&time=60&stats=all").await;
    assert_eq!(status, 200);
    let answer: Json = serde_json::from_str(&body).expect("JSON");
    let stats = &answer["data"]["stats"];
    assert_eq!(stats["samples"]["totalQueryableSamples"], 2);
    assert_eq!(stats["samples"]["totalQueryableSamplesPerStep"], json!([[60, 2]]));
    assert!(stats["samples"]["peakSamples"].as_u64() >= Some(2));
    for name in ["evalTotalTime", "resultSortTime", "queryPreparationTime", "innerEvalTime", "execQueueTime", "execTotalTime"] {
        assert!(stats["timings"][name].is_number(), "{name}: {body}");
    }
    let (_, body) = get(&router, "/api/v1/query_range?query=up&start=0&end=60&step=60&stats=true").await;
    let answer: Json = serde_json::from_str(&body).expect("JSON");
    assert_eq!(answer["data"]["stats"]["samples"]["totalQueryableSamples"], 4);
    assert_eq!(answer["data"]["stats"]["samples"]["totalQueryableSamplesPerStep"], Json::Null);
    assert!(!get(&router, "/api/v1/query?query=up&time=60").await.1.contains("stats"));
}
