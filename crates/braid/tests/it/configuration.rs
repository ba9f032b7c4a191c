//! What `braid check` says of configurations.

use std::process::Command;

/// What `braid check` prints, and its exit code.
fn check(yaml: &str) -> (String, i32) {
    let dir = tempfile::tempdir().expect("a directory");
    std::fs::write(dir.path().join("braid.yaml"), yaml).expect("written");
    let output = Command::new(env!("CARGO_BIN_EXE_braid"))
        .args(["check", "--config", "braid.yaml"])
        .current_dir(dir.path())
        .output()
        .expect("the binary is built");
    let text = [output.stdout, output.stderr].concat();
    (String::from_utf8(text).expect("text").trim_end().to_owned(), output.status.code().expect("an exit code"))
}

#[test]
fn good_configurations_pass() {
    for yaml in [
        "",
        "# nothing but a comment\n",
        "memory: 1GiB\nlisten: 0.0.0.0:3333\nports: {loki: 0}\nauth: {allow_unauthenticated: true}\n",
        "receivers: {otlp: {protocols: {grpc: {endpoint: 'localhost:4317'}, http: {cors: {allowed_origins: ['*']}}}}}\n",
        "receivers:\n  otlp:\n    protocols:\n      grpc:\n      http:\n",
        "storage: {dir: /tmp/x, sync: 100ms, retention: {traces: 3d, metrics: 30d, max_size: 10GB}}\n",
        "exporters:\n  otlp/up:\n    endpoint: up:4317\n    tls: {insecure: true}\n    headers: {authorization: 'Bearer $$x'}\n    sending_queue: {num_consumers: 2, queue_size: 5GiB, batch: {flush_timeout: 1s}}\n    retry_on_failure: {initial_interval: 1s, max_elapsed_time: 0}\n  loki: {endpoint: 'http://loki:3100'}\nservice:\n  pipelines:\n    traces: {receivers: [otlp], exporters: [otlp/up]}\n    logs/all: {exporters: [otlp/up, loki]}\n",
        "global: {scrape_interval: 5s}\nscrape_configs:\n- job_name: a\n  params: {m: [x, y]}\n  static_configs:\n  - targets: ['h:1']\n    labels: {env: dev}\n",
    ] {
        assert_eq!(check(yaml), ("braid.yaml: ok".to_owned(), 0), "{yaml}");
    }
}

