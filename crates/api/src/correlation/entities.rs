//! `GET /api/entities`: services and their instances, whichever protocol told of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use correlate::entity::{Overrides, of_labels};
use correlate::time_text;
use serde_json::{Value as Json, json};

use crate::Api;
use crate::answer::{Answer, Failure};
use crate::ask::Ask;
use crate::run::blocking;

/// How far back series and streams are looked at, milliseconds.
const BACK_MS: i64 = 3_600_000;
/// Series that are looked at.
const MAX_SERIES: usize = 100_000;

#[derive(Default)]
struct Instance {
    from: Vec<&'static str>,
    first: Option<i64>,
    last: Option<i64>,
}

pub(super) async fn list(api: Arc<Api>, ask: Ask) -> Result<Answer, Failure> {
    let (tenant, wanted, now) = (ask.tenant()?, ask.get("service").map(str::to_owned), ask.now_ns);
    let state = api.clone();
    blocking(&api, None, move |_| {
        let mut services: BTreeMap<String, BTreeMap<String, Instance>> = BTreeMap::new();
        let mut note = |service: &str, instance: &str, from: &'static str, times: Option<(i64, i64)>| {
            if service.is_empty() || wanted.as_ref().is_some_and(|w| w != service) {
                return;
            }
            let entry = services.entry(service.to_owned()).or_default().entry(instance.to_owned()).or_default();
            if !entry.from.contains(&from) {
                entry.from.push(from);
            }
            if let Some((first, last)) = times {
                entry.first = Some(entry.first.map_or(first, |f| f.min(first)));
                entry.last = Some(entry.last.map_or(last, |l| l.max(last)));
            }
        };
        let none = Overrides::new();
        let overrides = state.correlator.as_ref().map_or(&none, |c| &c.settings().entities);
        if let Some(correlator) = &state.correlator {
            for seen in correlator.registry().lock().of(&tenant) {
                let from = if seen.from == "labels" { "log stream" } else { "otlp resource" };
                note(&seen.entity.service, &seen.entity.instance, from, Some((seen.first, seen.last)));
            }
        }
        let reader = state.source.snapshot();
        let last = now / 1_000_000;
        for labels in reader.series(&tenant, &[], last - BACK_MS, last)?.into_iter().take(MAX_SERIES) {
            let pairs: Vec<(&str, &str)> = labels.iter().collect();
            let entity = of_labels(&pairs, overrides);
            note(&entity.service, &entity.instance, "series", None);
        }
        let rows = services.len();
        let list: Vec<Json> = (services.into_iter())
            .map(|(service, instances)| {
                let instances: Vec<Json> = (instances.into_iter())
                    .map(|(instance, found)| {
                        json!({
                            "instance": instance,
                            "from": found.from,
                            "first": found.first.map(time_text),
                            "last": found.last.map(time_text),
                        })
                    })
                    .collect();
                json!({"service": service, "instances": instances})
            })
            .collect();
        Ok(Answer::json(json!({"entities": list}).to_string(), rows).partial(reader.partial()))
    })
    .await
}
