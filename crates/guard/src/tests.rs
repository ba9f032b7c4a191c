//! The guard as a whole.

use std::net::IpAddr;
use std::time::Duration;

use http::HeaderMap;
use http::header::{AUTHORIZATION, COOKIE, ORIGIN};
use proptest::prelude::*;

use crate::keyring::Kind;
use crate::*;

const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

fn entry(kind: Kind, id: &str, secret: &str, scopes: &[Scope], tenant: Option<&str>) -> Entry {
    Entry {
        kind,
        id: id.to_owned(),
        name: format!("the {id}"),
        hash: hash_password(secret).expect("random"),
        scopes: scopes.iter().copied().collect(),
        tenant: tenant.map(|t| model::Tenant::new(t).expect("a name")),
        created: None,
        expires: None,
    }
}

struct Setup {
    guard: Guard,
    file: std::path::PathBuf,
    reader: ApiKey,
    sender: ApiKey,
    _dir: tempfile::TempDir,
}

fn setup() -> Setup {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("keys.yaml");
    let (reader, sender) = (ApiKey::generate().expect("random"), ApiKey::generate().expect("random"));
    let mut ring = Keyring::default();
    for entry in [
        entry(Kind::Key, &reader.id, &reader.text, &[Scope::Read], Some("a")),
        entry(Kind::Key, &sender.id, &sender.text, &[Scope::Ingest], None),
        entry(Kind::User, "ada", "open sesame", &[Scope::Read, Scope::Admin], None),
    ] {
        ring.add(entry).expect("good");
    }
    ring.save(&file).expect("written");
    assert!(!std::fs::read_to_string(&file).expect("there").contains("sesame"));
    let guard = Guard::open(Some(file.clone()), Vec::new(), Scopes::NONE, Duration::from_secs(60)).expect("good");
    Setup { guard, file, reader, sender, _dir: dir }
}

fn headers(pairs: &[(http::HeaderName, &str)]) -> HeaderMap {
    pairs.iter().map(|(n, v)| (n.clone(), v.parse().expect("a value"))).collect()
}

fn look(headers: &HeaderMap) -> Look<'_> {
    Look { address: HERE, certified: false, headers, host: "braid:3000", sessions: true, acts: false, upgrades: false }
}

fn basic(user: &str, password: &str) -> HeaderMap {
    use base64::Engine;
    let pair = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
    headers(&[(AUTHORIZATION, &format!("Basic {pair}"))])
}

#[tokio::test]
async fn each_credential_opens_what_it_is_for_and_argon2_is_asked_once() {
    let Setup { guard, reader, sender, .. } = setup();
    let read = headers(&[(AUTHORIZATION, &format!("Bearer {}", reader.text))]);
    for _ in 0..5 {
        let admitted = guard.admit(look(&read), Scope::Read).await.expect("good");
        assert_eq!(admitted.tenant.expect("bound").as_str(), "a");
    }
    assert_eq!(guard.admit(look(&read), Scope::Ingest).await, Err(Denial::Forbidden(Scope::Ingest)));
    let mut other = read.clone();
    other.insert("x-scope-orgid", "b".parse().expect("a value"));
    assert_eq!(guard.admit(look(&other), Scope::Read).await, Err(Denial::Tenant));
    let send = headers(&[(AUTHORIZATION, &format!("bearer {}", sender.text))]);
    guard.admit(look(&send), Scope::Ingest).await.expect("good");
    let ada = basic("ada", "open sesame");
    for scope in Scope::ALL {
        guard.admit(look(&ada), scope).await.expect("admin covers all");
    }
    assert_eq!(guard.admit(look(&HeaderMap::new()), Scope::Read).await, Err(Denial::Missing));
    let mut text = String::new();
    guard.write_text(&mut text);
    assert!(text.contains("braid_auth_verifications_total 3\n"), "{text}");
    assert!(text.contains("braid_auth_requests_total{result=\"forbidden\",by=\"key\"} 2\n"), "{text}");
}

