//! What is exported comes back as it was: over the API and from a directory, in every format; twice makes no double.

use std::path::Path;
use std::process::Command;

use crate::braid::Braid;
use crate::client::{post, send};

fn run(arguments: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_braid")).args(arguments).output().expect("the binary is built");
    (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr))
}

fn second() -> u64 {
    std::time::UNIX_EPOCH.elapsed().expect("after 1970").as_secs()
}

/// Lines, spans and samples of the last minutes.
fn fill(braid: &Braid, at: u64) {
    let json = [("Content-Type", "application/json")];
    let lines: Vec<String> = (0..50)
        .map(|n| format!(r#"["{}","line {n} \"q\"",{{"trace_id":"{:032x}","k":"v{}"}}]"#, (at - n) * 1_000_000_000, n + 1, n % 3))
        .collect();
    let push = format!(r#"{{"streams":[{{"stream":{{"app":"shop","env":"a b"}},"values":[{}]}}]}}"#, lines.join(","));
    post(braid.at("loki"), "/loki/api/v1/push", &json, push.as_bytes()).expect(204);
    let spans: Vec<String> = (0..20)
        .map(|n| {
            let start = (at - n) * 1_000_000_000;
            format!(
                r#"{{"traceId":"{:032x}","spanId":"{:016x}","name":"n{n}","kind":2,"startTimeUnixNano":"{start}","endTimeUnixNano":"{}",
                "attributes":[{{"key":"i","value":{{"intValue":"{n}"}}}}],"events":[{{"timeUnixNano":"{start}","name":"e"}}]}}"#,
                n / 2 + 1,
                n + 1,
                start + 7
            )
        })
        .collect();
    let traces = format!(
        r#"{{"resourceSpans":[{{"resource":{{"attributes":[{{"key":"service.name","value":{{"stringValue":"shop"}}}}]}},"scopeSpans":[{{"spans":[{}]}}]}}]}}"#,
        spans.join(",")
    );
    post(braid.at("otlp_http"), "/v1/traces", &json, traces.as_bytes()).expect(200);
    let points: Vec<String> = (0..40)
        .map(|n| {
            format!(
                r#"{{"timeUnixNano":"{}","asDouble":{}.5,"attributes":[{{"key":"who","value":{{"stringValue":"a \"{}\""}}}}]}}"#,
                (at - 40 + n) * 1_000_000_000,
                n,
                n % 2
            )
        })
        .collect();
    let gauges = format!(
        r#"{{"resourceMetrics":[{{"scopeMetrics":[{{"metrics":[{{"name":"g","gauge":{{"dataPoints":[{}]}}}}]}}]}}]}}"#,
        points.join(",")
    );
    post(braid.at("otlp_http"), "/v1/metrics", &json, gauges.as_bytes()).expect(200);
}

/// All lines, traces and samples, as the APIs show them.
fn contents(braid: &Braid, at: u64) -> [String; 3] {
    let get = |face: &str, path: &str| send(braid.at(face), "GET", path, &[], b"").expect(200).json();
    let mut logs =
        get("loki", "/loki/api/v1/query_range?query=%7Bapp%3D%22shop%22%7D&since=1h&limit=5000")["data"]["result"].clone();
    let mut rows: Vec<String> = Vec::new();
    for stream in logs.as_array_mut().expect("streams") {
        // Where a line's level and service are found is decided again by whoever takes it.
        for value in stream["values"].as_array().expect("lines") {
            rows.push(format!("{} {} {}", stream["stream"]["k"], value[0], value[1]));
        }
    }
    rows.sort();
    let mut traces: Vec<String> = Vec::new();
    for n in 1..=10 {
        let trace = get("tempo", &format!("/api/traces/{n:x}"));
        let mut spans: Vec<String> = trace["batches"]
            .as_array()
            .expect("batches")
            .iter()
            .flat_map(|b| b["scopeSpans"].as_array().expect("scopes"))
            .flat_map(|s| s["spans"].as_array().expect("spans"))
            .map(ToString::to_string)
            .collect();
        spans.sort();
        traces.extend(spans);
    }
    let samples = get("prometheus", &format!("/api/v1/query?query=g%5B1h%5D&time={at}"))["data"]["result"].to_string();
    [rows.join("\n"), traces.join("\n"), samples]
}

fn export(place: &[&str], signal: &str, format: &str, at: u64, to: &Path) {
    let start = (at - 600).to_string();
    let to = to.to_str().expect("text");
    let end = (at + 1).to_string();
    let rest = ["--signal", signal, "--format", format, "--start", &start, "--end", &end, "-o", to];
    let (code, said) = run(&[&["export"][..], place, &rest].concat());
    assert_eq!(code, Some(0), "{said}");
}

fn import(braid: &Braid, signal: &str, format: &str, file: &Path) -> (Option<i32>, String) {
    let url = format!("http://{}", braid.at("braid"));
    run(&["import", "--url", &url, "--signal", signal, "--format", format, file.to_str().expect("text")])
}

#[test]
fn every_format_comes_back_as_it_was_and_twice_makes_no_double() {
    let dir = tempfile::tempdir().expect("a directory");
    let braid = Braid::start(dir.path());
    let at = second() - 60;
    fill(&braid, at);
    let before = contents(&braid, at);
    assert!(before.iter().all(|c| !c.is_empty()), "{before:?}");
    let files = tempfile::tempdir().expect("a directory");
    let url = format!("http://{}", braid.at("braid"));
    let sets = [
        [("logs", "loki"), ("traces", "otlp"), ("metrics", "prometheus")],
        [("logs", "otlp-json"), ("traces", "otlp-json"), ("metrics", "openmetrics")],
        [("logs", "otlp"), ("traces", "otlp"), ("metrics", "otlp")],
        [("logs", "loki"), ("traces", "otlp"), ("metrics", "otlp-json")],
    ];
    let name = |signal: &str, format: &str| files.path().join(format!("{signal}.{format}"));
    for (signal, format) in sets.into_iter().flatten() {
        export(&["--url", &url], signal, format, at, &name(signal, format));
    }
    // From 1970 on it is the same, and time without samples is not gone through hour by hour.
    let ages = |format: &str| {
        let to = files.path().join("ages");
        let whole = ["--signal", "metrics", "--format", format, "--start", "0", "-o", to.to_str().expect("text")];
        let (code, said) = run(&[&["export", "--url", &url][..], &whole].concat());
        assert_eq!(code, Some(0), "{said}");
        std::fs::read(to).expect("written")
    };
    let sorted = |bytes: &[u8]| {
        let mut lines: Vec<String> = String::from_utf8_lossy(bytes).lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    assert_eq!(sorted(&ages("prometheus")), sorted(&std::fs::read(name("metrics", "prometheus")).expect("written")));
    assert!(!ages("remote-write").is_empty());
    braid.stop("-TERM");
    // A stopped directory gives the same.
    let data = dir.path().join("data");
    for (signal, format) in [("logs", "loki"), ("traces", "otlp"), ("metrics", "prometheus")] {
        let again = files.path().join("again");
        export(&["--data-dir", data.to_str().expect("text")], signal, format, at, &again);
        let bytes = |path: &Path| std::fs::read(path).expect("written");
        assert!(bytes(&again) == bytes(&name(signal, format)), "{signal} {format}");
    }
    for set in sets {
        let other = tempfile::tempdir().expect("a directory");
        let braid = Braid::start(other.path());
        for _ in 0..2 {
            for (signal, format) in set {
                let (code, said) = import(&braid, signal, format, &name(signal, format));
                assert_eq!(code, Some(0), "{signal} {format}: {said}");
            }
        }
        let after = contents(&braid, at);
        // Lines as OTLP carry their labels in the resource, where the field of the metadata is found under its own name.
        assert_eq!(after[1], before[1], "{set:?}");
        assert_eq!(after[2], before[2], "{set:?}");
        if set[0].1 == "loki" {
            assert_eq!(after[0], before[0], "{set:?}");
        }
        post(braid.at("braid"), "/api/admin/settle", &[], b"").expect(204);
        assert_eq!(contents(&braid, at), after, "and after segments are merged");
    }
}

#[test]
fn bad_lines_are_named_and_an_import_goes_on_where_it_was_stopped() {
    let dir = tempfile::tempdir().expect("a directory");
    let braid = Braid::start(dir.path());
    let at = (second() - 60) * 1000;
    let file = dir.path().join("samples.txt");
    let good: Vec<String> = (0..10).map(|n| format!("{{__name__=\"m\"}} {n} {}", at + n)).collect();
    let text = format!("{}\n{{nonsense\n# a comment\n{{__name__=\"m\"}} x 1\n{}\n", good[..5].join("\n"), good[5..].join("\n"));
    std::fs::write(&file, text).expect("written");
    let (code, said) = import(&braid, "metrics", "prometheus", &file);
    assert_eq!(code, Some(4), "{said}");
    assert!(said.contains("samples.txt:6: "), "{said}");
    assert!(said.contains("samples.txt:8: \"x\" is no number"), "{said}");
    assert!(said.contains("10 sent, 2 bad"), "{said}");
    let count = || {
        let path = format!("/api/v1/query?query=count_over_time(m%5B1h%5D)&time={}", at / 1000 + 1);
        braid.get("prometheus", &path).expect(200).json()["data"]["result"][0]["value"][1].clone()
    };
    assert_eq!(count(), "10");
    // As a run that was stopped behind line 5 leaves it.
    let behind: usize = good[..5].iter().map(|l| l.len() + 1).sum();
    std::fs::write(dir.path().join("samples.txt.imported"), format!("{behind} 5\n")).expect("written");
    let (_, said) = import(&braid, "metrics", "prometheus", &file);
    assert!(said.contains("going on behind line 5") && said.contains("5 sent, 2 bad"), "{said}");
    assert!(!dir.path().join("samples.txt.imported").exists());
    assert_eq!(count(), "10");
    for arguments in [
        &["export", "--signal", "logs", "--format", "prometheus", "--start", "1", "-o", "-"][..],
        &["export", "--signal", "logs", "--start", "yesterday", "-o", "-"],
        &["import", "--format", "otlp", "--url", "http://127.0.0.1:1", file.to_str().expect("text")],
    ] {
        let (code, said) = run(arguments);
        assert_eq!(code, Some(2), "{said}");
    }
}

#[test]
fn native_histograms_and_exemplars_come_back_by_remote_write() {
    let dir = tempfile::tempdir().expect("a directory");
    let braid = Braid::start(dir.path());
    let at = second() - 60;
    fill(&braid, at);
    let points: Vec<String> = (0..5u64)
        .map(|n| {
            let time = (at - 10 + n) * 1_000_000_000;
            format!(
                r#"{{"startTimeUnixNano":"{}","timeUnixNano":"{time}","count":"{}","sum":{n}.5,"scale":1,"zeroCount":"1","positive":{{"offset":2,
                "bucketCounts":["{n}","2"]}},"exemplars":[{{"timeUnixNano":"{time}","asDouble":{n},"traceId":"{:032x}","spanId":"{:016x}"}}]}}"#,
                (at - 60) * 1_000_000_000,
                n + 3,
                n + 1,
                n + 1
            )
        })
        .collect();
    let body = format!(
        r#"{{"resourceMetrics":[{{"scopeMetrics":[{{"metrics":[{{"name":"h","exponentialHistogram":{{"aggregationTemporality":2,"dataPoints":[{}]}}}}]}}]}}]}}"#,
        points.join(",")
    );
    let json = [("Content-Type", "application/json")];
    post(braid.at("otlp_http"), "/v1/metrics", &json, body.as_bytes()).expect(200);
    let seen = |braid: &Braid| {
        let get = |path: &str| send(braid.at("prometheus"), "GET", path, &[], b"").expect(200).json()["data"].clone();
        let histograms = get(&format!("/api/v1/query?query=h%5B1h%5D&time={at}"))["result"].clone();
        assert_eq!(histograms[0]["histograms"].as_array().map(Vec::len), Some(5), "{histograms}");
        let exemplars = get(&format!("/api/v1/query_exemplars?query=h&start={}&end={at}", at - 60));
        assert!(exemplars[0]["exemplars"].as_array().is_some_and(|e| !e.is_empty()), "{exemplars}");
        (histograms, exemplars, contents(braid, at)[2].clone())
    };
    let before = seen(&braid);
    let file = dir.path().join("samples");
    let url = format!("http://{}", braid.at("braid"));
    export(&["--url", &url], "metrics", "remote-write", at, &file);
    let other = tempfile::tempdir().expect("a directory");
    let copy = Braid::start(other.path());
    // Spans and lines, which `contents` looks for as well.
    fill(&copy, at);
    for _ in 0..2 {
        let (code, said) = import(&copy, "metrics", "remote-write", &file);
        assert_eq!(code, Some(0), "{said}");
    }
    assert_eq!(seen(&copy), before);
}

