//! What streams there are: labels, their values, series, statistics.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use logql::matchers_predicate;
use model::{Labels, Scope};
use store::{Column, Distinct, Field, Order, Predicate, Scan, Table};

use super::range;
use crate::answer::{Answer, Failure};
use crate::ask::Ask;
use crate::run::blocking;
use crate::{Api, json};

/// The streams of the parameter `query`; all where it is empty.
fn streams(ask: &Ask) -> Result<Predicate, Failure> {
    ask.get("query").map_or(Ok(Predicate::True), selector)
}

fn selector(text: &str) -> Result<Predicate, Failure> {
    Ok(matchers_predicate(&logql::parse_matchers(text).map_err(|e| Failure::BadData(e.to_string()))?))
}

fn success(data: &str, rows: usize, partial: Option<String>) -> Answer {
    Answer::json(format!("{{\"status\":\"success\",\"data\":{data}}}"), rows).partial(partial)
}

async fn texts(api: Arc<Api>, ask: Ask, what: Distinct) -> Result<Answer, Failure> {
    let (range, predicate, tenant) = (range(&ask, 6)?, streams(&ask)?, ask.tenant()?);
    let state = api.clone();
    blocking(&api, None, move |_| {
        let reader = state.source.snapshot();
        let found = reader.distinct(&tenant, Table::Logs, range, &predicate, &what, None)?;
        let texts = found.into_iter().flatten().map(|(_, text)| text);
        let texts: Vec<String> = texts.collect();
        Ok(success(&json::strings(&texts), texts.len(), reader.partial()))
    })
    .await
}

pub(super) async fn names(api: Arc<Api>, ask: Ask) -> Result<Answer, Failure> {
    texts(api, ask, Distinct::Keys(Some(Scope::Label))).await
}

pub(super) async fn values(api: Arc<Api>, ask: Ask) -> Result<Answer, Failure> {
    let column = Column::attribute(Scope::Label, ask.path("name"));
    texts(api, ask, Distinct::Values(column)).await
}

pub(super) async fn series(api: Arc<Api>, ask: Ask) -> Result<Answer, Failure> {
    let (range, tenant) = (range(&ask, 6)?, ask.tenant()?);
    // `{}` and nothing at all mean every stream.
    let mut selectors: Vec<Predicate> = ask.all("match").map(selector).collect::<Result<_, _>>()?;
    if selectors.is_empty() {
        selectors.push(Predicate::True);
    }
    let state = api.clone();
    blocking(&api, None, move |_| {
        let reader = state.source.snapshot();
        let mut found = BTreeSet::new();
        for predicate in selectors {
            let sets = reader.distinct(&tenant, Table::Logs, range, &predicate, &Distinct::LabelSets, None)?;
            found.extend(sets.into_iter().map(Labels::from_pairs));
        }
        let mut out = String::from("[");
        json::list(&mut out, &found, json::labels);
        out.push(']');
        Ok(success(&out, found.len(), reader.partial()))
    })
    .await
}

/// How much a query would read: streams, lines and bytes, counted. A stream counts as one chunk.
pub(super) async fn stats(api: Arc<Api>, ask: Ask) -> Result<Answer, Failure> {
    let (range, predicate, tenant) = (range(&ask, 6)?, streams(&ask)?, ask.tenant()?);
    let state = api.clone();
    blocking(&api, None, move |cancelled| {
        let reader = state.source.snapshot();
        let streams = reader.distinct(&tenant, Table::Logs, range, &predicate, &Distinct::LabelSets, None)?.len();
        let projection = vec![Column::Field(Field::Body)];
        let scan = Scan { tenant, table: Table::Logs, range, predicate, projection, order: Order::Any, limit: None };
        let (mut entries, mut bytes) = (0, 0);
        for batch in reader.scan(&scan)? {
            let batch = batch?;
            entries += batch.rows();
            bytes += (0..batch.rows()).map(|row| batch.text(row, Field::Body).len()).sum::<usize>();
            if cancelled.load(Ordering::Relaxed) {
                return Err(Failure::Cancelled);
            }
        }
        let body = format!("{{\"streams\":{streams},\"chunks\":{streams},\"entries\":{entries},\"bytes\":{bytes}}}");
        Ok(Answer::json(body, 1).partial(reader.partial()))
    })
    .await
}
