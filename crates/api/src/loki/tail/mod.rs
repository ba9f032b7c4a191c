//! `/loki/api/v1/tail`: lines as they arrive, over a WebSocket.
//!
//! One task follows the store's log and decodes each request once, for all clients ([`hub`]); each client has a queue of its own,
//! bounded in lines and bytes. A client that does not keep up loses lines and is told of which streams; nobody else is disturbed.

mod client;
mod frame;
mod hub;

use std::sync::Arc;
use std::time::Duration;

use axum::extract::ws::WebSocketUpgrade;
use axum::extract::{FromRequestParts, Request};
use axum::response::{IntoResponse, Response};
use logql::{Expr, LogQuery};

pub(crate) use hub::Tails;

use super::query::categorizes;
use super::{HOUR_NS, bound, positive};
use crate::answer::Failure;
use crate::ask::Ask;
use crate::go::atoi;
use crate::{Api, Face};
use client::Client;

/// Longest `delay_for`, seconds.
const MAX_DELAY: u64 = 5;

/// The shapes of the frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// `/loki/api/v1/tail`, all labels in one set.
    Flat,
    /// The same, labels by their origin.
    Categorized,
    /// `/api/prom/tail`.
    Legacy,
}

/// What a client asks for.
#[derive(Debug)]
pub(super) struct Asked {
    query: LogQuery,
    start: i64,
    limit: usize,
    delay: Duration,
    shape: Shape,
}

fn asked(api: &Api, ask: &Ask, legacy: bool) -> Result<Asked, Failure> {
    let query = match logql::parse(ask.get("query").unwrap_or("")).map_err(|e| Failure::BadData(e.to_string()))? {
        Expr::Log(query) => query,
        _ => return Err(Failure::BadData("only log queries can be tailed".to_owned())),
    };
    let delay = ask.get("delay_for").map(atoi).transpose().map_err(Failure::BadData)?.unwrap_or(0);
    let delay = u64::try_from(delay).map_err(|_| Failure::BadData("delay_for must not be negative".to_owned()))?;
    if delay > MAX_DELAY {
        return Err(Failure::BadData(format!("delay_for can't be greater than {MAX_DELAY}")));
    }
    let shape = match legacy {
        true => Shape::Legacy,
        false if categorizes(ask) => Shape::Categorized,
        false => Shape::Flat,
    };
    let start = bound(ask, "start")?.unwrap_or(ask.now_ns - HOUR_NS);
    let limit = positive(ask, "limit", 100)?.min(api.settings.max_entries);
    Ok(Asked { query, start, limit, delay: Duration::from_secs(delay), shape })
}

pub(super) async fn tail(api: Arc<Api>, request: Request) -> Response {
    open(api, request, false).await
}

pub(super) async fn legacy(api: Arc<Api>, request: Request) -> Response {
    open(api, request, true).await
}

async fn open(api: Arc<Api>, request: Request, legacy: bool) -> Response {
    let (mut parts, body) = request.into_parts();
    let upgrade = WebSocketUpgrade::from_request_parts(&mut parts, &()).await;
    let ask = match Ask::read(Request::from_parts(parts, body)).await {
        Ok(ask) => ask,
        Err(failure) => return Face::Loki.fail(failure),
    };
    let asked = asked(&api, &ask, legacy).and_then(|asked| Ok((asked, ask.tenant()?)));
    let (asked, tenant) = match asked {
        Ok(asked) => asked,
        Err(failure) => return Face::Loki.fail(failure),
    };
    // What is wrong with the query is said in any case; then it must be a WebSocket.
    let upgrade = match upgrade {
        Ok(upgrade) => upgrade,
        Err(rejection) => return rejection.into_response(),
    };
    let client = match Client::new(tenant, &asked.query, api.tails.queued.clone()) {
        Ok(client) => client,
        Err(e) => return Face::Loki.fail(e.into()),
    };
    // From here on the client's lines are kept for it.
    let joined = match api.tails.join(&api, client) {
        Ok(joined) => joined,
        Err(failure) => return Face::Loki.fail(failure),
    };
    // Clients send nothing but control frames.
    let upgrade = upgrade.max_message_size(64 << 10).max_frame_size(64 << 10).write_buffer_size(0);
    upgrade.on_upgrade(move |socket| async move { client::run(&api, joined, asked, socket).await })
}
