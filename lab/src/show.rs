//! Live answers from Braid's query APIs: one trace from the client to the database, its log lines, the request rate, and one
//! trace that crosses the sense services.

use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::{HeaderMap, Method};
use kit::{Asker, query_string};
use sense::{KEYS, Service};
use serde_json::Value;

use crate::legacy;
use crate::ports::Ports;

const TRACES: &str = r#"{ resource.service.name = "traffic" && name = "create-task" }"#;
const CIRCUITS: &str = r#"{ resource.service.name = "arda" && span.circuit_id =~ "CIRCUIT-.+" }"#;
const RATE: &str = "sum by (endpoint) (rate(http_requests_total[20s]))";
const RATE_OF_ONE: &str = r#"sum(rate(http_requests_total{job="flask-backend"}[20s]))"#;
/// The window of the rates; younger data would be shown as a fraction of the true rate.
const WINDOW: Duration = Duration::from_secs(20);
const LINES_SHOWN: usize = 6;

/// Prints the addresses that a person opens first.
pub(crate) fn where_to_look(ports: &Ports) {
    crate::say!("\nWhere to look");
    for (what, url) in [
        ("the task page", format!("http://localhost:{}/", ports.proxy)),
        ("Braid, all APIs", format!("http://localhost:{}/", ports.braid)),
        ("traces (Tempo API)", format!("http://localhost:{}/api/search", ports.tempo)),
        ("logs (Loki API)", format!("http://localhost:{}/loki/api/v1/labels", ports.loki)),
        ("correlations", format!("http://localhost:{}/api/correlations?limit=5", ports.correlation)),
        ("metrics (Prometheus API)", format!("http://localhost:{}/api/v1/query?query=up", ports.prometheus)),
    ] {
        crate::say!("  {what:<25} {url}");
    }
}

/// A key of Braid's, where it asks for one (`LAB_AUTH=1`).
const TOKEN: &str = "BRAID_TOKEN";

/// Prints a link that logs in to the page once, where Braid asks who one is.
async fn how_to_log_in(show: &Show, ports: &Ports) {
    if std::env::var_os(TOKEN).is_none() {
        return;
    }
    let page = format!("http://localhost:{}", ports.braid);
    let answer = show.asker.send(Method::POST, &format!("{page}/api/session/link"), HeaderMap::new(), Bytes::new()).await;
    let path = answer.ok().filter(|a| a.status.is_success()).and_then(|a| serde_json::from_slice::<Value>(&a.body).ok());
    match path.as_ref().and_then(|p| p["path"].as_str()) {
        Some(path) => crate::say!("\nBraid asks who you are. Once, within ten minutes, this link logs you in:\n  {page}{path}"),
        None => crate::say!("\nBraid asks who you are, and gave no link to log in with; its log says why."),
    }
}

