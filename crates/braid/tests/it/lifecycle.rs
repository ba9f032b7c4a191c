//! Starting, stopping, and what survives.

use std::net::TcpListener;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::asking::{instant, lines, spans};
use crate::braid::Braid;
use crate::client::{post, try_send};
use crate::protobuf::{export, now, span, write_request};

const PROTOBUF: (&str, &str) = ("Content-Type", "application/x-protobuf");
const JSON: (&str, &str) = ("Content-Type", "application/json");

#[test]
fn a_signal_ends_it_well_even_with_connections_open() {
    for signal in ["-TERM", "-INT"] {
        let dir = tempfile::tempdir().expect("a directory");
        let braid = Braid::start(dir.path());
        let idle = std::net::TcpStream::connect(braid.at("braid")).expect("listening");
        braid.get("braid", "/ready").expect(200);
        let (status, log) = braid.stop(signal);
        assert!(status.success(), "{signal}: {status}\n{log}");
        assert!(log.contains("stopped"), "{log}");
        drop(idle);
    }
}

#[test]
fn each_port_has_its_own_pages() {
    let dir = tempfile::tempdir().expect("a directory");
    let braid = Braid::start(dir.path());
    assert!(braid.get("braid", "/").expect(200).text().contains("<title>Braid</title>"));
    assert!(
        braid
            .get("braid", "/assets/index.js")
            .expect(200)
            .header("content-security-policy")
            .is_some_and(|p| p.contains("script-src 'self'"))
    );
    let system = braid.get("braid", "/api/system").expect(200).json();
    assert_eq!(system["addresses"]["otlp_http"], braid.at("otlp_http"));
    assert_eq!(system["settings"]["storage.retention.logs"], "1w");
    for (path, shape) in
        [("/api/nothing", "404 page not found"), ("/api/v1/nothing", "404 page not found"), ("/traces", "404 page not found")]
    {
        let reply = braid.get("braid", path).expect(404).text();
        assert!(reply.contains(shape) && !reply.contains("<html"), "{path}: {reply}");
    }
    assert_eq!(braid.get("braid", "/health").expect(200).json()["status"], "ok");
    braid.get("braid", "/ready").expect(200);
    assert_eq!(braid.get("loki", "/ready").expect(200).text(), "ready\n");
    braid.get("tempo", "/ready").expect(200);
    assert!(braid.get("prometheus", "/-/ready").expect(200).text().starts_with("Prometheus Server is Ready."));
    assert!(braid.get("prometheus", "/-/healthy").expect(200).text().starts_with("Prometheus Server is Healthy."));
    for face in ["braid", "prometheus", "loki", "tempo"] {
        let reply = braid.get(face, "/metrics").expect(200);
        assert!(reply.text().contains("process_cpu_seconds_total"));
        braid.get(face, "/nothing/here").expect(404);
    }
    braid.get("otlp_http", "/metrics").expect(404);
}

#[test]
fn every_line_of_the_metrics_page_is_a_sample_or_says_what_one_is() {
    struct Count;
    impl wire::exposition::ExpositionSink for Count {
        fn sample(&mut self, _: &wire::exposition::Exposed<'_>) {}
        fn kind(&mut self, _: &str, _: wire::MetricKind) {}
        fn help(&mut self, _: &str, _: &str) {}
    }
    let dir = tempfile::tempdir().expect("a directory");
    let braid = Braid::start(dir.path());
    post(braid.at("otlp_http"), "/v1/traces", &[PROTOBUF], b"\xff").expect(400);
    let page = braid.get("braid", "/metrics").expect(200);
    let samples = wire::exposition::parse(
        wire::exposition::Format::Text,
        &page.body,
        wire::exposition::Options::default(),
        &wire::Limits::default(),
        &mut Count,
    )
    .expect("valid exposition");
    assert!(samples > 10, "{}", page.text());
}

#[test]
fn a_port_that_the_configuration_names_must_be_had() {
    let dir = tempfile::tempdir().expect("a directory");
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("bound");
    let config = dir.path().join("braid.yaml");
    // The customary ports are somebody else's here.
    let yaml = format!(
        "ports: {{braid: 0, prometheus: 0, loki: 0, tempo: 0}}\nreceivers: {{otlp: {{protocols: {{http: {{endpoint: '{address}'}}}}}}}}\n"
    );
    std::fs::write(&config, yaml).expect("written");
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_braid"))
        .args(["serve", "--data-dir"])
        .arg(dir.path().join("data"))
        .arg("--config")
        .arg(&config)
        .output()
        .expect("the binary is built");
    let log = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{log}");
    assert!(log.contains(&format!("cannot listen on {address} (otlp_http)")), "{log}");
}

#[test]
fn a_bad_flag_or_configuration_ends_it_with_2() {
    let dir = tempfile::tempdir().expect("a directory");
    let (status, log) = Braid::try_start(dir.path(), &["--memory", "much"]).err().expect("refused");
    assert_eq!(status.code(), Some(2), "{log}");
    assert!(log.contains("--memory: \"much\" is no size"), "{log}");
    let (status, log) = Braid::try_start(dir.path(), &["--config", "/nowhere/braid.yaml"]).err().expect("refused");
    assert_eq!(status.code(), Some(2), "{log}");
    assert!(log.contains("/nowhere/braid.yaml"), "{log}");
}

#[test]
fn help_says_what_it_is_and_a_file_is_no_directory() {
    let file = tempfile::NamedTempFile::new().expect("a file");
    let run = |arguments: &[&str]| {
        std::process::Command::new(env!("CARGO_BIN_EXE_braid")).args(arguments).output().expect("the binary is built")
    };
    let help = String::from_utf8_lossy(&run(&["--help"]).stdout).into_owned();
    assert!(help.starts_with("Traces, logs and metrics in one store"), "{help}");
    let refused = run(&["serve", "--free-ports", "--data-dir", file.path().to_str().expect("text")]);
    let log = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(1), "{log}");
    assert!(log.contains("is no directory"), "{log}");
}

