//! `/api/graph`: which services ask which, how often, with how many errors and how fast, laid out to be drawn.

mod layout;
mod measure;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value as Json, json};

use crate::Api;
use crate::answer::{Answer, Failure};
use crate::ask::Ask;
use crate::run::blocking;
use crate::serve::Routes;
use crate::time::loki_ns;
use layout::layout;
use measure::{Measure, Measured, measure};

const HOUR_MS: i64 = 3_600_000;
/// Services in an answer; the busiest stay.
const MOST_NODES: usize = 500;

pub(crate) fn routes(routes: Routes) -> Routes {
    routes.route("/api/graph", graph)
}

/// `start` and `end` as milliseconds; the last hour where nothing is said.
fn times(ask: &Ask) -> Result<(i64, i64), Failure> {
    let time = |name: &str| {
        let Some(text) = ask.get(name) else { return Ok(None) };
        let time = loki_ns(text).map(|ns| Some(ns.div_euclid(1_000_000)));
        time.map_err(|why| Failure::BadData(format!("invalid {name}: {why}")))
    };
    let end = time("end")?.unwrap_or(ask.now_ns / 1_000_000);
    let start = time("start")?.unwrap_or(end.saturating_sub(HOUR_MS));
    if start >= end {
        return Err(Failure::BadData("invalid start and end: the end is not after the start".to_owned()));
    }
    Ok((start, end))
}

async fn graph(api: Arc<Api>, ask: Ask) -> Result<Answer, Failure> {
    let ((start, end), tenant) = (times(&ask)?, ask.tenant()?);
    let service = ask.get("service").map(str::to_owned);
    let state = api.clone();
    blocking(&api, None, move |cancelled| {
        let reader = state.source.snapshot();
        let measured = measure(&*reader, &tenant, start, end, cancelled)?;
        let graph = shape(measured, service.as_deref(), start, end);
        let rows = graph["nodes"].as_array().map_or(0, Vec::len);
        Ok(Answer::json(graph.to_string(), rows).partial(reader.partial()))
    })
    .await
}

