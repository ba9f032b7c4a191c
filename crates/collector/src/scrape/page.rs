//! What a target said: its series from scrape to scrape, and which of them ended.

use std::collections::{HashMap, HashSet};

use model::{Labels, STALE_NAN_BITS};
use wire::MetricKind;
use wire::exposition::{Exposed, ExpositionSink, Point};
use wire::remote_write::Encoder;

use super::labels::merge;

/// A series that a target has, under its scraped labels.
#[derive(Debug)]
struct Series {
    labels: Labels,
    /// The scrape that last had it.
    seen: u64,
    /// Whether a scrape that was kept had it: then it needs an end.
    live: bool,
    /// Whether it carries timestamps of its own: then its end is the target's business.
    own_time: bool,
}

/// What a metric family is.
#[derive(Debug, Default)]
struct Family {
    kind: MetricKind,
    help: String,
    /// Whether the store does not know it yet.
    changed: bool,
}

/// All series of one target.
#[derive(Debug, Default)]
pub(super) struct Page {
    series: HashMap<Box<[u8]>, Series>,
    families: HashMap<String, Family>,
    scrape: u64,
    added: u64,
    samples: u64,
}

/// One scrape being read; a sink for the exposition's walker.
pub(super) struct Reading<'p> {
    page: &'p mut Page,
    encoder: &'p mut Encoder,
    target: &'p [(String, String)],
    honor_labels: bool,
    honor_timestamps: bool,
    time: i64,
    key: Vec<u8>,
}

impl Page {
    /// Begins a scrape at `time` (milliseconds since the Unix epoch).
    pub(super) fn read<'p>(
        &'p mut self,
        encoder: &'p mut Encoder,
        target: &'p [(String, String)],
        (honor_labels, honor_timestamps): (bool, bool),
        time: i64,
    ) -> Reading<'p> {
        self.scrape += 1;
        self.added = 0;
        self.samples = 0;
        Reading { page: self, encoder, target, honor_labels, honor_timestamps, time, key: Vec::new() }
    }

    /// Samples of the scrape so far.
    pub(super) fn samples(&self) -> u64 {
        self.samples
    }

    /// Series that were not in the scrape before.
    pub(super) fn added(&self) -> u64 {
        self.added
    }

    /// The scrape was whole: ends the series that it lacks.
    pub(super) fn keep(&mut self, encoder: &mut Encoder, time: i64) {
        let scrape = self.scrape;
        let gone: Vec<Series> =
            self.series.extract_if(|_, s| s.seen != scrape).map(|(_, s)| s).filter(|s| s.live && !s.own_time).collect();
        for series in self.series.values_mut() {
            series.live = true;
        }
        for (name, family) in self.families.iter_mut().filter(|(_, f)| f.changed) {
            encoder.metadata(name, family.kind, &family.help, "");
            family.changed = false;
        }
        if gone.is_empty() {
            return;
        }
        // Two series of a target may become one when labels are renamed; the other one may still be there.
        let here: HashSet<&Labels> = self.series.values().map(|s| &s.labels).collect();
        for series in gone.iter().filter(|s| !here.contains(&s.labels)) {
            end(encoder, &series.labels, time);
        }
    }

    /// The scrape failed: ends every series.
    pub(super) fn fail(&mut self, encoder: &mut Encoder, time: i64) {
        for (_, series) in self.series.drain() {
            if series.live && !series.own_time {
                end(encoder, &series.labels, time);
            }
        }
        self.added = 0;
    }
}

fn end(encoder: &mut Encoder, labels: &Labels, time: i64) {
    encoder.series(labels.iter(), &[(time, f64::from_bits(STALE_NAN_BITS))]);
}

impl Reading<'_> {
    fn family(&mut self, name: &str) -> &mut Family {
        self.page.families.entry(name.to_owned()).or_insert_with(|| Family { changed: true, ..Family::default() })
    }
}

