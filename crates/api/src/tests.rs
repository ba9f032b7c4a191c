//! Requests in, golden answers out, over the contract's in-memory model.

mod compare;
mod dashboards;
mod loki;
mod prometheus;
mod tempo;

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
