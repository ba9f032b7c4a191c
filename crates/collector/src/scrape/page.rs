//! What a target said: its series from scrape to scrape, and which of them ended.

use std::collections::{HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use model::{Histogram, Labels, STALE_NAN_BITS};
use prometheus::ScrapeConfig;
use prometheus::relabel::{LabelBuilder, process};
use wire::exposition::{Exposed, ExpositionSink, Point};
use wire::remote_write::Encoder;
use wire::{Exemplar, MetricKind, SampleSink, native};

use super::labels::merge;
use crate::Held;

/// A request is closed and the next one begun at so many bytes before compression.
const REQUEST: usize = 4 << 20;

/// A series that a target has, by the text that it is written as.
#[derive(Debug)]
struct Series {
    /// As they are kept; `None` where relabelling dropped it.
    labels: Option<Labels>,
    /// The scrape that last had it.
    seen: u64,
    /// Whether a scrape that was kept had it: then it needs an end.
    live: bool,
    /// Whether its timestamps are the target's business: then its end is, too.
    own_time: bool,
    /// A digest of the exemplars without a time that it last had; 0 for none.
    exemplars: u64,
}

/// What a target says of a metric family.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FamilyText {
    /// The metric's name.
    pub name: String,
    /// `counter` and so on.
    pub kind: MetricKind,
    /// What it means.
    pub help: String,
    /// What it is measured in.
    pub unit: String,
}

/// A family, and whether the store does not know it yet.
#[derive(Debug, Default)]
struct Family {
    text: FamilyText,
    changed: bool,
    /// The scrape that last had it.
    seen: u64,
}

/// All series of one target.
#[derive(Debug, Default)]
pub(super) struct Page {
    series: HashMap<Box<[u8]>, Series>,
    families: HashMap<String, Family>,
    scrape: u64,
    counts: Counts,
    /// What all this takes, from the share of memory that scraped series have; without one there is no limit.
    held: Option<Held>,
    bytes: usize,
    /// What [`Page::families`] said last, unless a family has changed since.
    told: Option<Arc<[FamilyText]>>,
}

/// What a scrape held.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Counts {
    /// Samples exposed.
    pub(super) scraped: u64,
    /// Samples that relabelling left.
    pub(super) kept: u64,
    /// Series that were not in the scrape before.
    pub(super) added: u64,
}

/// The requests that a scrape becomes.
#[derive(Debug, Default)]
pub(super) struct Requests {
    encoder: Encoder,
    done: Vec<Vec<u8>>,
}

impl Requests {
    /// Begins a series: samples follow through [`Requests::sink`].
    fn series(&mut self, labels: &Labels) -> Result<&mut Encoder, String> {
        if self.encoder.size() > REQUEST {
            self.done.push(self.encoder.finish().map_err(|e| e.to_string())?);
        }
        self.encoder.series(labels.iter(), &[]);
        Ok(&mut self.encoder)
    }

    /// A series with one sample.
    pub(super) fn sample(&mut self, labels: &Labels, time: i64, value: f64) -> Result<(), String> {
        self.series(labels)?.sample(time, value);
        Ok(())
    }

    /// The payloads, in order; nothing is left.
    pub(super) fn take(&mut self) -> Result<Vec<Vec<u8>>, String> {
        let mut done = std::mem::take(&mut self.done);
        if !self.encoder.is_empty() {
            done.push(self.encoder.finish().map_err(|e| e.to_string())?);
        }
        Ok(done)
    }
}

/// What a scrape is read for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Aim<'t> {
    pub(super) config: &'t ScrapeConfig,
    pub(super) target: &'t [(String, String)],
    /// Milliseconds since the Unix epoch.
    pub(super) time: i64,
}

/// One scrape being read; a sink for the exposition's walker.
pub(super) struct Reading<'p> {
    page: &'p mut Page,
    requests: &'p mut Requests,
    aim: Aim<'p>,
    /// The first thing that makes the scrape as a whole fail.
    flaw: Option<String>,
}

