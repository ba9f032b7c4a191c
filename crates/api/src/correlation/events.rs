//! `GET /api/correlations`: events, newest first.

use std::sync::Arc;

use correlate::find::{Filter, events};
use serde_json::Value as Json;

use super::{keys, limit, named, range, trace_id};
use crate::Api;
use crate::answer::{Answer, Failure};
use crate::ask::Ask;
use crate::run::blocking;

/// Events in an answer that does not say how many, and at most.
const DEFAULT: usize = 100;
const MOST: usize = 1000;

pub(super) async fn list(api: Arc<Api>, ask: Ask) -> Result<Answer, Failure> {
    let mut filter = Filter {
        tenant: ask.tenant()?,
        range: range(&ask)?,
        trace: ask.get("trace_id").map(trace_id).transpose()?,
        service: ask.get("service").map(str::to_owned),
        keys: keys(&ask, &api.key_names())?,
        limit: limit(&ask, DEFAULT, MOST)?,
        after: ask.get("cursor").map(cursor).transpose()?,
    };
    let state = api.clone();
    blocking(&api, None, move |cancelled| {
        let reader = state.source.snapshot();
        filter.keys = named(&*reader, &filter, &state.key_names(), cancelled)?;
        let page = events(&*reader, &filter, cancelled)?;
        let list: Vec<Json> = (page.events.iter())
            .map(|event| {
                let mut json = event.json();
                json["cursor"] = format!("{}-{}", event.newest(), event.trace).into();
                json
            })
            .collect();
        let rows = list.len();
        Ok(Answer::json(Json::Array(list).to_string(), rows).partial(reader.partial()))
    })
    .await
}

/// The `cursor` of the last event of the page before.
fn cursor(text: &str) -> Result<(i64, model::TraceId), Failure> {
    let parts = text.rsplit_once('-').and_then(|(time, trace)| Some((time.parse().ok()?, trace.parse().ok()?)));
    parts.ok_or_else(|| Failure::BadData(format!("invalid cursor {text:?}: it is that of an event of the page before")))
}
