//! What streams there are: labels, their values, series.

use std::collections::BTreeSet;
use std::sync::Arc;

use logql::matchers_predicate;
use model::Scope;
use store::{Column, Distinct, Predicate, Table};

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

type Texts = (Vec<String>, Option<String>);

async fn texts(api: &Arc<Api>, ask: &Ask, what: Distinct) -> Result<Texts, Failure> {
    let (range, predicate, tenant) = (range(ask, 6)?, streams(ask)?, ask.tenant()?);
    let state = api.clone();
    blocking(api, None, move |_| {
        let reader = state.source.snapshot();
        let found = reader.distinct(&tenant, Table::Logs, range, &predicate, &what, None)?;
        Ok((found.into_iter().flatten().map(|(_, text)| text).collect(), reader.partial()))
    })
    .await
}

pub(super) async fn found_names(api: &Arc<Api>, ask: &Ask) -> Result<Texts, Failure> {
    texts(api, ask, Distinct::Keys(Some(Scope::Label))).await
}

pub(super) async fn found_values(api: &Arc<Api>, ask: &Ask) -> Result<Texts, Failure> {
    texts(api, ask, Distinct::Values(Column::attribute(Scope::Label, ask.path("name")))).await
}

pub(super) async fn names(api: Arc<Api>, ask: Ask) -> Result<Answer, Failure> {
    let (texts, partial) = found_names(&api, &ask).await?;
    Ok(success(&json::strings(&texts), texts.len(), partial))
}

pub(super) async fn values(api: Arc<Api>, ask: Ask) -> Result<Answer, Failure> {
    let (texts, partial) = found_values(&api, &ask).await?;
    Ok(success(&json::strings(&texts), texts.len(), partial))
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
        let distinct =
            |predicate: &Predicate| reader.distinct(&tenant, Table::Logs, range, predicate, &Distinct::LabelSets, None);
        let mut found = match selectors.split_first() {
            Some((first, _)) => distinct(first)?,
            None => Vec::new(),
        };
        if selectors.len() > 1 {
            let mut all: BTreeSet<_> = found.into_iter().collect();
            for predicate in &selectors[1..] {
                all.extend(distinct(predicate)?);
            }
            found = all.into_iter().collect();
        }
        let rows = found.len();
        // There may be a million of them: one buffer that fits, and each set goes as it is written.
        let size = |set: &Vec<(String, String)>| 3 + set.iter().map(|(n, v)| n.len() + v.len() + 6).sum::<usize>();
        let mut out = String::with_capacity(64 + found.iter().map(size).sum::<usize>());
        out.push_str("{\"status\":\"success\",\"data\":[");
        json::list(&mut out, found, |out, set| json::pairs(out, set.iter().map(|(n, v)| (n.as_str(), v.as_str()))));
        out.push_str("]}");
        Ok(Answer::json(out, rows).partial(reader.partial()))
    })
    .await
}
