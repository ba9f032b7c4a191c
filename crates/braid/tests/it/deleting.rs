//! What is deleted over any door is gone from every answer at once, after a crash too, and from the disk after cleaning.

use std::path::Path;
use std::process::Command;

use crate::braid::Braid;
use crate::client::{Reply, post, send};

/// A minute ago: deletions in the future are refused.
fn now() -> u64 {
    u64::try_from(std::time::UNIX_EPOCH.elapsed().expect("after 1970").as_nanos()).expect("soon enough") - 60_000_000_000
}

fn fill(braid: &Braid, tenant: &str, at: u64) {
    let org = ("X-Scope-OrgID", tenant);
    let json = [("Content-Type", "application/json"), org];
    for (n, word) in ["secret", "public"].into_iter().enumerate() {
        let line = format!(r#"{{"streams":[{{"stream":{{"app":"shop"}},"values":[["{}","a {word} line"]]}}]}}"#, at + n as u64);
        post(braid.at("loki"), "/loki/api/v1/push", &json, line.as_bytes()).expect(204);
        let span = format!(
            r#"{{"resourceSpans":[{{"resource":{{"attributes":[{{"key":"service.name","value":{{"stringValue":"shop"}}}}]}},"scopeSpans":[{{"spans":[
            {{"traceId":"{n:032x}","spanId":"{:016x}","name":"{word}","startTimeUnixNano":"{at}","endTimeUnixNano":"{}"}}]}}]}}]}}"#,
            n + 1,
            at + 5
        )
        .replace(&format!("{n:032x}"), &format!("{:032x}", n + 1));
        post(braid.at("otlp_http"), "/v1/traces", &json, span.as_bytes()).expect(200);
        let gauge = format!(
            r#"{{"resourceMetrics":[{{"scopeMetrics":[{{"metrics":[{{"name":"{word}","gauge":{{"dataPoints":[{{"timeUnixNano":"{at}","asDouble":1,
            "attributes":[{{"key":"who","value":{{"stringValue":"{word}-label"}}}}]}}]}}}}]}}]}}]}}"#
        );
        post(braid.at("otlp_http"), "/v1/metrics", &json, gauge.as_bytes()).expect(200);
    }
}

fn ask(braid: &Braid, face: &str, path: &str, tenant: &str) -> Reply {
    send(braid.at(face), "GET", path, &[("X-Scope-OrgID", tenant)], b"").expect(200)
}

/// How many lines, traces and series of both kinds a tenant has.
fn count(braid: &Braid, tenant: &str) -> [usize; 3] {
    let lines = ask(braid, "loki", "/loki/api/v1/query_range?query=%7Bapp%3D%22shop%22%7D&since=1h", tenant).json();
    let lines = lines["data"]["result"].as_array().expect("streams").iter();
    let lines = lines.map(|s| s["values"].as_array().expect("lines").len()).sum();
    let traces = ask(braid, "tempo", "/api/search?q=%7B%7D", tenant).json();
    let series = ask(braid, "prometheus", "/api/v1/series?match[]=%7Bwho%3D~%22.%2B%22%7D", tenant).json();
    [lines, traces["traces"].as_array().expect("traces").len(), series["data"].as_array().expect("series").len()]
}

fn order(braid: &Braid, face: &str, method: &str, path: &str) -> Reply {
    send(braid.at(face), method, path, &[("X-Scope-OrgID", "a")], b"")
}

/// Exit code and output of `braid inspect --find`.
fn find(dir: &Path, text: &str) -> (Option<i32>, String) {
    let run = Command::new(env!("CARGO_BIN_EXE_braid")).arg("inspect").arg(dir.join("data")).args(["--find", text]).output();
    let run = run.expect("the binary is built");
    (run.status.code(), String::from_utf8_lossy(&run.stdout).into_owned() + &String::from_utf8_lossy(&run.stderr))
}

