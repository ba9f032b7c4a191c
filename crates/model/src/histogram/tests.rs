use super::*;

/// An exponential histogram; `sides` are positive and negative buckets by index.
fn exponential(schema: i32, zero: (f64, f64), positive: &[(i32, f64)], negative: &[(i32, f64)]) -> Histogram {
    let (positive_spans, positive) = sum::layout(positive.iter().copied());
    let (negative_spans, negative) = sum::layout(negative.iter().copied());
    let count = zero.1 + positive.iter().chain(&negative).sum::<f64>();
    Histogram {
        schema,
        zero_threshold: zero.0,
        zero_count: zero.1,
        count,
        positive_spans,
        positive,
        negative_spans,
        negative,
        ..Histogram::default()
    }
}

fn custom(bounds: &[f64], counts: &[f64]) -> Histogram {
    let (positive_spans, positive) = sum::layout((0..).zip(counts.iter().copied()));
    let count = positive.iter().sum();
    Histogram { schema: CUSTOM_BUCKETS, count, positive_spans, positive, custom_bounds: bounds.to_vec(), ..Histogram::default() }
}

#[test]
fn sums_take_the_coarser_layout() {
    let (sum, _) = exponential(1, (0.0, 0.0), &[(1, 1.0), (2, 2.0), (5, 4.0)], &[])
        .plus(&exponential(0, (0.0, 0.0), &[(1, 10.0), (2, 20.0)], &[(1, 3.0)]))
        .expect("both exponential");
    assert_eq!(sum.to_string(), "{count:40, sum:0, [-2,-1):3, (1,2]:13, (2,4]:20, (4,8]:4}");
    assert_eq!(sum.schema, 0);
    // The zero bucket widens to a bucket's bound: 1.5 lies inside of (1, 2].
    let (sum, _) = exponential(0, (1.5, 5.0), &[(3, 1.0)], &[])
        .plus(&exponential(0, (0.0, 0.0), &[(1, 2.0), (2, 7.0)], &[(1, 1.0)]))
        .expect("fit");
    assert_eq!(sum.to_string(), "{count:16, sum:0, [-2,2]:8, (2,4]:7, (4,8]:1}");
}

#[test]
fn custom_bounds_meet_where_both_have_them() {
    let (sum, merged) =
        custom(&[1.0, 2.0, 3.0], &[1.0, 2.0, 4.0, 8.0]).plus(&custom(&[2.0, 4.0], &[10.0, 20.0, 40.0])).expect("fit");
    assert_eq!(sum.to_string(), "{count:85, sum:0, [-Inf,2]:13, (2,+Inf]:72}");
    assert!(merged.bounds_reconciled);
    assert_eq!(custom(&[1.0], &[1.0]).plus(&exponential(0, (0.0, 0.0), &[], &[])), Err(IncompatibleBuckets));
}

#[test]
fn hints_collide_where_one_says_reset_and_the_other_not() {
    use ResetHint::{Gauge, NoReset, Reset, Unknown};
    for (a, b, sum, collide) in [
        (Reset, NoReset, Unknown, true),
        (NoReset, Reset, Unknown, true),
        (Reset, Reset, Reset, false),
        (Reset, Unknown, Unknown, false),
        (Gauge, Reset, Gauge, false),
        (NoReset, Gauge, Gauge, false),
    ] {
        let with = |reset_hint| Histogram { reset_hint, ..Histogram::default() };
        let (h, merged) = with(a).plus(&with(b)).expect("fit");
        assert_eq!((h.reset_hint, merged.hints_collide), (sum, collide), "{a:?} + {b:?}");
    }
}

#[test]
fn sums_keep_their_rounding_errors() {
    let with = |count| exponential(0, (0.0, 0.0), &[(1, count)], &[]);
    let mut sum = HistogramSum::from(&with(1e100));
    for count in [1.0, -1e100, 2.0] {
        sum.add(&with(count), 1.0).expect("fit");
    }
    assert_eq!((sum.get().count, sum.get().positive), (3.0, vec![3.0]));
}

#[test]
fn resets_are_found() {
    let h = |positive: &[(i32, f64)]| exponential(0, (0.001, 1.0), positive, &[]);
    let before = h(&[(1, 2.0), (3, 2.0)]);
    for (after, reset) in [
        (h(&[(1, 2.0), (3, 2.0)]), false),
        (h(&[(1, 2.0), (2, 5.0), (3, 2.0)]), false),
        (h(&[(1, 1.0), (3, 5.0)]), true),
        (h(&[(1, 5.0)]), true),
        (Histogram { reset_hint: ResetHint::NoReset, ..h(&[]) }, false),
        (Histogram { reset_hint: ResetHint::Reset, ..before.clone() }, true),
        (exponential(1, (0.001, 1.0), &[(1, 9.0)], &[]), true),
        (exponential(-1, (0.001, 1.0), &[(1, 2.0), (2, 2.0)], &[]), false),
        (exponential(0, (1.0, 1.0), &[(1, 2.0), (3, 2.0)], &[]), false),
        (exponential(0, (1.5, 9.0), &[(3, 2.0)], &[]), true),
        (exponential(0, (2.0, 3.0), &[(3, 2.0)], &[]), false),
        (custom(&[1.0], &[9.0, 9.0]), true),
    ] {
        assert_eq!(after.is_reset_after(&before), reset, "{after}");
    }
    let before = custom(&[1.0, 2.0], &[1.0, 1.0, 1.0]);
    assert!(!custom(&[2.0], &[2.0, 1.0]).is_reset_after(&before));
    assert!(custom(&[2.0], &[1.0, 5.0]).is_reset_after(&before));
}

#[test]
fn compacting_leaves_no_empty_bucket() {
    let h = exponential(0, (0.0, 0.0), &[(1, 0.0), (2, 1.0), (3, 0.0), (4, 2.0)], &[(1, 0.0)]).compacted();
    let span = |offset, length| BucketSpan { offset, length };
    assert_eq!((h.positive_spans, h.positive), (vec![span(2, 1), span(1, 1)], vec![1.0, 2.0]));
    assert!(h.negative_spans.is_empty() && h.negative.is_empty());
}

#[test]
fn spans_that_lie_do_no_harm() {
    let span = |offset, length| BucketSpan { offset, length };
    let h = Histogram {
        positive_spans: vec![span(i32::MAX, u32::MAX), span(i32::MIN, 7), span(-5, 2)],
        positive: vec![1.0, 2.0, 3.0],
        schema: 99,
        zero_threshold: f64::NAN,
        ..Histogram::default()
    };
    assert_eq!(h.buckets().len(), 3);
    let _ = h.plus(&Histogram { schema: -99, zero_threshold: 1.0, ..h.clone() });
    let _ = (h.is_reset_after(&h), h.to_string(), h.clone().compacted());
}

#[test]
fn numbers_print_as_gos_general_format() {
    for (value, text) in
        [(1e6, "1e+06"), (123_456.0, "123456"), (0.0001, "0.0001"), (1e-5, "1e-05"), (1.5e300, "1.5e+300"), (0.0, "0")]
    {
        assert_eq!(go_general(value), text);
    }
}
