//! The table of samples against a plain model: whatever comes in, in whatever order, and however it is flushed and
//! merged, the answers are the same.
#![allow(missing_docs, clippy::unwrap_used)]

#[path = "series/kinds.rs"]
mod kinds;
mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use braid_store as store;
use model::{Labels, STALE_NAN_BITS, Tenant};
use proptest::prelude::*;
use store::contract::MatchOp;
use store::memory::Memory;
use store::series::{SeriesOptions, SeriesTable, SeriesView};
use store::{Frozen, LabelMatcher, Reader, Record, Request, SegmentMeta, SeriesSamples, SignalTable, StoreError};
use support::{MemorySegments, record};

const DAY: i64 = 86_400_000;

/// What an engine does around the table.
struct House {
    segments: MemorySegments,
    table: SeriesTable,
    named: Vec<SegmentMeta>,
    frozen: Vec<(u64, Box<dyn Frozen>)>,
    sequence: u64,
    tenant: Tenant,
}

impl House {
    fn new(options: SeriesOptions) -> Self {
        let segments = MemorySegments::default();
        let table = SeriesTable::new(Arc::new(segments.clone()), options);
        Self { segments, table, named: Vec::new(), frozen: Vec::new(), sequence: 0, tenant: Tenant::default() }
    }

    /// Nothing is too old, so that the model stays plain.
    fn patient() -> Self {
        Self::new(SeriesOptions { out_of_order_ms: i64::MAX, ..SeriesOptions::default() })
    }

    fn write(&mut self, series: &[(Labels, Vec<(i64, f64)>)]) -> wire::Summary {
        self.sequence += 1;
        self.table.apply(&record(&self.tenant, self.sequence, series)).expect("a good request")
    }

    fn freeze(&mut self) {
        if let Some(frozen) = self.table.freeze() {
            self.frozen.push((self.sequence, frozen));
        }
    }

    fn flush_one(&mut self) {
        if !self.frozen.is_empty() {
            let (sequence, frozen) = self.frozen.remove(0);
            let mut written = frozen.write().expect("memory does not fail");
            for meta in &mut written {
                (meta.first_sequence, meta.last_sequence) = (sequence, sequence);
            }
            self.named.extend(written);
            self.tell();
            frozen.forget();
        }
    }

    fn flush(&mut self) {
        self.freeze();
        while !self.frozen.is_empty() {
            self.flush_one();
        }
    }

    fn compact(&mut self) {
        let groups: BTreeSet<(String, i64)> = self.named.iter().map(|s| (s.tenant.clone(), s.hour)).collect();
        for group in groups {
            let of_group = |s: &&SegmentMeta| (&s.tenant, s.hour) == (&group.0, group.1);
            let inputs: Vec<SegmentMeta> = self.named.iter().filter(of_group).cloned().collect();
            if inputs.len() > 1 {
                let mut written = self.table.compact(&inputs).expect("good inputs");
                for meta in &mut written {
                    meta.first_sequence = inputs.iter().map(|s| s.first_sequence).min().unwrap();
                    meta.last_sequence = inputs.iter().map(|s| s.last_sequence).max().unwrap();
                }
                self.named.retain(|s| !of_group(&s));
                self.named.extend(written);
            }
        }
        self.tell();
    }

    /// What the manifest says now.
    fn tell(&self) {
        let named: Vec<_> = self.named.iter().cloned().map(Arc::new).collect();
        *self.segments.live.lock() = Arc::new(store::engine::Live::new(&named));
    }

    /// A process that starts anew over the same segments.
    fn restart(&mut self) {
        self.flush();
        self.table = SeriesTable::new(Arc::new(self.segments.clone()), SeriesOptions::default());
    }

    fn view(&self) -> SeriesView {
        self.table.view(Arc::new(self.named.iter().cloned().map(Arc::new).collect()))
    }