#[test]
fn deletions_reach_every_answer_the_next_process_and_the_disk() {
    let dir = tempfile::tempdir().expect("a directory");
    let braid = Braid::start_with(dir.path(), &["--enable-admin-api"]);
    let at = now();
    fill(&braid, "a", at);
    fill(&braid, "b", at);
    // Half of it in segments, half of it in heads.
    post(braid.at("braid"), "/api/admin/settle", &[], b"").expect(204);
    fill(&braid, "a", at + 1000);
    assert_eq!(count(&braid, "a"), [4, 2, 2]);
    assert_eq!(find(dir.path(), "secret").0, Some(3), "a running directory can be looked at");

    let logs = "/loki/api/v1/delete?start=1&query=%7Bapp%3D%22shop%22%7D%20%7C%3D%20%22secret%22";
    order(&braid, "loki", "POST", logs).expect(204);
    order(&braid, "prometheus", "PUT", "/api/v1/admin/tsdb/delete_series?match[]=secret").expect(204);
    let traces = order(&braid, "braid", "POST", "/api/admin/delete/traces?q=%7Bname%3D%22secret%22%7D").expect(200).json();
    assert_eq!(traces["traces"], 1);
    assert_eq!(count(&braid, "a"), [2, 1, 1]);
    assert_eq!(count(&braid, "b"), [2, 2, 2], "another tenant's rows stay");

    // A sender whose acknowledgement was lost comes again, across the deletion.
    fill(&braid, "a", at);
    fill(&braid, "a", at + 1000);
    assert_eq!(count(&braid, "a"), [2, 1, 1], "a retry brings nothing back and doubles nothing");

    let listed = order(&braid, "loki", "GET", "/loki/api/v1/delete").expect(200).json();
    assert_eq!(listed[0]["query"], "{app=\"shop\"} |= \"secret\"");
    assert_eq!(listed[0]["status"], "received");
    let id = listed[0]["request_id"].as_str().expect("an id").to_owned();

    braid.kill();
    let braid = Braid::start_with(dir.path(), &["--enable-admin-api"]);
    braid.eventually("replaying", |b| (count(b, "a") == [2, 1, 1]).then_some(()));
    let name = order(&braid, "prometheus", "POST", "/api/v1/admin/tsdb/snapshot").expect(200).json();
    let name = name["data"]["name"].as_str().expect("a name").to_owned();

    order(&braid, "prometheus", "POST", "/api/v1/admin/tsdb/clean_tombstones").expect(204);
    let listed = order(&braid, "loki", "GET", "/loki/api/v1/delete").expect(200).json();
    assert_eq!((&listed[0]["status"], listed[0]["request_id"].as_str()), (&"processed".into(), Some(&*id)));
    let late = order(&braid, "loki", "DELETE", &format!("/loki/api/v1/delete?request_id={id}&force=true")).expect(400);
    assert!(late.text().starts_with("deletion of request which is in process or already processed is not allowed"));
    assert_eq!((count(&braid, "a"), count(&braid, "b")), ([2, 1, 1], [2, 2, 2]));
    // The other tenant's are the only ones left; without them nothing is.
    order(&braid, "braid", "GET", "/api/admin/deletions").expect(200);
    for (face, path) in [
        ("loki", logs),
        ("prometheus", "/api/v1/admin/tsdb/delete_series?match[]=secret"),
        ("braid", "/api/admin/delete/traces?q=%7Bname%3D%22secret%22%7D"),
    ] {
        let reply = send(braid.at(face), "POST", path, &[("X-Scope-OrgID", "b")], b"");
        assert!(reply.status < 300, "{}", reply.text());
    }
    assert_eq!(find(dir.path(), "secret").0, Some(3));
    order(&braid, "prometheus", "POST", "/api/v1/admin/tsdb/clean_tombstones").expect(204);
    let (code, said) = find(dir.path(), "secret");
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("no byte of it is left"), "{said}");
    assert_eq!(find(dir.path(), "public").0, Some(3));
    // Sent again, it is new.
    fill(&braid, "a", at);
    assert_eq!(count(&braid, "a"), [3, 2, 2]);
    drop(braid);

    // The snapshot is a data directory of its own.
    let copy = tempfile::tempdir().expect("a directory");
    std::fs::rename(dir.path().join("data/snapshots").join(name), copy.path().join("data")).expect("a snapshot");
    let braid = Braid::start(copy.path());
    assert_eq!((count(&braid, "a"), count(&braid, "b")), ([2, 1, 1], [2, 2, 2]));
}

/// The lines of tenant `a` that are shown, sorted.
fn lines(braid: &Braid) -> Vec<String> {
    let found = ask(braid, "loki", "/loki/api/v1/query_range?query=%7Bapp%3D%22shop%22%7D&since=1h", "a").json();
    let streams = found["data"]["result"].as_array().expect("streams").iter();
    let values = streams.flat_map(|s| s["values"].as_array().expect("lines").clone());
    let mut lines: Vec<String> = values.map(|v| v[1].as_str().expect("a line").to_owned()).collect();
    lines.sort();
    lines
}