#[test]
fn a_server_that_never_answers_is_not_asked_for_long() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("bound"));
    let asked = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let count = asked.clone();
    std::thread::spawn(move || {
        listener.incoming().for_each(|_| {
            count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        });
    });
    let (code, said) = run(&["export", "--url", &url, "--signal", "logs", "--start", "1", "-o", "-"]);
    assert!(code == Some(1) && said.contains("asking http://127.0.0.1:"), "{said}");
    // The client may connect once more for a connection that was closed under it.
    let asked = asked.load(std::sync::atomic::Ordering::Relaxed);
    assert!((3..=6).contains(&asked), "{asked} connections");
}

#[test]
fn flags_that_cannot_be_are_told_apart_from_failures_and_leave_no_file() {
    let dir = tempfile::tempdir().expect("a directory");
    let out = dir.path().join("out");
    let out = out.to_str().expect("text");
    let nobody = "http://127.0.0.1:1";
    for (arguments, code, words) in [
        (
            &["export", "--url", nobody, "--signal", "logs", "--start", "yesterday", "-o", out][..],
            2,
            "--start: \"yesterday\" is no time",
        ),
        (
            &["export", "--url", nobody, "--signal", "logs", "--format", "prometheus", "--start", "1", "-o", out],
            2,
            "loki, otlp and otlp-json are",
        ),
        (&["export", "--signal", "logs", "--start", "1", "-o", out], 2, "neither --url nor --data-dir"),
        (&["export", "--url", nobody, "--signal", "logs", "--start", "1", "-o", out], 1, "Connection refused"),
        (&["restore", "--list", "--from", "file:///nowhere/at/all"], 1, "no such folder"),
        (&["certs", "server", "--days", "0"], 2, "0 is not in 1.."),
    ] {
        let (found, said) = run(arguments);
        assert!(found == Some(code) && said.contains(words), "{arguments:?}: {found:?} {said}");
    }
    assert!(!std::path::Path::new(out).exists(), "no empty file is left");
}
