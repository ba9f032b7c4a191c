//! `GET /api/logs`: the most recent records, newest first.

use std::sync::Arc;

use model::{Scope, TimeRange};
use serde_json::Value as Json;
use store::{Column, Order, Predicate};

use super::{limit, lines, range};
use crate::Api;
use crate::answer::{Answer, Failure};
use crate::ask::Ask;
use crate::run::blocking;

/// Without `start`, no older than this, nanoseconds.
const RECENT_NS: i64 = 3_600_000_000_000;

pub(super) async fn list(api: Arc<Api>, ask: Ask) -> Result<Answer, Failure> {
    let (mut range, limit, tenant) = (range(&ask)?, limit(&ask, 100, 5000)?, ask.tenant()?);
    if ask.get("start").is_none() {
        range = TimeRange::new(ask.now_ns.min(range.end).saturating_sub(RECENT_NS), range.end);
    }
    let service = ask.get("service").map(str::to_owned);
    let state = api.clone();
    blocking(&api, None, move |cancelled| {
        let predicate = service.map_or(Predicate::True, |s| of_service(&s));
        let reader = state.source.snapshot();
        let lines = lines::scan(&*reader, (&tenant, range), predicate, (Order::NewestFirst, limit), cancelled)?;
        let rows = lines.len();
        let list: Vec<Json> = lines.into_iter().map(|l| l.json).collect();
        Ok(Answer::json(Json::Array(list).to_string(), rows).partial(reader.partial()))
    })
    .await
}

/// Log records of a service, whichever protocol brought them.
pub(super) fn of_service(service: &str) -> Predicate {
    let labels = ["service_name", "service", "job"].map(|l| Column::attribute(Scope::Label, l));
    let columns = [Column::attribute(Scope::Resource, "service.name")].into_iter().chain(labels);
    Predicate::Or(columns.map(|column| Predicate::eq(column, service)).collect())
}
