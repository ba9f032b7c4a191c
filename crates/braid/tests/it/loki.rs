//! Loki's API as its clients use it: logcli, Grafana with Logs Drilldown, Promtail, lokitool.

use std::io::Write as _;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::{Value as Json, json};
use tokio_tungstenite::tungstenite::{Message, WebSocket, client};

use crate::asking::{encode, lines};
use crate::braid::Braid;
use crate::client::{Reply, post, send};
use crate::protobuf::now;

const JSON: (&str, &str) = ("Content-Type", "application/json");
const SECOND: u64 = 1_000_000_000;

fn push(braid: &Braid, streams: &Json) -> Reply {
    post(braid.at("loki"), "/loki/api/v1/push", &[JSON], json!({"streams": streams}).to_string().as_bytes())
}

fn get(braid: &Braid, path: &str) -> Json {
    braid.get("loki", path).expect(200).json()
}

/// Lines of three streams around `at`.
fn load(braid: &Braid, at: u64) {
    let t = |seconds: u64| (at - seconds * SECOND).to_string();
    let streams = json!([
        {"stream": {"app": "shop", "env": "prod"}, "values": [
            [t(30), "{\"level\":\"ERROR\",\"status\":500,\"took\":\"1.5s\",\"message\":\"order 1 failed\"}"],
            [t(20), "{\"level\":\"info\",\"status\":200,\"took\":\"20ms\",\"message\":\"order 2 failed\",\"user\":{\"id\":7}}", {"trace_id": "abc"}],
        ]},
        {"stream": {"app": "db", "env": "prod", "id": "17"}, "values": [[t(10), "level=warn msg=\"slow query\" rows=5"]]},
        {"stream": {"job": "cron"}, "values": [[t(5), "started"]]},
    ]);
    push(braid, &streams).expect(204);
}

