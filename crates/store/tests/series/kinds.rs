//! Histograms, start timestamps and exemplars: the table says what the plain model says.

use model::{BucketSpan, Histogram, ResetHint};
use wire::SampleSink;
use wire::remote_write::Encoder;

use super::*;

/// What a series is given.
#[derive(Debug, Clone)]
pub(super) enum Point {
    Float(f64),
    Histogram(Histogram),
    Exemplar(Labels, f64),
}

/// Time, start timestamp, and what.
type Points = Vec<(i64, i64, Point)>;

pub(super) fn request(series: &[(Labels, Points)]) -> Request {
    let mut encoder = Encoder::new();
    for (labels, points) in series {
        encoder.series(labels.iter(), &[]);
        for (time, start, point) in points {
            encoder.start(*start);
            match point {
                Point::Float(value) => encoder.sample(*time, *value),
                Point::Histogram(histogram) => encoder.histogram(*time, histogram),
                Point::Exemplar(labels, value) => {
                    let labels: Vec<(&str, &str)> = labels.iter().collect();
                    encoder.exemplar(&wire::Exemplar { labels: &labels, time_ms: *time, value: *value });
                }
            }
        }
    }
    let payload = encoder.finish().unwrap().into();
    Request { tenant: Tenant::default(), encoding: wire::Encoding::RemoteWrite, payload }
}

impl House {
    pub(super) fn take(&mut self, request: &Request) -> wire::Summary {
        self.sequence += 1;
        let Request { tenant, encoding, payload } = request.clone();
        self.table.apply(&Record { sequence: self.sequence, tenant, encoding, received: 0, payload }).expect("a good request")
    }
}

fn histogram() -> impl Strategy<Value = Histogram> {
    let side = || prop::collection::vec((0..3i32, 0..3u32), 0..3);
    let numbers = prop::collection::vec(0..6u32, 13);
    (side(), side(), numbers, -4..9i32, 0..4usize, 0..8u8).prop_map(|(positive, negative, numbers, schema, hint, sort)| {
        let spans = |all: &[(i32, u32)]| -> Vec<BucketSpan> {
            all.iter().map(|(offset, length)| BucketSpan { offset: *offset, length: *length }).collect()
        };
        let take = |spans: &[BucketSpan], skip: usize| -> Vec<f64> {
            let n = spans.iter().map(|s| s.length as usize).sum();
            numbers.iter().skip(skip).take(n).map(|n| f64::from(*n)).collect()
        };
        let (positive_spans, negative_spans) = (spans(&positive), spans(&negative));
        let mut h = Histogram {
            schema,
            reset_hint: [ResetHint::Unknown, ResetHint::Reset, ResetHint::NoReset, ResetHint::Gauge][hint],
            zero_threshold: 1e-128,
            zero_count: f64::from(numbers[12]),
            sum: f64::from(numbers[0]) * 1.5,
            positive: take(&positive_spans, 0),
            negative: take(&negative_spans, 6),
            positive_spans,
            negative_spans,
            ..Histogram::default()
        };
        match sort {
            // Stale: nothing but the mark.
            0 => h = Histogram { sum: f64::from_bits(STALE_NAN_BITS), ..Histogram::default() },
            // Custom buckets.
            1 => {
                h = Histogram {
                    schema: model::CUSTOM_BUCKETS,
                    positive_spans: vec![BucketSpan { offset: 1, length: 2 }],
                    positive: vec![1.0, f64::from(numbers[1])],
                    custom_bounds: vec![0.5, f64::from(numbers[2]) + 1.0],
                    ..h
                };
                (h.zero_count, h.zero_threshold) = (0.0, 0.0);
                (h.negative_spans, h.negative) = (Vec::new(), Vec::new());
            }
            // Floats.
            2 => h.zero_count += 0.25,
            _ => {}
        }
        h.count = h.zero_count + h.positive.iter().chain(&h.negative).sum::<f64>();
        h
    })
}

fn points() -> impl Strategy<Value = Points> {
    let point = prop_oneof![
        3 => (0..9i32).prop_map(|v| Point::Float(f64::from(v))),
        4 => histogram().prop_map(Point::Histogram),
        2 => ("[ab]{1,2}", 0..2u8).prop_map(|(id, v)| {
            Point::Exemplar(Labels::from_pairs([("trace_id", id)]), f64::from(v))
        }),
    ];
    let start = prop_oneof![3 => Just(0i64), 2 => 1..4i64];
    let time = prop_oneof![6 => 0..60i64, 1 => DAY - 20..DAY];
    prop::collection::vec((time, start, point), 1..12)
}

