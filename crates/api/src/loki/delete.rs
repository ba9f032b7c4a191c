//! `/loki/api/v1/delete`: requests to delete lines. What they name is hidden at once and can be cancelled until the cancel
//! period is over.

use std::sync::Arc;

use http::Method;
use logql::Deletions;
use model::TimeRange;
use serde_json::json;
use store::{Deletion, Doomed, Tombstone};
use wire::Signal;

use super::{duration, time};
use crate::Api;
use crate::answer::{Answer, Failure};
use crate::ask::Ask;
use crate::run::blocking;

pub(super) async fn delete(api: Arc<Api>, ask: Ask) -> Result<Answer, Failure> {
    match ask.method {
        Method::GET | Method::HEAD => list(api, ask).await,
        Method::DELETE => cancel(api, ask).await,
        _ => order(api, ask).await,
    }
}

async fn order(api: Arc<Api>, ask: Ask) -> Result<Answer, Failure> {
    let bad = |why: &str| Failure::BadData(why.to_owned());
    let Some(admin) = api.admin.clone() else { return Err(Failure::Unavailable("deletion is not available".to_owned())) };
    let query = ask.get("query").ok_or_else(|| bad("query not set"))?;
    let reader = Deletions { discover_levels: api.settings.discover_levels };
    let which = reader.parse(query).map_err(|e| Failure::BadData(format!("invalid query: {e}")))?;
    let start = time(&ask, "start")?.ok_or_else(|| bad("start time not set"))?;
    let end = time(&ask, "end")?.unwrap_or(ask.now_ns);
    // It would make smaller steps of a long deletion, of which there is no need here.
    if duration(&ask, "max_interval").map_or(true, |step| step.is_some_and(|step| step < 1_000_000_000)) {
        return Err(bad("invalid max_interval: valid time units are 's', 'm', 'h'"));
    }
    if end > ask.now_ns {
        return Err(bad("deletes in the future are not allowed"));
    }
    if start > end {
        return Err(bad("start time can't be greater than end time"));
    }
    let range = TimeRange::new(start, end.saturating_add(1));
    let (tenant, words, delay) = (ask.tenant()?, query.to_owned(), api.settings.delete_cancel_period);
    let deletion = Deletion { tenant, range, doomed: Doomed::Lines(which), words, delay };
    blocking(&api, None, move |_| {
        admin.delete(deletion)?;
        Ok(Answer::nothing())
    })
    .await
}

async fn list(api: Arc<Api>, ask: Ask) -> Result<Answer, Failure> {
    let (tenant, source) = (ask.tenant()?, api.source.clone());
    blocking(&api, None, move |_| {
        let seconds = |ns: i64| ns.div_euclid(1_000_000) as f64 / 1e3;
        let all: Vec<_> = source
            .snapshot()
            .tombstones(&tenant)
            .iter()
            .filter(|t| t.signal() == Signal::Logs)
            .map(|t| {
                json!({
                    "request_id": request_id(t),
                    "start_time": seconds(t.start),
                    "end_time": seconds(t.end),
                    "query": t.words,
                    "status": if t.cleaned > 0 { "processed" } else { "received" },
                    "created_at": seconds(t.created),
                })
            })
            .collect();
        Ok(Answer::json(serde_json::Value::from(all.clone()).to_string(), all.len()))
    })
    .await
}

fn request_id(tombstone: &Tombstone) -> String {
    format!("{:08x}", tombstone.id())
}

/// Loki's words for what cannot be cancelled. Its `force` cancels what is left of a request of which it has carried out a part, and is
/// passed over for all others. Here every request is carried out as a whole, so that there are only others.
async fn cancel(api: Arc<Api>, ask: Ask) -> Result<Answer, Failure> {
    let id = ask.get("request_id").ok_or_else(|| Failure::BadData("request_id not set".to_owned()))?.to_owned();
    let Some(admin) = api.admin.clone() else { return Err(Failure::Unavailable("deletion is not available".to_owned())) };
    let (tenant, source) = (ask.tenant()?, api.source.clone());
    blocking(&api, None, move |_| {
        let of = |t: &&Arc<Tombstone>| t.signal() == Signal::Logs && request_id(t) == id;
        let tombstones = source.snapshot().tombstones(&tenant);
        let Some(request) = tombstones.iter().find(of) else {
            return Err(Failure::NotFound("could not find delete request with given id".to_owned()));
        };
        match request.due > 0 && admin.cancel(&tenant, request.sequence)? {
            true => Ok(Answer::nothing()),
            false => {
                Err(Failure::BadData("deletion of request which is in process or already processed is not allowed".to_owned()))
            }
        }
    })
    .await
}