/// Services and the requests between them, with places.
fn shape(mut measured: Measured, service: Option<&str>, start: i64, end: i64) -> Json {
    if let Some(service) = service {
        measured.edges.retain(|(from, to, _), _| from == service || to == service);
        measured.services.retain(|name, _| name == service);
    }
    let mut nodes: BTreeMap<String, (Measure, &'static str)> = BTreeMap::new();
    for ((from, to, kind), edge) in &measured.edges {
        let from_kind = if from == "user" && kind == "virtual_node" { "user" } else { "service" };
        nodes.entry(from.clone()).or_insert_with(|| (Measure::default(), from_kind));
        let to_kind = match kind.as_str() {
            "database" => "database",
            "virtual_node" if from != "user" => "external",
            _ => "service",
        };
        let node = nodes.entry(to.clone()).or_insert_with(|| (Measure::default(), to_kind));
        node.0.add(&edge.server);
        if node.1 != "service" && to_kind == "service" {
            node.1 = "service";
        }
    }
    for (name, own) in measured.services {
        // What its own spans say is whole; the edges are only what was paired.
        let node = nodes.entry(name).or_insert_with(|| (Measure::default(), "service"));
        node.1 = "service";
        if own.requests > 0.0 {
            node.0 = own;
        }
    }
    let all = nodes.len();
    if all > MOST_NODES {
        let mut by_size: Vec<(f64, String)> = nodes.iter().map(|(name, (m, _))| (m.requests, name.clone())).collect();
        by_size.sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
        for (_, name) in &by_size[MOST_NODES..] {
            nodes.remove(name);
        }
    }
    let index: BTreeMap<&str, usize> = nodes.keys().enumerate().map(|(i, name)| (name.as_str(), i)).collect();
    let edges: Vec<_> = measured
        .edges
        .iter()
        .filter_map(|((from, to, kind), edge)| Some((*index.get(from.as_str())?, *index.get(to.as_str())?, from, to, kind, edge)))
        .collect();
    let places = layout(nodes.len(), &edges.iter().map(|e| (e.0, e.1)).collect::<Vec<_>>());
    let seconds = (end - start) as f64 / 1000.0;
    let listed: Vec<Json> = nodes
        .iter()
        .zip(&places.nodes)
        .map(|((name, (measure, kind)), place)| {
            let mut node = json!({"id": name, "name": name, "type": kind, "layer": place.layer, "x": place.x, "y": place.y});
            describe(&mut node, measure, seconds);
            node["latency"] = percentiles(measure);
            node
        })
        .collect();
    let lines: Vec<Json> = edges
        .iter()
        .map(|(_, _, from, to, kind, edge)| {
            let mut line = json!({"source": from, "target": to, "type": kind});
            line["id"] = match kind.as_str() {
                "" => format!("{from}->{to}"),
                kind => format!("{from}->{to} ({kind})"),
            }
            .into();
            describe(&mut line, &edge.server, seconds);
            line["server_latency"] = percentiles(&edge.server);
            line["client_latency"] = percentiles(&edge.client);
            line
        })
        .collect();
    let mut graph = json!({
        "start": start as f64 / 1000.0, "end": end as f64 / 1000.0,
        "width": places.width, "height": places.height,
        "nodes": listed, "edges": lines,
    });
    if all > MOST_NODES {
        graph["status"] = "PARTIAL".into();
        graph["message"] = format!("{all} services; the {MOST_NODES} that are asked most are shown").into();
    }
    graph
}

fn describe(out: &mut Json, measure: &Measure, seconds: f64) {
    out["requests"] = round(measure.requests);
    out["failed"] = round(measure.failed);
    out["rate"] = round(measure.requests / seconds);
    out["error_rate"] = round(measure.failed / seconds);
    out["error_ratio"] = round(if measure.requests > 0.0 { (measure.failed / measure.requests).min(1.0) } else { 0.0 });
}

/// Seconds; `null` where nothing was observed.
fn percentiles(measure: &Measure) -> Json {
    let quantile = |q| measure.quantile(q).map_or(Json::Null, round);
    json!({"p50": quantile(0.5), "p90": quantile(0.9), "p95": quantile(0.95), "p99": quantile(0.99)})
}

/// Six digits behind the point are plenty.
fn round(value: f64) -> Json {
    let rounded = (value * 1e6).round() / 1e6;
    serde_json::Number::from_f64(rounded).map_or(Json::Null, Json::Number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use measure::Edge;

    fn measured(edges: &[(&str, &str, &str)]) -> Measured {
        let edge = || {
            let measure = Measure { requests: 10.0, failed: 1.0, buckets: vec![(0.1, 5.0), (0.2, 10.0), (f64::INFINITY, 10.0)] };
            Edge { server: measure.clone(), client: measure }
        };
        let edges = edges.iter().map(|(a, b, kind)| (((*a).to_owned(), (*b).to_owned(), (*kind).to_owned()), edge()));
        Measured { edges: edges.collect(), services: BTreeMap::new() }
    }

    #[test]
    fn services_have_rates_errors_latencies_and_places() {
        let edges = [
            ("shop", "cart", ""),
            ("cart", "orders", "database"),
            ("user", "shop", "virtual_node"),
            ("shop", "bank", "virtual_node"),
        ];
        let graph = shape(measured(&edges), None, 0, 10_000);
        let node = |id: &str| graph["nodes"].as_array().expect("a list").iter().find(|n| n["id"] == id).expect("there").clone();
        for (id, kind, layer) in [
            ("user", "user", 0),
            ("shop", "service", 1),
            ("cart", "service", 2),
            ("bank", "external", 2),
            ("orders", "database", 3),
        ] {
            assert_eq!((&node(id)["type"], &node(id)["layer"]), (&json!(kind), &json!(layer)), "{id}");
        }
        let cart = node("cart");
        assert_eq!((&cart["rate"], &cart["error_ratio"], &cart["latency"]["p50"]), (&json!(1.0), &json!(0.1), &json!(0.1)));
        assert_eq!(cart["latency"]["p90"], json!(0.18));
        assert_eq!(node("user")["latency"]["p50"], Json::Null);
        assert_eq!(graph["edges"].as_array().map(Vec::len), Some(4));
        assert_eq!(shape(measured(&edges), None, 0, 10_000), graph, "the same every time");
        let near = shape(measured(&edges), Some("cart"), 0, 10_000);
        assert_eq!(near["edges"].as_array().map(Vec::len), Some(2));
    }

    #[test]
    fn too_many_services_are_cut_and_it_is_said() {
        let names: Vec<String> = (0..MOST_NODES + 10).map(|i| format!("s{i:04}")).collect();
        let edges: Vec<(&str, &str, &str)> = names.windows(2).map(|w| (w[0].as_str(), w[1].as_str(), "")).collect();
        let graph = shape(measured(&edges), None, 0, 1_000);
        assert_eq!(graph["nodes"].as_array().map(Vec::len), Some(MOST_NODES));
        assert_eq!(graph["status"], "PARTIAL");
    }
}
