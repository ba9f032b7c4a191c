//! Prometheus' TSDB admin API: `delete_series`, `clean_tombstones`, `snapshot`.

use std::sync::Arc;
use std::time::Duration;

use model::TimeRange;
use store::{Deletion, Doomed};

use super::{bad, envelope, selectors, time};
use crate::Api;
use crate::answer::{Answer, Failure};
use crate::ask::Ask;
use crate::run::blocking;

const MS: i64 = 1_000_000;

pub(super) async fn delete_series(api: Arc<Api>, ask: Ask) -> Result<Answer, Failure> {
    let admin = api.admin()?;
    let texts: Vec<&str> = ask.all("match[]").collect();
    if texts.is_empty() {
        return Err(Failure::BadData("no match[] parameter provided".to_owned()));
    }
    let (start, end) = (time(&ask, "start")?, time(&ask, "end")?);
    let selectors = selectors(&ask).map_err(|why| bad("match[]", why))?;
    if let (Some(start), Some(end)) = (start, end)
        && end < start
    {
        return Err(bad("end", "end timestamp must not be before start time"));
    }
    let start = start.map_or(i64::MIN, |ms| ms.saturating_mul(MS));
    // Both ends belong to it.
    let end = end.map_or(i64::MAX, |ms| ms.saturating_add(1).saturating_mul(MS));
    let (range, words) = (TimeRange::new(start, end), texts.join(" "));
    let deletion = Deletion { tenant: ask.tenant()?, range, doomed: Doomed::Series(selectors), words, delay: Duration::ZERO };
    blocking(&api, None, move |_| {
        admin.delete(deletion)?;
        Ok(Answer::nothing())
    })
    .await
}

pub(super) async fn clean_tombstones(api: Arc<Api>, _: Ask) -> Result<Answer, Failure> {
    let admin = api.admin()?;
    blocking(&api, None, move |_| {
        admin.clean()?;
        Ok(Answer::nothing())
    })
    .await
}

pub(super) async fn snapshot(api: Arc<Api>, ask: Ask) -> Result<Answer, Failure> {
    let admin = api.admin()?;
    let skip_head = match ask.get("skip_head") {
        None => false,
        Some("1" | "t" | "T" | "true" | "True" | "TRUE") => true,
        Some("0" | "f" | "F" | "false" | "False" | "FALSE") => false,
        Some(other) => return Err(Failure::BadData(format!("invalid parameter \"skip_head\": {other:?} is no boolean"))),
    };
    blocking(&api, None, move |_| {
        let name = admin.snapshot(skip_head)?;
        Ok(envelope(&serde_json::json!({ "name": name }).to_string(), 1, &[], &[]))
    })
    .await
}
