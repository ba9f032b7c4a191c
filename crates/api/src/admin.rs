//! What changes kept data for good: deletions in Braid's own words, and what all of them share.

use std::sync::Arc;
use std::time::Duration;

use axum::routing::MethodFilter;
use model::{Tenant, TimeRange, TraceId};
use serde_json::json;
use store::{Deletion, Doomed, Field, IdSet, Predicate, StoreError, Tombstone};
use traceql::{Plan, Question};

use crate::Api;
use crate::answer::{Answer, Failure};
use crate::ask::Ask;
use crate::run::blocking;
use crate::serve::Routes;
use crate::tempo;

/// Traces that one deletion names; a query that finds more is answered by several deletions.
const TRACES: usize = 10_000;
/// Deletions that one request may become.
const ROUNDS: usize = 100;

/// Changes what is kept. All calls block.
pub trait Admin: Send + Sync {
    /// Deletes rows; see [`store::Writer::delete`].
    ///
    /// # Errors
    /// As there.
    fn delete(&self, deletion: Deletion) -> Result<Arc<Tombstone>, StoreError>;

    /// Cancels a deletion that waits; see [`store::Writer::cancel`].
    ///
    /// # Errors
    /// As there.
    fn cancel(&self, tenant: &Tenant, id: u64) -> Result<bool, StoreError>;

    /// Removes the bytes of what was deleted, as far as nobody reads them.
    ///
    /// # Errors
    /// IO.
    fn clean(&self) -> Result<(), StoreError>;

    /// Makes a copy of the data directory beside the data, without what is not in segments yet where `skip_head` says so;
    /// returns its name.
    ///
    /// # Errors
    /// IO.
    fn snapshot(&self, skip_head: bool) -> Result<String, StoreError>;
}

impl Api {
    /// The way to change data, where that is allowed.
    pub(crate) fn admin(&self) -> Result<Arc<dyn Admin>, Failure> {
        match &self.admin {
            Some(admin) if self.settings.admin => Ok(admin.clone()),
            _ => Err(Failure::Unavailable("admin APIs disabled".to_owned())),
        }
    }
}

pub(crate) fn routes(routes: Routes) -> Routes {
    let orders = MethodFilter::POST.or(MethodFilter::PUT);
    routes.on(orders, "/api/admin/delete/traces", delete_traces).route("/api/admin/deletions", list)
}

/// A trace by `traceID`, or all traces in which `q` finds a spanset between `start` and `end`. Whole traces go.
async fn delete_traces(api: Arc<Api>, ask: Ask) -> Result<Answer, Failure> {
    let admin = api.admin()?;
    let (tenant, range) = (ask.tenant()?, tempo::range(&ask)?);
    let words = ask.get("q").or(ask.get("traceID")).unwrap_or("").to_owned();
    let deletion = move |tenant: &Tenant, ids: Vec<Vec<u8>>| {
        let which = Predicate::OneOf { field: Field::TraceId, ids: Arc::new(IdSet::new(ids)) };
        let (tenant, words) = (tenant.clone(), words.clone());
        Deletion { tenant, range: TimeRange::ALL, doomed: Doomed::Spans(which), words, delay: Duration::ZERO }
    };
    if let Some(text) = ask.get("traceID") {
        let id: TraceId = text.parse().map_err(|_| Failure::BadData(format!("invalid traceID: {text:?}")))?;
        return blocking(&api, None, move |_| {
            admin.delete(deletion(&tenant, vec![id.0.to_vec()]))?;
            Ok(Answer::json(json!({"traces": 1}).to_string(), 1))
        })
        .await;
    }
    let query = ask.get("q").ok_or_else(|| Failure::BadData("neither q nor traceID is given".to_owned()))?;
    let parsed = traceql::parse(query).map_err(|e| Failure::BadData(format!("invalid TraceQL query: {e}")))?;
    let plan = Plan::new(&parsed).ok_or_else(|| Failure::BadData("a metrics query names no traces".to_owned()))?;
    let (source, memory) = (api.source.clone(), api.settings.max_query_memory);
    blocking(&api, None, move |cancelled| {
        let mut traces = 0;
        for _ in 0..ROUNDS {
            let reader = source.snapshot();
            let question =
                Question { reader: &*reader, tenant: &tenant, range, limit: TRACES, spans_per_set: 1, memory, cancelled };
            let found = traceql::search(&question, &plan)?;
            if let Some(why) = found.left_out() {
                return Err(Failure::Execution(format!("{why}: delete it by its id")));
            }
            let found = found.traces;
            if found.is_empty() {
                return Ok(Answer::json(json!({"traces": traces}).to_string(), traces));
            }
            traces += found.len();
            admin.delete(deletion(&tenant, found.iter().map(|t| t.trace_id.0.to_vec()).collect()))?;
        }
        Err(Failure::Execution(format!("{traces} traces are deleted and there are more: ask again")))
    })
    .await
}

/// The tenant's deletions, the oldest first.
async fn list(api: Arc<Api>, ask: Ask) -> Result<Answer, Failure> {
    let (tenant, source) = (ask.tenant()?, api.source.clone());
    blocking(&api, None, move |_| {
        let all: Vec<_> = source
            .snapshot()
            .tombstones(&tenant)
            .iter()
            .map(|t| {
                json!({
                    "id": t.id().to_string(),
                    "signal": t.signal().as_str(),
                    "query": t.words,
                    "start": t.start.to_string(),
                    "end": t.end.to_string(),
                    "created": t.created.to_string(),
                    "status": match (t.due, t.cleaned) {
                        (0, 0) => "in force",
                        (0, _) => "cleaned",
                        _ => "waiting",
                    },
                    "due": (t.due > 0).then(|| t.due.to_string()),
                })
            })
            .collect();
        Ok(Answer::json(json!({ "deletions": all }).to_string(), all.len()))
    })
    .await
}