fn push_lines(braid: &Braid, at: u64, lines: &[&str]) {
    let values: Vec<_> =
        lines.iter().enumerate().map(|(n, line)| serde_json::json!([(at + n as u64).to_string(), line])).collect();
    let body = serde_json::json!({"streams": [{"stream": {"app": "shop"}, "values": values}]}).to_string();
    let headers = [("Content-Type", "application/json"), ("X-Scope-OrgID", "a")];
    post(braid.at("loki"), "/loki/api/v1/push", &headers, body.as_bytes()).expect(204);
}

fn hidden(braid: &Braid, query: &str) -> String {
    let escaped: String = query.bytes().map(|b| format!("%{b:02X}")).collect();
    // A process that has just begun may still be reading its log, and says so.
    braid.eventually("a request", |b| {
        let told = order(b, "loki", "POST", &format!("/loki/api/v1/delete?start=1&query={escaped}"));
        if told.status == 503 { None } else { Some(told.expect(204)) }
    });
    let listed = order(braid, "loki", "GET", "/loki/api/v1/delete").expect(200).json();
    let request = listed.as_array().expect("requests").iter().rfind(|r| r["query"] == query).expect("it is listed");
    assert_eq!(request["status"], "received");
    request["request_id"].as_str().expect("an id").to_owned()
}