impl Page {
    /// Begins a scrape.
    pub(super) fn read<'p>(&'p mut self, requests: &'p mut Requests, aim: Aim<'p>) -> Reading<'p> {
        self.scrape += 1;
        self.counts = Counts::default();
        Reading { page: self, requests, aim, flaw: None }
    }

    /// A page whose series are held in `held`.
    pub(super) fn new(held: Held) -> Self {
        Self { held: Some(held), ..Self::default() }
    }

    /// Makes room for a series.
    fn hold(&mut self, text: &[u8], labels: Option<&Labels>) -> Result<(), String> {
        self.bytes += cost(text, labels);
        let held = self.held.as_mut().map_or(Ok(()), |held| held.at_least(self.bytes));
        held.map_err(|_| "scraped series already hold the memory that they may hold together".to_owned())
    }

    /// Gives back the room of series that are gone.
    fn shrink(&mut self) {
        self.bytes = self.series.iter().map(|(text, s)| cost(text, s.labels.as_ref())).sum();
        if let Some(held) = &mut self.held {
            held.at_most(self.bytes);
        }
    }

    /// Whether the target was ever scraped.
    pub(super) fn was_read(&self) -> bool {
        self.scrape > 0
    }

    /// What the last scrape held.
    pub(super) fn counts(&self) -> Counts {
        self.counts
    }

    /// The target did not answer: the last scrape held nothing.
    pub(super) fn unread(&mut self) {
        self.counts = Counts::default();
    }

    /// What the target says of its metrics, if that has changed.
    pub(super) fn families(&mut self) -> Option<Arc<[FamilyText]>> {
        if self.told.is_some() {
            return None;
        }
        let mut all: Vec<FamilyText> = self.families.values().map(|f| f.text.clone()).collect();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        let all: Arc<[FamilyText]> = all.into();
        self.told = Some(Arc::clone(&all));
        Some(all)
    }

    /// The scrape was whole: ends the series that it lacks.
    pub(super) fn keep(&mut self, requests: &mut Requests, time: i64) -> Result<(), String> {
        let scrape = self.scrape;
        let ended = |(_, s): (_, Series)| s.labels.filter(|_| s.live && !s.own_time);
        let before = self.series.len();
        let gone: Vec<Labels> = self.series.extract_if(|_, s| s.seen != scrape).filter_map(ended).collect();
        if self.series.len() < before {
            self.shrink();
        }
        for series in self.series.values_mut() {
            series.live = true;
        }
        let families = self.families.len();
        self.families.retain(|_, f| f.seen == scrape);
        if self.families.len() < families {
            self.told = None;
        }
        for family in self.families.values_mut().filter(|f| f.changed) {
            let text = &family.text;
            requests.encoder.metadata(&text.name, text.kind, &text.help, &text.unit);
            family.changed = false;
        }
        if gone.is_empty() {
            return Ok(());
        }
        // Two series of a target may become one when labels change; the other one may still be there.
        let here: HashSet<&Labels> = self.series.values().filter_map(|s| s.labels.as_ref()).collect();
        gone.iter().filter(|labels| !here.contains(labels)).try_for_each(|labels| end(requests, labels, time))
    }

    /// The scrape failed, or the target is gone: ends every series.
    pub(super) fn end(&mut self, requests: &mut Requests, time: i64) -> Result<(), String> {
        for (_, series) in self.series.drain() {
            if let Some(labels) = series.labels.filter(|_| series.live && !series.own_time) {
                end(requests, &labels, time)?;
            }
        }
        self.shrink();
        Ok(())
    }
}

/// Bytes that a series takes, with its share of the table.
fn cost(text: &[u8], labels: Option<&Labels>) -> usize {
    text.len() + labels.map_or(0, Labels::memory) + 2 * size_of::<(Box<[u8]>, Series)>()
}

fn end(requests: &mut Requests, labels: &Labels, time: i64) -> Result<(), String> {
    requests.sample(labels, time, f64::from_bits(STALE_NAN_BITS))
}

