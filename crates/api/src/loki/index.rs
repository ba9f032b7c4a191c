//! How much there is: `index/stats`, `index/shards`, `index/volume`, `index/volume_range`, and what labels cost.

use std::sync::Arc;

use logql::{LabelCost, StreamStats, Tally, Volume, VolumeBy};
use model::TimeRange;
use store::{LabelMatcher, MatchOp};

use super::query::{Took, check_steps, envelope, question, step};
use super::{matchers, range};
use crate::answer::{Answer, Failure};
use crate::ask::Ask;
use crate::go::atoi;
use crate::run::blocking;
use crate::{Api, json};

/// Volumes of an answer where the request does not say.
const LIMIT: usize = 100;

/// Streams, lines and bytes that a query would read; a stream counts as one chunk.
pub(super) async fn stats(api: Arc<Api>, ask: Ask) -> Result<Answer, Failure> {
    let (StreamStats { streams, entries, bytes }, _, partial) = counted(&api, &ask).await?;
    let body = format!("{{\"streams\":{streams},\"chunks\":{streams},\"entries\":{entries},\"bytes\":{bytes}}}");
    Ok(Answer::json(body, 1).partial(partial))
}

/// How a query would be cut by the streams' hashes: not at all, since all cores work on each one.
pub(super) async fn shards(api: Arc<Api>, ask: Ask) -> Result<Answer, Failure> {
    let target = ask.get("targetBytesPerShard").map_or(Ok(0), logql::parse_bytes).map_err(Failure::BadData)?;
    if target == 0 {
        return Err(Failure::BadData("targetBytesPerShard must be a positive value".to_owned()));
    }
    let took = Took::begin(&ask).run();
    let (StreamStats { streams, entries, bytes }, _, partial) = counted(&api, &ask).await?;
    let body = serde_json::json!({
        "shards": [{
            "bounds": {"min": 0, "max": u64::MAX},
            "stats": {"streams": streams, "chunks": streams, "entries": entries, "bytes": bytes},
        }],
        "statistics": took.stats(1),
    });
    Ok(Answer::json(body.to_string(), 1).partial(partial))
}

type Counted = (StreamStats, Vec<(String, LabelCost)>, Option<String>);

/// The streams of the parameter `query`, and what each label of theirs costs.
pub(super) async fn counted(api: &Arc<Api>, ask: &Ask) -> Result<Counted, Failure> {
    let (range, matchers, tenant) = (range(ask, 1)?, matchers(ask)?, ask.tenant()?);
    let state = api.clone();
    blocking(api, None, move |cancelled| {
        let reader = state.source.snapshot();
        let tally = Tally::default();
        let question = question(&state, &*reader, &tenant, cancelled, &tally);
        let (stats, costs) = logql::stream_stats(&question, &matchers, range)?;
        Ok((stats, costs.into_iter().collect(), reader.partial()))
    })
    .await
}

/// Braid's own, after Prometheus' `status/tsdb`: the labels with the most values, streams and bytes.
pub(super) async fn label_costs(api: Arc<Api>, ask: Ask) -> Result<Answer, Failure> {
    let limit = ask.count("limit", 10)?;
    let (stats, costs, partial) = counted(&api, &ask).await?;
    let mut out = format!(
        "{{\"status\":\"success\",\"data\":{{\"headStats\":{{\"numSeries\":{},\"numLabelPairs\":{},\"numEntries\":{},\"numBytes\":{}}}",
        stats.streams,
        costs.iter().map(|(_, c)| c.values).sum::<usize>(),
        stats.entries,
        stats.bytes
    );
    let lists: [(&str, fn(&LabelCost) -> u64); 3] = [
        ("labelValueCountByLabelName", |c| c.values as u64),
        ("seriesCountByLabelName", |c| c.streams as u64),
        ("memoryInBytesByLabelName", |c| c.bytes),
    ];
    for (name, number) in lists {
        let mut rows: Vec<(&str, u64)> = costs.iter().map(|(label, cost)| (label.as_str(), number(cost))).collect();
        rows.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(b.0)));
        rows.truncate(limit);
        out.push_str(&format!(",\"{name}\":["));
        json::list(&mut out, rows, |out, (label, number)| {
            out.push_str("{\"name\":");
            json::string(out, label);
            out.push_str(&format!(",\"value\":{number}}}"));
        });
        out.push(']');
    }
    out.push_str("}}");
    Ok(Answer::json(out, costs.len()).partial(partial))
}