#[test]
fn wrong_configurations_are_refused_with_place_and_reason() {
    for (yaml, expected) in [
        ("scrape_confgs: []\n", "braid.yaml:1:1: unknown key `scrape_confgs`; did you mean `scrape_configs`?"),
        (
            "scrape_configs:\n- job_name: a\n  scrape_intervall: 5s\n",
            "braid.yaml:3:3: unknown key `scrape_intervall`; did you mean `scrape_interval`?",
        ),
        (
            "scrape_configs:\n- job_name: a\n  relabel_configs: [{action: keepequals}]\n",
            "braid.yaml:3:30: unknown relabel action \"keepequals\"",
        ),
        (
            "scrape_configs:\n- job_name: a\n  consul_sd_configs: [{}]\n",
            "braid.yaml:2:3: scrape_configs: `consul_sd_configs` of job \"a\": known, not supported by Braid",
        ),
        (
            "receivers:\n  otlp:\n    protocols:\n      quic: {}\n",
            "braid.yaml:4:7: unknown key `quic`; here may stand: grpc, http",
        ),
        (
            "storage:\n  sync: never\n",
            "braid.yaml:2:9: storage.sync: \"never\" is neither \"always\" nor an interval such as 100ms",
        ),
        ("memory: lots\n", "braid.yaml:1:9: memory: \"lots\" is no size; examples: 512MiB, 2GB, 1048576"),
        ("web: {cors: {origin: '('}}\n", "braid.yaml:1:22: web.cors.origin: unclosed group"),
        ("memory: 1MiB\n", "braid.yaml:1:9: memory: less than 64MiB"),
        ("ports: {loki: 3000}\n", "braid.yaml:1:8: ports: braid and loki both ask for 127.0.0.1:3000"),
        ("listen: nowhere\n", "braid.yaml:1:9: listen: \"nowhere\" is no address of the form host:port (invalid socket address)"),
        (
            "rule_files: []\n",
            "braid.yaml:1:1: key `rule_files` is known, but this version of Braid does not have what it configures",
        ),
        (
            "exporters:\n  otlp/a:\n    endpoint: h:1\n    compresion: gzip\n",
            "braid.yaml:4:5: unknown key `compresion`; did you mean `compression`?",
        ),
        ("exporters:\n  otlp: {}\n", "braid.yaml:2:9: exporters.otlp.endpoint: it is missing"),
        (
            "exporters:\n  otlphttp: {endpoint: 'h:4318'}\n",
            "braid.yaml:2:24: exporters.otlphttp.endpoint: it is no URL such as http://host:4318",
        ),
        (
            "exporters:\n  loki: {endpoint: 'http://h', sending_queue: {queue_size: 1000}}\n",
            "braid.yaml:2:60: exporters.loki.sending_queue.queue_size: sizes count bytes here: add sizer: bytes, or write a size such as 10GiB",
        ),
        (
            "exporters:\n  loki: {endpoint: 'http://h'}\nservice: {pipelines: {traces: {exporters: [loki]}}}\n",
            "braid.yaml:3:22: service.pipelines: exporter `loki` cannot send traces",
        ),
        (
            "service: {pipelines: {logs: {exporters: [loki/none]}}}\n",
            "braid.yaml:1:41: service.pipelines.logs.exporters: there is no exporter `loki/none` in `exporters`",
        ),
        (
            "exporters:\n  otlp: {endpoint: 'h:1', headers: {a: '${env:NO_SUCH_VARIABLE_HERE}'}}\n",
            "braid.yaml:2:40: exporters.otlp.headers.a: the environment has no variable \"NO_SUCH_VARIABLE_HERE\"",
        ),
        ("scrape_configs:\n- scheme: http\n", "braid.yaml:2:3: job_name is empty"),
        (
            "scrape_configs:\n- job_name: a\n- job_name: a\n",
            "braid.yaml:3:13: found multiple scrape configs with job name \"a\", first found in main config file",
        ),
        (
            "scrape_configs:\n- job_name: a\n  scrape_interval: 5s\n  scrape_timeout: 6s\n",
            "braid.yaml:4:19: scrape timeout greater than scrape interval for scrape config with job name \"a\"",
        ),
        (
            "scrape_configs:\n- job_name: a\n  static_configs:\n  - targets: ['http://h:1/metrics']\n",
            "braid.yaml:4:15: \"http://h:1/metrics\" is not a valid hostname",
        ),
    ] {
        assert_eq!(check(yaml), (format!("braid: {expected}"), 2), "{yaml}");
    }
}

#[test]
fn files_that_are_not_there_are_named_with_the_key_that_names_them() {
    let (text, code) = check("auth: {credentials_file: keys.yaml}\n");
    assert_eq!((text.as_str(), code), ("braid: auth.credentials_file: keys.yaml: No such file or directory (os error 2)", 2));
    let (text, code) = check("tls: {cert_file: a.crt, key_file: a.key}\n");
    assert!(code == 2 && text.starts_with("braid: tls: a.crt: "), "{text}");
}

#[test]
fn text_that_is_not_yaml_is_refused_with_its_place() {
    for yaml in ["a: [\n", "memory: {x: 1}\n", "\t- x\n", "memory: 1\nmemory: 2\n"] {
        let (text, code) = check(yaml);
        assert_eq!(code, 2, "{yaml}: {text}");
        assert!(text.starts_with("braid: braid.yaml:") && text.lines().count() == 1, "{yaml}: {text}");
    }
}