    fn samples(&self, matchers: &[LabelMatcher], first: i64, last: i64) -> Result<Answer, StoreError> {
        let view = self.view();
        let mut out = Vec::new();
        for series in view.samples(&self.tenant, matchers, first, last)? {
            let series = series?;
            out.push((
                (*series.labels).clone(),
                series.times.into_iter().zip(series.values.iter().map(|v| v.to_bits())).collect(),
            ));
        }
        Ok(out)
    }

    fn series(&self, matchers: &[LabelMatcher], first: i64, last: i64) -> Vec<Labels> {
        let view = self.view();
        view.series(&self.tenant, matchers, first, last).unwrap().iter().map(|l| (**l).clone()).collect()
    }
}

fn answer(series: SeriesSamples) -> (Labels, Vec<(i64, u64)>) {
    let samples = series.times.into_iter().zip(series.values.iter().map(|v| v.to_bits()));
    ((*series.labels).clone(), samples.collect())
}

type Answer = Vec<(Labels, Vec<(i64, u64)>)>;

#[derive(Default)]
struct Model(BTreeMap<Labels, BTreeMap<i64, u64>>);

impl Model {
    fn write(&mut self, series: &[(Labels, Vec<(i64, f64)>)]) {
        for (labels, samples) in series {
            for (time, value) in samples {
                self.0.entry(labels.clone()).or_default().entry(*time).or_insert(value.to_bits());
            }
        }
    }

    fn samples(&self, matchers: &[LabelMatcher], first: i64, last: i64) -> Answer {
        let accepted = |l: &Labels| matchers.iter().all(|m| m.matches(l.get(&m.name).unwrap_or("")));
        let inside =
            |s: &BTreeMap<i64, u64>| s.iter().map(|(t, v)| (*t, *v)).filter(|(t, _)| (first..=last).contains(t)).collect();
        let all = self.0.iter().filter(|(l, _)| accepted(l)).map(|(l, s)| (l.clone(), inside(s)));
        all.filter(|(_, s): &(_, Vec<_>)| !s.is_empty()).collect()
    }
}

#[derive(Debug, Clone)]
enum Step {
    Write(Vec<(Labels, Vec<(i64, f64)>)>),
    /// The other tenant's turn.
    Turn,
    Scrape {
        series: usize,
        start: i64,
        n: usize,
    },
    Freeze,
    FlushOne,
    Compact,
    Restart,
    Ask {
        matchers: Vec<(String, u8, String)>,
        first: i64,
        last: i64,
    },
}

fn labels() -> impl Strategy<Value = Labels> {
    (0..4u8, 0..3u8, 0..3u8).prop_map(|(name, a, b)| {
        let part = |n: u8| if n == 0 { String::new() } else { format!("v{n}") };
        Labels::from_pairs([("__name__", format!("m{name}")), ("a", part(a)), ("b", part(b))])
    })
}

fn value() -> impl Strategy<Value = f64> {
    prop_oneof![
        4 => (0..50i32).prop_map(f64::from),
        2 => any::<f64>(),
        1 => Just(f64::from_bits(STALE_NAN_BITS)),
        1 => Just(-0.0),
        1 => Just(f64::INFINITY),
        1 => Just(f64::from_bits(0x7ff8_dead_beef_0001)),
    ]
}

fn time() -> impl Strategy<Value = i64> {
    prop_oneof![8 => 0..2_000i64, 2 => DAY - 500..DAY + 500, 1 => -20 * DAY..20 * DAY]
}

fn step() -> impl Strategy<Value = Step> {
    let series = (labels(), prop::collection::vec((time(), value()), 1..6));
    let matcher = (
        prop::sample::select(vec!["__name__", "a", "b", "none"]),
        0..4u8,
        prop::sample::select(vec!["", "m1", "m2", "v1", "v2", "m.*", ".*1", ".+", ".*", "v1|m3|"]),
    )
        .prop_map(|(n, op, v)| (n.to_owned(), op, v.to_owned()));
    prop_oneof![
        6 => prop::collection::vec(series, 1..6).prop_map(Step::Write),
        3 => (1..8usize, -3_000..DAY, 1..400usize).prop_map(|(series, start, n)| Step::Scrape { series, start, n }),
        3 => Just(Step::Turn),
        2 => Just(Step::Freeze),
        2 => Just(Step::FlushOne),
        1 => Just(Step::Compact),
        1 => Just(Step::Restart),
        4 => (prop::collection::vec(matcher, 0..3), time(), 0..2 * DAY)
            .prop_map(|(matchers, first, len)| Step::Ask { matchers, first, last: first + len }),
    ]
}

