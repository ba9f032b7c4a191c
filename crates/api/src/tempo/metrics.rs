//! `/api/metrics/query_range` and `/api/metrics/query`.

use std::sync::Arc;
use std::time::Instant;

use serde_json::{Map, Value as Json, json};
use traceql::metrics::{Exemplar, Series, Window, evaluate_aloud, is_metrics};
use traceql::{Query, Question, parse_duration};

use super::search::INTERVAL;
use super::{attributes, number, shade};
use crate::Api;
use crate::answer::{Answer, Failure};
use crate::ask::Ask;
use crate::run::blocking;
use crate::time::loki_ns;

const HOUR_NS: i64 = 3_600_000_000_000;
/// Exemplars of a range query that does not say how many.
const EXEMPLARS: usize = 100;

fn bad(why: impl std::fmt::Display) -> Failure {
    Failure::BadData(why.to_string())
}

fn metrics_query(ask: &Ask) -> Result<Query, Failure> {
    let text = ask.get("q").or_else(|| ask.get("query")).ok_or_else(|| bad("missing parameter q"))?;
    let query = traceql::parse(text).map_err(|e| bad(format!("invalid TraceQL query: {e}")))?;
    if is_metrics(&query) { Ok(query) } else { Err(bad("invalid TraceQL query: not a metrics query")) }
}

/// `start` and `end`, or `since` until now, the last hour where nothing is said.
fn times(ask: &Ask) -> Result<(i64, i64), Failure> {
    let time = |name: &str| {
        let Some(text) = ask.get(name) else { return Ok(None) };
        loki_ns(text).map(Some).map_err(|why| bad(format!("invalid {name}: {why}")))
    };
    let since = match ask.get("since") {
        Some(text) => parse_duration(text).ok_or_else(|| bad(format!("invalid since: {text:?} is no duration")))?,
        None => HOUR_NS,
    };
    let end = time("end")?.unwrap_or(ask.now_ns);
    let start = time("start")?.unwrap_or(end.saturating_sub(since));
    Ok((start, end))
}

fn step(ask: &Ask, start: i64, end: i64) -> Result<i64, Failure> {
    let Some(text) = ask.get("step") else { return Ok(Window::default_step(start, end)) };
    let seconds = text.parse::<f64>().ok().filter(|s| s.abs() < 9.2e9).map(|s| (s * 1e9) as i64);
    seconds.or_else(|| parse_duration(text)).filter(|s| *s > 0).ok_or_else(|| bad(format!("invalid step: {text:?}")))
}

pub(super) async fn query_range(api: Arc<Api>, ask: Ask) -> Result<Answer, Failure> {
    query_range_aloud(api, ask, None).await
}

/// Is given what is known so far, as an answer of its own, now and then.
pub(super) type Heard = Box<dyn FnMut(String) + Send>;

/// The answer; `heard` is told of those before it.
pub(super) async fn query_range_aloud(api: Arc<Api>, ask: Ask, heard: Option<Heard>) -> Result<Answer, Failure> {
    let (start, end) = times(&ask)?;
    let step = step(&ask, start, end)?;
    Window::new(start, end, step).map_err(bad)?;
    let mut window = Window { start, end, step };
    if end - start != step {
        // As in Tempo: whole steps, and one more in front.
        window.start = start - start % step;
        window.end = end.saturating_add((step - end % step) % step);
        if window.start > step {
            window.start -= step;
        }
    }
    let exemplars = ask.count("exemplars", EXEMPLARS)?;
    run(api, ask, window, exemplars, heard, move |series| {
        let samples = series.values.iter().enumerate().filter(|(_, v)| !v.is_nan()).map(|(i, value)| {
            let time = json!((window.timestamp(i) / 1_000_000).to_string());
            // A value of 0 is left out.
            if *value == 0.0 { json!({"timestampMs": time}) } else { json!({"timestampMs": time, "value": number(*value)}) }
        });
        let samples: Vec<Json> = samples.collect();
        let mut out = json!({"labels": attributes(&series.labels), "samples": samples});
        if !series.exemplars.is_empty() {
            out["exemplars"] = series.exemplars.iter().map(exemplar).collect();
        }
        out
    })
    .await
}

fn exemplar(exemplar: &Exemplar) -> Json {
    let mut out = Map::new();
    out.insert("labels".to_owned(), attributes(&exemplar.labels));
    if exemplar.value != 0.0 {
        out.insert("value".to_owned(), number(exemplar.value));
    }
    out.insert("timestampMs".to_owned(), (exemplar.time / 1_000_000).to_string().into());
    Json::Object(out)
}

pub(super) async fn query(api: Arc<Api>, ask: Ask) -> Result<Answer, Failure> {
    query_aloud(api, ask, None).await
}

/// The answer; `heard` is told of those before it.
pub(super) async fn query_aloud(api: Arc<Api>, ask: Ask, heard: Option<Heard>) -> Result<Answer, Failure> {
    let (start, end) = times(&ask)?;
    let window = Window::new(start, end, end.saturating_sub(start)).map_err(bad)?;
    run(api, ask, window, 0, heard, |series| {
        let value = series.values.first().copied().unwrap_or(0.0);
        let labels = attributes(&series.labels);
        if value == 0.0 { json!({"labels": labels}) } else { json!({"labels": labels, "value": number(value)}) }
    })
    .await
}

async fn run(
    api: Arc<Api>,
    ask: Ask,
    window: Window,
    exemplars: usize,
    mut heard: Option<Heard>,
    shape: impl Fn(&Series) -> Json + Send + 'static,
) -> Result<Answer, Failure> {
    let (query, tenant) = (metrics_query(&ask)?, ask.tenant()?);
    let (state, text) = (api.clone(), ask.get("q").or_else(|| ask.get("query")).map(str::to_owned));
    blocking(&api, None, move |cancelled| {
        let reader = shade::snapshot(&*state.source, &[text.as_deref()]);
        let range = model::TimeRange::new(window.start, window.end);
        let memory = state.settings.max_query_memory;
        let question = Question { reader: &*reader, tenant: &tenant, range, limit: 0, spans_per_set: 0, memory, cancelled };
        let body = |series: &[Series]| {
            let shaped: Vec<Json> = series.iter().map(&shape).collect();
            json!({"series": shaped, "metrics": {}}).to_string()
        };
        let mut last = Instant::now();
        let series = evaluate_aloud(&question, &query, &window, exemplars, &mut |so_far| {
            if let Some(heard) = heard.as_mut().filter(|_| last.elapsed() >= INTERVAL) {
                heard(body(&so_far()));
                last = Instant::now();
            }
        })?;
        Ok(Answer::json(body(&series), series.len()).partial(reader.partial()))
    })
    .await
}
