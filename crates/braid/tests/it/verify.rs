//! `braid verify` against running Braids: good ones, locked ones, and ones that are not what they should be.

use std::path::Path;
use std::process::Command;

use crate::braid::Braid;

/// What it prints, and its exit code.
fn verify(url: &str, more: &[&str], environment: &[(&str, &str)]) -> (String, i32) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_braid"));
    command.args(["verify", "--url", url]).args(more).envs(environment.iter().copied());
    let output = command.output().expect("the binary is built");
    let text = [output.stdout, output.stderr].concat();
    (String::from_utf8(text).expect("text"), output.status.code().expect("an exit code"))
}

fn start(dir: &Path, yaml: &str) -> Braid {
    let config = dir.join("braid.yaml");
    std::fs::write(&config, yaml).expect("written");
    Braid::start_with(dir, &["--config", config.to_str().expect("text")])
}

fn braid(dir: &Path, arguments: &[&str]) -> String {
    let output =
        Command::new(env!("CARGO_BIN_EXE_braid")).args(arguments).current_dir(dir).output().expect("the binary is built");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text").trim().to_owned()
}

#[test]
fn a_good_one_passes_every_check_and_each_protocol_comes_back() {
    let dir = tempfile::tempdir().expect("a directory");
    let server = start(dir.path(), "correlation: {window: 1s}\n");
    let (said, code) = verify(&format!("http://{}", server.at("braid")), &["--traces", "1", "--logs", "1", "--series", "1"], &[]);
    assert_eq!(code, 0, "{said}");
    for check in [
        "ok     ready",
        "ok     clock",
        "ok     authentication           off; this is the machine's own address",
        "ok     port otlp_grpc",
        "ok     lock loki",
        "ok     disk and store",
        "ok     trace by OTLP/HTTP",
        "ok     log by OTLP/HTTP",
        "ok     metric by OTLP/HTTP",
        "ok     trace by OTLP/gRPC",
        "ok     log by Loki push",
        "ok     metric by remote write",
        "ok     log by /api/logs",
        "ok     trace by Zipkin",
        "ok     trace by Jaeger/HTTP",
        "ok     trace by Jaeger/gRPC",
        "ok     correlation              a span and a line joined",
        "ok     traces there",
        "ok     log lines there",
        "ok     series there",
        "this Braid works",
    ] {
        assert!(said.contains(check), "{check} is not in:\n{said}");
    }
    // What people expect of their services is not met: each is named with its reason.
    let (said, code) = verify(
        &format!("http://{}", server.at("braid")),
        &["--read-only", "--json", "--traces", "100000", "--availability", "99"],
        &[],
    );
    assert_eq!(code, 1, "{said}");
    let last: serde_json::Value = serde_json::from_str(said.trim().lines().last().expect("a line")).expect("JSON");
    assert_eq!(last["failed"], 2, "{said}");
    let reasons = last["reasons"].to_string();
    assert!(
        reasons.contains("at least 100000 expected") && reasons.contains("availability: nothing to compute it from"),
        "{reasons}"
    );
}

#[test]
fn a_locked_one_is_asked_with_a_credential_over_tls_and_strangers_are_seen_to_be_kept_out() {
    let dir = tempfile::tempdir().expect("a directory");
    let dir = dir.path();
    braid(dir, &["certs", "ca"]);
    braid(dir, &["certs", "server"]);
    let key = braid(dir, &["keys", "add", "--file", "keys.yaml", "--name", "verify", "--scope", "ingest", "--scope", "read"]);
    let server =
        start(dir, "auth: {credentials_file: keys.yaml}\ntls: {cert_file: certs/braid.crt, key_file: certs/braid.key}\n");
    let url = format!("https://{}", server.at("braid"));
    let ca = dir.join("certs/ca.crt").display().to_string();
    let (said, code) = verify(&url, &["--ca", &ca], &[("BRAID_TOKEN", &key)]);
    assert_eq!(code, 0, "{said}");
    for check in [
        "ok     authentication           on, and the credential is good",
        "ok     lock prometheus          a stranger is refused",
        "ok     lock otlp_grpc           a stranger is refused",
        "ok     trace by OTLP/gRPC",
        "-      correlation              switched off there",
    ] {
        assert!(said.contains(check), "{check} is not in:\n{said}");
    }
    let (said, code) = verify(&url, &["--ca", &ca], &[]);
    assert!(code == 1 && said.contains("FAILED authentication") && said.contains("must show a credential"), "{said}");
    let (said, code) = verify(&url, &["--ca", &ca], &[("BRAID_TOKEN", "braid_00000000_wrong")]);
    assert!(code == 1 && said.contains("401 Unauthorized: the credential is not valid"), "{said}");
    let (said, code) = verify(&url, &[], &[("BRAID_TOKEN", &key)]);
    assert!(code == 1 && said.contains("FAILED reached"), "its authority is not known:\n{said}");
    assert!(!said.contains(&key));
}

#[test]
fn nobody_there_and_nonsense_are_said_plainly() {
    let (said, code) = verify("http://127.0.0.1:1", &[], &[]);
    assert!(code == 1 && said.contains("FAILED reached") && said.contains("1 of 1 checks failed"), "{said}");
    let (said, code) = verify("nowhere", &[], &[]);
    assert!(code == 2 && said.contains("--url \"nowhere\"") && said.contains("it looks like http://"), "{said}");
    let (said, code) = verify("http://127.0.0.1:1", &["--user", "a:b", "--token", "c"], &[]);
    assert!(code == 2 && said.contains("cannot be used with"), "{said}");
}