fn scrape(series: usize, start: i64, n: usize) -> Vec<(Labels, Vec<(i64, f64)>)> {
    (0..series)
        .map(|s| {
            let labels = Labels::from_pairs([("__name__", "scraped".to_owned()), ("a", format!("v{s}"))]);
            (labels, (0..n).map(|i| (start + i as i64 * 15_000, (i * s) as f64)).collect())
        })
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, max_shrink_iters: 2000, ..ProptestConfig::default() })]

    #[test]
    fn the_table_answers_as_the_plain_model_does(steps in prop::collection::vec(step(), 1..40)) {
        let (mut house, mut model, memory) = (House::patient(), Model::default(), Memory::new());
        let (mut other, mut others) = (Tenant::new("other").expect("a name"), Model::default());
        let tell = |tenant: &Tenant, series: &[(Labels, Vec<(i64, f64)>)]| {
            let Record { tenant, encoding, payload, .. } = record(tenant, 1, series);
            memory.append_at(&Request { tenant, encoding, payload }, 0).unwrap();
        };
        let check = |house: &House, model: &Model, matchers: &[LabelMatcher], first, last| {
            let expected = model.samples(matchers, first, last);
            assert_eq!(house.samples(matchers, first, last).unwrap(), expected);
            let names: Vec<Labels> = expected.into_iter().map(|(l, _)| l).collect();
            assert_eq!(house.series(matchers, first, last), names);
            let view = house.view();
            let known: BTreeSet<&str> = names.iter().flat_map(|l| l.iter().map(|(n, _)| n)).collect();
            assert!(view.label_names(&house.tenant, matchers, first, last).unwrap().iter().eq(&known));
            for name in ["__name__", "a", "none"] {
                let values: BTreeSet<&str> = names.iter().filter_map(|l| l.get(name)).collect();
                assert!(view.label_values(&house.tenant, name, matchers, first, last).unwrap().iter().eq(&values));
            }
        };
        for step in steps {
            match step {
                Step::Write(series) => {
                    house.write(&series);
                    model.write(&series);
                    tell(&house.tenant, &series);
                }
                Step::Turn => {
                    std::mem::swap(&mut house.tenant, &mut other);
                    std::mem::swap(&mut model, &mut others);
                }
                Step::Scrape { series, start, n } => {
                    let series = scrape(series, start, n);
                    house.write(&series);
                    model.write(&series);
                    tell(&house.tenant, &series);
                }
                Step::Freeze => house.freeze(),
                Step::FlushOne => house.flush_one(),
                Step::Compact => house.compact(),
                Step::Restart => {
                    house.flush();
                    let options = SeriesOptions { out_of_order_ms: i64::MAX, index_bytes: 1, decoded_bytes: 1 << 20, ..SeriesOptions::default() };
                    house.table = SeriesTable::new(Arc::new(house.segments.clone()), options);
                }
                Step::Ask { matchers, first, last } => {
                    let op = |n: u8| [MatchOp::Eq, MatchOp::Ne, MatchOp::Re, MatchOp::NotRe][usize::from(n)];
                    let matchers: Vec<LabelMatcher> =
                        matchers.iter().map(|(n, o, v)| LabelMatcher::new(n, op(*o), v).unwrap()).collect();
                    check(&house, &model, &matchers, first, last);
                }
            }
        }
        check(&house, &model, &[], i64::MIN, i64::MAX);
        house.flush();
        house.compact();
        check(&house, &model, &[], i64::MIN, i64::MAX);
        // The contract's other implementation, fed with the same requests, says the same.
        let mut said = Answer::new();
        for series in memory.view().samples(&house.tenant, &[], i64::MIN, i64::MAX).unwrap() {
            let series = series.unwrap();
            said.push(answer(series));
        }
        prop_assert_eq!(said, house.samples(&[], i64::MIN, i64::MAX).unwrap());
        house.tenant = other;
        check(&house, &others, &[], i64::MIN, i64::MAX);
        house.tenant = Tenant::new("nobody").expect("a name");
        check(&house, &Model::default(), &[], i64::MIN, i64::MAX);
        prop_assert!(house.segments.quarantined.lock().is_empty());
    }
}

