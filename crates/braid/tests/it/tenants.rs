//! Two tenants: no endpoint shows one what the other has; limits hold for each by itself.

use crate::braid::Braid;
use crate::client::{Reply, post, send};

fn now() -> u64 {
    u64::try_from(std::time::UNIX_EPOCH.elapsed().expect("after 1970").as_nanos()).expect("soon enough") - 60_000_000_000
}

/// One line, one trace, one series, all of which carry `word`.
fn fill(braid: &Braid, tenant: &str, word: &str, id: u8) {
    let at = now();
    let json = [("Content-Type", "application/json"), ("X-Scope-OrgID", tenant)];
    let line = format!(
        r#"{{"streams":[{{"stream":{{"app":"{word}","{word}_label":"{word}"}},"values":[["{at}","{word} k={word}",{{"{word}_meta":"{word}"}}]]}}]}}"#
    );
    post(braid.at("loki"), "/loki/api/v1/push", &json, line.as_bytes()).expect(204);
    let span = format!(
        r#"{{"resourceSpans":[{{"resource":{{"attributes":[{{"key":"service.name","value":{{"stringValue":"{word}"}}}}]}},"scopeSpans":[{{"spans":[
        {{"traceId":"{:032x}","spanId":"{:016x}","name":"{word}","startTimeUnixNano":"{at}","endTimeUnixNano":"{}",
        "attributes":[{{"key":"{word}","value":{{"stringValue":"{word}"}}}}]}}]}}]}}]}}"#,
        id,
        id,
        at + 5
    );
    post(braid.at("otlp_http"), "/v1/traces", &json, span.as_bytes()).expect(200);
    let gauge = format!(
        r#"{{"resourceMetrics":[{{"scopeMetrics":[{{"metrics":[{{"name":"{word}","description":"{word}","gauge":{{"dataPoints":[{{"timeUnixNano":"{at}","asDouble":1,
        "attributes":[{{"key":"{word}","value":{{"stringValue":"{word}"}}}}],"exemplars":[{{"timeUnixNano":"{at}","asDouble":1,"filteredAttributes":[{{"key":"e","value":{{"stringValue":"{word}"}}}}]}}]}}]}}}}]}}]}}]}}"#
    );
    post(braid.at("otlp_http"), "/v1/metrics", &json, gauge.as_bytes()).expect(200);
}

fn ask(braid: &Braid, face: &str, path: &str, tenant: &str) -> Reply {
    send(braid.at(face), "GET", path, &[("X-Scope-OrgID", tenant)], b"")
}

/// Every path that answers with rows, or with what rows there are.
const WALK: [(&str, &str); 33] = [
    ("prometheus", "/api/v1/query?query=%7B__name__%3D~%22.%2B%22%7D"),
    ("prometheus", "/api/v1/query_range?query=%7B__name__%3D~%22.%2B%22%7D&start=START&end=END&step=15"),
    ("prometheus", "/api/v1/query_exemplars?query=%7B__name__%3D~%22.%2B%22%7D&start=START&end=END"),
    ("prometheus", "/api/v1/series?match[]=%7B__name__%3D~%22.%2B%22%7D"),
    ("prometheus", "/api/v1/labels"),
    ("prometheus", "/api/v1/label/__name__/values"),
    ("prometheus", "/api/v1/metadata"),
    ("loki", "/loki/api/v1/query_range?query=%7Bapp%3D~%22.%2B%22%7D&since=1h"),
    ("loki", "/loki/api/v1/query_range?query=sum%20by%20(app)%20(count_over_time(%7Bapp%3D~%22.%2B%22%7D%5B1h%5D))&since=1h"),
    ("loki", "/loki/api/v1/query?query=sum%20by%20(app)%20(count_over_time(%7Bapp%3D~%22.%2B%22%7D%5B1h%5D))"),
    ("loki", "/loki/api/v1/labels"),
    ("loki", "/loki/api/v1/label/app/values"),
    ("loki", "/loki/api/v1/series"),
    ("loki", "/loki/api/v1/index/stats?query=%7Bapp%3D~%22.%2B%22%7D"),
    ("loki", "/loki/api/v1/index/shards?query=%7Bapp%3D~%22.%2B%22%7D&targetBytesPerShard=1MB"),
    ("loki", "/loki/api/v1/index/volume?query=%7Bapp%3D~%22.%2B%22%7D"),
    ("loki", "/loki/api/v1/index/volume_range?query=%7Bapp%3D~%22.%2B%22%7D"),
    ("loki", "/loki/api/v1/patterns?query=%7Bapp%3D~%22.%2B%22%7D"),
    ("loki", "/loki/api/v1/detected_fields?query=%7Bapp%3D~%22.%2B%22%7D"),
    ("loki", "/loki/api/v1/detected_labels"),
    ("loki", "/loki/api/v1/delete"),
    ("tempo", "/api/traces/2"),
    ("tempo", "/api/v2/traces/2"),
    ("tempo", "/api/search?q=%7B%7D"),
    ("tempo", "/api/search?tags="),
    ("tempo", "/api/search/tags"),
    ("tempo", "/api/v2/search/tags"),
    ("tempo", "/api/search/tag/service.name/values"),
    ("tempo", "/api/v2/search/tag/resource.service.name/values"),
    ("tempo", "/api/metrics/query_range?q=%7B%7D%20%7C%20rate()%20by%20(resource.service.name)&since=1h"),
    ("tempo", "/api/metrics/query?q=%7B%7D%20%7C%20rate()%20by%20(resource.service.name)&since=1h"),
    ("braid", "/api/admin/deletions"),
    ("braid", "/api/v1/targets"),
];

