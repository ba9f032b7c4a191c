//! OTLP/HTTP: traces of ten spans over 12 services (gateway, two services behind it, their databases, a side call),
//! 10 or 11 attributes a span, 8 a resource.

use std::collections::BTreeMap;

use super::{Payload, Plan};
use crate::protobuf::{bytes, fixed64, int_attribute, message, text_attribute, uint};
use crate::random::{Random, mix};

const SERVICES: [&str; 12] = [
    "frontend",
    "api-gateway",
    "auth",
    "cart",
    "checkout",
    "payment",
    "shipping",
    "catalog",
    "recommendation",
    "inventory",
    "email",
    "currency",
];
const DATABASES: [(&str, u64); 4] = [("postgresql", 5432), ("redis", 6379), ("mysql", 3306), ("mongodb", 27017)];
const ROUTES: [(&str, &str); 8] = [
    ("GET", "/products/{id}"),
    ("POST", "/cart/{id}"),
    ("POST", "/checkout"),
    ("GET", "/recommendations"),
    ("POST", "/login"),
    ("GET", "/products"),
    ("PUT", "/payment/{id}"),
    ("GET", "/stock/{id}"),
];
const AGENTS: [&str; 4] = [
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/126.0 Safari/537.36",
    "okhttp/4.12.0",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X)",
    "python-requests/2.32",
];

/// Service (0 the root's, 1 and 2 the two callees, 3 the side call's), kind, parent, whether a database call, and the
/// part of the trace's duration that the span covers.
const SHAPE: [(usize, u64, Option<usize>, bool, f64, f64); 10] = [
    (0, 2, None, false, 0.0, 1.0),
    (0, 3, Some(0), false, 0.02, 0.58),
    (1, 2, Some(1), false, 0.04, 0.56),
    (1, 3, Some(2), true, 0.08, 0.28),
    (1, 3, Some(2), false, 0.3, 0.54),
    (2, 2, Some(4), false, 0.32, 0.52),
    (2, 3, Some(5), true, 0.36, 0.5),
    (0, 3, Some(0), false, 0.6, 0.98),
    (3, 2, Some(7), false, 0.62, 0.96),
    (3, 3, Some(8), true, 0.66, 0.92),
];

fn trace_id(seed: u64, trace: u64) -> [u8; 16] {
    let mut id = [0; 16];
    id[..8].copy_from_slice(&mix(seed, trace * 2 + 1).to_be_bytes());
    id[8..].copy_from_slice(&mix(seed ^ 99, trace * 2).to_be_bytes());
    id
}