fn one(value: f64, time: i64) -> Vec<(Labels, Vec<(i64, f64)>)> {
    vec![(Labels::from_pairs([("__name__", "up")]), vec![(time, value)])]
}

#[test]
fn a_retry_is_ignored_and_another_value_is_refused_also_after_a_flush() {
    let mut house = House::new(SeriesOptions::default());
    for _ in 0..2 {
        assert_eq!(house.write(&one(1.0, 60_000)).accepted, 1);
        let refused = house.write(&one(2.0, 60_000));
        assert_eq!((refused.accepted, refused.refused.message().as_str()), (0, "duplicate sample for timestamp: 1"));
        house.flush();
    }
    assert_eq!(house.samples(&[], 0, 100_000).unwrap()[0].1, [(60_000, 1f64.to_bits())]);
}

#[test]
fn late_samples_are_taken_within_the_window_and_refused_beyond_it() {
    let mut house = House::new(SeriesOptions::default());
    let now = 1_000_000_000;
    house.write(&one(1.0, now));
    assert_eq!(house.write(&one(2.0, now - 30 * 60_000)).accepted, 1);
    let refused = house.write(&one(3.0, now - 30 * 60_000 - 1));
    assert_eq!(refused.refused.message(), "too old sample: 1");
    house.flush();
    assert_eq!(house.write(&one(3.0, now - 31 * 60_000)).refused.message(), "too old sample: 1");
    assert_eq!(house.samples(&[], 0, now).unwrap()[0].1.len(), 2);
}

#[test]
fn a_view_sees_every_sample_once_while_a_part_moves_to_disk() {
    let mut house = House::new(SeriesOptions::default());
    house.write(&scrape(5, 0, 300));
    let before = house.samples(&[], 0, DAY).unwrap();
    let view = house.view();
    house.freeze();
    assert_eq!(house.samples(&[], 0, DAY).unwrap(), before);
    house.flush_one();
    assert_eq!(house.samples(&[], 0, DAY).unwrap(), before);
    // The view of before has no segment, but still the part.
    let times: usize = view.samples(&house.tenant, &[], 0, DAY).unwrap().map(|s| s.unwrap().times.len()).sum();
    assert_eq!(times, 5 * 300);
}

#[test]
fn long_runs_pass_a_merge_and_short_ones_are_joined() {
    let mut house = House::patient();
    for part in 0..4 {
        house.write(&scrape(20, part * 100 * 15_000, 100));
        house.flush();
    }
    let before = house.samples(&[], 0, DAY).unwrap();
    let bytes: u64 = house.named.iter().map(|s| s.bytes).sum();
    house.compact();
    assert_eq!(house.named.len(), 1);
    assert_eq!((house.named[0].level, house.named[0].rows), (1, 20 * 400));
    assert!(house.named[0].bytes < bytes, "{} of {bytes}", house.named[0].bytes);
    house.write(&scrape(20, 400 * 15_000, 480));
    house.flush();
    house.compact();
    assert_eq!((house.named[0].level, house.named[0].rows), (2, 20 * 880));
    assert_eq!(house.samples(&[], 0, 399 * 15_000).unwrap(), before);
}