#[tokio::test]
async fn who_guesses_waits_a_good_key_does_not() {
    let Setup { guard, sender, .. } = setup();
    let send = headers(&[(AUTHORIZATION, &format!("Bearer {}", sender.text))]);
    guard.admit(look(&send), Scope::Ingest).await.expect("good");
    let ada = basic("ada", "open sesame");
    guard.admit(look(&ada), Scope::Read).await.expect("good");
    for (user, wrong) in [("ada", "open barley"), ("nobody", "open sesame")] {
        assert_eq!(guard.admit(look(&basic(user, wrong)), Scope::Read).await, Err(Denial::Wrong));
    }
    // As often as it takes a slow machine, too.
    (0..1000).for_each(|_| guard.guessed(HERE));
    for again in [basic("ada", "open barley"), ada, headers(&[(AUTHORIZATION, "Bearer braid_00000000_x")])] {
        assert!(
            matches!(guard.admit(look(&again), Scope::Read).await, Err(Denial::Limited(_))),
            "a right one looks like a wrong one"
        );
    }
    guard.admit(look(&send), Scope::Ingest).await.expect("not locked out by a neighbour");
    let elsewhere = basic("ada", "open sesame");
    let there = Look { address: IpAddr::from([192, 0, 2, 7]), ..look(&elsewhere) };
    guard.admit(there, Scope::Read).await.expect("another address");
}

#[tokio::test]
async fn many_requests_at_once_with_one_new_key_are_one_verification() {
    let setup = std::sync::Arc::new(setup());
    let asked: Vec<_> = (0..40)
        .map(|_| {
            let setup = std::sync::Arc::clone(&setup);
            tokio::spawn(async move {
                let send = headers(&[(AUTHORIZATION, &format!("Bearer {}", setup.sender.text))]);
                setup.guard.admit(look(&send), Scope::Ingest).await
            })
        })
        .collect();
    for one in asked {
        one.await.expect("no panic").expect("good");
    }
    let mut text = String::new();
    setup.guard.write_text(&mut text);
    let verified: f64 =
        text.lines().find_map(|l| l.strip_prefix("braid_auth_verifications_total ")?.parse().ok()).expect("there");
    assert!(verified <= 2.0, "{text}");
}

#[tokio::test]
async fn a_revoked_key_ends_at_once_with_its_sessions() {
    let Setup { guard, file, reader, _dir, .. } = setup();
    let credential = Credential::Bearer(reader.text.clone());
    let (session, who) = guard.log_in(HERE, &credential).await.expect("good");
    assert_eq!(who.name, format!("the {}", reader.id));
    let page = headers(&[(COOKIE, &format!("a=b; {SESSION_COOKIE}={}", session.token))]);
    guard.admit(look(&page), Scope::Read).await.expect("a session");
    assert!(!guard.reload_if_changed().expect("good"));
    let mut ring = Keyring::load(&file).expect("good");
    assert!(ring.remove(&reader.id));
    ring.save(&file).expect("written");
    assert!(guard.reload_if_changed().expect("good"));
    assert_eq!(guard.admit(look(&page), Scope::Read).await, Err(Denial::Missing));
    let read = headers(&[(AUTHORIZATION, &format!("Bearer {}", reader.text))]);
    assert_eq!(guard.admit(look(&read), Scope::Read).await, Err(Denial::Wrong));
    std::fs::write(&file, "keys: [{id: x}]").expect("written");
    assert!(guard.reload().is_err());
    guard.admit(look(&basic("ada", "open sesame")), Scope::Admin).await.expect("the old file holds");
}

#[tokio::test]
async fn the_cookie_is_good_for_the_page_alone() {
    let Setup { guard, .. } = setup();
    let link = guard.link().expect("random");
    let (session, who) = guard.open_link(HERE, &link).expect("good");
    assert_eq!(guard.open_link(HERE, &link).err(), Some(Denial::Wrong), "once");
    assert!(who.scopes.cover(Scope::Admin));
    let token = format!("{SESSION_COOKIE}={}", session.token);
    let site = http::HeaderName::from_static("sec-fetch-site");
    let word = http::HeaderName::from_static("x-braid-csrf");
    let plain = [(COOKIE, token.as_str())];
    let own = [(COOKIE, token.as_str()), (ORIGIN, "http://braid:3000"), (site.clone(), "same-origin")];
    let neighbour = [(COOKIE, token.as_str()), (ORIGIN, "http://braid:8081"), (site.clone(), "same-site")];
    let strange = [(COOKIE, token.as_str()), (ORIGIN, "null")];
    let with_word = [(COOKIE, token.as_str()), (word, session.csrf.as_str())];
    let ask = async |pairs: &[(http::HeaderName, &str)], acts: bool, upgrades: bool| {
        let headers = headers(pairs);
        guard.admit(Look { acts, upgrades, ..look(&headers) }, Scope::Read).await.map(|_| ())
    };
    assert_eq!(ask(&plain, false, false).await, Ok(()));
    assert_eq!(ask(&own, false, false).await, Ok(()));
    assert_eq!(ask(&own, false, true).await, Ok(()));
    for forged in [
        ask(&neighbour, false, false).await,
        ask(&strange, false, false).await,
        ask(&own, true, false).await,
        ask(&plain, false, true).await,
    ] {
        assert_eq!(forged, Err(Denial::Forged));
    }
    assert_eq!(ask(&with_word, true, false).await, Ok(()));
    let page = headers(&plain);
    assert_eq!(guard.admit(Look { sessions: false, ..look(&page) }, Scope::Read).await, Err(Denial::Missing), "another port");
    guard.log_out(&session.token);
    assert_eq!(ask(&plain, false, false).await, Err(Denial::Missing));
}