#[derive(Debug, Clone)]
enum Step {
    Write(Vec<(Labels, Points)>),
    /// One histogram after the other, so that runs are sealed.
    Grow(i64, usize),
    Freeze,
    FlushOne,
    Compact,
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => prop::collection::vec((labels(), points()), 1..4).prop_map(Step::Write),
        2 => (0..DAY, 1..300usize).prop_map(|(start, n)| Step::Grow(start, n)),
        2 => Just(Step::Freeze),
        2 => Just(Step::FlushOne),
        1 => Just(Step::Compact),
        1 => Just(Step::Restart),
    ]
}

pub(super) fn growing(start: i64, n: usize) -> Vec<(Labels, Points)> {
    let mut h = Histogram { schema: 3, zero_threshold: 1e-128, ..Histogram::default() };
    let mut points = Vec::new();
    for i in 0..n {
        if i % 40 == 0 {
            h.positive_spans = vec![BucketSpan { offset: -3, length: (i / 40) as u32 + 1 }];
            h.positive.push(0.0);
        }
        let at = i % h.positive.len();
        h.positive[at] += 1.0;
        h.count += 1.0;
        h.sum += at as f64 / 8.0;
        points.push((start + i as i64 * 15_000, start - 5, Point::Histogram(h.clone())));
    }
    vec![(Labels::from_pairs([("__name__", "grown")]), points)]
}

/// Everything that a reader says of samples and exemplars, as text: histograms may hold a NaN, which equals nothing.
fn told(
    samples: store::SeriesStream<'_>,
    exemplars: Vec<store::SeriesExemplars>,
    series: Vec<Arc<Labels>>,
) -> (Vec<String>, Vec<store::SeriesExemplars>, Vec<Arc<Labels>>) {
    (samples.map(|s| format!("{:?}", s.unwrap())).collect(), exemplars, series)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, max_shrink_iters: 2000, ..ProptestConfig::default() })]

    #[test]
    fn every_kind_of_sample_is_what_the_plain_model_says(
        steps in prop::collection::vec(step(), 1..16),
        ranges in prop::collection::vec((0..80i64, 0..80i64), 1..4),
    ) {
        let (mut house, memory) = (House::patient(), Memory::new());
        let check = |house: &House| {
            let (view, model, tenant) = (house.view(), memory.view(), Tenant::default());
            let ranges = ranges.iter().map(|(first, len)| (*first, first + len)).chain([(i64::MIN, i64::MAX)]);
            for (first, last) in ranges {
                let answer = told(
                    view.samples(&tenant, &[], first, last).unwrap(),
                    view.exemplars(&tenant, &[], first, last).unwrap(),
                    view.series(&tenant, &[], first, last).unwrap(),
                );
                let expected = told(
                    model.samples(&tenant, &[], first, last).unwrap(),
                    model.exemplars(&tenant, &[], first, last).unwrap(),
                    model.series(&tenant, &[], first, last).unwrap(),
                );
                assert_eq!(answer, expected, "{first}..={last}");
            }
        };
        for step in steps {
            match step {
                Step::Write(series) => {
                    let request = request(&series);
                    house.take(&request);
                    memory.append_at(&request, 0).unwrap();
                }
                Step::Grow(start, n) => {
                    let request = request(&growing(start, n));
                    house.take(&request);
                    memory.append_at(&request, 0).unwrap();
                }
                Step::Freeze => house.freeze(),
                Step::FlushOne => house.flush_one(),
                Step::Compact => house.compact(),
                Step::Restart => {
                    house.flush();
                    let options = SeriesOptions { out_of_order_ms: i64::MAX, index_bytes: 1, decoded_bytes: 1 << 20, ..SeriesOptions::default() };
                    house.table = SeriesTable::new(Arc::new(house.segments.clone()), options);
                }
            }
        }
        check(&house);
        house.flush();
        check(&house);
        house.compact();
        check(&house);
        prop_assert!(house.segments.quarantined.lock().is_empty());
    }
}