#[test]
fn two_processes_do_not_share_a_directory() {
    let dir = tempfile::tempdir().expect("a directory");
    let first = Braid::start(dir.path());
    let (status, log) = Braid::try_start(dir.path(), &[]).err().expect("refused");
    assert_eq!(status.code(), Some(1), "{log}");
    assert!(log.contains("in use by another process"), "{log}");
    first.get("braid", "/ready").expect(200);
    first.kill();
    Braid::start(dir.path()).get("braid", "/ready").expect(200);
}

#[test]
fn segments_and_restarts_keep_all_three_signals() {
    let dir = tempfile::tempdir().expect("a directory");
    let braid = Braid::start(dir.path());
    let time = now();
    post(braid.at("otlp_http"), "/v1/traces", &[PROTOBUF], &export("shop", &[span([7; 16], [1; 8], "kept", time)])).expect(200);
    let push = format!(r#"{{"streams":[{{"stream":{{"app":"shop"}},"values":[["{time}","a line"]]}}]}}"#);
    post(braid.at("loki"), "/loki/api/v1/push", &[JSON], push.as_bytes()).expect(204);
    let samples = write_request(&[("kept", &[("job", "shop")], &[((time / 1_000_000) as i64, 42.0)])]);
    post(braid.at("prometheus"), "/api/v1/write", &[PROTOBUF], &samples).expect(204);

    let check = |braid: &Braid| {
        assert_eq!(spans(braid, &"07".repeat(16)), ["kept"]);
        assert_eq!(lines(braid, "{app=\"shop\"}", time - 1, time + 1), ["a line"]);
        let found = instant(braid, "kept", time as f64 / 1e9 + 1.0);
        assert_eq!(found.iter().map(|(_, v)| v.as_str()).collect::<Vec<_>>(), ["42"]);
    };
    check(&braid);
    post(braid.at("braid"), "/api/admin/settle", &[], b"").expect(204);
    assert!(braid.metric("braid_store_segments{signal=\"logs\"}") >= 1.0);
    check(&braid);
    let (status, log) = braid.stop("-TERM");
    assert!(status.success(), "{log}");
    let braid = Braid::start(dir.path());
    braid.eventually("the end of the replay", |b| (b.metric("braid_store_replaying") == 0.0).then_some(()));
    check(&braid);
}

#[test]
fn kill_9_under_load_loses_nothing_acknowledged_and_doubles_nothing() {
    let dir = tempfile::tempdir().expect("a directory");
    let begin = now();
    let sent = AtomicU64::new(0);
    let acknowledged = Mutex::new(Vec::new());
    for round in 0..4 {
        let braid = Braid::start(dir.path());
        let address = braid.at("loki").to_owned();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    loop {
                        let n = sent.fetch_add(1, Ordering::Relaxed);
                        let time = begin + n;
                        let push = format!(r#"{{"streams":[{{"stream":{{"app":"load"}},"values":[["{time}","line {n}"]]}}]}}"#);
                        match try_send(&address, "POST", "/loki/api/v1/push", &[JSON], push.as_bytes()) {
                            Ok(reply) if reply.status == 204 => acknowledged.lock().expect("not poisoned").push(n),
                            Ok(reply) => panic!("{reply:?}"),
                            Err(_) => return,
                        }
                    }
                });
            }
            std::thread::sleep(Duration::from_millis(150 + 70 * round));
            braid.kill();
        });
    }
    let braid = Braid::start(dir.path());
    braid.eventually("the end of the replay", |b| (b.metric("braid_store_replaying") == 0.0).then_some(()));
    let (mut found, count) = (Vec::new(), sent.load(Ordering::Relaxed));
    for from in (0..count).step_by(4000) {
        found.extend(lines(&braid, "{app=\"load\"}", begin + from, begin + from + 4000));
    }
    let acknowledged = acknowledged.into_inner().expect("not poisoned");
    assert!(acknowledged.len() > 40, "there was no load: {}", acknowledged.len());
    let mut seen = std::collections::HashSet::new();
    for line in &found {
        assert!(seen.insert(line.clone()), "{line} is there twice");
    }
    for n in acknowledged {
        assert!(seen.contains(&format!("line {n}")), "line {n} was acknowledged and is lost");
    }
}