#[tokio::test]
async fn a_verified_certificate_is_good_for_what_the_configuration_says() {
    let guard = Guard::open(None, Vec::new(), [Scope::Ingest].into_iter().collect(), Duration::from_secs(60)).expect("good");
    let none = HeaderMap::new();
    let with = Look { certified: true, ..look(&none) };
    guard.admit(with, Scope::Ingest).await.expect("certified");
    assert_eq!(guard.admit(with, Scope::Read).await, Err(Denial::Forbidden(Scope::Read)));
    assert_eq!(guard.admit(look(&none), Scope::Ingest).await, Err(Denial::Missing));
}

#[test]
fn headers_are_read_as_their_rfcs_have_them() {
    let read = |value: &str| presented(&headers(&[(AUTHORIZATION, value)]));
    let is = |value: &str, user: &str, password: &str| matches!(read(value), Ok(Some(Credential::Basic { user: u, password: p })) if u == user && p == password);
    assert!(is("Basic dXNlcjpwYTpzcw==", "user", "pa:ss"));
    assert!(is("basic   dXNlcjpwYTpzcw", "user", "pa:ss"));
    assert!(matches!(read("Bearer abc"), Ok(Some(Credential::Bearer(key))) if key == "abc"));
    for (value, wrong) in [
        ("Digest x", Malformed::Scheme),
        ("Basic", Malformed::Value),
        ("Basic !!!", Malformed::Value),
        ("Basic dXNlcg==", Malformed::Value),
        ("Bearer ", Malformed::Value),
        (&format!("Bearer {}", "x".repeat(5000)), Malformed::Size),
    ] {
        assert!(read(value).err() == Some(wrong), "{value}");
    }
    let mut twice = headers(&[(AUTHORIZATION, "Bearer a")]);
    twice.append(AUTHORIZATION, "Bearer b".parse().expect("a value"));
    assert!(presented(&twice).err() == Some(Malformed::Size));
    assert!(matches!(presented(&HeaderMap::new()), Ok(None)));
}

#[test]
fn a_file_that_cannot_be_is_refused_with_its_reason() {
    let hash = hash_password("x").expect("random");
    for (text, why) in [
        (format!("keys: [{{name: a, hash: '{hash}', scopes: [read]}}]"), "a key has an `id`"),
        (format!("users: [{{name: a, hash: '{hash}', scopes: [write]}}]"), "\"write\" is no scope"),
        (format!("users: [{{name: a, hash: '{hash}', scopes: []}}]"), "has no scope"),
        (format!("users: [{{name: a, hash: '{hash}', scopes: [admin], tenant: t}}]"), "cannot be bound"),
        ("users: [{name: a, hash: secret, scopes: [read]}]".to_owned(), "not an argon2 hash"),
        (
            "users: [{name: a, hash: '$argon2id$v=19$m=9000000,t=2,p=1$c2FsdHNhbHQ$aGFzaGhhc2hoYXNoaGFzaA', scopes: [read]}]"
                .to_owned(),
            "256 MiB",
        ),
        (
            format!("users: [{{name: a, hash: '{hash}', scopes: [read]}}, {{name: a, hash: '{hash}', scopes: [read]}}]"),
            "is there already",
        ),
        (format!("users: [{{name: 'a:b', hash: '{hash}', scopes: [read]}}]"), "colon"),
        (format!("users: [{{name: a, hash: '{hash}', scopes: [read], expires: soon}}]"), "is no time"),
        ("user: []".to_owned(), "user"),
    ] {
        let said = Keyring::parse(&text).expect_err(&text).to_string();
        assert!(said.contains(why) && !said.contains(&hash), "{text}: {said}");
    }
    assert_eq!(Keyring::parse("").expect("empty").entries(), []);
}