#[test]
fn logcli_finds_what_was_pushed() {
    let dir = tempfile::tempdir().expect("a directory");
    let braid = Braid::start(dir.path());
    let at = now();
    load(&braid, at);
    let range = format!("start={}&end={}", at - 60 * SECOND, at + SECOND);
    let all = encode(r#"{service_name=~".+"}"#);
    let query = |query: &str, more: &str| {
        get(&braid, &format!("/loki/api/v1/query_range?query={}&{range}{more}", encode(query)))["data"]["result"].clone()
    };
    // Streams have a service's name; lines have a level, which can be asked for.
    let found = query(r#"{service_name="shop"} | detected_level="error""#, "");
    assert_eq!(found.as_array().expect("streams").len(), 1, "{found}");
    assert_eq!(found[0]["stream"], json!({"app": "shop", "env": "prod", "service_name": "shop", "detected_level": "error"}));
    // logcli instant-query: Grafana's volume of a panel, by level; a level is a label of a series like any other.
    let instant =
        |query: &str| get(&braid, &format!("/loki/api/v1/query?query={}&time={}", encode(query), at))["data"]["result"].clone();
    let volume = r#"sum by (level, detected_level) (count_over_time({env="prod"} | drop __error__ [1m]))"#;
    let levels = instant(volume);
    let levels: Vec<&str> =
        levels.as_array().expect("series").iter().filter_map(|s| s["metric"]["detected_level"].as_str()).collect();
    assert_eq!(levels, ["error", "info", "warn"]);
    assert_eq!(query(r#"{service_name="unknown_service"}"#, ""), json!([]));
    assert_eq!(instant(r#"count_over_time({job="cron"}[1m])"#)[0]["metric"]["detected_level"], "unknown");

    // logcli labels, series.
    assert_eq!(get(&braid, &format!("/loki/api/v1/labels?{range}"))["data"], json!(["app", "env", "id", "job", "service_name"]));
    assert_eq!(get(&braid, &format!("/loki/api/v1/label/service_name/values?{range}"))["data"], json!(["cron", "db", "shop"]));
    let series = get(&braid, &format!("/loki/api/v1/series?match[]={}&{range}", encode(r#"{job="cron"}"#)));
    assert_eq!(series["data"], json!([{"job": "cron", "service_name": "cron"}]));

    // logcli stats, volume, volume_range.
    let stats = get(&braid, &format!("/loki/api/v1/index/stats?query={all}&{range}"));
    assert_eq!((stats["streams"].as_u64(), stats["entries"].as_u64()), (Some(3), Some(4)), "{stats}");
    let volume = |more: &str| get(&braid, &format!("/loki/api/v1/index/volume?{range}&{more}"))["data"].clone();
    let by_name = |data: &Json, label: &str| -> Vec<(String, String)> {
        let rows = data["result"].as_array().expect("a vector").iter();
        rows.map(|r| (r["metric"][label].as_str().unwrap_or("-").to_owned(), r["value"][1].as_str().expect("text").to_owned()))
            .collect()
    };
    let services = volume(&format!("query={all}"));
    assert_eq!(services["resultType"], "vector");
    let expected = [("shop", "157"), ("db", "34"), ("cron", "7")].map(|(n, v)| (n.to_owned(), v.to_owned()));
    assert_eq!(by_name(&services, "service_name"), expected);
    assert_eq!(by_name(&volume(&format!("query={all}&targetLabels=env,app")), "app"), expected[..2]);
    assert_eq!(by_name(&volume(&format!("query={all}&targetLabels=app&limit=1")), "app"), expected[..1]);
    let labels = volume("query=%7B%7D&aggregateBy=labels");
    let names: Vec<String> = labels["result"].as_array().expect("rows").iter().map(|r| r["metric"].to_string()).collect();
    assert_eq!(names, [r#"{"service_name":""}"#, r#"{"app":""}"#, r#"{"env":""}"#, r#"{"id":""}"#, r#"{"job":""}"#]);
    let ranges = get(&braid, &format!("/loki/api/v1/index/volume_range?query={all}&{range}&step=10s"))["data"].clone();
    assert_eq!(ranges["resultType"], "matrix");
    let sum: u64 = ranges["result"]
        .as_array()
        .expect("rows")
        .iter()
        .flat_map(|r| r["values"].as_array().expect("points"))
        .filter_map(|p| p[1].as_str()?.parse::<u64>().ok())
        .sum();
    assert_eq!(sum, 157 + 34 + 7);
    braid.get("loki", "/loki/api/v1/index/volume?query=%7B%7D&aggregateBy=x").expect(400);

    // Nothing is cut by hashes.
    let shards = format!("/loki/api/v1/index/shards?query={all}&{range}");
    let found = get(&braid, &format!("{shards}&targetBytesPerShard=600MB"));
    assert_eq!(found["shards"][0]["bounds"], json!({"min": 0, "max": u64::MAX}));
    assert_eq!(found["shards"][0]["stats"]["bytes"], 157 + 34 + 7);
    for wrong in ["", "&targetBytesPerShard=0", "&targetBytesPerShard=-5"] {
        braid.get("loki", &format!("{shards}{wrong}")).expect(400);
    }

    // What labels cost.
    let costs = get(&braid, &format!("/loki/api/v1/status/labels?{range}&limit=1"))["data"].clone();
    assert_eq!(costs["headStats"]["numSeries"], 3);
    assert_eq!(costs["labelValueCountByLabelName"], json!([{"name": "service_name", "value": 3}]));

    // Queries are taken with their tags.
    let tagged = [("X-Query-Tags", "Source=logvolhist"), ("X-Loki-Response-Encoding-Flags", "categorize-labels")];
    let path = format!("/loki/api/v1/query_range?query={}&{range}", encode(r#"{app="shop"} | json"#));
    let reply = send(braid.at("loki"), "GET", &path, &tagged, b"").expect(200).json();
    let entry = &reply["data"]["result"][0]["values"][0];
    assert_eq!(entry[2]["structuredMetadata"], json!({"detected_level": "info", "trace_id": "abc"}));
    assert_eq!(entry[2]["parsed"]["user_id"], "7");
}

#[test]
fn drilldown_explores_patterns_fields_and_labels() {
    let dir = tempfile::tempdir().expect("a directory");
    let braid = Braid::start(dir.path());
    let at = now();
    load(&braid, at);
    let range = format!("start={}&end={}", at - 60 * SECOND, at + SECOND);
    let shop = encode(r#"{app="shop"}"#);
    let patterns = get(&braid, &format!("/loki/api/v1/patterns?query={shop}&{range}&step=1h"));
    assert_eq!(patterns["status"], "success");
    assert_eq!(patterns["data"][0]["pattern"], "<_>order <_> failed<_>");
    let counted: u64 = patterns["data"][0]["samples"].as_array().expect("samples").iter().filter_map(|s| s[1].as_u64()).sum();
    assert_eq!(counted, 2, "{patterns}");
    // The pattern is one that a line filter takes.
    assert_eq!(lines(&braid, r#"{app="shop"} |> "<_>order <_> failed<_>""#, at - 60 * SECOND, at + SECOND).len(), 2);

    let fields = get(&braid, &format!("/loki/api/v1/detected_fields?query={shop}&{range}&line_limit=100&limit=50"));
    assert_eq!(fields["limit"], 50);
    let field = |label: &str| fields["fields"].as_array().expect("fields").iter().find(|f| f["label"] == label).cloned();
    assert_eq!(
        field("status"),
        Some(json!({"label": "status", "type": "int", "cardinality": 2, "parsers": ["json"], "jsonPath": ["status"]}))
    );
    assert_eq!(field("user_id").expect("nested")["jsonPath"], json!(["user", "id"]));
    assert_eq!(field("took").expect("a duration")["type"], "duration");
    assert_eq!(field("trace_id"), Some(json!({"label": "trace_id", "type": "string", "cardinality": 1, "parsers": null})));
    assert_eq!(field("detected_level").expect("a level")["cardinality"], 2);
    let values = get(&braid, &format!("/loki/api/v1/detected_field/status/values?query={shop}&{range}&limit=10"));
    assert_eq!(values, json!({"values": ["200", "500"], "limit": 10}));

    // Labels whose values are all numbers or ids are left out.
    let labels = get(&braid, &format!("/loki/api/v1/detected_labels?{range}"));
    let names: Vec<&str> =
        labels["detectedLabels"].as_array().expect("labels").iter().filter_map(|l| l["label"].as_str()).collect();
    assert_eq!(names, ["app", "env", "job", "service_name"]);
    assert_eq!(labels["detectedLabels"][3]["cardinality"], 3);

    let limits = get(&braid, "/loki/api/v1/drilldown-limits");
    assert_eq!(limits["pattern_ingester_enabled"], true);
    assert_eq!(limits["limits"]["discover_log_levels"], true);
    assert_eq!(limits["limits"]["volume_enabled"], true);
    assert!(get(&braid, "/loki/api/v1/status/buildinfo")["version"].is_string(), "without an envelope");
    assert_eq!(braid.get("loki", "/ready").expect(200).text(), "ready\n");
    assert!(braid.get("loki", "/config").expect(200).text().contains("reject_old_samples_max_age: 604800s"));
    assert!(braid.get("loki", "/services").expect(200).text().contains(" => Running"));
    assert!(get(&braid, "/log_level")["message"].as_str().is_some_and(|m| m.starts_with("Current log level is ")));
}

#[test]
fn the_first_api_still_answers() {
    let dir = tempfile::tempdir().expect("a directory");
    let braid = Braid::start(dir.path());
    let at = now();
    load(&braid, at);
    let range = format!("start={}&end={}", at - 60 * SECOND, at + SECOND);
    let found = get(&braid, &format!("/api/prom/query?query={}&regexp=slow&{range}", encode(r#"{env="prod"}"#)));
    assert_eq!(found["streams"][0]["entries"][0]["line"], "level=warn msg=\"slow query\" rows=5");
    let labels = found["streams"][0]["labels"].as_str().expect("text");
    assert_eq!(labels, r#"{app="db", detected_level="warn", env="prod", id="17", service_name="db"}"#);
    assert!(found["streams"][0]["entries"][0]["ts"].as_str().is_some_and(|t| t.ends_with('Z')));
    assert_eq!(get(&braid, &format!("/api/prom/label/env/values?{range}")), json!({"values": ["prod"]}));
    assert!(get(&braid, &format!("/api/prom/label?{range}"))["values"].as_array().is_some_and(|v| v.len() == 5));
    assert_eq!(get(&braid, &format!("/api/prom/series?match={}&{range}", encode(r#"{app="db"}"#)))["data"][0]["id"], "17");
}

#[test]
fn lines_that_are_too_old_are_refused_and_the_others_kept() {
    let dir = tempfile::tempdir().expect("a directory");
    let config = dir.path().join("braid.yaml");
    std::fs::write(&config, "limits: {reject_old_samples_max_age: 1h, discover_log_levels: false, discover_service_name: false}")
        .expect("written");
    let braid = Braid::start_with(dir.path(), &["--config", config.to_str().expect("text")]);
    let at = now();
    let streams = json!([{"stream": {"app": "a"}, "values": [
        [at.to_string(), "new"],
        [(at - 1800 * SECOND).to_string(), "out of order"],
        [(at - 7200 * SECOND).to_string(), "old"],
        [(at + 599 * SECOND).to_string(), "ahead"],
    ]}, {"stream": {"app": "b"}, "values": [[(at + 700 * SECOND).to_string(), "too far ahead"]]}]);
    let reply = push(&braid, &streams).expect(400);
    let text = reply.text();
    assert!(text.starts_with("1 errors like: entry for stream '{app=\"a\"}' has timestamp too old: 20"), "{text}");
    assert!(text.contains("Z, oldest acceptable timestamp is: 20"), "{text}");
    assert!(text.contains("; 1 errors like: entry for stream '{app=\"b\"}' has timestamp too new: 20"), "{text}");
    let found = get(
        &braid,
        &format!("/loki/api/v1/query_range?query=%7Bapp!=%22%22%7D&start={}&end={}", at - 10_000 * SECOND, at + 800 * SECOND),
    );
    // Neither a service's name nor a level is added.
    let result = &found["data"]["result"];
    assert_eq!(result[0]["stream"], json!({"app": "a"}), "{found}");
    assert_eq!(result.as_array().map(Vec::len), Some(1), "{found}");
    assert_eq!(result[0]["values"].as_array().map(Vec::len), Some(3), "{found}");
}

#[test]
fn rule_groups_are_checked_kept_and_listed() {
    let dir = tempfile::tempdir().expect("a directory");
    let braid = Braid::start(dir.path());
    let rules = "/loki/api/v1/rules";
    let none = braid.get("loki", rules).expect(404);
    assert_eq!(none.text(), "no rule groups found\n");
    let group = "name: errors\ninterval: 1m\nrules:\n- alert: Many\n  expr: 'sum(rate({app=\"a\"} |= \"error\" [5m])) > 1'\n  for: 10m\n  labels: {severity: page}\n  annotations: {summary: too many}\n- record: app:lines\n  expr: 'sum(count_over_time({app=\"a\"}[1m]))'\n";
    let yaml = [("Content-Type", "application/yaml")];
    post(braid.at("loki"), &format!("{rules}/team%20a"), &yaml, group.as_bytes()).expect(202);
    let bad = post(braid.at("loki"), &format!("{rules}/x"), &yaml, b"name: a\nrules: [{record: r, expr: '{a='}]").expect(400);
    assert!(bad.text().contains("could not parse expression"), "{}", bad.text());
    let listed = braid.get("loki", rules).expect(200);
    assert_eq!(listed.header("content-type"), Some("application/yaml"));
    assert!(listed.text().contains("team a:") && listed.text().contains("errors"), "{}", listed.text());
    assert!(braid.get("loki", "/api/prom/rules/team%20a").expect(200).text().contains("Many"));
    assert!(braid.get("loki", &format!("{rules}/team%20a/errors")).expect(200).text().contains("for: 10m"));
    braid.get("loki", &format!("{rules}/team%20a/others")).expect(404);
    let told = get(&braid, "/prometheus/api/v1/rules?type=alert");
    let rule = &told["data"]["groups"][0]["rules"][0];
    assert_eq!((&rule["name"], &rule["state"], &rule["duration"]), (&json!("Many"), &json!("inactive"), &json!(600.0)));
    assert_eq!(told["data"]["groups"][0]["file"], "team a");
    assert_eq!(get(&braid, "/prometheus/api/v1/alerts")["data"], json!({"alerts": []}));
    // Other tenants have their own; a restart loses none.
    send(braid.at("loki"), "GET", rules, &[("X-Scope-OrgID", "other")], b"").expect(404);
    braid.stop("-TERM");
    let braid = Braid::start(dir.path());
    braid.get("loki", &format!("{rules}/team%20a")).expect(200);
    send(braid.at("loki"), "DELETE", &format!("{rules}/team%20a/errors"), &[], b"").expect(202);
    braid.get("loki", rules).expect(404);
}

/// A client that tails.
struct Tailing(WebSocket<TcpStream>);

impl Tailing {
    fn start(braid: &Braid, path: &str) -> Self {
        let address = braid.at("loki");
        let stream = TcpStream::connect(address).expect("listening");
        stream.set_read_timeout(Some(Duration::from_secs(30))).expect("set");
        let (socket, _) = client(format!("ws://{address}{path}"), stream).expect("a WebSocket");
        Self(socket)
    }

    fn frame(&mut self) -> Json {
        loop {
            match self.0.read().expect("a frame") {
                Message::Text(text) => return serde_json::from_str(&text).expect("JSON"),
                Message::Close(why) => panic!("closed: {why:?}"),
                _ => {}
            }
        }
    }

    /// Reads until so many lines came; the lines, and how many were said to be lost.
    fn lines(&mut self, count: usize) -> (Vec<String>, usize) {
        let (mut lines, mut lost) = (Vec::new(), 0);
        while lines.len() < count {
            let frame = self.frame();
            lost += frame["dropped_entries"].as_array().map_or(0, Vec::len);
            for stream in frame["streams"].as_array().expect("streams") {
                let values = stream["values"].as_array().expect("values").iter();
                lines.extend(values.filter_map(|v| v[1].as_str()).map(str::to_owned));
            }
        }
        (lines, lost)
    }
}

fn batch(from: usize, count: usize, text: &str) -> Json {
    let at = now();
    let values: Vec<Json> = (from..from + count).map(|i| json!([(at + i as u64).to_string(), format!("{i} {text}")])).collect();
    json!([{"stream": {"app": "live"}, "values": values}])
}

#[test]
fn a_tail_begins_with_what_is_there_and_goes_on_with_what_comes() {
    let dir = tempfile::tempdir().expect("a directory");
    let braid = Braid::start(dir.path());
    push(&braid, &batch(0, 5, "before")).expect(204);
    let query = encode(r#"{app="live"} != "not this" | line_format "{{.app}}: {{__line__}}""#);
    let mut tail = Tailing::start(&braid, &format!("/loki/api/v1/tail?query={query}&limit=3&delay_for=0"));
    let first = tail.frame();
    assert_eq!(first["streams"][0]["stream"], json!({"app": "live", "detected_level": "unknown", "service_name": "live"}));
    let begun: Vec<&str> =
        first["streams"][0]["values"].as_array().expect("values").iter().filter_map(|v| v[1].as_str()).collect();
    assert_eq!(begun, ["live: 2 before", "live: 3 before", "live: 4 before"]);
    push(&braid, &batch(5, 1, "not this")).expect(204);
    push(&braid, &json!([{"stream": {"app": "other"}, "values": [[now().to_string(), "other"]]}])).expect(204);
    push(&braid, &batch(6, 2, "after")).expect(204);
    assert_eq!(tail.lines(2), (vec!["live: 6 after".to_owned(), "live: 7 after".to_owned()], 0));
    // Another tenant's lines are not seen; Grafana's and the first API's shapes are.
    let other = [JSON, ("X-Scope-OrgID", "other")];
    post(braid.at("loki"), "/loki/api/v1/push", &other, json!({"streams": batch(0, 1, "theirs")}).to_string().as_bytes())
        .expect(204);
    let mut legacy = Tailing::start(&braid, &format!("/api/prom/tail?query={}&limit=1", encode(r#"{app="live"}"#)));
    assert_eq!(legacy.frame()["streams"][0]["entries"][0]["line"], "7 after");
    for (path, why) in [
        ("/loki/api/v1/tail?query=%7Ba", "parse error"),
        ("/loki/api/v1/tail?query=%7Ba=%22b%22%7D&delay_for=6", "delay_for can't be greater than 5"),
        ("/loki/api/v1/tail?query=vector(1)", "only log queries"),
        ("/loki/api/v1/tail?query=%7Ba=%22b%22%7D", ""),
    ] {
        let reply = braid.get("loki", path);
        assert!((400..500).contains(&reply.status) && reply.text().contains(why), "{path}: {} {}", reply.status, reply.text());
    }
}

#[test]
fn a_tail_whose_templates_take_too_many_steps_is_closed_and_told_why() {
    let dir = tempfile::tempdir().expect("a directory");
    let braid = Braid::start(dir.path());
    let doubled = r#"| label_format a="{{.a}}{{.a}}" "#.repeat(200);
    let path = |query: &str| format!("/loki/api/v1/tail?query={}&limit=1", encode(query));
    let mut heavy = Tailing::start(&braid, &path(&format!(r#"{{app="live"}} | logfmt {doubled}| drop a"#)));
    let mut usual = Tailing::start(&braid, &path(r#"{app="live"} | logfmt | line_format "{{.a}}""#));
    push(&braid, &batch(0, 100, "a=b")).expect(204);
    let closed = loop {
        if let Message::Close(why) = heavy.0.read().expect("a frame") {
            break why.expect("a reason");
        }
    };
    assert!(u16::from(closed.code) == 1008 && closed.reason.contains("2000 steps a line"), "{closed:?}");
    assert_eq!(usual.lines(100).0, vec!["b"; 100]);
    braid.eventually("one tail", |b| (b.metric("braid_loki_tail_clients") == 1.0).then_some(()));
    assert_eq!(braid.metric(r#"braid_api_limited_queries_total{api="loki",limit="steps"}"#), 1.0);
}

#[test]
fn a_client_that_ends_its_tail_is_answered_and_one_that_speaks_no_websocket_told_so() {
    let dir = tempfile::tempdir().expect("a directory");
    let braid = Braid::start(dir.path());
    let path = format!("/loki/api/v1/tail?query={}&limit=1", encode(r#"{app="live"}"#));
    let mut tail = Tailing::start(&braid, &path);
    tail.0.close(None).expect("sent");
    assert!(matches!(tail.0.read(), Ok(Message::Close(_))), "a close is answered with a close");
    let mut tail = Tailing::start(&braid, &path);
    // A frame of a client without a mask.
    tail.0.get_mut().write_all(b"\x81\x02hi").expect("sent");
    let Ok(Message::Close(Some(why))) = tail.0.read() else { panic!("no reason") };
    assert_eq!(u16::from(why.code), 1002, "{why:?}");
    braid.eventually("no tails", |b| (b.metric("braid_loki_tail_clients") == 0.0).then_some(()));
}

#[test]
fn ten_tails_get_every_line_and_one_that_does_not_read_disturbs_nobody() {
    const LINES: usize = 20_000;
    let dir = tempfile::tempdir().expect("a directory");
    let braid = Braid::start(dir.path());
    let path = format!("/loki/api/v1/tail?query={}&limit=1", encode(r#"{app="live"}"#));
    let mut silent = Tailing::start(&braid, &path);
    let readers: Vec<_> = (0..10).map(|_| Tailing::start(&braid, &path)).collect();
    braid.eventually("eleven tails", |b| (b.metric("braid_loki_tail_clients") == 11.0).then_some(()));
    let readers: Vec<_> = readers.into_iter().map(|mut r| std::thread::spawn(move || r.lines(LINES))).collect();
    let padding = "x".repeat(1000);
    for from in (0..LINES).step_by(1000) {
        push(&braid, &batch(from, 1000, &padding)).expect(204);
    }
    for reader in readers {
        let (lines, lost) = reader.join().expect("all lines came");
        assert_eq!((lines.len(), lost), (LINES, 0));
    }
    // The one that did not read is told that lines are lost once it reads on, and goes on from there.
    let begun = Instant::now();
    let mut lost = 0;
    while lost == 0 && begun.elapsed() < Duration::from_secs(25) {
        lost += silent.frame()["dropped_entries"].as_array().map_or(0, Vec::len);
    }
    assert!(lost > 0, "20 MB do not fit into the queue of one client");
    assert!(braid.metric("braid_loki_tail_dropped_total") > 0.0);
    drop(silent);
    braid.eventually("no tails", |b| (b.metric("braid_loki_tail_clients") == 0.0).then_some(()));
    // With clients that tail the process still stops at once.
    let _tail = Tailing::start(&braid, &path);
    let (status, log) = braid.stop("-TERM");
    assert!(status.success(), "{log}");
}

#[test]
fn hostile_lines_and_queries_are_bounded() {
    let dir = tempfile::tempdir().expect("a directory");
    let braid = Braid::start(dir.path());
    let at = now();
    let long = "y".repeat(10 << 20);
    push(&braid, &json!([{"stream": {"app": "long"}, "values": [[at.to_string(), long]]}])).expect(204);
    assert_eq!(lines(&braid, r#"{app="long"}"#, at - SECOND, at + SECOND), std::slice::from_ref(&long));
    // Ten of them are more than an answer holds.
    for i in 1..=10u64 {
        push(&braid, &json!([{"stream": {"app": "long"}, "values": [[(at + i).to_string(), long]]}])).expect(204);
    }
    let path = format!("/loki/api/v1/query_range?query=%7Bapp=%22long%22%7D&start={}&end={}", at - SECOND, at + SECOND);
    assert!(braid.get("loki", &path).expect(400).text().contains("ask for fewer lines"));
    // The same line again, with other lines: one.
    let same = json!([{"stream": {"app": "same"}, "values": [[at.to_string(), "one"], [at.to_string(), "two"]]}]);
    push(&braid, &same).expect(204);
    let again = json!([{"stream": {"app": "same"}, "values": [[at.to_string(), "one"], [(at - 86_400 * SECOND).to_string(), "yesterday"]]}]);
    push(&braid, &again).expect(204);
    assert_eq!(lines(&braid, r#"{app="same"}"#, at - 90_000 * SECOND, at + SECOND), ["yesterday", "one", "two"]);
    for query in [
        format!("{{app=\"same\"}} |~ \"{}\"", "(a{1000}){1000}"),
        format!("{{app=\"same\"}} |~ \"{}\"", "(x+x+)+y".repeat(2000)),
        "{app=\"same\"} | line_format \"{{range $i, $e := (repeat 100000000 __line__)}}{{$e}}{{end}}\"".to_owned(),
        format!("{{app=\"same\"}} | line_format \"{}\"", "{{repeat 10000 (repeat 10000 (repeat 10000 __line__))}}"),
        format!("{{{}}}", (0..100_000).map(|i| format!("l{i}=\"x\"")).collect::<Vec<_>>().join(",")),
        "sum_over_time({app=\"same\"} | unwrap nothing [1h])".to_owned(),
    ] {
        // An answer or a clear refusal, in reasonable time.
        let body = format!("query={}&start={}&end={}", encode(&query), at - SECOND, at + SECOND);
        let form = [("Content-Type", "application/x-www-form-urlencoded")];
        let reply = post(braid.at("loki"), "/loki/api/v1/query_range", &form, body.as_bytes());
        assert!([200, 400].contains(&reply.status), "{}: {} {}", &query[..40], reply.status, reply.text());
    }
    // A stream of 100,000 labels is refused, lines that are no UTF-8 are not.
    let labels: serde_json::Map<String, Json> = (0..100_000).map(|i| (format!("l{i}"), json!("v"))).collect();
    let refused = push(&braid, &json!([{"stream": labels, "values": [[at.to_string(), "x"]]}]));
    assert!([400, 413].contains(&refused.status), "{}", refused.text());
    assert_eq!(braid.get("loki", "/ready").expect(200).text(), "ready\n");
}

#[test]
fn templates_that_grow_and_lines_of_many_fields_are_bounded_and_disturb_nobody() {
    let dir = tempfile::tempdir().expect("a directory");
    let braid = Braid::start_with(dir.path(), &["--memory", "256MiB"]);
    let at = now();
    load(&braid, at);
    let pairs = |separator: &str, pair: &dyn Fn(usize) -> String| (0..20_000).map(pair).collect::<Vec<_>>().join(separator);
    let many = [format!("{{{}}}", pairs(",", &|i| format!("\"k{i}\":\"v{i}\""))), pairs(" ", &|i| format!("k{i}=v{i}"))];
    for (app, line) in ["json", "logfmt"].into_iter().zip(&many) {
        push(&braid, &json!([{"stream": {"app": app}, "values": [[at.to_string(), line]]}])).expect(204);
    }
    let range = format!("start={}&end={}", at - 60 * SECOND, at + SECOND);
    let path = |query: &str, more: &str| format!("/loki/api/v1/query_range?query={}&{range}{more}", encode(query));
    let growing = [
        r#"{{ repeat 1000000000 "x" }}"#,
        r#"{{ repeat 1000 (repeat 1000 (repeat 1000 "x")) }}"#,
        r#"{{ regexReplaceAll "" (repeat 1000 "x") (repeat 10000 "y") }}"#,
        r#"{{ indent 100000000 __line__ }}"#,
        r#"{{ range $a := fromJson "[1,2,3,4,5,6,7,8]" }}{{ range $b := fromJson "[1,2,3,4,5,6,7,8]" }}{{ repeat 100000 "x" }}{{end}}{{end}}"#,
    ];
    for template in growing {
        let reply = braid.get("loki", &path(&format!("{{app=\"db\"}} | line_format `{template}`"), "")).expect(200);
        assert!(reply.body.len() < 10_000, "{template}: {} bytes", reply.body.len());
        assert!(reply.text().contains("TemplateFormatErr"), "{template}: {}", reply.text());
    }
    for parser in ["json", "logfmt"] {
        let query = format!("sum by (k777) (count_over_time({{app=\"{parser}\"}} | {parser} [1h]))");
        let path = format!("/loki/api/v1/query?query={}&time={}", encode(&query), at + SECOND);
        let series = get(&braid, &path)["data"]["result"].clone();
        assert_eq!(series[0]["metric"], json!({"k777": "v777"}), "{series}");
    }
    // Series by steps that no memory has room for.
    let series: Vec<Json> = (0..2000)
        .map(|i| json!({"stream": {"app": "wide", "i": i.to_string()}, "values": [[(at - 5 * SECOND).to_string(), "x"]]}))
        .collect();
    push(&braid, &json!(series)).expect(204);
    let wide = path(r#"avg_over_time({app="wide"} | label_format n="1" | unwrap n [1h])"#, "")
        .replace(&range, &format!("start={}&end={}&step=1", at / SECOND - 10_000, at / SECOND));
    let refused = braid.get("loki", &wide).expect(400);
    assert!(refused.text().contains("more than 4194304 values (2000 series, 10001 steps)"), "{}", refused.text());
    // Everybody else is served.
    assert_eq!(get(&braid, &path(r#"{app="db"}"#, ""))["data"]["result"].as_array().map(Vec::len), Some(1));
}
