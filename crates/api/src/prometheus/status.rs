//! What the server is.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::SystemTime;

use serde_json::{Value, json};

use super::{bad, envelope, selectors};
use crate::answer::{Answer, Failure};
use crate::ask::Ask;
use crate::go::{atoi, parse_bool, parse_int};
use crate::run::blocking;
use crate::{About, Api};

/// The Prometheus whose API this is: clients choose their features by it.
const COMPATIBLE: &str = "3.5.0";

fn build() -> Value {
    json!({
        "version": COMPATIBLE,
        "revision": concat!("braid-", env!("CARGO_PKG_VERSION")),
        "branch": "",
        "buildUser": "",
        "buildDate": "",
        "goVersion": "",
    })
}

pub(super) async fn buildinfo(_: Arc<Api>, _: Ask) -> Result<Answer, Failure> {
    Ok(envelope(&build().to_string(), 1, &[], &[]))
}

/// The same as it is.
pub(super) async fn version(_: Arc<Api>, _: Ask) -> Result<Answer, Failure> {
    Ok(Answer { rows: 1, ..Answer::text(build().to_string() + "\n") })
}

/// No rules are evaluated here yet; what asks for some of them is checked all the same.
pub(super) async fn rules(_: Arc<Api>, ask: Ask) -> Result<Answer, Failure> {
    selectors(&ask).map_err(|why| bad("match[]", why))?;
    let kind = ask.get("type").unwrap_or("").to_lowercase();
    if !matches!(kind.as_str(), "" | "alert" | "record") {
        return Err(bad("type", format!("not supported value {kind:?}")));
    }
    if let Some(text) = ask.get("exclude_alerts") {
        parse_bool(&text.to_lowercase())
            .map_err(|why| bad("exclude_alerts", format!("error converting exclude_alerts: {why}")))?;
    }
    match ask.get("group_limit") {
        Some(text) => {
            let wrong = |why| bad("group_limit", format!("group_limit needs to be a valid number: {why}"));
            if parse_int(text).map_err(wrong)? <= 0 {
                return Err(bad("group_limit", "group_limit needs to be greater than 0".to_owned()));
            }
        }
        None if ask.get("group_next_token").is_some() => {
            let why = "group_limit needs to be present in order to paginate over the groups";
            return Err(bad("group_next_token", why.to_owned()));
        }
        None => {}
    }
    Ok(envelope("{\"groups\":[]}", 0, &[], &[]))
}

/// Who knows the process.
fn about(api: &Api) -> Result<&dyn About, Failure> {
    api.about.as_deref().ok_or_else(|| Failure::NotFound("nothing is known of the process".to_owned()))
}

/// The configuration file; empty where there is none.
pub(super) async fn config(api: Arc<Api>, _: Ask) -> Result<Answer, Failure> {
    let data = json!({"yaml": about(&api)?.configuration()});
    Ok(envelope(&data.to_string(), 1, &[], &[]))
}

pub(super) async fn flags(api: Arc<Api>, _: Ask) -> Result<Answer, Failure> {
    let flags: serde_json::Map<String, Value> =
        about(&api)?.flags().into_iter().map(|(name, value)| (name, value.into())).collect();
    Ok(envelope(&Value::from(flags).to_string(), 1, &[], &[]))
}

/// What Prometheus says of Go's runtime is said of this one's threads and memory budget.
pub(super) async fn runtimeinfo(api: Arc<Api>, _: Ask) -> Result<Answer, Failure> {
    let runtime = about(&api)?.runtime();
    let time = |t: SystemTime| jiff::Timestamp::try_from(t).map_or_else(|_| String::new(), |t| t.to_string());
    let data = json!({
        "startTime": time(runtime.start),
        "CWD": runtime.cwd,
        "hostname": runtime.hostname,
        "serverTime": time(SystemTime::now()),
        "reloadConfigSuccess": runtime.reloaded,
        "lastConfigTime": time(runtime.last_reload),
        "corruptionCount": runtime.quarantined,
        "goroutineCount": runtime.threads,
        "GOMAXPROCS": runtime.parallel,
        "GOMEMLIMIT": runtime.memory,
        "GOGC": "",
        "GODEBUG": "",
        "storageRetention": runtime.retention,
    });
    Ok(envelope(&data.to_string(), 1, &[], &[]))
}