#[test]
fn certificates_can_be_read_and_go_together() {
    let dir = tempfile::tempdir().expect("a directory");
    let dir = dir.path();
    let [ca, ca_key, crl] = certs::authority(dir, 10, false).expect("made");
    assert!(matches!(certs::authority(dir, 10, false), Err(certs::CertsError::Exists(_))));
    let hosts = ["localhost".to_owned(), "127.0.0.1".to_owned()];
    let [certificate, key] = certs::issue(dir, certs::Use::Server, "braid", &hosts, 10, false).expect("made");
    for secret in [&ca_key, &key] {
        use std::os::unix::fs::MetadataExt;
        assert_eq!(std::fs::metadata(secret).expect("there").mode() & 0o777, 0o600);
    }
    let files = TlsFiles {
        certificate: certificate.clone(),
        key,
        clients: Some((ca, ClientCertificates::Required)),
        revoked: Some(crl.clone()),
    };
    assert!(files.requires_certificates());
    let tls = Tls::open(files.clone(), vec![b"h2"]).expect("good");
    assert!(!tls.reload_if_changed().expect("good"));
    certs::issue(dir, certs::Use::Server, "braid", &hosts, 10, true).expect("made");
    assert!(tls.reload_if_changed().expect("good"));
    certs::issue(dir, certs::Use::Client, "agent", &[], 10, false).expect("made");
    for _ in 0..2 {
        assert_eq!(crate::revoke(dir, "agent").expect("revoked"), crl);
        assert_eq!(std::fs::read_to_string(dir.join("ca.revoked")).expect("there").lines().count(), 1, "once is enough");
    }
    assert!(tls.reload_if_changed().expect("good"));
    assert!(crate::revoke(dir, "nobody").expect_err("no certificate").to_string().contains("nobody.crt"));
    let list = std::fs::read(&crl).expect("there");
    std::fs::write(&crl, "nothing").expect("written");
    assert!(tls.reload_if_changed().expect_err("no list").to_string().contains("no list of revoked certificates"));
    std::fs::write(&crl, list).expect("written");
    std::fs::write(&certificate, "nothing").expect("written");
    let said = tls.reload_if_changed().expect_err("no certificate").to_string();
    assert!(said.contains("braid.crt: no certificate in it"), "{said}");
    let mixed = TlsFiles { certificate: dir.join("ca.crt"), ..files };
    assert!(Tls::open(mixed, Vec::new()).err().expect("another key").to_string().contains("does not go with the key"));
    for bad in ["a b", "", "x..y", "ü", "a/b", "*", "a.*.b"] {
        let said = certs::issue(dir, certs::Use::Server, "x", &[bad.to_owned()], 1, true).expect_err(bad).to_string();
        assert!(said.contains("neither a name nor an address"), "{said}");
    }
    certs::issue(dir, certs::Use::Server, "x", &["*.lan".to_owned(), "::1".to_owned(), "my_host".to_owned()], 1, true)
        .expect("made");
    for bad in ["", "ca", "../x", "a b"] {
        assert!(certs::issue(dir, certs::Use::Client, bad, &[], 1, true).is_err(), "{bad}");
    }
}

proptest! {
    #[test]
    fn no_bytes_harm(bytes in prop::collection::vec(any::<u8>(), 0..200), text in "(Basic |Bearer |keys: |users: |- name: |[a-z:=;\"\\\\ \u{7f}-\u{a0}]|\n){0,40}") {
        invariants::strange(&bytes);
        invariants::strange(text.as_bytes());
    }

    #[test]
    fn what_is_written_is_read(name in "\\PC{1,20}", id in "[^:\\pC]{1,12}") {
        let hash = "$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHRzYWx0$aGFzaGhhc2hoYXNoaGFzaGhhc2hoYXNoaGFzaGhhc2g";
        let mut ring = Keyring::default();
        let entry = Entry { kind: Kind::Key, id, name, hash: hash.to_owned(), scopes: [Scope::Read].into_iter().collect(), tenant: None, created: Some("2026-01-01T00:00:00Z".parse().expect("a time")), expires: None };
        ring.add(entry).expect("good");
        prop_assert_eq!(Keyring::parse(&ring.text()).expect("as written"), ring);
    }
}
