//! Keys, passwords, certificates and sessions, from outside.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use tokio::io::AsyncWriteExt;

use crate::braid::Braid;
use crate::client::{Reply, send};
use crate::protobuf::{export, now, span};

const PROTOBUF: (&str, &str) = ("Content-Type", "application/x-protobuf");
const JSON: (&str, &str) = ("Content-Type", "application/json");

/// Runs the binary with `input` on its standard input; what it printed there, and its exit code.
fn run(dir: &Path, arguments: &[&str], input: &str) -> (String, String, i32) {
    use std::io::Write;
    let mut child = Command::new(env!("CARGO_BIN_EXE_braid"))
        .args(arguments)
        .current_dir(dir)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary is built");
    child.stdin.take().expect("piped").write_all(input.as_bytes()).expect("taken");
    let output = child.wait_with_output().expect("ends");
    let text = |bytes| String::from_utf8(bytes).expect("text").trim_end().to_owned();
    (text(output.stdout), text(output.stderr), output.status.code().expect("an exit code"))
}

/// What a command prints that must go well.
fn good(dir: &Path, arguments: &[&str], input: &str) -> String {
    let (out, err, code) = run(dir, arguments, input);
    assert_eq!(code, 0, "{arguments:?}: {err}");
    out
}

fn key(dir: &Path, name: &str, more: &[&str]) -> String {
    good(dir, &[&["keys", "add", "--file", "keys.yaml", "--name", name], more].concat(), "")
}

fn start(dir: &Path, yaml: &str, more: &[&str]) -> Braid {
    let config = dir.join("braid.yaml");
    std::fs::write(&config, yaml).expect("written");
    Braid::start_with(dir, &[&["--config", config.to_str().expect("text")], more].concat())
}

fn bearer(key: &str) -> String {
    format!("Bearer {key}")
}

fn ask(braid: &Braid, face: &str, method: &str, path: &str, credential: Option<&str>, more: &[(&str, &str)]) -> Reply {
    let mut headers = more.to_vec();
    headers.extend(credential.map(|c| ("Authorization", c)));
    send(braid.at(face), method, path, &headers, b"")
}