#[test]
fn what_is_far_ahead_of_the_clock_is_refused_and_does_not_keep_later_samples_out() {
    let house = House::new(SeriesOptions::default());
    let (now, minute) = (1_700_000_000_000, 60_000);
    let labels = Labels::from_pairs([("__name__", "up")]);
    let at = |received: i64, times: &[i64]| {
        let samples = times.iter().map(|t| (*t, 1.0)).collect();
        let record = support::record(&house.tenant, 1, &[(labels.clone(), samples)]);
        let summary = house.table.apply(&Record { received: received * 1_000_000, ..record }).unwrap();
        (summary.accepted, summary.refused.0.into_iter().collect::<Vec<_>>())
    };
    assert_eq!(at(now, &[now * 1_000, now + 10 * minute + 1]), (0, vec![("out of bounds", 2)]));
    assert_eq!(at(now, &[now - minute, now + 10 * minute]), (2, vec![]));
}

#[test]
fn metadata_survives_a_restart() {
    let mut house = House::new(SeriesOptions::default());
    let mut encoder = wire::remote_write::Encoder::new();
    encoder.metadata("up", wire::MetricKind::Gauge, "1 if the target answers", "");
    encoder.series([("__name__", "up")], &[(1, 1.0)]);
    let payload = encoder.finish().unwrap().into();
    let encoding = wire::Encoding::RemoteWrite;
    let tenant = house.tenant.clone();
    house.table.apply(&Record { sequence: 1, tenant, encoding, received: 0, payload }).unwrap();
    house.restart();
    let view = house.view();
    let expected = ("up".to_owned(), wire::MetricKind::Gauge, "1 if the target answers".to_owned(), String::new());
    assert_eq!(view.metadata(&house.tenant, Some("up")), std::slice::from_ref(&expected));
    assert_eq!(view.metadata(&house.tenant, None), [expected]);
    assert!(view.metadata(&house.tenant, Some("down")).is_empty());
}

#[test]
fn a_damaged_segment_is_quarantined_and_the_rest_is_served() {
    let mut house = House::patient();
    house.write(&scrape(3, 0, 100));
    house.flush();
    house.write(&scrape(3, 2 * DAY, 100));
    house.flush();
    let victim = house.named[0].file.clone();
    let good = house.segments.files.lock()[&victim].clone();
    let whole = house.samples(&[], 0, 3 * DAY).unwrap();
    let rest = house.samples(&[], 2 * DAY, 3 * DAY).unwrap();
    let mut noticed = 0;
    for at in 0..good.len() {
        let mut bad = good.to_vec();
        bad[at] ^= 0x55;
        house.segments.files.lock().insert(victim.clone(), bad.into());
        house.segments.quarantined.lock().clear();
        house.table = SeriesTable::new(Arc::new(house.segments.clone()), SeriesOptions::default());
        let answer = house.samples(&[], 0, 3 * DAY);
        if house.segments.quarantined.lock().is_empty() {
            // Damage in what is not read (statistics), or a newer version's number.
            assert!(matches!(answer, Err(StoreError::Version { .. })) || answer.is_ok(), "byte {at}");
        } else {
            noticed += 1;
            let answer = answer.unwrap();
            assert!(answer == rest || answer.len() == 3, "byte {at}");
        }
    }
    assert!(noticed > good.len() / 4, "{noticed} of {}", good.len());
    for len in [0, 4, good.len() / 2, good.len() - 1] {
        house.segments.files.lock().insert(victim.clone(), good.slice(..len));
        house.table = SeriesTable::new(Arc::new(house.segments.clone()), SeriesOptions::default());
        assert_eq!(house.samples(&[], 0, 3 * DAY).unwrap(), rest, "cut to {len}");
    }
    house.segments.files.lock().insert(victim, good);
    house.table = SeriesTable::new(Arc::new(house.segments.clone()), SeriesOptions::default());
    assert_eq!(house.samples(&[], 0, 3 * DAY).unwrap(), whole);
}