pub(super) async fn ready(api: Arc<Api>, _: Ask) -> Result<Answer, Failure> {
    match api.is_ready() {
        true => Ok(Answer::text("Prometheus Server is Ready.\n")),
        false => Err(Failure::Unavailable("Service Unavailable".to_owned())),
    }
}

/// Entries of each list of `status/tsdb`.
const TOP: usize = 10;
/// And at most.
const MOST: usize = 10_000;
/// The series of the last hours stand for Prometheus' head.
const HEAD_MS: i64 = 3 * 3_600_000;

/// What the series of the last three hours cost, by name, label and pair.
pub(super) async fn tsdb(api: Arc<Api>, ask: Ask) -> Result<Answer, Failure> {
    let tenant = ask.tenant()?;
    let limit = match ask.get("limit") {
        None => TOP,
        Some(text) => atoi(text)
            .ok()
            .and_then(|n| usize::try_from(n).ok())
            .filter(|n| *n > 0)
            .ok_or_else(|| Failure::BadData("limit must be a positive number".to_owned()))?,
    };
    if limit > MOST {
        return Err(Failure::BadData(format!("limit must not exceed {MOST}")));
    }
    let now = ask.now_ns.div_euclid(1_000_000);
    let state = api.clone();
    blocking(&api, None, move |_| {
        let reader = state.source.snapshot();
        let first = now.saturating_sub(HEAD_MS);
        let series = reader.series(&tenant, &[], first, now)?;
        let chunks = reader.select(&tenant, &[], first, now)?.runs();
        let mut names: HashMap<&str, u64> = HashMap::new();
        let mut pairs: HashMap<(&str, &str), u64> = HashMap::new();
        for (name, value) in series.iter().flat_map(|labels| labels.iter()) {
            if name == "__name__" {
                *names.entry(value).or_default() += 1;
            }
            *pairs.entry((name, value)).or_default() += 1;
        }
        let mut values: HashMap<&str, (u64, u64)> = HashMap::new();
        for (name, value) in pairs.keys() {
            let (count, bytes) = values.entry(name).or_default();
            *count += 1;
            *bytes += value.len() as u64;
        }
        let data = json!({
            "headStats": {
                "numSeries": series.len(),
                "numLabelPairs": pairs.len(),
                "chunkCount": chunks,
                "minTime": first,
                "maxTime": now,
            },
            "seriesCountByMetricName": top(names, limit, str::to_owned),
            "labelValueCountByLabelName": top(values.iter().map(|(name, (count, _))| (*name, *count)), limit, str::to_owned),
            "memoryInBytesByLabelName": top(values.iter().map(|(name, (_, bytes))| (*name, *bytes)), limit, str::to_owned),
            "seriesCountByLabelValuePair": top(pairs, limit, |(name, value)| format!("{name}={value}")),
        });
        Ok(envelope(&data.to_string(), series.len(), &Vec::from_iter(reader.partial()), &[]))
    })
    .await
}

/// The largest first, equal ones by name.
fn top<K>(counts: impl IntoIterator<Item = (K, u64)>, limit: usize, name: impl Fn(K) -> String) -> Vec<Value> {
    let mut all: Vec<(String, u64)> = counts.into_iter().map(|(k, n)| (name(k), n)).collect();
    all.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    all.truncate(limit);
    all.into_iter().map(|(name, value)| json!({"name": name, "value": value})).collect()
}

/// How far the log has been replayed; records are not counted, only whether any are left.
pub(super) async fn walreplay(api: Arc<Api>, _: Ask) -> Result<Answer, Failure> {
    let replaying = api.source.snapshot().partial().is_some();
    let data = json!({"min": 0, "max": 0, "current": 0, "state": if replaying { "in progress" } else { "done" }});
    Ok(envelope(&data.to_string(), 1, &[], &[]))
}
