//! Loki's first API, `/api/prom/…`: label sets as text, times as RFC 3339.

use std::collections::BTreeMap;
use std::sync::Arc;

use logql::{Expr, LabelSet, Line, LineFilter, LineOp, LineTerm, Stage};

use super::query::{Took, asked_lines, found_lines, parse};
use super::{labels, range};
use crate::answer::{Answer, Failure};
use crate::ask::Ask;
use crate::{Api, json};

/// `{"streams":[{"labels":"{…}","entries":[{"ts":"…","line":"…"}]}]}`.
pub(super) async fn query(api: Arc<Api>, ask: Ask) -> Result<Answer, Failure> {
    let Expr::Log(mut log) = parse(&ask)? else {
        return Err(Failure::BadData("legacy endpoints only support streams result type".to_owned()));
    };
    if let Some(pattern) = ask.get("regexp") {
        // Its own parameter once, a line filter today; the pattern is checked as one.
        let term = LineTerm { text: pattern.to_owned(), ip: false };
        log.stages.insert(0, Stage::LineFilters(vec![LineFilter { op: LineOp::Matches, terms: vec![term] }]));
    }
    let asked = asked_lines(&ask, range(&ask, 1)?)?;
    let (lines, _, partial) = found_lines(&api, &ask, log, asked, Took::begin(&ask)).await?;
    let body = format!("{{\"streams\":{},\"stats\":{{}}}}", streams_json(&lines));
    Ok(Answer::json(body, lines.len()).partial(partial))
}

/// The streams of the legacy shape.
pub(super) fn streams_json(lines: &[Line]) -> String {
    let mut streams: BTreeMap<LabelSet, Vec<&Line>> = BTreeMap::new();
    for line in lines {
        streams.entry(line.labels()).or_default().push(line);
    }
    let mut out = String::from("[");
    json::list(&mut out, streams, |out, (labels, lines)| {
        out.push_str("{\"labels\":");
        json::string(out, &labels.to_string());
        out.push_str(",\"entries\":[");
        json::list(out, lines, |out, line| {
            let time =
                jiff::Timestamp::from_nanosecond(line.time.into()).map_or_else(|_| line.time.to_string(), |t| t.to_string());
            out.push_str(&format!("{{\"ts\":\"{time}\",\"line\":"));
            json::string(out, &line.text);
            out.push('}');
        });
        out.push_str("]}");
    });
    out.push(']');
    out
}

/// `{"values":["a"]}`.
pub(super) async fn names(api: Arc<Api>, ask: Ask) -> Result<Answer, Failure> {
    values_of(labels::found_names(&api, &ask).await?)
}

pub(super) async fn values(api: Arc<Api>, ask: Ask) -> Result<Answer, Failure> {
    values_of(labels::found_values(&api, &ask).await?)
}

fn values_of((texts, partial): (Vec<String>, Option<String>)) -> Result<Answer, Failure> {
    Ok(Answer::json(format!("{{\"values\":{}}}", json::strings(&texts)), texts.len()).partial(partial))
}