#[test]
fn every_api_asks_who_it_is_and_says_no_in_its_own_shape() {
    let dir = tempfile::tempdir().expect("a directory");
    let dir = dir.path();
    let reader = bearer(&key(dir, "grafana", &["--scope", "read"]));
    let sender = bearer(&key(dir, "collector", &["--scope", "ingest", "--tenant", "lab"]));
    good(dir, &["keys", "user", "--file", "keys.yaml", "ada", "--scope", "admin"], "open sesame\n");
    let ada = "Basic YWRhOm9wZW4gc2VzYW1l";
    let listed = good(dir, &["keys", "list", "--file", "keys.yaml"], "");
    assert!(listed.contains("grafana") && listed.contains("lab") && !listed.contains("argon2"), "{listed}");
    let braid = start(dir, "auth: {credentials_file: keys.yaml}\n", &[]);

    for (face, path) in [
        ("braid", "/ready"),
        ("braid", "/health"),
        ("loki", "/ready"),
        ("tempo", "/ready"),
        ("prometheus", "/-/ready"),
        ("prometheus", "/-/healthy"),
        ("correlation", "/health"),
        ("braid", "/"),
        ("braid", "/assets/index.js"),
    ] {
        ask(&braid, face, "GET", path, None, &[]).expect(200);
    }
    for (face, path, shape) in [
        ("prometheus", "/api/v1/query?query=up", r#"{"status":"error","errorType":"unauthorized","error":""#),
        ("braid", "/api/v1/query?query=up", r#"{"status":"error","errorType":"unauthorized","error":""#),
        ("loki", "/loki/api/v1/labels", "a credential is needed"),
        ("tempo", "/api/search", "a credential is needed"),
        ("braid", "/api/search", "a credential is needed"),
        ("correlation", "/api/correlations", r#"{"error":"a credential is needed"#),
        ("braid", "/metrics", "a credential is needed"),
        ("prometheus", "/metrics", r#"{"status":"error""#),
        ("braid", "/nothing", "a credential is needed"),
    ] {
        let reply = ask(&braid, face, "GET", path, None, &[]).expect(401);
        assert!(reply.text().starts_with(shape), "{path}: {}", reply.text());
        assert!(reply.header("www-authenticate").is_some_and(|h| h.starts_with("Basic realm=")), "{path}");
        ask(&braid, face, "GET", path, Some(&sender), &[]).expect(403);
        let fine = ask(&braid, face, "GET", path, Some(&reader), &[]).status;
        assert!(matches!(fine, 200 | 404), "{path}: {fine}");
    }
    // OTLP says it as google.rpc.Status, in the form in which it was asked.
    let body = export("shop", &[span([3; 16], [3; 8], "GET /", now())]);
    let refused = send(braid.at("otlp_http"), "POST", "/v1/traces", &[PROTOBUF], &body).expect(401);
    assert!(refused.body.starts_with(b"\x08\x10\x12"), "UNAUTHENTICATED: {:?}", refused.body);
    let refused = send(braid.at("otlp_http"), "POST", "/v1/traces", &[JSON, ("Authorization", &reader)], b"{}").expect(403);
    assert_eq!(refused.json()["code"], 7);
    send(braid.at("otlp_http"), "OPTIONS", "/v1/traces", &[("Origin", "http://localhost:8081")], b"").expect(204);

    // What a bound key sends belongs to its tenant, and it may name no other.
    send(braid.at("otlp_http"), "POST", "/v1/traces", &[PROTOBUF, ("Authorization", &sender)], &body).expect(200);
    send(braid.at("otlp_http"), "POST", "/v1/traces", &[PROTOBUF, ("Authorization", &sender), ("X-Scope-OrgID", "other")], &body)
        .expect(403);
    let found = |tenant: &str| {
        ask(&braid, "tempo", "GET", &format!("/api/traces/{}", "03".repeat(16)), Some(&reader), &[("X-Scope-OrgID", tenant)])
            .status
    };
    assert_eq!((found("lab"), found("default")), (200, 404));

    ask(&braid, "braid", "POST", "/-/reload", Some(&reader), &[]).expect(403);
    ask(&braid, "braid", "POST", "/-/reload", Some(ada), &[]).expect(200);
    ask(&braid, "braid", "POST", "/api/admin/settle", Some(ada), &[]).expect(204);
    let wrong = ask(&braid, "loki", "GET", "/loki/api/v1/labels", Some("Basic YWRhOm9wZW4gYmFybGV5"), &[]).expect(401);
    assert_eq!(wrong.text(), "the credential is not valid");
    let metrics = ask(&braid, "braid", "GET", "/metrics", Some(&reader), &[]).expect(200).text();
    for sample in [
        "braid_auth_requests_total{result=\"wrong\",by=\"password\"} 1\n",
        "braid_auth_verifications_total 6\n",
        "braid_auth_requests_total{result=\"missing\",by=\"none\"}",
    ] {
        assert!(metrics.contains(sample), "{sample}: {metrics}");
    }
    let log = braid.log();
    assert!(log.contains("refused: the password is wrong") && log.contains("ada"), "{log}");
    assert!(!log.contains("barley") && !log.contains("sesame") && !log.contains("$argon2"), "{log}");

    // A key that is revoked is refused without a restart, one that is new is taken.
    let id = sender.split('_').nth(1).expect("an id");
    good(dir, &["keys", "revoke", "--file", "keys.yaml", id], "");
    let late = bearer(&key(dir, "late", &["--scope", "ingest"]));
    braid.eventually("the new file", |b| {
        (send(b.at("otlp_http"), "POST", "/v1/traces", &[PROTOBUF, ("Authorization", &late)], &body).status == 200).then_some(())
    });
    send(braid.at("otlp_http"), "POST", "/v1/traces", &[PROTOBUF, ("Authorization", &sender)], &body).expect(401);
}

#[test]
fn who_guesses_is_told_to_wait() {
    let dir = tempfile::tempdir().expect("a directory");
    let dir = dir.path();
    let sender = bearer(&key(dir, "collector", &["--scope", "ingest"]));
    good(dir, &["keys", "user", "--file", "keys.yaml", "ada", "--scope", "read"], "open sesame\n");
    let braid = start(dir, "auth: {credentials_file: keys.yaml}\n", &[]);
    let push = |credential: &str| send(braid.at("otlp_http"), "POST", "/v1/logs", &[JSON, ("Authorization", credential)], b"{}");
    push(&sender).expect(200);
    let limited = braid.eventually("a limit", |b| {
        let reply = ask(b, "prometheus", "GET", "/api/v1/query?query=1", Some("Basic YWRhOm9wZW4gYmFybGV5"), &[]);
        (reply.status == 429).then_some(reply)
    });
    assert!(limited.header("retry-after").is_some_and(|s| s.parse::<u64>().is_ok_and(|s| s >= 1)));
    // Senders would drop what is refused with 429.
    let reply = push("Bearer braid_00000000_guessed");
    assert!(matches!(reply.status, 503 | 401), "{reply:?}");
    push(&sender).expect(200);
}

#[test]
fn other_machines_are_let_in_only_by_keys_certificates_or_a_word() {
    let dir = tempfile::tempdir().expect("a directory");
    let dir = dir.path();
    key(dir, "any", &["--scope", "read"]);
    good(dir, &["certs", "ca"], "");
    good(dir, &["certs", "server"], "");
    let check = |yaml: &str| {
        std::fs::write(dir.join("braid.yaml"), yaml).expect("written");
        let (_, err, code) = run(dir, &["check", "-c", "braid.yaml"], "");
        (code, err)
    };
    let tls = "{cert_file: certs/braid.crt, key_file: certs/braid.key";
    for yaml in [
        "listen: 0.0.0.0\n".to_owned(),
        "receivers: {otlp: {protocols: {grpc: {endpoint: '0.0.0.0:4317'}}}}\n".to_owned(),
        format!("listen: 0.0.0.0\ntls: {tls}}}\n"),
        format!("listen: 0.0.0.0\ntls: {tls}, client_ca_file: certs/ca.crt, client_auth: request}}\n"),
        "auth: {credentials_file: keys.yaml}\nreceivers: {syslog: {udp: {listen_address: '0.0.0.0:5514'}}}\n".to_owned(),
    ] {
        let (code, said) = check(&yaml);
        assert_eq!(code, 2, "{yaml}: {said}");
        assert!(said.contains("ask nobody who they are") && said.contains("--allow-unauthenticated"), "{said}");
    }
    for yaml in [
        "listen: 0.0.0.0\nauth: {allow_unauthenticated: true}\n".to_owned(),
        "listen: 0.0.0.0\nauth: {credentials_file: keys.yaml}\n".to_owned(),
        format!("listen: 0.0.0.0\ntls: {tls}, client_ca_file: certs/ca.crt}}\n"),
        "listen: 127.0.0.2\n".to_owned(),
        format!(
            "listen: 0.0.0.0\nauth: {{certificate_scopes: [ingest]}}\ntls: {tls}, client_ca_file: certs/ca.crt, client_auth: request}}\n"
        ),
    ] {
        let (code, said) = check(&yaml);
        assert_eq!(code, 0, "{yaml}: {said}");
    }
    for (yaml, why) in [
        ("auth: {credentials_file: nowhere.yaml}\n", "nowhere.yaml: No such file"),
        ("auth: {certificate_scopes: [all]}\n", "auth.certificate_scopes: \"all\" is no scope; ingest, read and admin are"),
        ("auth: {certificate_scopes: [read]}\n", "nobody could show a certificate"),
        ("tls: {cert_file: certs/ca.crt, key_file: certs/braid.key}\n", "does not go with the key"),
        (
            "tls: {cert_file: certs/braid.crt, key_file: certs/braid.key, client_auth: maybe}\n",
            "neither \"require\" nor \"request\"",
        ),
        ("auth: {credential_file: x}\n", "did you mean `credentials_file`?"),
    ] {
        let (code, said) = check(yaml);
        assert!(code == 2 && said.contains(why), "{yaml}: {said}");
    }
}

fn certificates(dir: &Path) -> PathBuf {
    for arguments in [&["certs", "ca"][..], &["certs", "server"], &["certs", "client", "agent"]] {
        good(dir, arguments, "");
    }
    dir.join("certs")
}

fn pem(path: PathBuf) -> Vec<u8> {
    std::fs::read(path).expect("there")
}

fn trusting(certs: &Path, identity: Option<&str>) -> reqwest::ClientBuilder {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let ca = reqwest::Certificate::from_pem(&pem(certs.join("ca.crt"))).expect("a certificate");
    let builder = reqwest::Client::builder().tls_certs_only([ca]);
    match identity {
        None => builder,
        Some(name) => {
            let both = [pem(certs.join(format!("{name}.crt"))), pem(certs.join(format!("{name}.key")))].concat();
            builder.identity(reqwest::Identity::from_pem(&both).expect("a pair"))
        }
    }
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(future)
}

#[test]
fn every_port_has_tls_and_takes_a_new_certificate_without_a_restart() {
    let dir = tempfile::tempdir().expect("a directory");
    let dir = dir.path();
    let certs = certificates(dir);
    let braid = start(dir, "tls: {cert_file: certs/braid.crt, key_file: certs/braid.key}\n", &[]);
    block_on(async {
        let client = trusting(&certs, None).build().expect("a client");
        for (face, path) in
            [("braid", "/ready"), ("prometheus", "/-/ready"), ("loki", "/ready"), ("tempo", "/ready"), ("correlation", "/health")]
        {
            let reply = client.get(format!("https://{}{path}", braid.at(face))).send().await.expect("secure");
            assert_eq!((reply.status().as_u16(), reply.version()), (200, reqwest::Version::HTTP_2), "{face}");
        }
        for (face, path) in [
            ("otlp_http", "/v1/traces"),
            ("otlp_grpc", "/x"),
            ("zipkin", "/api/v2/spans"),
            ("jaeger_http", "/api/traces"),
            ("jaeger_grpc", "/x"),
        ] {
            client.get(format!("https://{}{path}", braid.at(face))).send().await.expect("secure");
        }
        let one = trusting(&certs, None).http1_only().build().expect("a client");
        assert_eq!(
            one.get(format!("https://{}/ready", braid.at("loki"))).send().await.expect("secure").version(),
            reqwest::Version::HTTP_11
        );
        assert!(client.get(format!("http://{}/ready", braid.at("braid"))).send().await.is_err(), "plain text is no TLS");

        // Another authority, another certificate: the old client cannot trust it, a new one does.
        good(dir, &["certs", "ca", "--force"], "");
        good(dir, &["certs", "server", "--force"], "");
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
        loop {
            let fresh = trusting(&certs, None).build().expect("a client");
            if fresh.get(format!("https://{}/ready", braid.at("braid"))).send().await.is_ok() {
                break;
            }
            assert!(std::time::Instant::now() < deadline, "{}", braid.log());
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
        // A pair that is wrong changes nothing, and a reload says so.
        std::fs::write(certs.join("braid.crt"), "nothing").expect("written");
        let fresh = trusting(&certs, None).build().expect("a client");
        let reload = fresh.post(format!("https://{}/-/reload", braid.at("braid"))).send().await.expect("secure");
        assert_eq!(reload.status().as_u16(), 500);
        let said = reload.text().await.expect("text");
        assert!(said.contains("braid.crt: no certificate in it"), "{said}");
        let metrics =
            fresh.get(format!("https://{}/metrics", braid.at("braid"))).send().await.expect("secure").text().await.expect("text");
        assert!(
            metrics.contains("braid_tls_handshake_failures_total") && !metrics.contains("braid_tls_reload_failures_total 0\n"),
            "{metrics}"
        );
    });
}

#[test]
fn a_port_that_asks_for_certificates_lets_nobody_else_in_and_a_certificate_may_be_enough() {
    let dir = tempfile::tempdir().expect("a directory");
    let dir = dir.path();
    let certs = certificates(dir);
    key(dir, "any", &["--scope", "read"]);
    let yaml = "auth: {credentials_file: keys.yaml, certificate_scopes: [ingest]}\n\
                receivers: {otlp: {protocols: {http: {tls: {cert_file: certs/braid.crt, key_file: certs/braid.key, client_ca_file: certs/ca.crt}}}}}\n\
                tls: {cert_file: certs/braid.crt, key_file: certs/braid.key, client_ca_file: certs/ca.crt, client_auth: request}\n";
    let braid = start(dir, yaml, &[]);
    block_on(async {
        let (with, without) =
            (trusting(&certs, Some("agent")).build().expect("a client"), trusting(&certs, None).build().expect("a client"));
        let logs = format!("https://{}/v1/logs", braid.at("otlp_http"));
        let post =
            |client: &reqwest::Client, url: &str| client.post(url).header("content-type", "application/json").body("{}").send();
        assert_eq!(post(&with, &logs).await.expect("secure").status().as_u16(), 200);
        assert!(post(&without, &logs).await.is_err(), "the handshake fails");
        let own = format!("https://{}/v1/logs", braid.at("braid"));
        assert_eq!(post(&with, &own).await.expect("secure").status().as_u16(), 200);
        assert_eq!(post(&without, &own).await.expect("secure").status().as_u16(), 401);
        let query = format!("https://{}/loki/api/v1/labels", braid.at("loki"));
        assert_eq!(with.get(query).send().await.expect("secure").status().as_u16(), 403, "for ingest alone");

        // gRPC says it in its own words.
        let export = format!("https://{}/opentelemetry.proto.collector.logs.v1.LogsService/Export", braid.at("otlp_grpc"));
        let call = |client: &reqwest::Client| {
            client.post(&export).header("content-type", "application/grpc").header("te", "trailers").body(vec![0; 5]).send()
        };
        let refused = call(&without).await.expect("secure");
        assert_eq!((refused.status().as_u16(), refused.headers()["grpc-status"].as_bytes()), (200, &b"16"[..]));
        assert!(!call(&with).await.expect("secure").headers().contains_key("grpc-status"), "its trailers have it");
    });
}

#[test]
fn a_revoked_certificate_opens_nothing_more_within_seconds() {
    let dir = tempfile::tempdir().expect("a directory");
    let dir = dir.path();
    let certs = certificates(dir);
    good(dir, &["certs", "client", "other"], "");
    let yaml = "auth: {certificate_scopes: [ingest, read]}\n\
                tls: {cert_file: certs/braid.crt, key_file: certs/braid.key, client_ca_file: certs/ca.crt, client_crl_file: certs/ca.crl}\n";
    let braid = start(dir, yaml, &[]);
    let url = format!("https://{}/loki/api/v1/labels", braid.at("loki"));
    // A connection of its own each time, with what the client remembers of the last one: a session must not be resumed.
    let agent = trusting(&certs, Some("agent")).pool_max_idle_per_host(0).build().expect("a client");
    let other = trusting(&certs, Some("other")).pool_max_idle_per_host(0).build().expect("a client");
    block_on(async {
        let ask = async |client: &reqwest::Client| client.get(&url).send().await.map(|r| r.status().as_u16());
        for client in [&agent, &other, &agent] {
            assert_eq!(ask(client).await.expect("secure"), 200);
        }
        good(dir, &["certs", "revoke", "agent"], "");
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
        while ask(&agent).await.is_ok() {
            assert!(std::time::Instant::now() < deadline, "{}", braid.log());
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
        assert_eq!(ask(&other).await.expect("secure"), 200, "others are not touched");
    });
    let (said, complaint, code) = run(dir, &["certs", "revoke", "nobody"], "");
    assert!(code == 1 && complaint.contains("nobody.crt"), "{said}{complaint}");
}

#[test]
fn syslog_over_tls_is_kept_and_asks_for_certificates() {
    let dir = tempfile::tempdir().expect("a directory");
    let dir = dir.path();
    let certs = certificates(dir);
    let yaml = "receivers: {syslog: {tcp: {listen_address: '127.0.0.1:6514', tls: {cert_file: certs/braid.crt, key_file: certs/braid.key, client_ca_file: certs/ca.crt}}}}\n";
    let braid = start(dir, yaml, &[]);
    let send = |identity: bool, line: &'static str| {
        use rustls::pki_types::pem::PemObject;
        use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
        let _ = rustls::crypto::ring::default_provider().install_default();
        let read = |name: &str| CertificateDer::from_pem_file(certs.join(name)).expect("a certificate");
        let mut roots = rustls::RootCertStore::empty();
        roots.add(read("ca.crt")).expect("an authority");
        let config = rustls::ClientConfig::builder().with_root_certificates(roots);
        let config = match identity {
            true => {
                let key = PrivateKeyDer::from_pem_file(certs.join("agent.key")).expect("a key");
                config.with_client_auth_cert(vec![read("agent.crt")], key).expect("a pair")
            }
            false => config.with_no_client_auth(),
        };
        let address = braid.at("syslog_tcp").to_owned();
        block_on(async move {
            let stream = tokio::net::TcpStream::connect(&address).await.expect("listening");
            let name = ServerName::try_from("localhost").expect("a name");
            let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
            let Ok(mut stream) = connector.connect(name, stream).await else { return };
            // Octet counting, as RFC 5425 has it. Who is refused may notice it only here.
            let _ = stream.write_all(format!("{} {line}", line.len()).as_bytes()).await;
            let _ = stream.shutdown().await;
        });
    };
    send(false, "<11>1 2026-11-27T19:00:00Z bp1 stranger - - - not for you");
    send(true, "<11>1 - bp1 blueplanet - - - LOS on circuit CKT-9");
    let lines = braid.eventually("the line", |b| {
        let found = b.get("loki", "/loki/api/v1/query_range?since=1h&query=%7Bservice_name%3D~%22.%2B%22%7D").expect(200).text();
        found.contains("CKT-9").then_some(found)
    });
    assert!(!lines.contains("not for you"), "{lines}");
    assert!(braid.metric("braid_tls_handshake_failures_total") >= 1.0);
}

#[test]
fn the_page_logs_in_once_by_link_and_by_password_and_out() {
    let dir = tempfile::tempdir().expect("a directory");
    let dir = dir.path();
    good(dir, &["keys", "user", "--file", "keys.yaml", "ada", "--scope", "read"], "open sesame\n");
    let braid = start(dir, "auth: {credentials_file: keys.yaml}\n", &["--login-link"]);
    let at = braid.at("braid").to_owned();
    let session =
        |method: &str, headers: &[(&str, &str)], body: &str| send(&at, method, "/api/session", headers, body.as_bytes());
    assert_eq!(session("GET", &[], "").expect(200).json(), serde_json::json!({"authentication": true}));
    let token = braid.at("login").split_once("#login=").expect("a link").1.to_owned();
    let by_link = format!("{{\"token\":\"{token}\"}}");
    let own = format!("http://{at}");
    session("POST", &[("Content-Type", "text/plain")], &by_link).expect(403);
    session("POST", &[JSON, ("Origin", "http://evil.example")], &by_link).expect(403);
    let first = session("POST", &[JSON, ("Origin", &own)], &by_link).expect(200);
    assert_eq!(first.json()["scopes"], serde_json::json!(["read", "admin"]));
    session("POST", &[JSON], &by_link).expect(401);
    session("POST", &[JSON], r#"{"user":"ada","password":"open barley"}"#).expect(401);
    session("POST", &[JSON], "{}").expect(400);

    let reply = session("POST", &[JSON], r#"{"user":"ada","password":"open sesame"}"#).expect(200);
    let set = reply.header("set-cookie").expect("a cookie").to_owned();
    assert!(set.contains("; HttpOnly; SameSite=Strict;") && !set.contains("Secure"), "{set}");
    let cookie = set.split(';').next().expect("a pair");
    let csrf = reply.json()["csrf"].as_str().expect("a word").to_owned();
    let get = |path: &str, more: &[(&str, &str)]| send(&at, "GET", path, &[&[("Cookie", cookie)], more].concat(), b"");
    get("/api/v1/labels", &[]).expect(200);
    get("/api/v1/labels", &[("Sec-Fetch-Site", "same-site")]).expect(403);
    assert_eq!(get("/api/session", &[]).expect(200).json()["name"], "ada");
    send(braid.at("prometheus"), "GET", "/api/v1/labels", &[("Cookie", cookie)], b"").expect(401);
    let query = |more: &[(&str, &str)]| {
        send(
            &at,
            "POST",
            "/api/v1/query",
            &[&[("Cookie", cookie), ("Content-Type", "application/x-www-form-urlencoded")], more].concat(),
            b"query=1",
        )
    };
    query(&[]).expect(403);
    query(&[("X-Braid-CSRF", &csrf)]).expect(200);
    // The page's own requests are not answered with a challenge that a browser would make a window of.
    let refused = send(&at, "GET", "/api/v1/labels", &[("X-Braid-Page", "1")], b"").expect(401);
    assert_eq!(refused.header("www-authenticate"), Some("Bearer realm=\"Braid\""));
    session("DELETE", &[("Cookie", cookie)], "").expect(403);
    let out = session("DELETE", &[("Cookie", cookie), ("X-Braid-CSRF", &csrf)], "").expect(200);
    assert!(out.header("set-cookie").is_some_and(|c| c.contains("Max-Age=0")));
    get("/api/v1/labels", &[]).expect(401);
    assert!(!braid.log().contains(&token));
}
