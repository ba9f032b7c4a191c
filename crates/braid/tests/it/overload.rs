//! Far more than a server can take, on every receiver at once.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crate::asking::instant;
use crate::braid::Braid;
use crate::client::{post, try_send};
use crate::grpc::{call, framed};
use crate::protobuf::{export, now, span, write_request};

const PROTOBUF: (&str, &str) = ("Content-Type", "application/x-protobuf");
const JSON: (&str, &str) = ("Content-Type", "application/json");
/// Senders of each protocol, and what each sends.
const SENDERS: u64 = 10;
const ROUNDS: u64 = 4;
/// Items in a request: about half a megabyte, so that eight fill what may be under way.
const ITEMS: u64 = 4_000;

/// What senders were told.
#[derive(Default)]
struct Told {
    taken: AtomicU64,
    refused: AtomicU64,
}

impl Told {
    /// Whether to send the same again; anything but taken, or refused with a time to come again, ends the test.
    fn again(&self, taken: bool, retryable: bool, what: &str) -> bool {
        assert!(taken || retryable, "{what}");
        if taken { &self.taken } else { &self.refused }.fetch_add(1, Ordering::Relaxed);
        !taken
    }
}

fn lines(id: u64) -> Vec<u8> {
    let values: Vec<String> = (0..ITEMS).map(|n| format!("[\"{}\",\"line {n} of {id} {}\"]", now(), "x".repeat(80))).collect();
    format!(r#"{{"streams":[{{"stream":{{"app":"flood","id":"{id}"}},"values":[{}]}}]}}"#, values.join(",")).into_bytes()
}

fn samples(id: u64) -> Vec<u8> {
    let (at, id) = (now() as i64 / 1_000_000, id.to_string());
    let numbers: Vec<String> = (0..ITEMS / 40).map(|n| n.to_string()).collect();
    let labels: Vec<[(&str, &str); 2]> = numbers.iter().map(|n| [("id", id.as_str()), ("n", n.as_str())]).collect();
    let each: Vec<(i64, f64)> = (0..40).map(|n| (at - 40_000 + n * 1_000, n as f64)).collect();
    write_request(&labels.iter().map(|labels| ("flood", &labels[..], &each[..])).collect::<Vec<_>>())
}

fn spans(id: u64) -> Vec<u8> {
    let of = |n: u64| {
        let trace = [id.to_be_bytes(), (n + 1).to_be_bytes()].concat();
        span(trace.try_into().expect("sixteen"), (n + 1).to_be_bytes(), &"name".repeat(12), now())
    };
    export("flood", &(0..ITEMS).map(of).collect::<Vec<_>>())
}

#[test]
fn what_is_too_much_is_refused_to_come_again_and_nothing_that_was_taken_is_lost() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("braid.yaml");
    std::fs::write(&file, "limits: {body: 1MiB, inflated: 2MiB, in_flight: 4MiB}\n").expect("written");
    let braid = Braid::start_with(dir.path(), &["-c", file.to_str().expect("text"), "--memory", "512MiB"]);
    let (http, rpc, stop) = (Told::default(), Told::default(), AtomicBool::new(false));
    let send = |face: &str, path: &str, content: (&str, &str), body: &[u8]| {
        let sent = || try_send(braid.at(face), "POST", path, &[content], body);
        // A refusal closes the connection, and what is still on its way then may reset it: a sender tries again.
        while sent().map_or(true, |reply| {
            let retryable = reply.status == 503 && reply.header("retry-after").is_some_and(|s| s.parse::<u64>().is_ok());
            http.again(matches!(reply.status, 200 | 204), retryable, &format!("{path}: {reply:?}"))
        }) {
            std::thread::sleep(Duration::from_millis(50));
        }
    };
    std::thread::scope(|scope| {
        let asking = scope.spawn(|| {
            let mut asked = 0;
            while !stop.load(Ordering::Relaxed) {
                braid.get("prometheus", "/api/v1/query?query=count(up)").expect(200);
                braid.get("loki", "/loki/api/v1/labels").expect(200);
                braid.get("tempo", "/api/search?q=%7B%7D&limit=1").expect(200);
                asked += 1;
            }
            asked
        });
        let senders: Vec<_> = (0..SENDERS * ROUNDS)
            .step_by(ROUNDS as usize)
            .flat_map(|first| {
                let ids = first + 1..first + 1 + ROUNDS;
                let (send, braid, rpc) = (&send, &braid, &rpc);
                let of = ids.clone();
                let logs = scope.spawn(move || of.for_each(|id| send("loki", "/loki/api/v1/push", JSON, &lines(id))));
                let of = ids.clone();
                let metrics = scope.spawn(move || of.for_each(|id| send("prometheus", "/api/v1/write", PROTOBUF, &samples(id))));
                let of = ids.clone();
                let traces = scope.spawn(move || of.for_each(|id| send("otlp_http", "/v1/traces", PROTOBUF, &spans(id))));
                let grpc = scope.spawn(move || {
                    for id in ids {
                        let body = framed(false, &spans(id + (1 << 32)));
                        loop {
                            let path = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
                            let ended = call(braid.at("otlp_grpc"), path, &[], body.clone());
                            let retryable = ended.code == 14 && ended.details.is_some();
                            if !rpc.again(ended.code == 0, retryable, &format!("{ended:?}")) {
                                break;
                            }
                            std::thread::sleep(Duration::from_millis(50));
                        }
                    }
                });
                [logs, metrics, traces, grpc]
            })
            .collect();
        // All of them end, or the test does not.
        let ended: Vec<bool> = senders.into_iter().map(|sender| sender.join().is_ok()).collect();
        stop.store(true, Ordering::Relaxed);
        assert!(ended.iter().all(|ok| *ok), "a sender was told something else");
        assert!(asking.join().expect("every query is answered") > 0);
    });
    assert!(http.refused.load(Ordering::Relaxed) > 0, "nothing was refused over HTTP");
    assert!(rpc.refused.load(Ordering::Relaxed) > 0, "nothing was refused over gRPC");
    let reasons = braid.get("braid", "/metrics").text();
    let counted: f64 = reasons
        .lines()
        .filter(|l| l.starts_with("braid_receiver_refused_requests_total"))
        .filter_map(|l| l.rsplit(' ').next()?.parse::<f64>().ok())
        .sum();
    let told = http.refused.load(Ordering::Relaxed) + rpc.refused.load(Ordering::Relaxed);
    assert!(counted >= told as f64, "{counted} of {told} refusals are counted");
    let most = braid.metric("process_resident_memory_max_bytes") / f64::from(1 << 20);
    assert!(most < 512.0, "{most} MiB: memory stays in its budget");
    assert_eq!(braid.metric("braid_in_flight_bytes"), 0.0);

    // Everything is taken again at once, and what was acknowledged is there, once.
    post(braid.at("loki"), "/loki/api/v1/push", &[JSON], &lines(0)).expect(204);
    let requests = SENDERS * ROUNDS;
    let seconds = now() as f64 / 1e9;
    assert_eq!(
        instant(&braid, "sum(count_over_time(flood[10m]))", seconds).first().expect("samples").1,
        (requests * ITEMS).to_string()
    );
    let count = "/loki/api/v1/query?query=sum(count_over_time(%7Bapp%3D%22flood%22%7D%5B1h%5D))";
    let found = braid.get("loki", count).expect(200).json();
    assert_eq!(found["data"]["result"][0]["value"][1], ((requests + 1) * ITEMS).to_string(), "{found}");
    let accepted = |receiver: &str| {
        braid.metric(&format!("braid_receiver_accepted_items_total{{receiver=\"{receiver}\",signal=\"traces\"}}")) as u64
    };
    assert_eq!((accepted("otlp_http"), accepted("otlp_grpc")), (requests * ITEMS, requests * ITEMS));
}