#[test]
fn conflicts_and_late_histograms_are_refused_as_floats_are() {
    let mut house = House::new(SeriesOptions::default());
    let series = |time: i64, point: Point| vec![(Labels::from_pairs([("__name__", "h")]), vec![(time, 0, point)])];
    let h = |count: f64| {
        let spans = vec![BucketSpan { offset: 0, length: 1 }];
        Point::Histogram(Histogram { count, positive: vec![count], positive_spans: spans, ..Histogram::default() })
    };
    let now = 1_000_000_000;
    let mut said = |time: i64, point: Point| {
        let summary = house.take(&request(&series(time, point)));
        (summary.accepted, summary.histograms, summary.refused.message())
    };
    let fine = |histograms: u64| (1, histograms, String::new());
    assert_eq!(said(now, h(1.0)), fine(1));
    assert_eq!(said(now, h(1.0)), fine(1));
    let duplicate = (0, 0, "duplicate sample for timestamp: 1".to_owned());
    assert_eq!(said(now, h(2.0)), duplicate);
    assert_eq!(said(now, Point::Float(1.0)), duplicate);
    assert_eq!(said(now - 5, Point::Float(1.0)), fine(0));
    assert_eq!(said(now - 5, h(1.0)), duplicate);
    assert_eq!(said(now - 1, h(3.0)), fine(1));
    assert_eq!(said(now - 1, h(3.0)), fine(1));
    assert_eq!(said(now - 1, h(4.0)), duplicate);
    assert_eq!(said(now - 31 * 60_000, h(1.0)), (0, 0, "too old sample: 1".to_owned()));
}

#[test]
fn exemplars_of_a_series_are_bounded_and_the_newest_stay() {
    let mut house = House::patient();
    for round in 0..8i64 {
        let exemplar = |i: i64| {
            let labels = Labels::from_pairs([("trace_id", format!("{:032x}", round * 1000 + i))]);
            (round * 1000 + i, 0, Point::Exemplar(labels, 1.0))
        };
        house.take(&request(&[(Labels::from_pairs([("__name__", "e")]), (0..500).map(exemplar).collect())]));
        house.flush();
    }
    house.compact();
    let all = house.view().exemplars(&house.tenant, &[], i64::MIN, i64::MAX).unwrap();
    assert_eq!(all[0].exemplars.len(), 512);
    assert_eq!(all[0].exemplars[511].time, 7_499);
    assert!(house.view().series(&house.tenant, &[], i64::MIN, i64::MAX).unwrap().is_empty(), "exemplars are no samples");
}

/// An OTLP request of one delta point of the counter `d`.
fn delta(time_ms: u64, start_ms: u64, value: f64) -> Request {
    let field = |number: u8, bytes: &[u8]| [&[number << 3 | 2, bytes.len() as u8], bytes].concat();
    let fixed = |number: u8, n: u64| [&[number << 3 | 1][..], &n.to_le_bytes()].concat();
    let point = [fixed(2, start_ms * 1_000_000), fixed(3, time_ms * 1_000_000), fixed(4, value.to_bits())].concat();
    // Data points, delta, monotonic.
    let sum = [field(1, &point), vec![0x10, 1, 0x18, 1]].concat();
    let metric = [field(1, b"d"), field(7, &sum)].concat();
    let payload = field(1, &field(2, &field(2, &metric))).into();
    Request { tenant: Tenant::default(), encoding: wire::Encoding::OtlpMetrics, payload }
}

#[test]
fn deltas_are_added_up_over_flushes_and_restarts_and_come_once() {
    let mut house = House::new(SeriesOptions::default());
    let memory = Memory::new();
    let base = 1_700_000_000_000u64;
    let mut expected = 0.0;
    for step in 0..12u64 {
        let request = delta(base + (step + 1) * 1_000, base + step * 1_000, 2.5);
        assert_eq!(house.take(&request).accepted, 1);
        memory.append_at(&request, 0).unwrap();
        expected += 2.5;
        let again = house.take(&delta(base + (step + 1) * 1_000, base + step * 1_000, 7.0));
        assert_eq!((again.accepted, again.refused.message().as_str()), (0, "out of order sample: 1"));
        let samples = house.samples(&[], i64::MIN, i64::MAX).unwrap();
        assert_eq!(samples[0].1.last().unwrap().1, f64::to_bits(expected), "after {step}");
        match step % 4 {
            0 => house.freeze(),
            1 => house.flush(),
            2 => house.restart(),
            _ => house.compact(),
        }
    }
    let (view, model) = (house.view(), memory.view());
    let all = |samples: store::SeriesStream<'_>| samples.map(|s| format!("{:?}", s.unwrap())).collect::<Vec<_>>();
    let told = all(view.samples(&house.tenant, &[], i64::MIN, i64::MAX).unwrap());
    assert_eq!(told, all(model.samples(&house.tenant, &[], i64::MIN, i64::MAX).unwrap()));
    // After more than an hour the sum begins anew, which its start timestamp tells.
    house.restart();
    let later = base + 2 * 3_600_000;
    house.take(&delta(later, later - 1_000, 1.0));
    let last = house.view().samples(&house.tenant, &[], later as i64, later as i64).unwrap().next().unwrap().unwrap();
    assert_eq!((last.values, last.starts), (vec![1.0], vec![later as i64 - 1_000]));
}