#[test]
fn no_endpoint_shows_one_tenant_what_another_has() {
    let dir = tempfile::tempdir().expect("a directory");
    let braid = Braid::start_with(dir.path(), &["--enable-admin-api"]);
    fill(&braid, "ours", "ourword", 1);
    fill(&braid, "theirs", "theirword", 2);
    // Deletions are told apart too.
    let delete = "/loki/api/v1/delete?start=1&query=%7Bapp%3D%22theirword%22%7D%20%7C%3D%20%22theirword-not-there%22";
    for settled in [false, true] {
        if settled {
            post(braid.at("braid"), "/api/admin/settle", &[], b"").expect(204);
            send(braid.at("loki"), "POST", delete, &[("X-Scope-OrgID", "theirs")], b"").expect(204);
        }
        let (end, mut shown) = (now() / 1_000_000_000 + 90, 0);
        for (face, path) in WALK {
            let path = path.replace("START", &(end - 300).to_string()).replace("END", &end.to_string());
            let ours = ask(&braid, face, &path, "ours");
            let theirs = ask(&braid, face, &path, "theirs");
            assert!(ours.status < 500 && theirs.status < 500, "{path}: {}", ours.text());
            assert!(!ours.text().contains("theirword"), "{face} {path}: {}", ours.text());
            assert!(!theirs.text().contains("ourword"), "{face} {path}: {}", theirs.text());
            // A walk that shows nothing to anybody would prove nothing.
            shown += usize::from(theirs.text().contains("theirword"));
            let nobody = ask(&braid, face, &path, "nobody").text();
            assert!(!nobody.contains("ourword") && !nobody.contains("theirword"), "{face} {path}: {nobody}");
        }
        assert!(shown >= 18, "{shown}");
    }
    // Writes: what is ordered for one tenant does nothing to another.
    let all = "/loki/api/v1/delete?start=1&query=%7Bapp%3D~%22.%2B%22%7D";
    send(braid.at("loki"), "POST", all, &[("X-Scope-OrgID", "ours")], b"").expect(204);
    let all = "/api/v1/admin/tsdb/delete_series?match[]=%7B__name__%3D~%22.%2B%22%7D";
    send(braid.at("prometheus"), "POST", all, &[("X-Scope-OrgID", "ours")], b"").expect(204);
    send(braid.at("braid"), "POST", "/api/admin/delete/traces?q=%7B%7D", &[("X-Scope-OrgID", "ours")], b"").expect(200);
    let shown = |tenant: &str, word: &str| {
        let paths = [WALK[7], WALK[3], WALK[22]];
        paths.map(|(face, path)| ask(&braid, face, path, tenant).text().contains(word))
    };
    assert_eq!(shown("ours", "ourword"), [false; 3]);
    assert_eq!(shown("theirs", "theirword"), [true; 3]);
    assert_eq!(ask(&braid, "loki", "/loki/api/v1/labels", "no/name").status, 400);
}

