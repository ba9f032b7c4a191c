//! `/api/v1/query_exemplars`: the exemplars of the series that an expression selects.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{envelope, time};
use crate::answer::{Answer, Failure};
use crate::ask::Ask;
use crate::run::blocking;
use crate::{Api, json};

pub(super) async fn query(api: Arc<Api>, ask: Ask) -> Result<Answer, Failure> {
    let (first_ms, last_ms) = (time(&ask, "start")?.unwrap_or(i64::MIN), time(&ask, "end")?.unwrap_or(i64::MAX));
    if last_ms < first_ms {
        return Err(Failure::BadData("end timestamp must not be before start timestamp".to_owned()));
    }
    let tenant = ask.tenant()?;
    let text = ask.get("query").unwrap_or_default();
    let expr = promql::parse(text).map_err(|e| Failure::BadData(e.to_string()))?;
    if expr.selectors().is_empty() {
        // As in Prometheus: nothing is selected, so there is nothing to say.
        return Ok(Answer::nothing());
    }
    let state = api.clone();
    blocking(&api, None, move |_| {
        let reader = state.source.snapshot();
        // A series that two selectors accept is shown once.
        let mut found = BTreeMap::new();
        for selector in expr.selectors() {
            let series = reader.exemplars(&tenant, &selector.matchers, first_ms, last_ms)?;
            found.extend(series.into_iter().map(|s| (s.labels, s.exemplars)));
        }
        let mut out = String::from("[");
        json::list(&mut out, &found, |out, (labels, exemplars)| {
            out.push_str("{\"seriesLabels\":");
            json::labels(out, labels);
            out.push_str(",\"exemplars\":[");
            json::list(out, exemplars, |out, exemplar| {
                out.push_str("{\"labels\":");
                json::labels(out, &exemplar.labels);
                out.push_str(&format!(",\"value\":\"{}\",\"timestamp\":", promql::number(exemplar.value)));
                json::seconds(out, exemplar.time);
                out.push('}');
            });
            out.push_str("]}");
        });
        out.push(']');
        let rows = found.values().map(Vec::len).sum();
        Ok(envelope(&out, rows, &Vec::from_iter(reader.partial()), &[]))
    })
    .await
}
