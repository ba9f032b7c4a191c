//! Sums and means that keep their rounding errors.

/// Adds with the rounding error kept beside the sum (Neumaier).
#[inline]
pub(crate) fn add(value: f64, sum: f64, error: f64) -> (f64, f64) {
    let total = sum + value;
    if total.is_infinite() {
        return (total, 0.0);
    }
    let lost = if sum.abs() >= value.abs() { (sum - total) + value } else { (value - total) + sum };
    (total, error + lost)
}

/// The sum of two numbers and what rounding lost of it, whichever is larger (Knuth). Where the sum overflows, the loss is NaN.
#[inline]
fn exactly(a: f64, b: f64) -> (f64, f64) {
    let total = a + b;
    let shifted = total - a;
    (total, (a - (total - shifted)) + (b - shifted))
}

/// A sum and what rounding lost of it: of values that [`is_tame`].
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Total {
    sum: f64,
    error: f64,
}

impl Total {
    #[inline]
    pub(crate) fn add(self, value: f64) -> Self {
        let (sum, lost) = exactly(self.sum, value);
        Self { sum, error: self.error + lost }
    }

    #[inline]
    pub(crate) fn join(self, more: Self) -> Self {
        let (sum, lost) = exactly(self.sum, more.sum);
        Self { sum, error: self.error + more.error + lost }
    }

    pub(crate) fn sum(self) -> f64 {
        self.sum + self.error
    }

    /// The mean of so many.
    pub(crate) fn mean(self, count: usize) -> f64 {
        // In whichever order they were added, the same bits.
        let sum = self.sum();
        sum / count as f64 + (self.error - (sum - self.sum)) / count as f64
    }
}

/// Whether no partial sum of so many values can overflow, of which the one furthest from zero is given; infinity and NaN may.
#[inline]
fn is_tame(furthest: f64, count: usize) -> bool {
    furthest * (count as f64) < f64::MAX / 2.0
}

/// Whether the values are numbers of which no partial sum can overflow.
pub(crate) fn are_tame(values: &[f64]) -> bool {
    let most = f64::MAX / 2.0 / values.len().max(1) as f64;
    // Without a way out early, so that it is done in large steps.
    values.iter().fold(true, |tame, v| tame & (v.abs() < most))
}

/// Sums that are worked on side by side.
const LANES: usize = 4;
/// From so many values on that pays.
const SIDE_BY_SIDE: usize = 8;

/// The values' sum in a quarter of the steps that one after the other takes; none where these values are too few or not tame.
fn side_by_side(values: &[f64]) -> Option<Total> {
    if values.len() < SIDE_BY_SIDE {
        return None;
    }
    let (mut sums, mut errors, mut furthest) = ([0.0; LANES], [0.0; LANES], [0.0_f64; LANES]);
    let (rows, rest) = values.as_chunks::<LANES>();
    for row in rows {
        for (((sum, error), furthest), v) in sums.iter_mut().zip(&mut errors).zip(&mut furthest).zip(row) {
            let (total, lost) = exactly(*sum, *v);
            *sum = total;
            *error += lost;
            *furthest = if v.abs() > *furthest { v.abs() } else { *furthest };
        }
    }
    let lanes = sums.into_iter().zip(errors).map(|(sum, error)| Total { sum, error });
    let total = rest.iter().fold(lanes.fold(Total::default(), Total::join), |total, v| total.add(*v));
    let furthest = furthest.into_iter().chain(rest.iter().map(|v| v.abs())).fold(0.0, f64::max);
    // NaN is never furthest, but spreads to the sum.
    (is_tame(furthest, values.len()) && total.sum.is_finite()).then_some(total)
}

/// The sum of values, as the reference adds them.
pub(crate) fn sum_of(values: &[f64]) -> f64 {
    side_by_side(values).map_or_else(
        || {
            let (sum, error) = values.iter().fold((0.0, 0.0), |(sum, error), v| add(*v, sum, error));
            if f64::is_infinite(sum) { sum } else { sum + error }
        },
        Total::sum,
    )
}

/// The mean of values, as the reference has it; none of none.
pub(crate) fn mean_of(values: &[f64]) -> Option<f64> {
    match side_by_side(values) {
        Some(total) => Some(total.mean(values.len())),
        None => {
            let mut mean = Mean::default();
            values.iter().for_each(|v| mean.add(*v));
            mean.get()
        }
    }
}

/// A mean: sum and count, or, where the sum would overflow, the mean itself moved by each value.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Mean {
    value: f64,
    error: f64,
    count: f64,
    moving: bool,
}

impl Mean {
    #[inline]
    pub(crate) fn add(&mut self, value: f64) {
        self.count += 1.0;
        if self.count == 1.0 {
            self.value = value;
            return;
        }
        if !self.moving {
            let (sum, error) = add(value, self.value, self.error);
            if !sum.is_infinite() {
                (self.value, self.error) = (sum, error);
                return;
            }
            self.moving = true;
            self.value /= self.count - 1.0;
            self.error /= self.count - 1.0;
        }
        let scale = (self.count - 1.0) / self.count;
        (self.value, self.error) = add(value / self.count, scale * self.value, scale * self.error);
    }