#[test]
fn limits_of_one_tenant_are_its_own_and_refusals_can_be_tried_again() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("braid.yaml");
    let text = "limits:\n  defaults: {body: 1MiB}\n  tenants:\n    small: {items_per_second: 1, items_burst: 2, body: 1KiB, series: 2, query_concurrency: 1, query_timeout: 20s}\n";
    std::fs::write(&file, text).expect("written");
    let braid = Braid::start_with(dir.path(), &["-c", file.to_str().expect("text")]);
    let push = |tenant: &str, n: usize, pad: usize| {
        let line = format!(r#"{{"streams":[{{"stream":{{"app":"a"}},"values":[["{}","{n} {}"]]}}]}}"#, now(), "x".repeat(pad));
        post(
            braid.at("loki"),
            "/loki/api/v1/push",
            &[("Content-Type", "application/json"), ("X-Scope-OrgID", tenant)],
            line.as_bytes(),
        )
    };
    let answers: Vec<Reply> = (0..12).map(|n| push("small", n, 0)).collect();
    let refused: Vec<&Reply> = answers.iter().filter(|a| a.status != 204).collect();
    assert!(!refused.is_empty(), "twelve at once are more than two and one a second");
    for reply in refused {
        assert_eq!(reply.status, 503);
        assert!(reply.header("retry-after").is_some_and(|s| s.parse::<u64>().is_ok_and(|s| s >= 1)), "{reply:?}");
        assert!(reply.text().contains("the tenant's limit of 1 items a second is exceeded"), "{}", reply.text());
    }
    for n in 0..12 {
        push("large", n, 0).expect(204);
    }
    assert_eq!(push("small", 0, 2000).status, 413);
    push("large", 0, 2000).expect(204);
    assert!(braid.metric("braid_tenant_refused_requests_total{tenant=\"small\",reason=\"rate\"}") >= 1.0);
    assert_eq!(braid.metric("braid_tenant_accepted_items_total{tenant=\"large\",signal=\"logs\"}"), 13.0);

    let gauge = |tenant: &str, n: usize| {
        let body = format!(
            r#"{{"resourceMetrics":[{{"scopeMetrics":[{{"metrics":[{{"name":"g","gauge":{{"dataPoints":[{{"timeUnixNano":"{}","asDouble":1,
            "attributes":[{{"key":"n","value":{{"stringValue":"{n}"}}}}]}}]}}}}]}}]}}]}}"#,
            now()
        );
        let headers = [("Content-Type", "application/json"), ("X-Scope-OrgID", tenant)];
        let mut reply = post(braid.at("prometheus"), "/api/v1/otlp/v1/metrics", &headers, body.as_bytes());
        while reply.status == 503 {
            std::thread::sleep(std::time::Duration::from_millis(200));
            reply = post(braid.at("prometheus"), "/api/v1/otlp/v1/metrics", &headers, body.as_bytes());
        }
        reply
    };
    let answers: Vec<u16> = (0..5).map(|n| gauge("small", n).status).collect();
    assert_eq!(answers.iter().filter(|s| **s == 200).count(), 2, "{answers:?}");
    assert!(gauge("small", 9).text().contains("the tenant's limit of series is reached"));
    assert_eq!((0..5).filter(|n| gauge("large", *n).status == 200).count(), 5);
    // One place for queries is enough for one query after the other.
    for _ in 0..3 {
        assert_eq!(ask(&braid, "loki", "/loki/api/v1/labels", "small").status, 200);
    }
}

#[test]
fn limits_that_make_no_sense_are_named() {
    let dir = tempfile::tempdir().expect("a directory");
    for (text, why) in [
        ("limits: {defaults: {items_per_second: 0}}", "limits.defaults.items_per_second: 0 is no positive number"),
        ("limits: {tenants: {a: {series: 0}}}", "limits.tenants.a.series: 0 would refuse everything"),
        ("limits: {tenants: {a: {body: x}}}", "limits.tenants.a.body: \"x\" is no size"),
        ("limits: {tenants: {a/b: {series: 1}}}", "limits.tenants.a/b: tenant ID"),
        ("limits: {tenants: {a: {serie: 1}}}", "serie"),
        ("web: {slow_query: fast}", "web.slow_query"),
    ] {
        let file = dir.path().join("braid.yaml");
        std::fs::write(&file, text).expect("written");
        let run = std::process::Command::new(env!("CARGO_BIN_EXE_braid")).args(["check", "-c"]).arg(&file).output();
        let run = run.expect("the binary is built");
        let said = String::from_utf8_lossy(&run.stderr).into_owned();
        assert_eq!(run.status.code(), Some(2), "{text}: {said}");
        assert!(said.contains(why), "{text}: {said}");
    }
}

#[test]
fn braid_keeps_its_own_lines_and_spans_where_it_is_asked_to_and_makes_no_loop_of_it() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("braid.yaml");
    std::fs::write(&file, "self: {logs: true, traces: true}\nweb: {slow_query: 1ms}\n").expect("written");
    let braid = Braid::start_with(dir.path(), &["-c", file.to_str().expect("text")]);
    fill(&braid, "ours", "ourword", 1);
    assert_eq!(ask(&braid, "loki", "/loki/api/v1/query_range?query=%7Bapp%3D~%22.%2B%22%7D&since=1h", "ours").status, 200);
    let lines =
        |b: &Braid| ask(b, "loki", "/loki/api/v1/query_range?query=%7Bservice_name%3D%22braid%22%7D&since=1h", "braid").text();
    braid.eventually("its own line", |b| lines(b).contains("ready after").then_some(()));
    let search = "/api/search?q=%7Bresource.service.name%3D%22braid%22%20%26%26%20span.braid.tenant%3D%22ours%22%7D";
    braid.eventually("a span of the query", |b| ask(b, "tempo", search, "braid").text().contains("query_range").then_some(()));
    // What the tenant braid asks leaves no span: the number of all spans stays.
    let spans =
        |b: &Braid| ask(b, "tempo", "/api/search?q=%7B%7D&limit=1000", "braid").json()["traces"].as_array().map_or(0, Vec::len);
    let before = spans(&braid);
    for _ in 0..5 {
        spans(&braid);
    }
    std::thread::sleep(std::time::Duration::from_millis(1500));
    assert_eq!(spans(&braid), before);
    // Nobody else sees them.
    assert!(!ask(&braid, "loki", "/loki/api/v1/label/service_name/values", "ours").text().contains("braid"));
    assert_eq!(braid.metric("braid_own_telemetry_dropped_total"), 0.0);
    assert_eq!(ask(&braid, "braid", "/ready", "").expect(200).text(), "ready\n");
    assert!(braid.get("braid", "/health").expect(200).json()["reasons"].as_array().expect("a list").is_empty());
}