impl Reading<'_> {
    /// What makes the scrape as a whole fail, although its text could be read.
    pub(super) fn flaw(self) -> Option<String> {
        self.flaw
    }

    fn family(&mut self, name: &str, set: impl FnOnce(&mut FamilyText)) {
        let family = self.page.families.entry(name.to_owned()).or_insert_with(|| {
            let text = FamilyText { name: name.to_owned(), ..FamilyText::default() };
            Family { text, changed: true, seen: 0 }
        });
        family.seen = self.page.scrape;
        let before = family.text.clone();
        set(&mut family.text);
        if family.text != before {
            family.changed = true;
        }
        if family.changed {
            self.page.told = None;
        }
    }

    /// The labels that a new series is kept under; `None` where relabelling drops it.
    fn labels(&self, scraped: &[(std::borrow::Cow<'_, str>, std::borrow::Cow<'_, str>)]) -> Result<Option<Labels>, String> {
        let config = self.aim.config;
        let pairs: Vec<(&str, &str)> = scraped.iter().map(|(n, v)| (&**n, &**v)).collect();
        let mut labels = merge(&pairs, self.aim.target, config.honor_labels);
        if !config.metric_relabel.is_empty() {
            let mut builder = LabelBuilder::new(labels.iter());
            if !process(&config.metric_relabel, &mut builder) {
                return Ok(None);
            }
            labels = Labels::from_pairs(builder.into_sorted());
        }
        if labels.is_empty() {
            return Ok(None);
        }
        let Some(metric) = labels.get("__name__") else { return Err("missing metric name (__name__ label)".to_owned()) };
        if !config.names.is_metric(metric) || labels.iter().any(|(n, _)| !config.names.is_label(n)) {
            return Err(format!("invalid metric name or label names: {labels}"));
        }
        self.within_limits(metric, &labels)?;
        Ok(Some(labels))
    }

    fn within_limits(&self, metric: &str, labels: &Labels) -> Result<(), String> {
        let limits = self.aim.config.limits;
        let shown: String = metric.chars().take(50).collect();
        let over = |n: usize, limit: u64| limit > 0 && n as u64 > limit;
        if over(labels.len(), limits.labels) {
            let (n, limit) = (labels.len(), limits.labels);
            return Err(format!("label_limit exceeded (metric: {shown}, number of labels: {n}, limit: {limit})"));
        }
        for (name, value) in labels.iter() {
            let start: String = name.chars().take(50).collect();
            for (what, n, limit) in [("name", name.len(), limits.label_name), ("value", value.len(), limits.label_value)] {
                if over(n, limit) {
                    return Err(format!(
                        "label_{what}_length_limit exceeded (metric: {shown}, label name: {start}, length: {n}, limit: {limit})"
                    ));
                }
            }
        }
        Ok(())
    }

    fn take(&mut self, sample: &Exposed<'_>) -> Result<(), String> {
        let config = self.aim.config;
        let own_time = sample.time_ms.filter(|_| config.honor_timestamps);
        self.page.counts.scraped += 1;
        if !self.page.series.contains_key(sample.text) {
            let labels = self.labels(sample.labels)?;
            self.page.hold(sample.text, labels.as_ref())?;
            self.page.counts.added += u64::from(labels.is_some());
            let series = Series { labels, seen: 0, live: false, own_time: false, exemplars: 0 };
            self.page.series.insert(sample.text.into(), series);
        }
        let Some(series) = self.page.series.get_mut(sample.text) else { return Ok(()) };
        series.seen = self.page.scrape;
        let Some(labels) = &series.labels else { return Ok(()) };
        series.own_time = own_time.is_some() && !config.track_timestamps_staleness;
        self.page.counts.kept += 1;
        let samples = config.limits.samples;
        if samples > 0 && self.page.counts.kept > samples {
            return Err("sample limit exceeded".to_owned());
        }
        let time = own_time.unwrap_or(self.aim.time);
        let encoder = self.requests.series(labels)?;
        if sample.start_ms != 0 {
            encoder.start(sample.start_ms);
        }
        match sample.point {
            Point::Float(value) => encoder.sample(time, value),
            Point::Histogram(histogram) => match coarse_enough(histogram, config)? {
                None => encoder.histogram(time, histogram),
                Some(coarser) => encoder.histogram(time, &coarser),
            },
        }
        // Without a time of its own an exemplar that stays there would be another one with every scrape.
        let untimed = digest(sample.exemplars);
        let known = untimed == series.exemplars;
        series.exemplars = untimed;
        for exemplar in sample.exemplars.iter().filter(|e| e.time_ms.is_some() || !known) {
            let labels: Vec<(&str, &str)> = exemplar.labels.iter().map(|(n, v)| (&**n, &**v)).collect();
            encoder.exemplar(&Exemplar { labels: &labels, time_ms: exemplar.time_ms.unwrap_or(time), value: exemplar.value });
        }
        Ok(())
    }
}