#[test]
fn lines_are_deleted_by_what_parsers_find_in_them_and_are_back_when_that_is_cancelled() {
    let dir = tempfile::tempdir().expect("a directory");
    let braid = Braid::start_with(dir.path(), &["--enable-admin-api"]);
    let at = now();
    let (bad, good) = (r#"{"status":500,"who":"alice"}"#, r#"{"status":200,"who":"bob"}"#);
    push_lines(&braid, at, &[bad, good, "status=500 who=carol"]);
    // Half of it in segments, half of it in heads.
    post(braid.at("braid"), "/api/admin/settle", &[], b"").expect(204);
    let (worse, fine) = (r#"{"status":500,"who":"dave"}"#, "status=200 who=eve");
    push_lines(&braid, at + 1000, &[worse, fine]);
    let all = [good, bad, worse, fine, "status=500 who=carol"].map(str::to_owned);

    let id = hidden(&braid, r#"{app="shop"} | json | status="500""#);
    assert_eq!(lines(&braid), [fine, "status=500 who=carol", good]);
    let counted = "/loki/api/v1/query?query=sum(count_over_time(%7Bapp%3D%22shop%22%7D%5B1h%5D))";
    assert_eq!(ask(&braid, "loki", counted, "a").json()["data"]["result"][0]["value"][1], "3");
    assert_eq!(find(dir.path(), "alice").0, Some(3), "what waits is whole");
    let said = find(dir.path(), "alice").1;
    assert!(said.contains("can be cancelled"), "{said}");
    order(&braid, "loki", "DELETE", "/loki/api/v1/delete?request_id=ffffffff").expect(404);
    order(&braid, "loki", "DELETE", "/loki/api/v1/delete").expect(400);
    let other = send(braid.at("loki"), "DELETE", &format!("/loki/api/v1/delete?request_id={id}"), &[("X-Scope-OrgID", "b")], b"");
    assert_eq!(other.status, 404, "another tenant's");
    // As in Loki, whatever `force` says matters only where a part was carried out.
    order(&braid, "loki", "DELETE", &format!("/loki/api/v1/delete?request_id={id}&force=maybe")).expect(204);
    let mut back = all.to_vec();
    back.sort();
    assert_eq!(lines(&braid), back);
    order(&braid, "loki", "DELETE", &format!("/loki/api/v1/delete?request_id={id}")).expect(404);

    // Requests, and that one was cancelled, outlive the process.
    hidden(&braid, r#"{app="shop"} | json | status="500" |= "alice""#);
    hidden(&braid, r#"{app="shop"} != "eve" | logfmt | status >= 400"#);
    braid.kill();
    let braid = Braid::start_with(dir.path(), &["--enable-admin-api"]);
    let left = [fine, good, worse];
    braid.eventually("replaying", |b| (lines(b) == left).then_some(()));
    assert_eq!(braid.metric("braid_store_deletions_waiting"), 2.0);
    order(&braid, "prometheus", "POST", "/api/v1/admin/tsdb/clean_tombstones").expect(204);
    assert_eq!(lines(&braid), left);
    assert_eq!(braid.metric("braid_store_deletions_waiting"), 0.0);
    for gone in ["alice", "carol"] {
        let (code, said) = find(dir.path(), gone);
        assert_eq!(code, Some(0), "{said}");
    }
    for kept in ["bob", "dave", "eve"] {
        assert_eq!(find(dir.path(), kept).0, Some(3));
    }
}

#[test]
fn lines_go_when_their_cancel_period_is_over() {
    let dir = tempfile::tempdir().expect("a directory");
    let config = dir.path().join("braid.yaml");
    for period in ["0", "1s"] {
        std::fs::write(&config, format!("limits: {{delete_request_cancel_period: {period}}}\n")).expect("written");
        let braid = Braid::start_with(dir.path(), &["--config", config.to_str().expect("text")]);
        push_lines(&braid, now(), &["level=debug msg=noise", "level=info msg=news"]);
        let id = hidden(&braid, r#"{app="shop"} | logfmt | level="debug""#);
        assert_eq!(lines(&braid).last().map(String::as_str), Some("level=info msg=news"));
        braid.eventually("carrying it out", |b| (b.metric("braid_store_deletions_waiting") == 0.0).then_some(()));
        order(&braid, "loki", "DELETE", &format!("/loki/api/v1/delete?request_id={id}")).expect(400);
        assert!(lines(&braid).iter().all(|line| !line.contains("noise")));
    }
}

#[test]
fn what_cannot_be_deleted_is_refused_with_a_reason() {
    let dir = tempfile::tempdir().expect("a directory");
    let braid = Braid::start(dir.path());
    for path in ["delete_series?match[]=up", "clean_tombstones", "snapshot"] {
        let refused = order(&braid, "prometheus", "POST", &format!("/api/v1/admin/tsdb/{path}")).expect(503).json();
        assert_eq!((&refused["errorType"], &refused["error"]), (&"unavailable".into(), &"admin APIs disabled".into()));
    }
    order(&braid, "braid", "POST", "/api/admin/delete/traces?traceID=1").expect(503);
    order(&braid, "prometheus", "GET", "/api/v1/admin/tsdb/snapshot").expect(405);
    let query = "query=%7Ba%3D%22b%22%7D";
    for (path, why) in [
        ("start=1".to_owned(), "query not set"),
        (query.to_owned(), "start time not set"),
        (format!("{query}&start=1&end=9000000000"), "deletes in the future are not allowed"),
        (format!("{query}&start=1000000000&end=1"), "start time can't be greater than end time"),
        (format!("{query}%20%7C%20line_format%20%22x%22&start=1"), "invalid query: a deletion takes no line_format"),
        ("query=rate(%7Ba%3D%22b%22%7D%5B1m%5D)&start=1".to_owned(), "invalid query: a deletion takes a log query"),
        ("query=%7B&start=1".to_owned(), "invalid query"),
        (format!("{query}&start=1&max_interval=x"), "invalid max_interval"),
        (format!("{query}&start=1&max_interval=10ms"), "invalid max_interval"),
    ] {
        let refused = order(&braid, "loki", "POST", &format!("/loki/api/v1/delete?{path}")).expect(400);
        assert!(refused.text().starts_with(why), "{}", refused.text());
    }
    drop(braid);
    let braid = Braid::start_with(dir.path(), &["--enable-admin-api"]);
    for path in
        ["delete_series", "delete_series?match[]=%7B", "delete_series?match[]=up&start=2&end=1", "snapshot?skip_head=maybe"]
    {
        order(&braid, "prometheus", "POST", &format!("/api/v1/admin/tsdb/{path}")).expect(400);
    }
    for path in ["", "?q=%7B", "?traceID=x", "?q=%7B%7D%20%7C%20rate()"] {
        order(&braid, "braid", "POST", &format!("/api/admin/delete/traces{path}")).expect(400);
    }
    let (code, said) = find(Path::new("/nowhere"), "x");
    assert_eq!(code, Some(1));
    assert!(said.contains("no data directory"), "{said}");
}
