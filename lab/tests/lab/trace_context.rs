//! W3C Trace Context, <https://www.w3.org/TR/trace-context-1/>, rule by rule, of every service: what each makes of the headers
//! that it gets is seen in the callbacks that it is asked for, as the W3C's own harness does it. Requests are written by
//! hand, because no client would send most of them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::{Path, State};
use axum::routing::post;
use http::{HeaderMap, Method, StatusCode};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::common::{Lab, SENSE, SHOP, Sense, Shop, ask, post_json};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00f067aa0ba902b7";

type Calls = Arc<Mutex<HashMap<String, Vec<(HeaderMap, String)>>>>;

/// All services, and a place that they call back.
struct Harness {
    services: Vec<(&'static str, String)>,
    calls: Calls,
    callback: String,
    next: std::sync::atomic::AtomicUsize,
    _lab: Lab,
    _sense: Sense,
    _shop: Shop,
}

/// What a service sent on.
#[derive(Debug)]
struct Sent {
    trace: String,
    parent: String,
    flags: String,
    state: Option<String>,
    body: String,
}

impl Harness {
    async fn start() -> Self {
        // Nobody collects: this is about headers.
        let otlp = "http://127.0.0.1:9";
        let (lab, sense, shop) = tokio::join!(Lab::start(otlp), Sense::start(otlp), Shop::start(otlp));
        let mut services = vec![("backend", lab.backend_url.clone()), ("proxy", lab.proxy_url.clone())];
        services.extend(SENSE.into_iter().zip(sense.urls.clone()));
        services.extend(SHOP.into_iter().zip(shop.urls.clone()));
        let calls = Calls::default();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let callback = format!("http://{}/callback", listener.local_addr().unwrap());
        let take = async |State(calls): State<Calls>, Path(id): Path<String>, headers: HeaderMap, body: String| {
            calls.lock().unwrap().entry(id).or_default().push((headers, body));
        };
        let routes = Router::new().route("/callback/{id}", post(take)).with_state(calls.clone());
        tokio::spawn(async move { axum::serve(listener, routes).await });
        Self { services, calls, callback, next: Default::default(), _lab: lab, _sense: sense, _shop: shop }
    }

    /// Sends a request with these header lines to a service and returns what came back, one for each of `arguments`.
    async fn send(&self, url: &str, lines: &[&str], arguments: &[Value]) -> Vec<Sent> {
        let id = self.next.fetch_add(1, std::sync::atomic::Ordering::Relaxed).to_string();
        let callback = format!("{}/{id}", self.callback);
        let wanted: Vec<Value> = arguments.iter().map(|arguments| json!({"url": callback, "arguments": arguments})).collect();
        let status = write_by_hand(url, lines, &json!(wanted).to_string()).await;
        assert_eq!(status, 200, "{url} {lines:?}");
        let calls = self.calls.lock().unwrap().remove(&id).unwrap_or_default();
        assert_eq!(calls.len(), arguments.len(), "{url} {lines:?}");
        calls.into_iter().map(|(headers, body)| Sent::read(&headers, body)).collect()
    }