/// Waits until there is a trace and a rate, then shows everything; after `patience` it shows what there is.
/// Returns whether all answers could be given.
pub(crate) async fn when_there_is_data(ports: &Ports, patience: Duration) -> bool {
    let show = Show::new(ports);
    let begun = Instant::now();
    crate::say!("\nLetting the traffic run for {} s, so that there is something to see ...", WINDOW.as_secs());
    tokio::time::sleep(WINDOW).await;
    while begun.elapsed() < patience {
        let (trace, circuit) = (show.find(TRACES, reaches_database).await, show.find(CIRCUITS, crosses_sense).await);
        let rate = show.instant(RATE).await;
        let found = [trace, circuit].iter().all(|trace| matches!(trace, Ok(Some(_))));
        if found && rate.is_ok_and(|rate| !rate.is_empty()) && show.has_tied().await {
            break;
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    where_to_look(ports);
    how_to_log_in(&show, ports).await;
    show.everything().await
}

/// `braid-lab show`: the answers as they are now. Returns whether all could be given.
pub(crate) async fn now(ports: &Ports) -> bool {
    where_to_look(ports);
    let show = Show::new(ports);
    how_to_log_in(&show, ports).await;
    show.everything().await
}

struct Show {
    asker: Asker,
    tempo: String,
    loki: String,
    prometheus: String,
    correlation: String,
}

impl Show {
    fn new(ports: &Ports) -> Self {
        let at = |port: u16| format!("http://127.0.0.1:{port}");
        Self {
            asker: Asker::new(Duration::from_secs(10)).with_token(std::env::var(TOKEN).ok().as_deref()),
            tempo: at(ports.tempo),
            loki: at(ports.loki),
            prometheus: at(ports.prometheus),
            correlation: at(ports.correlation),
        }
    }

    async fn everything(&self) -> bool {
        crate::say!("\n1. One trace, from the client to the database");
        let missing = "No trace that crosses client, proxy, backend and database has been found yet.";
        let trace = self.trace(TRACES, reaches_database, missing).await;
        let lines = match &trace {
            Some(id) => self.lines(id).await,
            None => false,
        };
        let rate = self.rate().await;
        crate::say!("\n4. One trace across beorn, palantir and arda, found by its circuit");
        let circuit = self.trace(CIRCUITS, crosses_sense, "No trace that crosses all three has been found yet.").await;
        let tied = self.tied().await;
        trace.is_some() && lines && rate && circuit.is_some() && tied
    }

    /// Prints a correlation that ties lines of the legacy host to a trace, with its evidence.
    async fn tied(&self) -> bool {
        crate::say!("\n5. Lines of a legacy host whose syslog has only a circuit id, tied to their trace");
        let query = query_string(&[("service", legacy::APPLICATION), ("limit", "20")]);
        let url = format!("{}/api/correlations?{query}", self.correlation);
        crate::say!("   GET      {url}\n");
        match self.asker.json(&url).await {
            Ok(answer) => match answer.as_array().and_then(|events| events.iter().find(|e| is_tied(e))) {
                Some(event) => {
                    crate::say!("{}", tied_text(event));
                    true
                }
                None => {
                    crate::say!("   None yet: it takes one window.");
                    false
                }
            },
            Err(error) => {
                crate::say!("   The correlation API gave no answer: {error:#}");
                false
            }
        }
    }

    /// Whether there is such a correlation.
    async fn has_tied(&self) -> bool {
        let query = query_string(&[("service", legacy::APPLICATION), ("limit", "20")]);
        let answer = self.asker.json(&format!("{}/api/correlations?{query}", self.correlation)).await;
        answer.is_ok_and(|a| a.as_array().is_some_and(|events| events.iter().any(is_tied)))
    }

    /// Prints the newest trace that `traceql` finds and `fits`, and returns its id.
    async fn trace(&self, traceql: &str, fits: fn(&[Span]) -> bool, missing: &str) -> Option<String> {
        crate::say!("   TraceQL  {traceql}");
        match self.find(traceql, fits).await {
            Ok(Some((id, spans))) => {
                crate::say!("   GET      {}/api/traces/{id}\n", self.tempo);
                crate::say!("{}", tree(&spans).trim_end_matches('\n'));
                let keys = keys(&spans);
                if !keys.is_empty() {
                    crate::say!("\n   on every span of the three: {}", keys.join(", "));
                }
                Some(id)
            }
            Ok(None) => {
                crate::say!("   {missing}");
                None
            }
            Err(error) => {
                crate::say!("   The Tempo API gave no answer: {error:#}");
                None
            }
        }
    }

    /// The newest trace that `traceql` finds and `fits`, with its spans.
    async fn find(&self, traceql: &str, fits: fn(&[Span]) -> bool) -> anyhow::Result<Option<(String, Vec<Span>)>> {
        let now = unix_seconds();
        let (start, end) = ((now - 900).to_string(), (now + 60).to_string());
        let query = query_string(&[("q", traceql), ("limit", "20"), ("start", &start), ("end", &end)]);
        let found = self.asker.json(&format!("{}/api/search?{query}", self.tempo)).await?;
        let traces = found.get("traces").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        for id in traces.iter().filter_map(|trace| trace.get("traceID")?.as_str()) {
            let spans = spans(&self.asker.json(&format!("{}/api/traces/{id}", self.tempo)).await?);
            if fits(&spans) {
                // Tempo leaves out leading zeros; log lines do not.
                return Ok(Some((format!("{id:0>32}"), spans)));
            }
        }
        Ok(None)
    }

    async fn lines(&self, trace_id: &str) -> bool {
        let logql = format!(r#"{{service_name="flask-backend"}} |= "{trace_id}""#);
        crate::say!("\n2. Its log lines");
        crate::say!("   LogQL    {logql}\n");
        let (start, end) = ((unix_seconds() - 900).to_string(), (unix_seconds() + 60).to_string());
        let query = [("query", logql.as_str()), ("start", &start), ("end", &end), ("limit", "50"), ("direction", "forward")];
        let url = format!("{}/loki/api/v1/query_range?{}", self.loki, query_string(&query));
        let mut lines = match self.asker.json(&url).await {
            Ok(answer) => log_lines(&answer),
            Err(error) => {
                crate::say!("   The Loki API gave no answer: {error:#}");
                return false;
            }
        };
        lines.sort();
        for (_, line) in lines.iter().take(LINES_SHOWN) {
            let shown: String = line.chars().take(180).collect();
            crate::say!("   {shown}{}", if shown.len() < line.len() { " …" } else { "" });
        }
        match lines.len() {
            0 => crate::say!("   No line of this trace has been found."),
            all if all > LINES_SHOWN => crate::say!("   … and {} more", all - LINES_SHOWN),
            _ => {}
        }
        !lines.is_empty()
    }

    async fn rate(&self) -> bool {
        crate::say!("\n3. Requests per second, by endpoint");
        crate::say!("   PromQL   {RATE}\n");
        let mut rates = match self.instant(RATE).await {
            Ok(rates) => rates,
            Err(error) => {
                crate::say!("   The Prometheus API gave no answer: {error:#}");
                return false;
            }
        };
        if rates.is_empty() {
            crate::say!("   No rate yet: it takes two scrapes.");
            return false;
        }
        rates.sort_by(|one, other| other.1.total_cmp(&one.1));
        for (endpoint, rate) in &rates {
            crate::say!("   {endpoint:<16} {rate:>7.3}");
        }
        if let Ok([(_, total), ..]) = self.instant(RATE_OF_ONE).await.as_deref() {
            crate::say!("   {:<16} {total:>7.3}", "all");
        }
        true
    }

    /// The `endpoint` label and the value of each element of an instant vector.
    async fn instant(&self, promql: &str) -> anyhow::Result<Vec<(String, f64)>> {
        let url = format!("{}/api/v1/query?{}", self.prometheus, query_string(&[("query", promql)]));
        let answer = self.asker.json(&url).await?;
        let result = answer.pointer("/data/result").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let element = |element: &Value| {
            let endpoint = element.pointer("/metric/endpoint").and_then(Value::as_str).unwrap_or_default().to_owned();
            Some((endpoint, element.pointer("/value/1")?.as_str()?.parse::<f64>().ok()?))
        };
        Ok(result.iter().filter_map(element).collect())
    }
}

/// Whether an event has lines of the legacy host and spans of the sense services.
fn is_tied(event: &Value) -> bool {
    let has = |name: &str| event.get(name).and_then(Value::as_array).is_some_and(|list| !list.is_empty());
    has("joined_logs") && event.get("span_count").and_then(Value::as_u64).unwrap_or(0) > 0
}

/// An event with each of its joined lines and the evidence for it.
fn tied_text(event: &Value) -> String {
    let text = |value: Option<&Value>| value.and_then(Value::as_str).unwrap_or_default().to_owned();
    let services = event.get("services").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let services: Vec<&str> = services.iter().filter_map(Value::as_str).collect();
    let mut out = format!(
        "   trace {} · {} spans, {} lines · {}",
        text(event.get("trace_id")),
        event.get("span_count").unwrap_or(&Value::Null),
        event.get("log_count").unwrap_or(&Value::Null),
        services.join(", "),
    );
    for line in event.get("joined_logs").and_then(Value::as_array).into_iter().flatten() {
        let of = |name: &str| text(line.pointer(&format!("/evidence/{name}")));
        out.push_str(&format!("\n     {}  {} {}", text(line.get("host")), text(line.get("service")), text(line.get("line"))));
        out.push_str(&format!(
            "\n       because {} = {} (in its {}), {} away in time: {}",
            of("key"),
            of("value"),
            of("found_in"),
            format_args!("{} ms", line.pointer("/evidence/distance_ms").unwrap_or(&Value::Null)),
            of("notes"),
        ));
    }
    out
}

/// Whether a trace goes from the client to the database.
fn reaches_database(spans: &[Span]) -> bool {
    crosses(spans, &["traffic", "tasks-proxy", "flask-backend"]) && spans.iter().any(|span| span.statement.is_some())
}

/// Whether a trace goes from the client through all three sense services.
fn crosses_sense(spans: &[Span]) -> bool {
    crosses(spans, &["traffic"]) && crosses(spans, &Service::ALL.map(Service::name))
}

fn crosses(spans: &[Span], services: &[&str]) -> bool {
    services.iter().all(|service| spans.iter().any(|span| span.service == *service))
}

/// `key=value` for each business key that all spans of the sense services have with the same value.
fn keys(spans: &[Span]) -> Vec<String> {
    let sense: Vec<&Span> =
        spans.iter().filter(|span| Service::ALL.iter().any(|service| service.name() == span.service)).collect();
    let Some(first) = sense.first() else { return Vec::new() };
    let same = |at: &usize| first.keys[*at].is_some() && sense.iter().all(|span| span.keys[*at] == first.keys[*at]);
    let shown = |at: usize| format!("{}={}", KEYS[at], first.keys[at].as_deref().unwrap_or_default());
    (0..KEYS.len()).filter(same).map(shown).collect()
}

/// A span as far as the tree shows it. Ids are compared, never decoded: they come as base64 or as hexadecimal digits.
#[derive(Debug, Clone, Default, PartialEq)]
struct Span {
    id: String,
    parent: String,
    service: String,
    name: String,
    kind: &'static str,
    start: u64,
    end: u64,
    error: bool,
    statement: Option<String>,
    /// In the order of [`KEYS`].
    keys: [Option<String>; 5],
}

/// All spans of an answer of `/api/traces/{id}` (version 1 or 2, or plain OTLP).
fn spans(answer: &Value) -> Vec<Span> {
    let trace = answer.get("trace").unwrap_or(answer);
    let list =
        |value: &Value, names: [&str; 2]| names.iter().find_map(|name| value.get(*name)?.as_array().cloned()).unwrap_or_default();
    let mut all = Vec::new();
    for resource in list(trace, ["batches", "resourceSpans"]) {
        let service = resource.get("resource").and_then(|resource| attribute(resource, "service.name")).unwrap_or_default();
        for scope in list(&resource, ["scopeSpans", "instrumentationLibrarySpans"]) {
            all.extend(list(&scope, ["spans", "spans"]).iter().map(|span| read_span(span, &service)));
        }
    }
    all
}

fn read_span(span: &Value, service: &str) -> Span {
    let text = |name: &str| span.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    // 64-bit numbers are strings in protobuf's JSON, but not everybody's.
    let number =
        |name: &str| span.get(name).and_then(|value| value.as_u64().or_else(|| value.as_str()?.parse().ok())).unwrap_or(0);
    let kind = span.get("kind").map(|kind| kind.as_str().map_or_else(|| kind.to_string(), str::to_owned)).unwrap_or_default();
    let status = span.pointer("/status/code").map(Value::to_string).unwrap_or_default();
    Span {
        id: text("spanId"),
        parent: text("parentSpanId"),
        service: service.to_owned(),
        name: text("name"),
        kind: match kind.as_str() {
            "SPAN_KIND_SERVER" | "2" => "server",
            "SPAN_KIND_CLIENT" | "3" => "client",
            _ => "",
        },
        start: number("startTimeUnixNano"),
        end: number("endTimeUnixNano"),
        error: status.contains("ERROR") || status == "2",
        statement: attribute(span, "db.statement").or_else(|| attribute(span, "db.query.text")),
        keys: KEYS.map(|key| attribute(span, key)),
    }
}

fn attribute(owner: &Value, key: &str) -> Option<String> {
    let attributes = owner.get("attributes")?.as_array()?;
    let found = attributes.iter().find(|attribute| attribute.get("key").and_then(Value::as_str) == Some(key))?;
    found.pointer("/value/stringValue")?.as_str().map(str::to_owned)
}

/// The trace as an indented tree with services and durations; spans whose parent is missing stand at the left.
fn tree(spans: &[Span]) -> String {
    let known: BTreeSet<&str> = spans.iter().map(|span| span.id.as_str()).collect();
    let mut children: HashMap<&str, Vec<&Span>> = HashMap::new();
    let mut roots = Vec::new();
    for span in spans {
        if !span.parent.is_empty() && known.contains(span.parent.as_str()) && span.parent != span.id {
            children.entry(&span.parent).or_default().push(span);
        } else {
            roots.push(span);
        }
    }
    let mut text = String::new();
    let mut shown = BTreeSet::new();
    roots.sort_by_key(|span| span.start);
    let mut stack: Vec<(&Span, usize)> = roots.into_iter().rev().map(|span| (span, 0)).collect();
    while let Some((span, depth)) = stack.pop() {
        // Ids may repeat in what others sent; each is shown once, so that the walk ends.
        if !shown.insert(span.id.as_str()) {
            continue;
        }
        text.push_str(&line(span, depth));
        let mut below = children.get(span.id.as_str()).cloned().unwrap_or_default();
        below.sort_by_key(|span| std::cmp::Reverse(span.start));
        stack.extend(below.into_iter().map(|span| (span, depth + 1)));
    }
    text
}

fn line(span: &Span, depth: usize) -> String {
    let name = format!("{}{}", "  ".repeat(depth), span.name);
    let milliseconds = span.end.saturating_sub(span.start) as f64 / 1e6;
    let mark = if span.error { "  ERROR" } else { "" };
    let statement = span.statement.as_deref().map(|sql| sql.split_whitespace().collect::<Vec<_>>().join(" "));
    let statement: String = statement.unwrap_or_default().chars().take(60).collect();
    let rest = format!("{:<14} {:<7} {milliseconds:>9.2} ms{mark}  {statement}", span.service, span.kind);
    format!("   {name:<36} {}\n", rest.trim_end())
}

/// Time in nanoseconds and text of each line of a streams answer.
fn log_lines(answer: &Value) -> Vec<(u64, String)> {
    let streams = answer.pointer("/data/result").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let values = streams.iter().filter_map(|stream| stream.get("values")?.as_array()).flatten();
    values.filter_map(|value| Some((value.get(0)?.as_str()?.parse().ok()?, value.get(1)?.as_str()?.to_owned()))).collect()
}

fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn answer() -> Value {
        let service = |name: &str| json!({"attributes": [{"key": "service.name", "value": {"stringValue": name}}]});
        json!({"batches": [
            {"resource": service("flask-backend"), "scopeSpans": [{"spans": [
                {"spanId": "c", "parentSpanId": "b", "name": "INSERT tasks", "kind": "SPAN_KIND_CLIENT",
                 "startTimeUnixNano": "3000000", "endTimeUnixNano": "4500000",
                 "attributes": [{"key": "db.statement", "value": {"stringValue": "INSERT  INTO\n tasks"}}]},
                {"spanId": "b", "parentSpanId": "a", "name": "POST /api/tasks", "kind": 2,
                 "startTimeUnixNano": 2_000_000, "endTimeUnixNano": 5_000_000, "status": {"code": "STATUS_CODE_ERROR"}}]}]},
            {"resource": service("traffic"), "scopeSpans": [{"spans": [
                {"spanId": "a", "name": "create-task", "startTimeUnixNano": "1000000", "endTimeUnixNano": "6000000"}]}]},
        ]})
    }

    #[test]
    fn a_trace_is_drawn_as_a_tree() {
        let drawn = tree(&spans(&answer()));
        let lines: Vec<String> = drawn.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
        assert_eq!(
            lines,
            [
                "create-task traffic 5.00 ms",
                "POST /api/tasks flask-backend server 3.00 ms ERROR",
                "INSERT tasks flask-backend client 1.50 ms INSERT INTO tasks",
            ]
        );
        assert!(drawn.contains("\n     POST") && drawn.contains("\n       INSERT"), "{drawn}");
        let second = json!({"trace": {"resourceSpans": answer()["batches"]}});
        assert_eq!(spans(&second), spans(&answer()));
    }

    #[test]
    fn a_ring_of_parents_is_not_walked_for_ever() {
        let span = |id: &str, parent: &str| Span { id: id.into(), parent: parent.into(), ..Span::default() };
        assert_eq!(tree(&[span("a", "b"), span("b", "a")]), "");
        assert_eq!(tree(&[span("a", "a"), span("a", "")]).lines().count(), 1);
    }

    #[test]
    fn keys_are_shown_when_every_span_of_the_three_agrees() {
        let span = |service: &str, circuit: &str, request: Option<&str>| Span {
            service: service.into(),
            keys: [Some(circuit.into()), None, None, None, request.map(str::to_owned)],
            ..Span::default()
        };
        let trace = [span("traffic", "c", None), span("beorn", "c", Some("r")), span("arda", "c", Some("r"))];
        assert_eq!(keys(&trace), ["circuit_id=c", "request_id=r"]);
        assert_eq!(keys(&[span("beorn", "c", Some("r")), span("arda", "c", None)]), ["circuit_id=c"]);
        assert_eq!(keys(&trace[..1]), Vec::<String>::new());
        assert!(!crosses_sense(&trace) && crosses(&trace, &["beorn", "arda"]));
    }

    #[test]
    fn lines_come_out_of_a_streams_answer() {
        let answer = json!({"data": {"result": [{"stream": {}, "values": [["2", "b"], ["1", "a"]]}, {"values": [["3", "c"]]}]}});
        assert_eq!(log_lines(&answer), [(2, "b".into()), (1, "a".into()), (3, "c".into())]);
        assert_eq!(log_lines(&json!({"error": "x"})), []);
    }
}