/// Segments as the versions wrote them: every codec, shared times, metadata; from 2 on histograms, exemplars and start
/// timestamps.
fn fixture(version: u32) -> String {
    format!("tests/fixtures/samples-v{version}.parquet")
}

fn fixture_house(version: u32) -> House {
    let mut house = House::patient();
    let mut encoder = wire::remote_write::Encoder::new();
    encoder.metadata("requests_total", wire::MetricKind::Counter, "Requests.", "");
    let stale = f64::from_bits(STALE_NAN_BITS);
    let values: [(&str, fn(i64) -> f64); 5] = [
        ("constant", |_| 1.0),
        ("noise", |i| (i as f64).sin()),
        ("percent", |i| (i * 37 % 10_000) as f64 / 100.0),
        ("requests_total", |i| (i * i) as f64),
        ("short", |i| i as f64 * 0.1),
    ];
    for (at, (name, value)) in values.into_iter().enumerate() {
        let n = if name == "short" { 2 } else { 300 };
        // Two of them are scraped with a jitter, one ends with a staleness marker.
        let time = |i: i64| 1_700_000_000_000 + i * 15_000 + if at < 2 { i * 7 % 5 } else { 0 };
        let mut samples: Vec<(i64, f64)> = (0..n).map(|i| (time(i), value(i))).collect();
        if name == "requests_total" {
            samples.push((time(n), stale));
        }
        encoder.series([("__name__", name), ("job", "fixture \u{1f980}")], &samples);
    }
    let (tenant, payload) = (house.tenant.clone(), encoder.finish().unwrap().into());
    let encoding = wire::Encoding::RemoteWrite;
    house.take(&Request { tenant, encoding, payload });
    if version > 1 {
        let mut series = kinds::growing(1_700_000_000_000, 200);
        for at in [3, 70] {
            let exemplar = kinds::Point::Exemplar(Labels::from_pairs([("trace_id", "ab")]), at as f64);
            series[0].1.push((1_700_000_000_000 + at, 0, exemplar));
        }
        let float = |i: i64| (1_700_000_000_000 + i, if i < 5 { 7 } else { 9 }, kinds::Point::Float(i as f64));
        series.push((Labels::from_pairs([("__name__", "started")]), (0..10).map(float).collect()));
        house.take(&kinds::request(&series));
    }
    if version > 2 {
        // Another tenant shares the segment.
        house.tenant = Tenant::new("other").unwrap();
        house.write(&scrape(3, 1_700_000_000_000, 10));
        house.tenant = Tenant::default();
    }
    house
}

#[test]
#[ignore = "writes the fixture of the format's current version; a released fixture is never written again"]
fn write_fixture() {
    let mut house = fixture_house(3);
    house.flush();
    std::fs::write(fixture(3), &house.segments.files.lock()[&house.named[0].file]).unwrap();
}

#[test]
fn segments_of_every_version_are_still_read() {
    for version in [1, 2, 3] {
        let mut house = fixture_house(version);
        let told = |house: &House| {
            let view = house.view();
            let samples = view.samples(&house.tenant, &[], i64::MIN, i64::MAX).unwrap();
            let samples: Vec<String> = samples.map(|s| format!("{:?}", s.unwrap())).collect();
            (samples, view.exemplars(&house.tenant, &[], i64::MIN, i64::MAX).unwrap())
        };
        let expected = told(&house);
        let floats = house.samples(&[], i64::MIN, i64::MAX).unwrap();
        assert_eq!(floats.iter().map(|(_, s)| s.len()).sum::<usize>(), 300 * 4 + 1 + 2 + if version > 1 { 10 } else { 0 });
        house.flush();
        assert_eq!(house.named.len(), 1);
        let bytes = std::fs::read(fixture(version)).unwrap();
        house.segments.files.lock().insert(house.named[0].file.clone(), bytes.into());
        house.table = SeriesTable::new(Arc::new(house.segments.clone()), SeriesOptions::default());
        assert_eq!(told(&house), expected);
        assert_eq!(house.view().metadata(&house.tenant, None)[0].2, "Requests.");
        assert!(house.segments.quarantined.lock().is_empty());
    }
}

