//! `/loki/api/v1/delete`: deletion requests, which here take effect at once.

use std::sync::Arc;

use http::Method;
use model::TimeRange;
use serde_json::json;
use store::{Deletion, Doomed};
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
    let which = logql::parse_deletion(query).map_err(|e| Failure::BadData(format!("invalid query: {e}")))?;
    let start = time(&ask, "start")?.ok_or_else(|| bad("start time not set"))?;
    let end = time(&ask, "end")?.unwrap_or(ask.now_ns);
    // It would make smaller steps of a long deletion, of which there is no need here.
    duration(&ask, "max_interval")?;
    if end > ask.now_ns {
        return Err(bad("deletes in the future are not allowed"));
    }
    if start > end {
        return Err(bad("start time can't be greater than end time"));
    }
    let range = TimeRange::new(start, end.saturating_add(1));
    let deletion = Deletion { tenant: ask.tenant()?, range, doomed: Doomed::Lines(which), words: query.to_owned() };
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
                    "request_id": format!("{:08x}", t.sequence),
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

/// A deletion took effect before it was acknowledged, so that it cannot be cancelled: Loki's words for that.
async fn cancel(api: Arc<Api>, ask: Ask) -> Result<Answer, Failure> {
    let id = ask.get("request_id").ok_or_else(|| Failure::BadData("request_id not set".to_owned()))?.to_owned();
    let (tenant, source) = (ask.tenant()?, api.source.clone());
    blocking(&api, None, move |_| {
        let of = |t: &store::Tombstone| t.signal() == Signal::Logs && format!("{:08x}", t.sequence) == id;
        match source.snapshot().tombstones(&tenant).iter().any(|t| of(t)) {
            false => Err(Failure::NotFound("could not find delete request with given id".to_owned())),
            true => {
                let why = "deletion of request which is in process or already processed is not allowed: \
                           a deletion takes effect before it is answered, and force does not bring its lines back";
                Err(Failure::BadData(why.to_owned()))
            }
        }
    })
    .await
}
