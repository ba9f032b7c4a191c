//! Scraping a target that comes, changes and goes.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};

use crate::asking::instant;
use crate::braid::Braid;
use crate::client::post;

/// A target that serves what it is told to; an empty page is a 500.
fn target() -> (String, Arc<Mutex<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("bound").to_string();
    let page = Arc::new(Mutex::new(String::new()));
    let shown = Arc::clone(&page);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let mut request = [0; 4096];
            let _ = stream.read(&mut request);
            let page = shown.lock().expect("not poisoned").clone();
            let status = if page.is_empty() { "500 Internal Server Error" } else { "200 OK" };
            let _ = write!(
                stream,
                "HTTP/1.1 {status}\r\nContent-Type: text/plain; version=0.0.4\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{page}",
                page.len()
            );
        }
    });
    (address, page)
}

/// Braid, scraping `address` as job `j`.
fn scraping(dir: &std::path::Path, address: &str, more: &str) -> Braid {
    let config = dir.join("braid.yaml");
    let yaml = format!(
        "scrape_configs:\n- job_name: j\n  scrape_interval: 200ms\n{more}  static_configs:\n  - targets: ['{address}']\n    labels: {{env: dev}}\n"
    );
    std::fs::write(&config, yaml).expect("written");
    Braid::start_with(dir, &["--config", config.to_str().expect("UTF-8")])
}

/// What an instant query finds now: values by the labels that matter here.
fn ask(braid: &Braid, query: &str) -> Vec<String> {
    let now = std::time::UNIX_EPOCH.elapsed().expect("after 1970").as_secs_f64();
    let mut found: Vec<String> = instant(braid, query, now)
        .into_iter()
        .map(|(mut labels, value)| {
            labels.remove("instance");
            let labels: Vec<String> = labels.into_iter().map(|(n, v)| format!("{n}={v}")).collect();
            format!("{} {value}", labels.join(","))
        })
        .collect();
    found.sort();
    found
}

fn show(page: &Mutex<String>, text: &str) {
    *page.lock().expect("not poisoned") = text.to_owned();
}

#[test]
fn series_appear_change_and_end_with_what_the_target_says() {
    let (address, page) = target();
    let dir = tempfile::tempdir().expect("a directory");
    let braid = scraping(dir.path(), &address, "");
    let await_up = |value: &str| {
        let expected = [format!("__name__=up,env=dev,job=j {value}")];
        braid.eventually("up", |b| (ask(b, "up") == expected).then_some(()));
    };
    await_up("0");
    show(&page, "# HELP a Counts.\n# TYPE a counter\na{x=\"1\",job=\"own\"} 1\nb 2\n");
    await_up("1");
    assert_eq!(ask(&braid, "a"), ["__name__=a,env=dev,exported_job=own,job=j,x=1 1"]);
    assert_eq!(ask(&braid, "b"), ["__name__=b,env=dev,job=j 2"]);
    assert_eq!(ask(&braid, "scrape_samples_scraped"), ["__name__=scrape_samples_scraped,env=dev,job=j 2"]);
    assert_eq!(ask(&braid, "scrape_duration_seconds").len(), 1);
    assert_eq!(ask(&braid, "scrape_samples_post_metric_relabeling").len(), 1);
    assert_eq!(ask(&braid, "scrape_series_added").len(), 1);

    show(&page, "a{x=\"1\",job=\"own\"} 3\n");
    braid.eventually("b's end", |b| ask(b, "b").is_empty().then_some(()));
    assert_eq!(ask(&braid, "a"), ["__name__=a,env=dev,exported_job=own,job=j,x=1 3"]);

    // Half a page counts as none.
    show(&page, "a{x=\"1\",job=\"own\"} 4\nthis is no exposition\n");
    await_up("0");
    braid.eventually("a's end", |b| ask(b, "a").is_empty().then_some(()));
}

#[test]
fn targets_and_their_errors_are_shown() {
    let (address, page) = target();
    show(&page, "a 1\nb 2\n");
    let dir = tempfile::tempdir().expect("a directory");
    let braid = scraping(dir.path(), &address, "  metrics_path: /probe\n  params: {m: [x y]}\n  sample_limit: 1\n");
    let target = braid.eventually("a failed scrape", |b| {
        let found = b.get("prometheus", "/api/v1/targets").expect(200).json();
        let target = found["data"]["activeTargets"][0].clone();
        (target["health"] == "down").then_some(target)
    });
    assert_eq!(target["scrapePool"], "j");
    assert_eq!(target["scrapeUrl"], format!("http://{address}/probe?m=x+y"));
    assert!(target["lastError"].as_str().is_some_and(|e| e.contains("sample limit exceeded")), "{target}");
    assert_eq!(target["labels"]["instance"], address);
}

/// Asks for the configuration to be read anew; the answer's status.
fn reload(braid: &Braid) -> u16 {
    post(braid.at("prometheus"), "/-/reload", &[], b"").status
}

