//! What Grafana's Logs Drilldown explores: patterns, detected fields and their values, detected labels.

use std::sync::Arc;

use logql::{Direction, Expr, LabelCost, Line, LogQuery, Tally};

use super::index::counted;
use super::query::{check_entries, check_steps, parse, question, step};
use super::{positive, range};
use crate::answer::{Answer, Failure};
use crate::ask::Ask;
use crate::run::blocking;
use crate::{Api, json};

/// Finest step of patterns, nanoseconds.
const PATTERN_STEP: i64 = 10_000_000_000;
/// Patterns of an answer.
const MAX_PATTERNS: usize = 300;
/// Lines that are looked at for fields, and fields or values of an answer, where the request does not say.
const FIELD_LINES: usize = 100;
const FIELDS: usize = 1000;
/// Labels that are of interest whatever their values.
const ALWAYS: [&str; 4] = ["cluster", "namespace", "instance", "pod"];

fn log_query(ask: &Ask) -> Result<LogQuery, Failure> {
    match parse(ask)? {
        Expr::Log(query) => Ok(query),
        _ => Err(Failure::BadData("only log selector is supported".to_owned())),
    }
}

/// Patterns with their counts over time.
pub(super) async fn patterns(api: Arc<Api>, ask: Ask) -> Result<Answer, Failure> {
    let (query, range, tenant) = (log_query(&ask)?, range(&ask, 1)?, ask.tenant()?);
    let step = step(&ask, range)?.max(PATTERN_STEP);
    check_steps(range, step)?;
    let state = api.clone();
    blocking(&api, None, move |cancelled| {
        let (reader, tally) = (state.source.snapshot(), Tally::default());
        let question = question(&state, &*reader, &tenant, cancelled, &tally);
        let found = logql::patterns(&question, &query, range, step, MAX_PATTERNS)?;
        let mut out = String::from("{\"status\":\"success\",\"data\":[");
        json::list(&mut out, &found, |out, pattern| {
            out.push_str("{\"pattern\":");
            json::string(out, &pattern.text);
            out.push_str(",\"samples\":[");
            json::list(out, &pattern.samples, |out, (start, n)| {
                out.push_str(&format!("[{},{n}]", start.div_euclid(1_000_000_000)));
            });
            out.push_str("]}");
        });
        out.push_str("]}");
        Ok(Answer::json(out, found.len()).partial(reader.partial()))
    })
    .await
}

/// The newest lines of a query, and how many fields or values are wanted of them.
async fn sampled<T: Send + 'static>(
    api: &Arc<Api>,
    ask: &Ask,
    read: impl FnOnce(&[Line], usize) -> T + Send + 'static,
) -> Result<(T, usize, Option<String>), Failure> {
    let range = range(ask, 1)?;
    let lines = positive(ask, "line_limit", FIELD_LINES)?;
    let limit = positive(ask, if ask.get("limit").is_some() { "limit" } else { "field_limit" }, FIELDS)?;
    check_steps(range, step(ask, range)?)?;
    let (query, tenant) = (log_query(ask)?, ask.tenant()?);
    check_entries(api, lines)?;
    let state = api.clone();
    blocking(api, None, move |cancelled| {
        let (reader, tally) = (state.source.snapshot(), Tally::default());
        let question = question(&state, &*reader, &tenant, cancelled, &tally);
        let found = logql::lines(&question, &query, range, Direction::Backward, lines)?;
        Ok((read(&found, limit), limit, reader.partial()))
    })
    .await
}

pub(super) async fn detected_fields(api: Arc<Api>, ask: Ask) -> Result<Answer, Failure> {
    let (fields, limit, partial) = sampled(&api, &ask, logql::detected_fields).await?;
    let mut out = String::from("{\"fields\":[");
    json::list(&mut out, &fields, |out, field| {
        out.push_str("{\"label\":");
        json::string(out, &field.label);
        out.push_str(&format!(",\"type\":\"{}\",\"cardinality\":{},\"parsers\":", field.kind.as_str(), field.cardinality));
        match field.parsers.is_empty() {
            true => out.push_str("null"),
            false => out.push_str(&json::strings(&field.parsers)),
        }
        if !field.json_path.is_empty() {
            out.push_str(",\"jsonPath\":");
            out.push_str(&json::strings(&field.json_path));
        }
        out.push('}');
    });
    out.push_str(&format!("],\"limit\":{limit}}}"));
    Ok(Answer::json(out, fields.len()).partial(partial))
}

pub(super) async fn detected_field_values(api: Arc<Api>, ask: Ask) -> Result<Answer, Failure> {
    let name = ask.path("name").to_owned();
    let (values, limit, partial) = sampled(&api, &ask, move |lines, limit| logql::field_values(lines, &name, limit)).await?;
    let body = format!("{{\"values\":{},\"limit\":{limit}}}", json::strings(&values));
    Ok(Answer::json(body, values.len()).partial(partial))
}

/// Labels whose values are not just identifiers, with how many values they have.
pub(super) async fn detected_labels(api: Arc<Api>, ask: Ask) -> Result<Answer, Failure> {
    let (_, costs, partial) = counted(&api, &ask).await?;
    let wanted = |name: &str, cost: &LabelCost| {
        let bits = cost.values <= 2 && !cost.any_more_than_bit;
        ALWAYS.contains(&name) || cost.any_name || bits
    };
    let labels: Vec<_> = costs.iter().filter(|(name, cost)| wanted(name, cost)).collect();
    let mut out = String::from("{\"detectedLabels\":[");
    json::list(&mut out, &labels, |out, (name, cost)| {
        out.push_str("{\"label\":");
        json::string(out, name);
        out.push_str(&format!(",\"cardinality\":{}}}", cost.values));
    });
    out.push_str("]}");
    Ok(Answer::json(out, labels.len()).partial(partial))
}