    /// Takes what another one has gathered.
    pub(crate) fn join(&mut self, more: Self) {
        if more.count == 0.0 {
            return;
        }
        if self.count == 0.0 {
            *self = more;
            return;
        }
        let count = self.count + more.count;
        if !self.moving && !more.moving {
            let (sum, error) = add(more.value, self.value, self.error);
            if !sum.is_infinite() {
                *self = Self { value: sum, error: error + more.error, count, moving: false };
                return;
            }
        }
        let mean = |m: &Self| m.get().unwrap_or(0.0);
        let value = mean(self) * (self.count / count) + mean(&more) * (more.count / count);
        *self = Self { value, error: 0.0, count, moving: true };
    }

    pub(crate) fn get(&self) -> Option<f64> {
        let divisor = if self.moving { 1.0 } else { self.count };
        (self.count > 0.0).then(|| self.value / divisor + self.error / divisor)
    }
}

/// The `q` quantile of values, which are sorted here: interpolated between neighbours; NaN sorts first.
pub(crate) fn quantile_of(q: f64, values: &mut [f64]) -> f64 {
    if values.is_empty() || q.is_nan() {
        return f64::NAN;
    }
    if q < 0.0 {
        return f64::NEG_INFINITY;
    }
    if q > 1.0 {
        return f64::INFINITY;
    }
    values.sort_unstable_by(|a, b| a.partial_cmp(b).unwrap_or_else(|| b.is_nan().cmp(&a.is_nan())));
    let rank = q * (values.len() - 1) as f64;
    let lower = (rank.floor().max(0.0)) as usize;
    let upper = (lower + 1).min(values.len() - 1);
    let weight = rank - rank.floor();
    values[lower] * (1.0 - weight) + values[upper] * weight
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn serial_sum(values: &[f64]) -> f64 {
        let (sum, error) = values.iter().fold((0.0, 0.0), |(sum, error), v| add(*v, sum, error));
        if f64::is_infinite(sum) { sum } else { sum + error }
    }

    fn serial_mean(values: &[f64]) -> f64 {
        let mut mean = Mean::default();
        values.iter().for_each(|v| mean.add(*v));
        mean.get().unwrap_or(f64::NAN)
    }

    /// Equal but for the last bits of numbers that were added in another order; what cancels out leaves less than the
    /// error of the error.
    fn close(a: f64, b: f64, values: &[f64]) -> bool {
        let size: f64 = values.iter().map(|v| v.abs()).sum();
        a == b || (a.is_nan() && b.is_nan()) || (a - b).abs() <= 4.0 * f64::EPSILON * a.abs() + 1e-24 * size
    }

    fn value() -> impl Strategy<Value = f64> {
        prop_oneof![
            8 => -1e6..1e6,
            4 => (0_u32..100).prop_map(|v| f64::from(v) / 10.0),
            1 => prop_oneof![Just(1e16), Just(-1e16), Just(1e-9), Just(-0.0)],
        ]
    }

    fn any_value() -> impl Strategy<Value = f64> {
        const ODD: [f64; 6] = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e308, -1e308, f64::MAX];
        prop_oneof![8 => value(), 1 => proptest::sample::select(&ODD[..])]
    }

    proptest! {
        #[test]
        fn side_by_side_gives_what_one_after_the_other_gives(values in proptest::collection::vec(value(), 0..100)) {
            prop_assert!(close(sum_of(&values), serial_sum(&values), &values), "{values:?}");
            prop_assert_eq!(mean_of(&values).is_none(), values.is_empty());
            if let Some(mean) = mean_of(&values) {
                prop_assert!(close(mean, serial_mean(&values), &values), "{values:?}");
            }
        }

        /// Where a sum overflows on the way, where infinities meet, the order in which values come decides.
        #[test]
        fn what_overflows_does_so_as_one_after_the_other(values in proptest::collection::vec(any_value(), 1..60)) {
            prop_assert!(close(sum_of(&values), serial_sum(&values), &values), "{values:?}");
            let mean = mean_of(&values).unwrap_or(f64::NAN);
            prop_assert!(close(mean, serial_mean(&values), &values), "{values:?}");
            prop_assert!(!are_tame(&values) || serial_sum(&values).is_finite());
        }
    }

    #[test]
    fn nothing_is_lost_beside_large_values() {
        let mut values = vec![1e100, 1.0, -1e100, 1.0, 1.0, 1e100, 0.5, -1e100, 0.5];
        assert_eq!((sum_of(&values), mean_of(&values)), (4.0, Some(4.0 / 9.0)));
        values.extend([f64::MAX, f64::MAX, -f64::MAX, -f64::MAX]);
        assert_eq!(sum_of(&values), f64::INFINITY, "as the reference has it once a sum has overflowed");
        assert_eq!(sum_of(&[0.1; 10]), 1.0);
        assert_eq!(mean_of(&[0.1; 10]), Some(0.1));
        assert_eq!((sum_of(&[]), mean_of(&[])), (0.0, None));
    }
}