/// A digest of the exemplars that have no time; 0 for none.
fn digest(exemplars: &[wire::exposition::Exemplar<'_>]) -> u64 {
    let mut hasher = DefaultHasher::new();
    let mut any = false;
    for exemplar in exemplars.iter().filter(|e| e.time_ms.is_none()) {
        (&exemplar.labels, exemplar.value.to_bits()).hash(&mut hasher);
        any = true;
    }
    if any { hasher.finish() } else { 0 }
}

/// The histogram made as coarse as the configuration wants it: no finer than a schema, with no more buckets than a limit; `None`
/// where it is.
fn coarse_enough(histogram: &Histogram, config: &ScrapeConfig) -> Result<Option<Histogram>, String> {
    let limit = config.native_bucket_limit;
    let many = |h: &Histogram| limit > 0 && (h.positive.len() + h.negative.len()) as u64 > limit;
    let finest =
        config.native_finest_schema.filter(|finest| native::SCHEMAS.contains(&histogram.schema) && histogram.schema > *finest);
    if finest.is_none() && !many(histogram) {
        return Ok(None);
    }
    let mut coarser = histogram.clone();
    if let Some(finest) = finest {
        native::coarsen(&mut coarser, finest);
    }
    while many(&coarser) {
        if coarser.schema <= *native::SCHEMAS.start() {
            return Err("histogram bucket limit exceeded".to_owned());
        }
        let schema = coarser.schema - 1;
        native::coarsen(&mut coarser, schema);
    }
    Ok(Some(coarser))
}

impl ExpositionSink for Reading<'_> {
    fn knows(&mut self, text: &[u8]) -> bool {
        self.flaw.is_some() || self.page.series.contains_key(text)
    }

    fn sample(&mut self, sample: &Exposed<'_>) {
        if self.flaw.is_some() {
            self.page.counts.scraped += 1;
        } else if let Err(why) = self.take(sample) {
            self.flaw = Some(why);
        }
    }

    fn kind(&mut self, name: &str, kind: MetricKind) {
        self.family(name, |f| f.kind = kind);
    }

    fn help(&mut self, name: &str, help: &str) {
        self.family(name, |f| help.clone_into(&mut f.help));
    }

    fn unit(&mut self, name: &str, unit: &str) {
        self.family(name, |f| unit.clone_into(&mut f.unit));
    }
}

#[cfg(test)]
mod tests {
    use wire::RawLabels;
    use wire::exposition::{Format, Options, parse};

    use super::super::tests::job;
    use super::*;

    /// What requests hold, as `labels time value` lines.
    #[derive(Default)]
    struct Lines(Vec<String>, String);

    impl SampleSink for Lines {
        fn series(&mut self, labels: RawLabels<'_>) {
            let mut pairs = Vec::new();
            labels.read(&mut pairs).expect("checked");
            self.1 = Labels::from_pairs(pairs).to_string();
        }
        fn sample(&mut self, time: i64, value: f64) {
            let value = if model::is_stale(value) { "stale".to_owned() } else { value.to_string() };
            self.0.push(format!("{} {time} {value}", self.1));
        }
        fn exemplar(&mut self, exemplar: &Exemplar<'_>) {
            self.0.push(format!("{} exemplar {:?} {} {}", self.1, exemplar.labels, exemplar.time_ms, exemplar.value));
        }
        fn metadata(&mut self, family: &str, kind: MetricKind, help: &str, unit: &str) {
            self.0.push(format!("{family} is a {} {help:?} {unit:?}", kind.as_str()));
        }
    }

    fn lines(requests: &mut Requests) -> Vec<String> {
        let mut lines = Lines::default();
        for payload in requests.take().expect("small") {
            wire::walk_samples(wire::Encoding::RemoteWrite, &payload, &wire::Limits::default(), &mut lines).expect("valid");
        }
        lines.0.sort();
        lines.0
    }

