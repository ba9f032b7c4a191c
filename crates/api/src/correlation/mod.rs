//! Braid's own API about what belongs together: events, the lines of a trace, one question over all signals, entities.

mod entities;
mod events;
mod lines;
mod question;
mod recent;

use std::sync::atomic::AtomicBool;

use correlate::find::{Filter, events};
use model::{TimeRange, TraceId};
use store::Reader;

use crate::answer::Failure;
use crate::ask::Ask;
use crate::serve::Routes;
use crate::time::loki_ns;

pub(crate) fn routes(routes: Routes) -> Routes {
    routes
        .route("/api/correlations", events::list)
        .route("/api/correlate", question::answer)
        .route("/api/entities", entities::list)
        .route("/api/logs", recent::list)
        .route("/api/traces/{id}/logs", lines::of_trace)
}

/// `start` to `end` (RFC 3339, or seconds or nanoseconds since the Unix epoch); open where not given.
fn range(ask: &Ask) -> Result<TimeRange, Failure> {
    let time = |name: &str| {
        let Some(text) = ask.get(name) else { return Ok(None) };
        loki_ns(text).map(Some).map_err(|why| Failure::BadData(format!("invalid {name}: {why}")))
    };
    let (start, end) = (time("start")?.unwrap_or(i64::MIN), time("end")?.map_or(i64::MAX, |e| e.saturating_add(1)));
    if end <= start {
        return Err(Failure::BadData("invalid start and end: the end is before the start".to_owned()));
    }
    Ok(TimeRange::new(start, end))
}

fn trace_id(text: &str) -> Result<TraceId, Failure> {
    let id: TraceId = text.parse().map_err(|e| Failure::BadData(format!("invalid trace id {text:?}: {e}")))?;
    if id.is_none() { Err(Failure::BadData("invalid trace id: all zeros".to_owned())) } else { Ok(id) }
}

/// A count of at least 1 and at most `most`.
fn limit(ask: &Ask, default: usize, most: usize) -> Result<usize, Failure> {
    match ask.count("limit", default)? {
        0 => Err(Failure::BadData("invalid limit: must be a positive number".to_owned())),
        n => Ok(n.min(most)),
    }
}

/// `name:value` or `name=value`, or a value alone, whose name is empty until it is [`named`].
fn pair(text: &str) -> Result<(String, String), Failure> {
    match text.split_once([':', '=']) {
        None => Ok((String::new(), text.to_owned())),
        Some((key, value)) if !key.is_empty() && !value.is_empty() => Ok((key.to_owned(), value.to_owned())),
        Some(_) => Err(Failure::BadData(format!("invalid key: {text:?} is not of the form name:value"))),
    }
}

/// Names the keys of which only a value is given: by the first of the known names under which an event has it.
fn named(
    reader: &dyn Reader,
    filter: &Filter,
    known: &[String],
    cancelled: &AtomicBool,
) -> Result<Vec<(String, String)>, Failure> {
    let mut keys = filter.keys.clone();
    for (name, value) in keys.iter_mut().filter(|(name, _)| name.is_empty()) {
        for candidate in known {
            let one = vec![(candidate.clone(), value.clone())];
            let filter = Filter { trace: None, service: None, keys: one, limit: 1, after: None, ..filter.clone() };
            if !events(reader, &filter, cancelled)?.events.is_empty() {
                name.clone_from(candidate);
                break;
            }
        }
        if name.is_empty() {
            // Nothing has it under any name.
            *name = known.first().cloned().unwrap_or_else(|| "key".to_owned());
        }
    }
    Ok(keys)
}

/// The business keys that are asked for: `key=name:value`, `key=value`, and each known key by its own name.
fn keys(ask: &Ask, known: &[String]) -> Result<Vec<(String, String)>, Failure> {
    let mut keys = ask.all("key").filter(|v| !v.is_empty()).map(pair).collect::<Result<Vec<_>, _>>()?;
    keys.extend(known.iter().filter_map(|name| Some((name.clone(), ask.get(name)?.to_owned()))));
    Ok(keys)
}
