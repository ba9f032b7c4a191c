//! Starting, stopping, and what survives.

use std::net::TcpListener;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::braid::Braid;
use crate::client::{post, try_send};
use crate::protobuf::{export, now, span};

const PROTOBUF: (&str, &str) = ("Content-Type", "application/x-protobuf");

#[test]
fn a_signal_ends_it_well_even_with_connections_open() {
    for signal in ["-TERM", "-INT"] {
        let dir = tempfile::tempdir().expect("a directory");
        let braid = Braid::start(dir.path());
        let idle = std::net::TcpStream::connect(braid.at("braid")).expect("listening");
        braid.get("braid", "/ready").expect(200);
        braid.signal(signal);
        let status = braid.stop();
        assert!(status.success(), "{status}");
        drop(idle);
    }
}

#[test]
fn each_port_has_its_own_pages() {
    let dir = tempfile::tempdir().expect("a directory");
    let braid = Braid::start(dir.path());
    assert!(braid.get("braid", "/").expect(200).text().contains(braid.at("otlp_http").rsplit(':').next().expect("a port")));
    assert_eq!(braid.get("braid", "/health").expect(200).json()["status"], "ok");
    assert_eq!(braid.get("loki", "/ready").expect(200).text(), "ready\n");
    assert_eq!(braid.get("tempo", "/ready").expect(200).text(), "ready\n");
    assert_eq!(braid.get("prometheus", "/-/ready").expect(200).text(), "Prometheus Server is Ready.\n");
    assert_eq!(braid.get("prometheus", "/-/healthy").expect(200).text(), "Prometheus Server is Healthy.\n");
    for face in ["braid", "prometheus", "loki", "tempo"] {
        let reply = braid.get(face, "/metrics").expect(200);
        assert!(reply.text().contains("process_cpu_seconds_total"));
        braid.get(face, "/nothing/here").expect(404);
    }
    braid.get("otlp_http", "/metrics").expect(404);
}

#[test]
fn a_customary_port_that_is_taken_is_left_out_unless_the_configuration_names_it() {
    // A port offset at which the six customary ports are free; somebody may still take one in between.
    let dir = tempfile::tempdir().expect("a directory");
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = taken.local_addr().expect("bound").port();
    let config = dir.path().join("braid.yaml");
    std::fs::write(&config, format!("ports: {{loki: {port}}}\n")).expect("written");
    let arguments = |config: &Path| {
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_braid"))
            .args(["serve", "--print-ready", "--data-dir"])
            .arg(dir.path().join("data"))
            .arg("--config")
            .arg(config)
            .output()
            .expect("the binary is built");
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (code, log) = arguments(&config);
    assert_eq!(code, Some(1), "{log}");
    assert!(log.contains("cannot listen on 127.0.0.1:"), "{log}");
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
