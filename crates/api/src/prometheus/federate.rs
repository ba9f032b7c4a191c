//! `/federate`: the newest sample of each selected series, as a target of another Prometheus exposes it,
//! in text or in protobuf
//! (`prometheus/web/federate.go`).

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;

use model::{Histogram, Labels, ResetHint};
use store::SeriesSamples;
use wire::exposition::{Family, FamilyKind};

use super::negotiate::{Escaping, Form, classic};
use crate::Api;
use crate::answer::{Answer, Failure, Limit};
use crate::ask::Ask;
use crate::run::blocking;

/// Every series says which instance it is of, if only that of none: the scraper would put its own label there else.
const INSTANCE: &str = "instance";
const NAME: &str = "__name__";

/// The newest sample of a series.
enum Newest {
    Number(f64),
    Histogram(Box<Histogram>),
}

pub(super) async fn federate(api: Arc<Api>, ask: Ask) -> Result<Answer, Failure> {
    let tenant = ask.tenant()?;
    let selectors = ask.all("match[]").map(|text| promql::parse_selector(text).map_err(|e| Failure::BadData(e.to_string())));
    let selectors = selectors.collect::<Result<Vec<_>, _>>()?;
    let form = Form::accepted(ask.header("accept"));
    let now = ask.now_ns.div_euclid(1_000_000);
    let state = api.clone();
    blocking(&api, None, move |cancelled| {
        let reader = state.source.snapshot();
        let from = now.saturating_sub(state.settings.lookback_ms) + 1;
        let mut newest: BTreeMap<Arc<Labels>, (i64, Newest)> = BTreeMap::new();
        let mut read = 0;
        for matchers in &selectors {
            for series in reader.samples(&tenant, matchers, from, now)? {
                if cancelled.load(std::sync::atomic::Ordering::Relaxed) {
                    return Err(Failure::Cancelled);
                }
                let mut series = series?;
                read += series.times.len() + series.histograms.len();
                if read > state.settings.max_samples {
                    return Err(Failure::Limit(
                        Limit::Samples,
                        "query processing would load too many samples into memory".to_owned(),
                    ));
                }
                if let Some(sample) = last(&mut series, form.protobuf) {
                    newest.insert(series.labels, sample);
                }
            }
        }
        let mut by_name: Vec<_> =
            newest.iter().filter_map(|(labels, sample)| Some((labels.get(NAME)?, &**labels, sample))).collect();
        by_name.sort_by_key(|(name, ..)| *name);
        let external = &state.settings.external_labels;
        let body = if form.protobuf { protobuf(&by_name, external, form) } else { text(&by_name, external, form) };
        Ok(Answer { content_type: form.content_type(), rows: by_name.len(), ..Answer::text(body) })
    })
    .await
}

/// The newest sample, unless it says that the series has ended. The text format cannot say a native histogram, and none can say one
/// with custom buckets: such series are left out.
fn last(series: &mut SeriesSamples, histograms: bool) -> Option<(i64, Newest)> {
    let number = series.times.last().copied().zip(series.values.last().copied());
    let histogram = series.histograms.pop();
    match (number, histogram) {
        (Some((time, value)), of) if of.as_ref().is_none_or(|h| h.time < time) => {
            (!model::is_stale(value)).then_some((time, Newest::Number(value)))
        }
        (_, Some(h)) if histograms && !model::is_stale(h.histogram.sum) && h.histogram.custom_bounds.is_empty() => {
            Some((h.time, Newest::Histogram(Box::new((*h.histogram).clone()))))
        }
        _ => None,
    }
}

/// What stands at the end of a series' labels: the external labels that it has not itself.
fn labels<'l>(own: &'l Labels, external: &'l [(String, String)]) -> impl Iterator<Item = (&'l str, &'l str)> {
    let external = external.iter().map(|(n, v)| (n.as_str(), v.as_str()));
    let none = Some((INSTANCE, "")).filter(|_| external.clone().all(|(n, _)| n != INSTANCE));
    let mut missing: Vec<_> = external.chain(none).filter(|(n, _)| own.get(n).is_none()).collect();
    missing.sort_unstable();
    own.iter().filter(|(n, _)| *n != NAME).chain(missing)
}

type Row<'r> = (&'r str, &'r Labels, &'r (i64, Newest));

fn text(rows: &[Row<'_>], external: &[(String, String)], form: Form) -> Vec<u8> {
    let mut out = String::new();
    let mut family = "";
    for (name, of, (time, sample)) in rows {
        let Newest::Number(value) = sample else { continue };
        if family != *name {
            family = name;
            let _ = writeln!(out, "# TYPE {} untyped", quoted(&form.escaping.name(name)));
        }
        line(&mut out, name, labels(of, external), form.escaping);
        let _ = writeln!(out, " {} {time}", promql::number(*value));
    }
    out.into_bytes()
}

fn protobuf(rows: &[Row<'_>], external: &[(String, String)], form: Form) -> Vec<u8> {
    let kind_of = |sample: &Newest| match sample {
        Newest::Number(_) => FamilyKind::Untyped,
        Newest::Histogram(h) if h.reset_hint == ResetHint::Gauge => FamilyKind::GaugeHistogram,
        Newest::Histogram(_) => FamilyKind::Histogram,
    };
    let mut out = Vec::new();
    for of_one in rows.chunk_by(|a, b| a.0 == b.0 && kind_of(&a.2.1) == kind_of(&b.2.1)) {
        let (name, _, (_, sample)) = of_one[0];
        let mut family = Family::new(&form.escaping.name(name), kind_of(sample));
        for (_, of, (time, sample)) in of_one {
            let named: Vec<_> = labels(of, external).map(|(n, v)| (form.escaping.name(n), v)).collect();
            let named = named.iter().map(|(n, v)| (&**n, *v));
            match sample {
                Newest::Number(value) => family.number(named, *value, *time),
                Newest::Histogram(h) => family.histogram(named, h, *time),
            }
        }
        family.append_to(&mut out);
    }
    out
}

fn quoted(name: &str) -> String {
    if classic(name, true) { name.to_owned() } else { format!("\"{}\"", escaped(name)) }
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

/// `name{label="value"}`, or `{"a name",label="value"}`.
fn line<'l>(out: &mut String, name: &str, labels: impl Iterator<Item = (&'l str, &'l str)>, escaping: Escaping) {
    let mut pairs: Vec<String> = Vec::new();
    let name = escaping.name(name);
    if classic(&name, true) {
        out.push_str(&name);
    } else {
        pairs.push(quoted(&name));
    }
    pairs.extend(labels.map(|(n, v)| {
        let n = escaping.name(n);
        let name = if classic(&n, false) { n.into_owned() } else { format!("\"{}\"", escaped(&n)) };
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
            line(&mut out, labels.get(NAME).expect("named"), super::labels(&labels, &[]), Escaping::AllowUtf8);
            assert_eq!(out, expected);
        }
        let external = [("cluster".to_owned(), "c".to_owned()), ("job".to_owned(), "other".to_owned())];
        let mut out = String::new();
        let own = Labels::from_pairs([("__name__", "up"), ("job", "a")]);
        line(&mut out, "up", super::labels(&own, &external), Escaping::AllowUtf8);
        assert_eq!(out, "up{job=\"a\",cluster=\"c\",instance=\"\"}", "its own label wins");
    }
}