    /// Each service in turn gets these lines; `check` judges what it sends on.
    async fn every(&self, lines: &[&str], check: impl Fn(&Sent) -> bool) {
        for (name, url) in &self.services {
            let sent = self.send(url, lines, &[json!([])]).await;
            assert!(check(&sent[0]), "{name}, given {lines:?}, sent on {:?}", sent[0]);
        }
    }
}

impl Sent {
    /// Whatever comes in, what goes out follows the rules: one `traceparent` of version 00, one `tracestate` at most.
    fn read(headers: &HeaderMap, body: String) -> Self {
        let all = |name: &str| headers.get_all(name).iter().map(|value| value.to_str().unwrap().to_owned()).collect::<Vec<_>>();
        let (parents, states) = (all("traceparent"), all("tracestate"));
        let [parent] = parents.as_slice() else { panic!("one traceparent, not {parents:?}") };
        assert!(states.len() <= 1 && states.iter().all(|state| !state.is_empty()), "{states:?}");
        let fields: Vec<&str> = parent.split('-').collect();
        let [version, trace, span, flags] = fields.as_slice() else { panic!("four fields, not {parent}") };
        assert_eq!(*version, "00");
        for (field, length) in [(trace, 32), (span, 16), (flags, 2)] {
            assert!(field.len() == length && field.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')), "{parent}");
        }
        assert!(trace.bytes().any(|byte| byte != b'0') && span.bytes().any(|byte| byte != b'0'), "{parent}");
        assert!(matches!(*flags, "00" | "01"), "only the sampled flag is known: {parent}");
        Self {
            trace: (*trace).to_owned(),
            parent: (*span).to_owned(),
            flags: (*flags).to_owned(),
            state: states.first().cloned(),
            body,
        }
    }

    /// The trace goes on, below a span of the service's own.
    fn goes_on(&self) -> bool {
        self.trace == TRACE && self.parent != PARENT
    }

    /// A new trace begins, without anything of what was not understood.
    fn begins(&self) -> bool {
        self.trace != TRACE && self.state.is_none() && self.flags == "01"
    }
}

/// A POST with these header lines as they are; returns the status.
async fn write_by_hand(url: &str, lines: &[&str], body: &str) -> u16 {
    let host = url.trim_start_matches("http://");
    let mut stream = TcpStream::connect(host).await.unwrap();
    let mut text = format!("POST /api/trace-context HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n");
    for line in lines {
        text.push_str(line);
        text.push_str("\r\n");
    }
    text.push_str(&format!("Connection: close\r\nContent-Length: {}\r\n\r\n{body}", body.len()));
    stream.write_all(text.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    let answer = String::from_utf8_lossy(&answer).into_owned();
    answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_else(|| panic!("no answer: {answer}"))
}

/// A `traceparent` line with the given fields.
fn parent(version: &str, trace: &str, span: &str, rest: &str) -> String {
    format!("traceparent: {version}-{trace}-{span}-{rest}")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_valid_parent_is_continued() {
    let harness = Harness::start().await;
    let value = format!("00-{TRACE}-{PARENT}-01");
    // Header names have no case; space around values has no meaning.
    for line in [
        format!("traceparent: {value}"),
        format!("TraceParent: {value}"),
        format!("TrAcEpArEnT: {value}"),
        format!("TRACEPARENT: {value}"),
        format!("traceparent:{value}"),
        format!("traceparent:  {value}"),
        format!("traceparent:\t{value}"),
        format!("traceparent: {value} "),
        format!("traceparent: {value}\t"),
        format!("traceparent: \t {value}\t "),
        // Later versions are read as far as they are known.
        parent("cc", TRACE, PARENT, "01"),
        parent("cc", TRACE, PARENT, "01-what-the-future-will-be-like"),
        parent("01", TRACE, PARENT, "01-"),
        parent("fe", TRACE, PARENT, "01"),
        // Flags that nobody knows yet do not travel.
        parent("00", TRACE, PARENT, "03"),
        parent("00", TRACE, PARENT, "ff"),
    ] {
        harness.every(&[&line], |sent| sent.goes_on() && sent.flags == "01" && sent.state.is_none()).await;
    }
    for flags in ["00", "02", "fe"] {
        harness.every(&[&parent("00", TRACE, PARENT, flags)], |sent| sent.goes_on() && sent.flags == "00").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn anything_else_begins_a_new_trace() {
    let harness = Harness::start().await;
    let value = format!("00-{TRACE}-{PARENT}-01");
    let zeros = "0".repeat(32);
    let state = "tracestate: a=1";
    harness.every(&[], Sent::begins).await;
    harness.every(&[state], Sent::begins).await;
    for line in [
        // Not the header that is meant.
        format!("trace-parent: {value}"),
        format!("trace.parent: {value}"),
        format!("trace_parent: {value}"),
        // More than one, in one line.
        format!("traceparent: {value},{value}"),
        "traceparent:".to_owned(),
        "traceparent: 00".to_owned(),
        // Versions.
        parent("ff", TRACE, PARENT, "01"),
        parent(".0", TRACE, PARENT, "01"),
        parent("0.", TRACE, PARENT, "01"),
        parent("0G", TRACE, PARENT, "01"),
        parent("CC", TRACE, PARENT, "01"),
        parent("000", TRACE, PARENT, "01"),
        parent("0", TRACE, PARENT, "01"),
        parent("", TRACE, PARENT, "01"),
        // Version 00 has four fields, and no later one anything but a dash behind the flags.
        parent("00", TRACE, PARENT, "01-"),
        parent("00", TRACE, PARENT, "01-extra"),
        parent("00", TRACE, PARENT, "01."),
        parent("cc", TRACE, PARENT, "01.what-the-future-will-be-like"),
        parent("cc", TRACE, PARENT, "01extra"),
        // Trace ids.
        parent("00", &zeros, PARENT, "01"),
        parent("00", &TRACE.to_uppercase(), PARENT, "01"),
        parent("00", &TRACE.replacen('4', ".", 1), PARENT, "01"),
        parent("00", &TRACE.replacen('4', "g", 1), PARENT, "01"),
        parent("00", &format!("{TRACE}0"), PARENT, "01"),
        parent("00", &TRACE[1..], PARENT, "01"),
        // Parent ids.
        parent("00", TRACE, &zeros[..16], "01"),
        parent("00", TRACE, &PARENT.to_uppercase(), "01"),
        parent("00", TRACE, &PARENT.replacen('f', ".", 1), "01"),
        parent("00", TRACE, &PARENT.replacen('f', "x", 1), "01"),
        parent("00", TRACE, &format!("{PARENT}0"), "01"),
        parent("00", TRACE, &PARENT[1..], "01"),
        // Flags.
        parent("00", TRACE, PARENT, ".0"),
        parent("00", TRACE, PARENT, "0."),
        parent("00", TRACE, PARENT, "A0"),
        parent("00", TRACE, PARENT, "001"),
        parent("00", TRACE, PARENT, "1"),
        parent("00", TRACE, PARENT, ""),
        format!("traceparent: 00-{TRACE}-{PARENT}"),
        format!("traceparent: 00_{TRACE}_{PARENT}_01"),
    ] {
        harness.every(&[&line, state], Sent::begins).await;
    }
    let (line, other) = (format!("traceparent: {value}"), parent("00", TRACE, &PARENT.replace('7', "8"), "01"));
    harness.every(&[&line, &other, state], Sent::begins).await;
    harness.every(&[&line, &line, state], Sent::begins).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_travels_with_its_parent_or_not_at_all() {
    let harness = Harness::start().await;
    let valid = parent("00", TRACE, PARENT, "01");
    let members = |count: usize| (0..count).map(|number| format!("k{number}=1")).collect::<Vec<_>>().join(",");
    let (many, too_many) = (members(32), members(33));
    let z = |length: usize| "z".repeat(length);
    let longest = [format!("{}=1", z(256)), format!("{}@{}=1", z(241), z(14)), format!("a={}", z(256))];
    let symbols = "a_-*/9@z_-*/=!\"#$%&'()*+-./09:;<>?@AZ[\\]^_`az{|}~ !";
    for (lines, expected) in [
        (&["tracestate: foo=1"][..], Some("foo=1")),
        (&["tracestate: foo=1,bar=2"], Some("foo=1,bar=2")),
        (&["TraceState: foo=1"], Some("foo=1")),
        (&["TrAcEsTaTe: foo=1"], Some("foo=1")),
        (&["TRACESTATE: foo=1"], Some("foo=1")),
        (&["tracestate: foo=1 \t , \t bar=2, \t baz=3"], Some("foo=1,bar=2,baz=3")),
        (&["tracestate: foo=1\t \t,\t \tbar=2,\t \tbaz=3"], Some("foo=1,bar=2,baz=3")),
        (&["tracestate: foo=1 "], Some("foo=1")),
        (&["tracestate:\t foo=1\t"], Some("foo=1")),
        (&["tracestate: foo=1,,bar=2"], Some("foo=1,bar=2")),
        // Several headers are one list.
        (
            &["tracestate: foo=1,bar=2", "tracestate: rojo=1,congo=2", "tracestate: baz=3"],
            Some("foo=1,bar=2,rojo=1,congo=2,baz=3"),
        ),
        (&["tracestate: foo=1", "tracestate:"], Some("foo=1")),
        (&["tracestate:", "tracestate: foo=1"], Some("foo=1")),
        // A key that comes again adds nothing.
        (&["tracestate: foo=1,foo=1"], Some("foo=1")),
        (&["tracestate: foo=1", "tracestate: foo=2"], Some("foo=1")),
        (&[&format!("tracestate: {symbols}")], Some(symbols)),
        (&[&format!("tracestate: {many}")], Some(many.as_str())),
        (&[&format!("tracestate: {}", longest[0])], Some(longest[0].as_str())),
        (&[&format!("tracestate: {}", longest[1])], Some(longest[1].as_str())),
        (&[&format!("tracestate: {}", longest[2])], Some(longest[2].as_str())),
        // Not the header that is meant.
        (&["trace-state: foo=1"], None),
        (&["trace.state: foo=1"], None),
        // Dropped as a whole.
        (&["tracestate:"], None),
        (&["tracestate: foo"], None),
        (&["tracestate: foo="], None),
        (&["tracestate: =1"], None),
        (&["tracestate: foo =1"], None),
        (&["tracestate: FOO=1"], None),
        (&["tracestate: foo.bar=1"], None),
        (&["tracestate: ok=1,foo@=1"], None),
        (&["tracestate: ok=1,@foo=1"], None),
        (&["tracestate: foo@@bar=1"], None),
        (&["tracestate: foo@bar@baz=1"], None),
        (&["tracestate: foo=bar=baz"], None),
        (&["tracestate: foo=,bar=3"], None),
        (&["tracestate: foo=ü"], None),
        (&[&format!("tracestate: {too_many}")], None),
        (&[&format!("tracestate: {many}"), "tracestate: one=more"], None),
        (&[&format!("tracestate: {}=1", z(257))], None),
        (&[&format!("tracestate: {}@v=1", z(242))], None),
        (&[&format!("tracestate: t@{}=1", z(15))], None),
        (&[&format!("tracestate: foo={}", z(257))], None),
    ] {
        let lines: Vec<&str> = [valid.as_str()].into_iter().chain(lines.iter().copied()).collect();
        harness.every(&lines, |sent| sent.goes_on() && sent.state.as_deref() == expected).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_call_has_a_parent_of_its_own_and_carries_its_arguments() {
    let harness = Harness::start().await;
    let line = parent("00", TRACE, PARENT, "01");
    let arguments = [json!([]), json!([{"url": "http://x", "arguments": [1]}]), json!({"any": "thing"})];
    for (name, url) in &harness.services {
        for lines in [&[line.as_str()][..], &[]] {
            let sent = harness.send(url, lines, &arguments).await;
            let traces: std::collections::BTreeSet<&str> = sent.iter().map(|sent| sent.trace.as_str()).collect();
            let parents: std::collections::BTreeSet<&str> = sent.iter().map(|sent| sent.parent.as_str()).collect();
            assert_eq!((traces.len(), parents.len()), (1, 3), "{name}");
            let bodies: Vec<Value> = sent.iter().map(|sent| serde_json::from_str(&sent.body).unwrap()).collect();
            assert_eq!(bodies, arguments, "{name}");
        }
        let (one, other) = (harness.send(url, &[], &[json!([])]).await, harness.send(url, &[], &[json!([])]).await);
        assert_ne!(one[0].trace, other[0].trace, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn callbacks_go_to_named_hosts_only_and_to_no_page() {
    let harness = Harness::start().await;
    let callback = format!("{}/x", harness.callback);
    let wanted = json!([{"url": callback, "arguments": []}]).to_string();
    let many = json!(vec![json!({"url": callback}); 33]).to_string();
    for (name, url) in &harness.services {
        let url = format!("{url}/api/trace-context");
        for (body, status, reason) in [
            (r#"[{"url": "http://192.0.2.1/x", "arguments": []}]"#, StatusCode::FORBIDDEN, "LAB_CALLBACKS"),
            (r#"[{"url": "file:///etc/passwd"}]"#, StatusCode::FORBIDDEN, "http://"),
            (r#"[{"url": "/x"}]"#, StatusCode::FORBIDDEN, "http://"),
            (r#"{"url": "x"}"#, StatusCode::BAD_REQUEST, "Expected a list"),
            ("[", StatusCode::BAD_REQUEST, "line 1 column 1"),
            (&many, StatusCode::BAD_REQUEST, "At most 32"),
        ] {
            let answer = post_json(&url, &[], body).await;
            assert_eq!(answer.status, status, "{name} {body}");
            assert!(answer.json()["error"].as_str().unwrap().contains(reason), "{name} {}", answer.text);
        }
        assert_eq!(post_json(&url, &[("origin", "http://elsewhere")], &wanted).await.status, StatusCode::FORBIDDEN, "{name}");
        assert_eq!(ask(Method::POST, &url, &[], &wanted).await.status, StatusCode::UNSUPPORTED_MEDIA_TYPE, "{name}");
        let gone = json!([{"url": "http://127.0.0.1:9/x"}]).to_string();
        let answer = post_json(&url, &[], &gone).await.json();
        assert!(answer["callbacks"][0]["error"].is_string(), "{name} {answer}");
    }
    assert!(harness.calls.lock().unwrap().is_empty());
}