#[test]
fn a_hundred_thousand_series_with_hostile_labels_stay_bounded() {
    let mut house = House::new(SeriesOptions::default());
    let noise = |n: u64| n.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ (n >> 7);
    for batch in 0..100u64 {
        let series: Vec<_> = (0..1000)
            .map(|i| {
                let n = batch * 1000 + i;
                let pairs = [
                    ("__name__".to_owned(), format!("m\u{1f980}{}", n % 7)),
                    (format!("label {}", noise(n) % 5000), format!("\"\\\n{:x}", noise(n))),
                    ("zero\0".to_owned(), "\u{0}".repeat((n % 9) as usize + 1)),
                ];
                (Labels::from_pairs(pairs), vec![(n as i64, n as f64)])
            })
            .collect();
        house.write(&series);
    }
    assert_eq!(house.table.series_in_memory(), 100_000);
    let per_series = (house.table.memory() + house.table.index_memory()) / 100_000;
    assert!(per_series < 1500, "{per_series} bytes a series");
    house.flush();
    house.write(&one(1.0, 1));
    // The series of the last part are still known; after the next one they are not, but those of cached segments.
    house.flush();
    house.flush();
    house.write(&one(1.0, 2));
    house.flush();
    assert!(house.table.series_in_memory() < 1100, "{}", house.table.series_in_memory());
    let matchers = [LabelMatcher::new("__name__", MatchOp::Eq, "m\u{1f980}3").unwrap()];
    assert_eq!(house.series(&matchers, 0, 1_000_000).len(), 100_000usize.div_ceil(7) - usize::from(100_000 % 7 <= 3));
    assert_eq!(house.table.memory(), 0);
    assert!(house.table.index_memory() < 200 << 20);
}

#[test]
fn series_that_lost_all_samples_leave_no_gap_in_a_merged_segment() {
    let series = |name: &str| (Labels::from_pairs([("__name__", name)]), vec![(60_000, 1.0)]);
    for tenants in [&["default"][..], &["default", "other"]] {
        let mut house = House::new(SeriesOptions::default());
        for round in 0..2 {
            for tenant in tenants {
                house.tenant = Tenant::new(tenant).unwrap();
                house.write(&[series("a"), series("b"), series(&format!("c{round}"))]);
            }
            house.flush();
        }
        assert!(house.named.iter().all(|s| s.is_shared() == (tenants.len() > 1)));
        house.tenant = Tenant::default();
        let which = vec![LabelMatcher::new("__name__", MatchOp::Eq, "b").unwrap()];
        let doomed = store::Doomed::Series(vec![which]);
        let (start, end) = (i64::MIN, i64::MAX);
        let tombstone = store::Tombstone {
            sequence: 100,
            tenant: "default".to_owned(),
            start,
            end,
            doomed,
            words: String::new(),
            created: 0,
            cleaned: 0,
            due: 0,
            request: 0,
        };
        let tombstones = store::Tombstones::new(vec![Arc::new(tombstone)]);
        let named: Vec<_> = house.named.iter().cloned().map(Arc::new).collect();
        *house.segments.live.lock() = Arc::new(store::engine::Live::new(&named).without(tombstones));
        house.compact();
        let names = |house: &House| -> Vec<String> {
            let found = house.samples(&[], 0, DAY).unwrap();
            found.iter().map(|(labels, _)| labels.get("__name__").unwrap().to_owned()).collect()
        };
        assert_eq!(names(&house), ["a", "c0", "c1"]);
        if tenants.len() > 1 {
            house.tenant = Tenant::new("other").unwrap();
            assert_eq!(names(&house), ["a", "b", "c0", "c1"], "another tenant's series stay");
        }
        assert!(house.segments.quarantined.lock().is_empty());
    }
}