    /// One scrape of `text`; what it becomes, or why it fails.
    fn scrape(page: &mut Page, config: &ScrapeConfig, time: i64, text: &str) -> Result<Vec<String>, String> {
        let mut requests = Requests::default();
        let target = [("job".to_owned(), "j".to_owned())];
        let mut reading = page.read(&mut requests, Aim { config, target: &target, time });
        let format = if text.ends_with("# EOF\n") { Format::OpenMetrics } else { Format::Text };
        let read = parse(format, text.as_bytes(), Options::default(), &wire::Limits::default(), &mut reading);
        match (read, reading.flaw()) {
            (Ok(_), None) => page.keep(&mut requests, time)?,
            (Err(e), _) => return Err(e.to_string()),
            (_, Some(why)) => return Err(why),
        }
        Ok(lines(&mut requests))
    }

    #[test]
    fn a_series_that_vanishes_is_ended_once() {
        let (mut page, config) = (Page::default(), job(""));
        assert_eq!(scrape(&mut page, &config, 1, "a 1\nb 1\n").expect("good").len(), 2);
        assert_eq!(page.counts(), Counts { scraped: 2, kept: 2, added: 2 });
        let second = scrape(&mut page, &config, 2, "a 1\n").expect("good");
        assert_eq!(page.counts().added, 0);
        assert_eq!(second, [r#"{__name__="a", job="j"} 2 1"#, r#"{__name__="b", job="j"} 2 stale"#]);
        assert_eq!(scrape(&mut page, &config, 3, "a 1\n"), Ok(vec![r#"{__name__="a", job="j"} 3 1"#.to_owned()]));
    }

    #[test]
    fn a_failed_scrape_ends_what_was_kept_and_nothing_else() {
        let (mut page, config) = (Page::default(), job(""));
        scrape(&mut page, &config, 1, "a 1\n").expect("good");
        // Half of a page arrives, then it breaks off.
        scrape(&mut page, &config, 2, "a 1\nnew 1\n{\n").expect_err("broken");
        let mut requests = Requests::default();
        page.end(&mut requests, 2).expect("small");
        assert_eq!(lines(&mut requests), [r#"{__name__="a", job="j"} 2 stale"#]);
        page.end(&mut requests, 3).expect("small");
        assert_eq!(lines(&mut requests), [""; 0]);
    }

    #[test]
    fn a_series_that_another_one_still_is_does_not_end() {
        let (mut page, config) = (Page::default(), job(""));
        scrape(&mut page, &config, 1, "m{job=\"x\"} 1\nm{exported_job=\"x\"} 1\n").expect("good");
        let second = scrape(&mut page, &config, 2, "m{exported_job=\"x\"} 1\n").expect("good");
        assert!(second.iter().all(|l| !l.ends_with("stale")), "{second:?}");
    }

    #[test]
    fn what_a_family_is_goes_out_once_and_when_it_changes() {
        let (mut page, config) = (Page::default(), job(""));
        for (help, sent) in [("a", 1), ("a", 0), ("b", 1)] {
            let found = scrape(&mut page, &config, 1, &format!("# HELP m {help}\n# TYPE m counter\n")).expect("good");
            assert_eq!(found.len(), sent, "{help}: {found:?}");
            assert_eq!(page.families().map_or(0, |f| f.len()), sent);
        }
    }

    #[test]
    fn series_with_their_own_timestamps_are_ended_only_when_they_are_tracked() {
        for (yaml, ended) in [("", 0), ("track_timestamps_staleness: true", 1), ("honor_timestamps: false", 1)] {
            let (mut page, config) = (Page::default(), job(yaml));
            let time = if yaml.starts_with("honor") { 10 } else { 5 };
            let expected = vec![format!(r#"{{__name__="a", job="j"}} {time} 1"#)];
            assert_eq!(scrape(&mut page, &config, 10, "a 1 5\n"), Ok(expected), "{yaml}");
            assert_eq!(scrape(&mut page, &config, 20, "b 1 5\n").expect("good").len(), 1 + ended, "{yaml}");
        }
    }

    #[test]
    fn relabelling_drops_and_rewrites_samples_and_is_counted() {
        let config = job(
            "metric_relabel_configs:\n  - {source_labels: [__name__], regex: 'go_.*', action: drop}\n  - {regex: 'id', action: labeldrop}",
        );
        let mut page = Page::default();
        for _ in 0..2 {
            let found = scrape(&mut page, &config, 1, "go_x 1\nm{id=\"7\"} 2\n").expect("good");
            assert_eq!(found, [r#"{__name__="m", job="j"} 1 2"#]);
            assert_eq!((page.counts().scraped, page.counts().kept), (2, 1));
        }
    }

    #[test]
    fn exemplars_without_a_time_get_the_samples() {
        let text = "# TYPE m counter\nm_total 3 # {trace_id=\"ab\"} 1\n# EOF\n";
        let found = scrape(&mut Page::default(), &job(""), 9, text).expect("good");
        let labels = r#"{__name__="m_total", job="j"}"#;
        assert!(found.contains(&format!("{labels} exemplar [(\"trace_id\", \"ab\")] 9 1")), "{found:?}");
    }

    #[test]
    fn limits_refuse_the_scrape_as_a_whole() {
        for (yaml, why) in [
            ("sample_limit: 1", "sample limit exceeded"),
            ("label_limit: 2", "label_limit exceeded (metric: m, number of labels: 3, limit: 2)"),
            (
                "label_name_length_limit: 3",
                "label_name_length_limit exceeded (metric: m, label name: __name__, length: 8, limit: 3)",
            ),
            (
                "label_value_length_limit: 3",
                "label_value_length_limit exceeded (metric: m, label name: long, length: 5, limit: 3)",
            ),
            ("metric_relabel_configs: [{regex: __name__, action: labeldrop}]", "missing metric name (__name__ label)"),
        ] {
            let mut page = Page::default();
            assert_eq!(scrape(&mut page, &job(yaml), 1, "m{long=\"value\"} 1\nm 2\n"), Err(why.to_owned()));
            assert_eq!(page.counts().scraped, 2, "{yaml}");
        }
    }

    #[test]
    fn series_beyond_the_memory_are_refused_and_what_is_gone_makes_room() {
        let budget = crate::Budget::new(2_000);
        let (mut page, config) = (Page::new(budget.hold()), job(""));
        let many: String = (0..100).map(|i| format!("m{i} 1\n")).collect();
        let why = "scraped series already hold the memory that they may hold together";
        assert_eq!(scrape(&mut page, &config, 1, &many), Err(why.to_owned()));
        page.end(&mut Requests::default(), 1).expect("small");
        assert_eq!(budget.used(), 0);
        for name in ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"] {
            scrape(&mut page, &config, 2, &format!("{name} 1\n")).expect("one at a time fits");
        }
    }

    #[test]
    fn an_exemplar_without_a_time_is_one_for_as_long_as_it_stays() {
        let (mut page, config) = (Page::default(), job(""));
        let text = |id: u8, time: &str| format!("# TYPE c counter\nc_total 1 # {{t=\"{id}\"}} 2{time}\n# EOF\n");
        let mut exemplars = |at: i64, text: &str| {
            let lines = scrape(&mut page, &config, at, text).expect("good");
            lines.iter().filter(|l| l.contains("exemplar")).count()
        };
        let counts = [(1, 1, ""), (2, 1, ""), (3, 2, ""), (4, 1, ""), (5, 1, " 7.5"), (6, 1, "")];
        assert_eq!(counts.map(|(at, id, time)| exemplars(at, &text(id, time))), [1, 0, 1, 1, 1, 1]);
    }

    #[test]
    fn many_buckets_are_merged_until_they_fit() {
        let spans = vec![model::BucketSpan { offset: 1, length: 8 }];
        let fine = Histogram { schema: 2, count: 8.0, positive_spans: spans, positive: vec![1.0; 8], ..Histogram::default() };
        assert_eq!(coarse_enough(&fine, &job("native_histogram_bucket_limit: 8")), Ok(None));
        let coarse = coarse_enough(&fine, &job("native_histogram_bucket_limit: 3")).expect("can be").expect("was not");
        assert_eq!((coarse.schema, coarse.positive), (0, vec![4.0, 4.0]));
        assert_eq!(coarse_enough(&fine, &job("native_histogram_min_bucket_factor: 1.1")), Ok(None));
        let coarse = coarse_enough(&fine, &job("native_histogram_min_bucket_factor: 1.5")).expect("can be").expect("was not");
        assert_eq!((coarse.schema, coarse.positive), (0, vec![4.0, 4.0]));
        let custom = Histogram { schema: -53, custom_bounds: vec![1.0], ..fine };
        assert_eq!(coarse_enough(&custom, &job("native_histogram_min_bucket_factor: 1.5")), Ok(None));
    }
}
