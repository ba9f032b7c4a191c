//! `/federate`: the newest sample of each selected series, as a target of another Prometheus exposes it
//! (`prometheus/web/federate.go`).

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;

use model::Labels;

use crate::Api;
use crate::answer::{Answer, Failure, Limit};
use crate::ask::Ask;
use crate::run::blocking;

/// Every series says which instance it is of, if only that of none: the scraper would put its own label there else.
const INSTANCE: &str = "instance";
const NAME: &str = "__name__";

pub(super) async fn federate(api: Arc<Api>, ask: Ask) -> Result<Answer, Failure> {
    let tenant = ask.tenant()?;
    let selectors = ask.all("match").map(|text| promql::parse_selector(text).map_err(|e| Failure::BadData(e.to_string())));
    let selectors = selectors.collect::<Result<Vec<_>, _>>()?;
    let now = ask.now_ns.div_euclid(1_000_000);
    let state = api.clone();
    blocking(&api, None, move |cancelled| {
        let reader = state.source.snapshot();
        let from = now.saturating_sub(state.settings.lookback_ms) + 1;
        let mut newest: BTreeMap<Arc<Labels>, (i64, f64)> = BTreeMap::new();
        let mut read = 0;
        for matchers in &selectors {
            for series in reader.samples(&tenant, matchers, from, now)? {
                if cancelled.load(std::sync::atomic::Ordering::Relaxed) {
                    return Err(Failure::Cancelled);
                }
                let series = series?;
                read += series.times.len();
                if read > state.settings.max_samples {
                    return Err(Failure::Limit(
                        Limit::Samples,
                        "query processing would load too many samples into memory".to_owned(),
                    ));
                }
                let last = series.times.last().copied().zip(series.values.last().copied());
                // The text format cannot say a native histogram: a series whose newest sample is one is left out.
                let histogram = series.histograms.last().map_or(i64::MIN, |h| h.time);
                if let Some((time, value)) = last
                    && time > histogram
                    && !model::is_stale(value)
                {
                    newest.insert(series.labels, (time, value));
                }
            }
        }
        let mut by_name: Vec<_> =
            newest.iter().filter_map(|(labels, sample)| Some((labels.get(NAME)?, labels, sample))).collect();
        by_name.sort_by_key(|(name, ..)| *name);
        let mut out = String::new();
        let mut family = "";
        for (name, labels, (time, value)) in by_name {
            if family != name {
                family = name;
                let _ = writeln!(out, "# TYPE {} untyped", quoted(name));
            }
            line(&mut out, name, labels, &state.settings.external_labels);
            let _ = writeln!(out, " {} {time}", promql::number(*value));
        }
        Ok(Answer {
            content_type: "text/plain; version=0.0.4; charset=utf-8; escaping=allow-utf-8",
            rows: newest.len(),
            ..Answer::text(out)
        })
    })
    .await
}

/// Whether a metric's or label's name needs no quotes.
fn classic(name: &str, colons: bool) -> bool {
    name.bytes()
        .enumerate()
        .all(|(i, b)| b.is_ascii_alphabetic() || b == b'_' || (colons && b == b':') || (i > 0 && b.is_ascii_digit()))
        && !name.is_empty()
}

fn quoted(name: &str) -> String {
    if classic(name, true) { name.to_owned() } else { format!("\"{}\"", escaped(name)) }
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

/// `name{label="value"}`, or `{"a name",label="value"}`, with the external labels that it has not itself.
fn line(out: &mut String, name: &str, labels: &Labels, external: &[(String, String)]) {
    let mut pairs: Vec<String> = Vec::with_capacity(labels.len() + 1);
    if classic(name, true) {
        out.push_str(name);
    } else {
        pairs.push(quoted(name));
    }
    let mut own: Vec<(&str, &str)> = labels.iter().filter(|(n, _)| *n != NAME).collect();
    let external = external.iter().map(|(n, v)| (n.as_str(), v.as_str()));
    let none = Some((INSTANCE, "")).filter(|_| external.clone().all(|(n, _)| n != INSTANCE));
    let mut missing: Vec<_> = external.chain(none).filter(|(n, _)| labels.get(n).is_none()).collect();
    missing.sort_unstable();
    own.extend(missing);
    pairs.extend(own.into_iter().map(|(n, v)| {
        let name = if classic(n, false) { n.to_owned() } else { format!("\"{}\"", escaped(n)) };
        format!("{name}=\"{}\"", escaped(v))
    }));
    let _ = write!(out, "{{{}}}", pairs.join(","));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_are_written_as_the_text_format_has_them() {
        for (labels, expected) in [
            (&[("__name__", "up"), ("job", "a\"b")][..], "up{job=\"a\\\"b\",instance=\"\"}"),
            (&[("__name__", "up"), ("instance", "i")], "up{instance=\"i\"}"),
            (&[("__name__", "a.b"), ("c.d", "x"), ("instance", "i")], "{\"a.b\",\"c.d\"=\"x\",instance=\"i\"}"),
        ] {
            let labels = Labels::from_pairs(labels.iter().copied());
            let mut out = String::new();
            line(&mut out, labels.get(NAME).expect("named"), &labels, &[]);
            assert_eq!(out, expected);
        }
        let external = [("cluster".to_owned(), "c".to_owned()), ("job".to_owned(), "other".to_owned())];
        let mut out = String::new();
        line(&mut out, "up", &Labels::from_pairs([("__name__", "up"), ("job", "a")]), &external);
        assert_eq!(out, "up{job=\"a\",cluster=\"c\",instance=\"\"}", "its own label wins");
    }
}