impl ExpositionSink for Reading<'_> {
    fn sample(&mut self, sample: &Exposed<'_>) {
        let (labels, time) = (sample.labels, sample.time_ms);
        let Point::Float(value) = sample.point else { return };
        self.key.clear();
        for (name, value) in labels {
            // 0xff occurs in no UTF-8, so equal keys mean equal labels.
            self.key.extend_from_slice(name.as_bytes());
            self.key.push(0xff);
            self.key.extend_from_slice(value.as_bytes());
            self.key.push(0xff);
        }
        let time = time.filter(|_| self.honor_timestamps);
        self.page.samples += 1;
        if !self.page.series.contains_key(&*self.key) {
            let pairs: Vec<(&str, &str)> = labels.iter().map(|(n, v)| (&**n, &**v)).collect();
            let merged = merge(&pairs, self.target, self.honor_labels);
            let series = Series { labels: merged, seen: 0, live: false, own_time: false };
            self.page.series.insert(self.key.clone().into(), series);
            self.page.added += 1;
        }
        if let Some(series) = self.page.series.get_mut(&*self.key) {
            series.seen = self.page.scrape;
            series.own_time = time.is_some();
            self.encoder.series(series.labels.iter(), &[(time.unwrap_or(self.time), value)]);
        }
    }

    fn kind(&mut self, name: &str, kind: MetricKind) {
        let family = self.family(name);
        family.changed |= family.kind != kind;
        family.kind = kind;
    }

    fn help(&mut self, name: &str, help: &str) {
        let family = self.family(name);
        if family.help != help {
            family.changed = true;
            family.help = help.to_owned();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use wire::{RawLabels, SampleSink};

    use super::*;

    /// What a request holds, as `labels time value` lines.
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
        fn metadata(&mut self, _: &str, _: MetricKind, _: &str, _: &str) {}
    }

    fn lines(encoder: &mut Encoder) -> Vec<String> {
        let payload = encoder.finish().expect("small");
        let mut lines = Lines::default();
        if payload.len() > 1 {
            wire::walk_samples(wire::Encoding::RemoteWrite, &payload, &wire::Limits::default(), &mut lines).expect("valid");
        }
        lines.0.sort();
        lines.0
    }

    fn scrape(page: &mut Page, encoder: &mut Encoder, time: i64, series: &[(&str, Option<i64>)]) {
        let target = [("job".to_owned(), "j".to_owned())];
        let mut reading = page.read(encoder, &target, (false, true), time);
        for (name, own_time) in series {
            expose(&mut reading, &[("__name__".into(), (*name).into())], *own_time);
        }
    }

    fn expose(reading: &mut Reading<'_>, labels: &[(Cow<'_, str>, Cow<'_, str>)], time_ms: Option<i64>) {
        let point = Point::Float(1.0);
        reading.sample(&Exposed { text: b"", labels, point, time_ms, start_ms: 0, exemplars: &[] });
    }

    #[test]
    fn a_series_that_vanishes_is_ended_once() {
        let (mut page, mut encoder) = (Page::default(), Encoder::new());
        scrape(&mut page, &mut encoder, 1, &[("a", None), ("b", None)]);
        page.keep(&mut encoder, 1);
        assert_eq!((page.samples(), page.added()), (2, 2));
        assert_eq!(lines(&mut encoder).len(), 2);
        scrape(&mut page, &mut encoder, 2, &[("a", None)]);
        page.keep(&mut encoder, 2);
        assert_eq!(page.added(), 0);
        assert_eq!(lines(&mut encoder), [r#"{__name__="a", job="j"} 2 1"#, r#"{__name__="b", job="j"} 2 stale"#]);
        scrape(&mut page, &mut encoder, 3, &[("a", None)]);
        page.keep(&mut encoder, 3);
        assert_eq!(lines(&mut encoder), [r#"{__name__="a", job="j"} 3 1"#]);
    }

    #[test]
    fn a_failed_scrape_ends_what_was_kept_and_nothing_else() {
        let (mut page, mut encoder) = (Page::default(), Encoder::new());
        scrape(&mut page, &mut encoder, 1, &[("a", None)]);
        page.keep(&mut encoder, 1);
        lines(&mut encoder);
        // Half of a page arrives, then it breaks off: what was read of it is dropped.
        scrape(&mut page, &mut encoder, 2, &[("a", None), ("new", None)]);
        lines(&mut encoder);
        page.fail(&mut encoder, 2);
        assert_eq!(lines(&mut encoder), [r#"{__name__="a", job="j"} 2 stale"#]);
        page.fail(&mut encoder, 3);
        assert_eq!(lines(&mut encoder), [""; 0]);
    }

    #[test]
    fn a_series_that_another_one_still_is_does_not_end() {
        let (mut page, mut encoder) = (Page::default(), Encoder::new());
        let target = [("job".to_owned(), "j".to_owned())];
        let both: [&[(Cow<'_, str>, Cow<'_, str>)]; 2] = [&[("job".into(), "x".into())], &[("exported_job".into(), "x".into())]];
        for (time, scraped) in [(1, &both[..]), (2, &both[1..])] {
            let mut reading = page.read(&mut encoder, &target, (false, true), time);
            for labels in scraped {
                expose(&mut reading, labels, None);
            }
            page.keep(&mut encoder, time);
            let lines = lines(&mut encoder);
            assert!(lines.iter().all(|l| !l.ends_with("stale")), "{lines:?}");
        }
    }

    #[test]
    fn what_a_family_is_goes_out_once_and_when_it_changes() {
        let (mut page, mut encoder) = (Page::default(), Encoder::new());
        for (help, sent) in [("a", true), ("a", false), ("b", true)] {
            let mut reading = page.read(&mut encoder, &[], (false, true), 1);
            reading.kind("m", MetricKind::Counter);
            reading.help("m", help);
            page.keep(&mut encoder, 1);
            assert_eq!(!encoder.is_empty(), sent, "{help}");
            lines(&mut encoder);
        }
    }

    #[test]
    fn series_with_their_own_timestamps_are_not_ended() {
        let (mut page, mut encoder) = (Page::default(), Encoder::new());
        scrape(&mut page, &mut encoder, 10, &[("a", Some(5))]);
        page.keep(&mut encoder, 10);
        assert_eq!(lines(&mut encoder), [r#"{__name__="a", job="j"} 5 1"#]);
        scrape(&mut page, &mut encoder, 20, &[]);
        page.keep(&mut encoder, 20);
        assert_eq!(lines(&mut encoder), [""; 0]);
    }
}