#[test]
fn a_reload_changes_what_is_scraped_and_a_wrong_one_changes_nothing() {
    let ((first, page), (second, other)) = (target(), target());
    show(&page, "a 1\n");
    show(&other, "b 1\ngo_x 1\n");
    let dir = tempfile::tempdir().expect("a directory");
    let braid = scraping(dir.path(), &first, "");
    braid.eventually("a", |b| (ask(b, "a").len() == 1).then_some(()));
    let config = dir.path().join("braid.yaml");
    std::fs::write(&config, "scrape_configs: [{job_nam: x}]\n").expect("written");
    assert_eq!(reload(&braid), 500);
    std::fs::write(dir.path().join("targets.json"), format!(r#"[{{"targets": ["{second}"], "labels": {{"env": "file"}}}}]"#))
        .expect("written");
    let yaml = "scrape_configs:\n- job_name: files\n  scrape_interval: 200ms\n  file_sd_configs: [{files: ['targets.json']}]\n  relabel_configs: [{target_label: where, replacement: 'at-${1}', source_labels: [env]}]\n  metric_relabel_configs: [{source_labels: [__name__], regex: 'go_.*', action: drop}]\nqueries: {timeout: 9s}\n";
    std::fs::write(&config, yaml).expect("written");
    assert_eq!(reload(&braid), 200);
    braid.eventually("what is left", |b| b.log().contains("taken over by a restart only: queries").then_some(()));
    braid.eventually("b", |b| (ask(b, "b") == ["__name__=b,env=file,job=files,where=at-file 1"]).then_some(()));
    braid.eventually("the end of a", |b| (ask(b, "a").is_empty() && ask(b, "up{job=\"j\"}").is_empty()).then_some(()));
    assert!(ask(&braid, "go_x").is_empty());
    assert_eq!(ask(&braid, "scrape_samples_post_metric_relabeling{job=\"files\"}").len(), 1);
    let pools = braid.get("prometheus", "/api/v1/scrape_pools").expect(200).json();
    assert_eq!(pools["data"]["scrapePools"], serde_json::json!(["files"]));
    // Targets go with the file.
    std::fs::write(dir.path().join("targets.json"), "[]").expect("written");
    braid.eventually("the end of b", |b| (ask(b, "b").is_empty() && ask(b, "up").is_empty()).then_some(()));
}

#[test]
fn a_body_above_its_limit_fails_the_scrape() {
    let (address, page) = target();
    show(&page, "a 1\n");
    let dir = tempfile::tempdir().expect("a directory");
    let more = "  body_size_limit: 3B\n";
    let braid = scraping(dir.path(), &address, more);
    let target = braid.eventually("a failed scrape", |b| {
        let found = b.get("prometheus", "/api/v1/targets").expect(200).json();
        let target = found["data"]["activeTargets"][0].clone();
        (target["health"] == "down").then_some(target)
    });
    assert_eq!(target["lastError"], "body size limit exceeded");
}

/// A target that answers each connection in a way of its own.
fn misbehaving(answer: impl Fn(&mut std::net::TcpStream, u64) + Send + Sync + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("bound").to_string();
    let answer = Arc::new(answer);
    std::thread::spawn(move || {
        for (n, stream) in listener.incoming().enumerate() {
            let Ok(mut stream) = stream else { return };
            let answer = Arc::clone(&answer);
            std::thread::spawn(move || {
                let mut request = [0; 4096];
                let _ = stream.read(&mut request);
                answer(&mut stream, n as u64);
            });
        }
    });
    address
}

#[test]
fn targets_that_hang_drip_lie_and_change_disturb_no_other() {
    const HEAD: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\nConnection: close\r\n";
    let hang = misbehaving(|_, _| std::thread::sleep(std::time::Duration::from_secs(60)));
    let drip = misbehaving(|stream, _| {
        let _ = write!(stream, "{HEAD}\r\n");
        while stream.write_all(b"# never ends\n").is_ok() {
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
    });
    let short = misbehaving(|stream, _| drop(write!(stream, "{HEAD}Content-Length: 5000\r\n\r\nlies 1\n")));
    let long = misbehaving(|stream, _| drop(write!(stream, "{HEAD}Content-Length: 7\r\n\r\nsaid 1\nunsaid 1\n")));
    let boundless = misbehaving(|stream, _| {
        let _ = write!(stream, "{HEAD}\r\n");
        let line = "endless_metric{with=\"a label\"} 1\n".repeat(1000);
        while stream.write_all(line.as_bytes()).is_ok() {}
    });
    let changing = misbehaving(|stream, n| {
        let page: String = (0..200).map(|i| format!("churn{{generation=\"{n}\",i=\"{i}\"}} 1\n")).collect();
        let _ = write!(stream, "{HEAD}Content-Length: {}\r\n\r\n{page}", page.len());
    });
    let (good, page) = target();
    show(&page, "fine 1\n");
    let dir = tempfile::tempdir().expect("a directory");
    let all = [("hang", &hang), ("drip", &drip), ("short", &short), ("long", &long), ("boundless", &boundless)];
    let mut yaml = "scrape_configs:\n".to_owned();
    let mut job = |name: &str, address: &str, more: &str| {
        yaml += &format!(
            "- job_name: {name}\n  scrape_interval: 500ms\n  scrape_timeout: 400ms\n{more}  static_configs:\n  - targets: ['{address}']\n"
        );
    };
    for (name, address) in all {
        job(name, address, "  body_size_limit: 1MB\n");
    }
    job("changing", &changing, "");
    job("good", &good, "");
    let config = dir.path().join("braid.yaml");
    std::fs::write(&config, yaml).expect("written");
    let braid = Braid::start_with(dir.path(), &["--config", config.to_str().expect("UTF-8")]);
    braid.eventually("every target was tried", |b| {
        let down = ask(b, "count(up == 0)");
        let up = ask(b, "sum(count_over_time(up{job=~\"good|changing\"}[1m]))");
        let enough = up.first().and_then(|v| v.trim().parse::<f64>().ok()).is_some_and(|n| n >= 12.0);
        (down == [" 4"] && enough).then_some(())
    });
    assert_eq!(ask(&braid, "min_over_time(up{job=\"good\"}[1m])"), ["job=good 1"]);
    assert_eq!(ask(&braid, "count(said) or count(unsaid)"), [" 1"], "what was announced is read, and no more");
    assert_eq!(ask(&braid, "count(unsaid) or count(lies) or count(endless_metric)"), Vec::<String>::new());
    // Of what changes all the time only the last generation is there.
    assert_eq!(ask(&braid, "count(count by (generation) (churn))"), [" 1"]);
    let reasons = braid.get("prometheus", "/api/v1/targets").expect(200).json();
    let reasons: Vec<String> = reasons["data"]["activeTargets"]
        .as_array()
        .expect("targets")
        .iter()
        .filter(|t| t["health"] == "down")
        .map(|t| t["lastError"].as_str().expect("text").to_owned())
        .collect();
    assert!(reasons.len() == 4 && reasons.iter().all(|r| !r.is_empty()), "{reasons:?}");
    // Other doors stay open.
    let now = std::time::UNIX_EPOCH.elapsed().expect("after 1970").as_nanos();
    let push = format!(r#"{{"streams":[{{"stream":{{"a":"b"}},"values":[["{now}","line"]]}}]}}"#);
    post(braid.at("loki"), "/loki/api/v1/push", &[("Content-Type", "application/json")], push.as_bytes()).expect(204);
}

#[test]
fn a_target_with_a_million_series_takes_no_more_memory_than_there_is_and_disturbs_no_other() {
    let page: String = (0..1_000_000).map(|i| format!("huge{{i=\"{i}\"}} 1\n")).collect();
    let huge = misbehaving(move |stream, _| {
        let head = "HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\nConnection: close\r\n";
        let _ = write!(stream, "{head}Content-Length: {}\r\n\r\n{page}", page.len());
    });
    let (good, page) = target();
    show(&page, "fine 1\n");
    let dir = tempfile::tempdir().expect("a directory");
    let config = dir.path().join("braid.yaml");
    let job = |name: &str, address: &str, every: &str| {
        format!("- job_name: {name}\n  scrape_interval: {every}\n  static_configs:\n  - targets: ['{address}']\n")
    };
    let jobs = [job("huge", &huge, "10s"), job("good", &good, "300ms")].concat();
    std::fs::write(&config, format!("scrape_configs:\n{jobs}")).expect("written");
    let braid = Braid::start_with(dir.path(), &["--config", config.to_str().expect("UTF-8"), "--memory", "256MiB"]);
    // The first scrape comes within the interval; on a slow machine one may be late before the next is refused.
    braid.eventually("a scrape refused for its memory", |b| {
        let found = b.get("prometheus", "/api/v1/targets").expect(200).json();
        let targets = found["data"]["activeTargets"].as_array().expect("targets").clone();
        let huge = targets.into_iter().find(|t| t["labels"]["job"] == "huge")?;
        let why = huge["lastError"].as_str().expect("text");
        (huge["health"] == "down" && (why.contains("memory") || why.contains("bytes"))).then_some(())
    });
    braid
        .eventually("what the other is like", |b| (ask(b, "count_over_time(up{job=\"good\"}[1m]) > 3").len() == 1).then_some(()));
    assert_eq!(ask(&braid, "min_over_time(up{job=\"good\"}[1m])"), ["job=good 1"]);
    assert_eq!(ask(&braid, "count(huge)"), Vec::<String>::new(), "a page is taken whole or not at all");
    assert!(braid.metric("process_resident_memory_max_bytes") < f64::from(256 << 20), "memory stays in its budget");
}