#[test]
fn a_tenant_that_floods_is_refused_and_the_others_are_not() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("braid.yaml");
    std::fs::write(&file, "limits: {body: 1MiB, inflated: 2MiB, in_flight: 4MiB}\n").expect("written");
    let braid = Braid::start_with(dir.path(), &["-c", file.to_str().expect("text")]);
    let (stop, refused) = (AtomicBool::new(false), AtomicU64::new(0));
    let push = |tenant: &str, body: &[u8]| {
        try_send(braid.at("loki"), "POST", "/loki/api/v1/push", &[JSON, ("X-Scope-OrgID", tenant)], body)
    };
    std::thread::scope(|scope| {
        for id in 0..16 {
            let (push, stop, refused) = (&push, &stop, &refused);
            scope.spawn(move || {
                let body = lines(id);
                while !stop.load(Ordering::Relaxed) {
                    if push("flood", &body).is_ok_and(|reply| reply.status == 503) {
                        refused.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
        let calm = scope.spawn(|| {
            // The flood is at its height when it is refused.
            let deadline = std::time::Instant::now() + Duration::from_secs(60);
            while refused.load(Ordering::Relaxed) < 5 && std::time::Instant::now() < deadline {
                std::thread::sleep(Duration::from_millis(10));
            }
            let small = |n: u64| format!(r#"{{"streams":[{{"stream":{{"app":"calm"}},"values":[["{}","{n}"]]}}]}}"#, now());
            (0..20).map(|n| push("calm", small(n).as_bytes()).expect("an answer").status).collect::<Vec<u16>>()
        });
        let told = calm.join();
        stop.store(true, Ordering::Relaxed);
        assert_eq!(told.expect("no panic"), [204; 20]);
    });
    assert!(refused.load(Ordering::Relaxed) > 0);
    assert_eq!(braid.metric("braid_tenant_accepted_items_total{tenant=\"calm\",signal=\"logs\"}"), 20.0);
}