fn one_trace(plan: &Plan, trace: u64, traces: u64, resources: &mut BTreeMap<(usize, u64), Vec<u8>>) {
    let r = &mut Random::new(mix(plan.seed, 5_000_000 + trace));
    let span_ns = plan.span_secs * 1_000_000_000;
    let start = plan.end_ms * 1_000_000 - span_ns
        + (u128::from(trace) * u128::from(span_ns) / u128::from(traces.max(1))) as u64
        + r.below(30_000_000);
    let duration = ((r.normal() * 0.8 + 4.2).exp() * 1e6) as u64 + 1_000_000;
    let services = [r.below(2) as usize, 2 + r.below(10) as usize, 2 + r.below(10) as usize, 2 + r.below(10) as usize];
    let (method, route) = r.pick(&ROUTES);
    let mut failed = [false; SHAPE.len()];
    if r.below(100) < 3 {
        let mut at = Some(r.pick(&[2usize, 5, 8]));
        while let Some(i) = at {
            failed[i] = true;
            at = SHAPE[i].2;
        }
    }
    for (i, (who, kind, parent, database, from, to)) in SHAPE.into_iter().enumerate() {
        let service = services[who];
        let begin = start + ((from + r.unit() * 0.01) * duration as f64) as u64;
        let end = (start + (to * duration as f64) as u64).max(begin + 1_000);
        let operation = r.pick(&["SELECT", "INSERT", "UPDATE", "SELECT"]);
        let mut span = Vec::with_capacity(600);
        bytes(&mut span, 1, &trace_id(plan.seed, trace));
        bytes(&mut span, 2, &mix(plan.seed ^ 3, trace * 10 + i as u64).to_be_bytes());
        if let Some(parent) = parent {
            bytes(&mut span, 4, &mix(plan.seed ^ 3, trace * 10 + parent as u64).to_be_bytes());
        }
        let name = if database { format!("{operation} {}", SERVICES[service]) } else { format!("{method} {route}") };
        bytes(&mut span, 5, name.as_bytes());
        uint(&mut span, 6, kind);
        fixed64(&mut span, 7, begin);
        fixed64(&mut span, 8, end);
        if database {
            let (system, port) = DATABASES[service % 4];
            let table = r.pick(&["items", "events", "sessions"]);
            let statement =
                format!("{operation} id, name, updated_at FROM {}_{table} WHERE id = $1 AND tenant = $2", SERVICES[service]);
            text_attribute(&mut span, 9, "db.system", system);
            text_attribute(&mut span, 9, "db.name", SERVICES[service]);
            text_attribute(&mut span, 9, "db.operation", operation);
            text_attribute(&mut span, 9, "db.statement", &statement);
            text_attribute(&mut span, 9, "db.user", &format!("{}_rw", SERVICES[service]));
            text_attribute(&mut span, 9, "server.address", &format!("{system}-{}.db.svc.cluster.local", service % 3));
            int_attribute(&mut span, 9, "server.port", port);
            text_attribute(&mut span, 9, "network.transport", "tcp");
            int_attribute(&mut span, 9, "db.rows_affected", r.below(50));
            int_attribute(&mut span, 9, "thread.id", r.below(64));
        } else {
            let code = if failed[i] { r.pick(&[500, 502, 503]) } else { [200, 201, 204, 404][r.weighted(&[85, 8, 5, 2])] };
            let client = format!("10.{}.{}.{}", r.below(4), r.below(256), r.below(256));
            text_attribute(&mut span, 9, "http.request.method", method);
            text_attribute(&mut span, 9, "http.route", route);
            text_attribute(&mut span, 9, "url.path", &route.replace("{id}", &r.below(20_000).to_string()));
            text_attribute(&mut span, 9, "url.scheme", "http");
            int_attribute(&mut span, 9, "http.response.status_code", code);
            text_attribute(&mut span, 9, "server.address", &format!("{}.shop.svc.cluster.local", SERVICES[service]));
            int_attribute(&mut span, 9, "server.port", 8080);
            text_attribute(&mut span, 9, "user_agent.original", r.pick(&AGENTS));
            text_attribute(&mut span, 9, "client.address", &client);
            text_attribute(&mut span, 9, "network.protocol.version", "1.1");
            int_attribute(&mut span, 9, "http.response.body.size", r.below(50_000));
        }
        if failed[i] {
            message(&mut span, 15, |status| {
                bytes(status, 2, b"upstream error");
                uint(status, 3, 2);
            });
        }
        let pod = mix(trace, service as u64) & 1;
        bytes(resources.entry((service, pod)).or_default(), 2, &span);
    }
}

pub(crate) fn encode(plan: &Plan, connection: u64) -> Vec<Payload> {
    let traces = plan.count / SHAPE.len() as u64;
    let per_request = (plan.batch / SHAPE.len() as u64).max(1);
    let mut out = Vec::new();
    for request in (0..traces.div_ceil(per_request)).filter(|b| b % plan.connections == connection) {
        let mut resources = BTreeMap::new();
        let ids = request * per_request..((request + 1) * per_request).min(traces);
        let items = (ids.end - ids.start) * SHAPE.len() as u64;
        for trace in ids {
            one_trace(plan, trace, traces, &mut resources);
        }
        let mut body = Vec::new();
        for ((service, pod), spans) in &resources {
            let name = SERVICES[*service];
            message(&mut body, 1, |resource_spans| {
                message(resource_spans, 1, |resource| {
                    text_attribute(resource, 1, "service.name", name);
                    text_attribute(resource, 1, "service.version", &format!("1.{service}.0"));
                    text_attribute(resource, 1, "service.instance.id", &format!("{name}-{pod}"));
                    text_attribute(resource, 1, "deployment.environment", "prod");
                    text_attribute(resource, 1, "k8s.pod.name", &format!("{name}-7d9f8b6c5-{pod}x2k"));
                    text_attribute(resource, 1, "k8s.namespace.name", "shop");
                    text_attribute(resource, 1, "telemetry.sdk.language", ["go", "java", "python", "nodejs"][service % 4]);
                    text_attribute(resource, 1, "host.name", &format!("node-{}", (*service as u64 + pod) % 5));
                });
                message(resource_spans, 2, |scope_spans| {
                    message(scope_spans, 1, |scope| {
                        bytes(scope, 1, b"io.opentelemetry.http");
                        bytes(scope, 2, b"1.30.0");
                    });
                    scope_spans.extend_from_slice(spans);
                });
            });
        }
        out.push(Payload { body, items });
    }
    out
}