/// What volumes are asked for.
struct Asked {
    range: TimeRange,
    matchers: Vec<LabelMatcher>,
    by: VolumeBy,
    limit: usize,
}

fn asked(ask: &Ask) -> Result<Asked, Failure> {
    let mut matchers = matchers(ask)?;
    let targets: Vec<String> = ask.get("targetLabels").unwrap_or("").split(',').map(str::trim).map(str::to_owned).collect();
    let targets: Vec<String> = targets.into_iter().filter(|t| !t.is_empty()).collect();
    let names = if !targets.is_empty() {
        for target in &targets {
            // Streams that lack a target are not counted.
            let present = LabelMatcher::new(target, MatchOp::Ne, "");
            matchers.push(present.map_err(|e| Failure::BadData(e.to_string()))?);
        }
        Some(targets)
    } else if matchers.is_empty() {
        None
    } else {
        Some(matchers.iter().map(|m| m.name.clone()).collect())
    };
    let by = match ask.get("aggregateBy").unwrap_or("series") {
        "series" => VolumeBy::Series(names),
        "labels" => VolumeBy::Labels(names),
        _ => return Err(Failure::BadData("invalid aggregation option".to_owned())),
    };
    let limit = match ask.get("limit").map(atoi).transpose().map_err(Failure::BadData)?.unwrap_or(0) {
        0 => LIMIT,
        n => usize::try_from(n).map_err(|_| Failure::BadData("limit must be a positive value".to_owned()))?,
    };
    Ok(Asked { range: range(ask, 1)?, matchers, by, limit })
}

type Volumes = (Vec<Volume>, Took, Option<String>);

async fn volumes(api: &Arc<Api>, ask: &Ask, asked: Asked, step: i64, took: Took) -> Result<Volumes, Failure> {
    let tenant = ask.tenant()?;
    let state = api.clone();
    blocking(api, None, move |cancelled| {
        let mut took = took.run();
        let (reader, tally) = (state.source.snapshot(), Tally::default());
        let question = question(&state, &*reader, &tenant, cancelled, &tally);
        let mut found = logql::volume(&question, &asked.matchers, asked.range, &asked.by, step)?;
        let sum = |v: &Volume| v.bytes.values().sum::<u64>();
        // Of equal ones the first by name.
        found.sort_by(|a, b| sum(b).cmp(&sum(a)).then_with(|| a.labels.cmp(&b.labels)));
        found.truncate(asked.limit);
        took.read(&tally);
        Ok((found, took, reader.partial()))
    })
    .await
}

/// Bytes by label sets or labels, the largest first.
pub(super) async fn volume(api: Arc<Api>, ask: Ask) -> Result<Answer, Failure> {
    let (took, asked) = (Took::begin(&ask), asked(&ask)?);
    let at_ms = asked.range.end.div_euclid(1_000_000);
    let (found, took, partial) = volumes(&api, &ask, asked, 0, took).await?;
    let mut out = String::from("[");
    json::list(&mut out, &found, |out, volume| {
        out.push_str("{\"metric\":");
        json::pairs(out, volume.labels.iter());
        out.push_str(",\"value\":");
        json::point(out, at_ms, volume.bytes.values().sum::<u64>() as f64);
        out.push('}');
    });
    out.push(']');
    Ok(envelope("vector", &out, found.len(), &took, partial))
}

/// The same in steps; each is told at its end.
pub(super) async fn volume_range(api: Arc<Api>, ask: Ask) -> Result<Answer, Failure> {
    let (took, asked) = (Took::begin(&ask), asked(&ask)?);
    let range = asked.range;
    let step = step(&ask, range)?;
    check_steps(range, step)?;
    let (found, took, partial) = volumes(&api, &ask, asked, step, took).await?;
    let mut out = String::from("[");
    json::list(&mut out, &found, |out, volume| {
        out.push_str("{\"metric\":");
        json::pairs(out, volume.labels.iter());
        out.push_str(",\"values\":[");
        json::list(out, &volume.bytes, |out, (start, bytes)| {
            // As in Loki: a millisecond before the next step, the last at the end of the range.
            let end = start.saturating_add(step);
            let end_ms = if end >= range.end { range.end.div_euclid(1_000_000) } else { end.div_euclid(1_000_000) - 1 };
            json::point(out, end_ms, *bytes as f64);
        });
        out.push_str("]}");
    });
    out.push(']');
    Ok(envelope("matrix", &out, found.len(), &took, partial))
}
