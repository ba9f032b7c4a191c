//! Functions of the samples that one series has in a range, after `promql/functions.go` of Prometheus 3.

/// The samples of one series in `(start, end]`, staleness markers left out. Never empty.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Samples<'a> {
    /// Milliseconds, ascending.
    pub(crate) times: &'a [i64],
    pub(crate) values: &'a [f64],
    /// Milliseconds, excluded.
    pub(crate) start: i64,
    /// Milliseconds, included.
    pub(crate) end: i64,
    /// The step's own time, milliseconds.
    pub(crate) now: i64,
    /// The function's scalar argument, where it has one.
    pub(crate) arg: f64,
}

/// Adds with the rounding error kept beside the sum (Neumaier).
pub(crate) fn add(value: f64, sum: f64, error: f64) -> (f64, f64) {
    let total = sum + value;
    if total.is_infinite() {
        return (total, 0.0);
    }
    let lost = if sum.abs() >= value.abs() { (sum - total) + value } else { (value - total) + sum };
    (total, error + lost)
}

pub(crate) fn rate(s: &Samples<'_>) -> Option<f64> {
    extrapolated(s, true, true)
}

pub(crate) fn increase(s: &Samples<'_>) -> Option<f64> {
    extrapolated(s, true, false)
}

pub(crate) fn delta(s: &Samples<'_>) -> Option<f64> {
    extrapolated(s, false, false)
}

/// `extrapolatedRate`: the increase between first and last sample, stretched to the edges of the range where the samples
/// come near enough to them, but not to before a counter's zero.
fn extrapolated(s: &Samples<'_>, counter: bool, per_second: bool) -> Option<f64> {
    let (first, last) = (*s.values.first()?, *s.values.last()?);
    if s.values.len() < 2 {
        return None;
    }
    let mut result = last - first;
    if counter {
        let drops = s.values.windows(2).filter(|w| w[1] < w[0]);
        drops.for_each(|w| result += w[0]);
    }
    let mut to_start = (s.times[0] - s.start) as f64 / 1000.0;
    let mut to_end = (s.end - s.times[s.times.len() - 1]) as f64 / 1000.0;
    let sampled = (s.times[s.times.len() - 1] - s.times[0]) as f64 / 1000.0;
    let between = sampled / (s.values.len() - 1) as f64;
    let threshold = between * 1.1;
    if to_start >= threshold {
        to_start = between / 2.0;
    }
    if counter && result > 0.0 && first >= 0.0 {
        to_start = to_start.min(sampled * (first / result));
    }
    if to_end >= threshold {
        to_end = between / 2.0;
    }
    let mut factor = (sampled + to_start + to_end) / sampled;
    if per_second {
        factor /= (s.end - s.start) as f64 / 1000.0;
    }
    Some(result * factor)
}

pub(crate) fn irate(s: &Samples<'_>) -> Option<f64> {
    instant(s, true)
}

pub(crate) fn idelta(s: &Samples<'_>) -> Option<f64> {
    instant(s, false)
}

fn instant(s: &Samples<'_>, per_second: bool) -> Option<f64> {
    let [.., before, last] = s.values else { return None };
    let [.., before_at, last_at] = s.times else { return None };
    if before_at == last_at {
        return None;
    }
    if !per_second {
        return Some(last - before);
    }
    // After a reset the counter started from zero.
    let increase = if last < before { *last } else { last - before };
    Some(increase / ((last_at - before_at) as f64 / 1000.0))
}

pub(crate) fn count(s: &Samples<'_>) -> Option<f64> {
    Some(s.values.len() as f64)
}

pub(crate) fn present(_: &Samples<'_>) -> Option<f64> {
    Some(1.0)
}

pub(crate) fn first(s: &Samples<'_>) -> Option<f64> {
    s.values.first().copied()
}

pub(crate) fn last(s: &Samples<'_>) -> Option<f64> {
    s.values.last().copied()
}

pub(crate) fn sum(s: &Samples<'_>) -> Option<f64> {
    let (sum, error) = s.values.iter().fold((0.0, 0.0), |(sum, error), v| add(*v, sum, error));
    Some(if sum.is_infinite() { sum } else { sum + error })
}

pub(crate) fn avg(s: &Samples<'_>) -> Option<f64> {
    let mut mean = Mean::default();
    s.values.iter().for_each(|v| mean.add(*v));
    mean.get()
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
    pub(crate) fn add(&mut self, value: f64) {
        self.count += 1.0;
        if !self.moving {
            let (sum, error) = add(value, self.value, self.error);
            if self.count == 1.0 || sum.is_finite() || sum.is_nan() {
                (self.value, self.error) = (sum, error);
                return;
            }
            self.moving = true;
            self.value /= self.count - 1.0;
            self.error /= self.count - 1.0;
        }
        // Infinities of one sign do not move, and would make NaN below.
        if self.value.is_infinite() && (value.is_infinite() && (value > 0.0) == (self.value > 0.0) || value.is_finite()) {
            return;
        }
        let scale = (self.count - 1.0) / self.count;
        (self.value, self.error) = add(value / self.count, scale * self.value, scale * self.error);
    }

    pub(crate) fn get(&self) -> Option<f64> {
        let divisor = if self.moving { 1.0 } else { self.count };
        (self.count > 0.0)
            .then(|| if self.error == 0.0 { self.value / divisor } else { self.value / divisor + self.error / divisor })
    }
}

fn extreme(s: &Samples<'_>, better: impl Fn(f64, f64) -> bool) -> Option<usize> {
    let mut best = 0;
    for (i, v) in s.values.iter().enumerate() {
        if better(*v, s.values[best]) || s.values[best].is_nan() {
            best = i;
        }
    }
    (!s.values.is_empty()).then_some(best)
}

pub(crate) fn max(s: &Samples<'_>) -> Option<f64> {
    extreme(s, |v, best| v > best).map(|i| s.values[i])
}

pub(crate) fn min(s: &Samples<'_>) -> Option<f64> {
    extreme(s, |v, best| v < best).map(|i| s.values[i])
}

/// Of equal extremes the last one's time.
pub(crate) fn ts_of_max(s: &Samples<'_>) -> Option<f64> {
    extreme(s, |v, best| v >= best).map(|i| s.times[i] as f64 / 1000.0)
}

pub(crate) fn ts_of_min(s: &Samples<'_>) -> Option<f64> {
    extreme(s, |v, best| v <= best).map(|i| s.times[i] as f64 / 1000.0)
}

pub(crate) fn ts_of_first(s: &Samples<'_>) -> Option<f64> {
    s.times.first().map(|t| *t as f64 / 1000.0)
}

pub(crate) fn ts_of_last(s: &Samples<'_>) -> Option<f64> {
    s.times.last().map(|t| *t as f64 / 1000.0)
}

pub(crate) fn changes(s: &Samples<'_>) -> Option<f64> {
    let differ = |w: &&[f64]| w[0] != w[1] && !(w[0].is_nan() && w[1].is_nan());
    Some(s.values.windows(2).filter(differ).count() as f64)
}

pub(crate) fn resets(s: &Samples<'_>) -> Option<f64> {
    Some(s.values.windows(2).filter(|w| w[1] < w[0]).count() as f64)
}

pub(crate) fn stdvar(s: &Samples<'_>) -> Option<f64> {
    let (mut count, mut mean, mut mean_error, mut aux, mut aux_error) = (0.0, 0.0, 0.0, 0.0, 0.0);
    for v in s.values {
        count += 1.0;
        let delta = v - (mean + mean_error);
        (mean, mean_error) = add(delta / count, mean, mean_error);
        (aux, aux_error) = add(delta * (v - (mean + mean_error)), aux, aux_error);
    }
    Some((aux + aux_error) / count)
}

pub(crate) fn stddev(s: &Samples<'_>) -> Option<f64> {
    stdvar(s).map(f64::sqrt)
}

pub(crate) fn quantile(s: &Samples<'_>) -> Option<f64> {
    Some(quantile_of(s.arg, &mut s.values.to_vec()))
}

/// Median of the absolute distances to the median.
pub(crate) fn mad(s: &Samples<'_>) -> Option<f64> {
    let mut values = s.values.to_vec();
    let median = quantile_of(0.5, &mut values);
    values.iter_mut().for_each(|v| *v = (*v - median).abs());
    Some(quantile_of(0.5, &mut values))
}

/// The `q` quantile, interpolated between neighbours; NaN sorts first.
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
    values.sort_by(|a, b| a.partial_cmp(b).unwrap_or_else(|| b.is_nan().cmp(&a.is_nan())));
    let rank = q * (values.len() - 1) as f64;
    let lower = (rank.floor().max(0.0)) as usize;
    let upper = (lower + 1).min(values.len() - 1);
    let weight = rank - rank.floor();
    values[lower] * (1.0 - weight) + values[upper] * weight
}

pub(crate) fn deriv(s: &Samples<'_>) -> Option<f64> {
    if s.values.len() < 2 {
        return None;
    }
    Some(regression(s, s.times[0]).0)
}

pub(crate) fn predict_linear(s: &Samples<'_>) -> Option<f64> {
    if s.values.len() < 2 {
        return None;
    }
    let (slope, intercept) = regression(s, s.now);
    Some(slope * s.arg + intercept)
}

/// Least squares: slope per second, and the value at `origin`.
fn regression(s: &Samples<'_>, origin: i64) -> (f64, f64) {
    let first = s.values[0];
    if s.values.iter().all(|v| *v == first) {
        return if first.is_infinite() { (f64::NAN, f64::NAN) } else { (0.0, first) };
    }
    let (mut n, mut x_sum, mut y_sum, mut xy_sum, mut xx_sum) = (0.0, (0.0, 0.0), (0.0, 0.0), (0.0, 0.0), (0.0, 0.0));
    for (t, v) in s.times.iter().zip(s.values) {
        let x = (t - origin) as f64 / 1000.0;
        n += 1.0;
        x_sum = add(x, x_sum.0, x_sum.1);
        y_sum = add(*v, y_sum.0, y_sum.1);
        xy_sum = add(x * v, xy_sum.0, xy_sum.1);
        xx_sum = add(x * x, xx_sum.0, xx_sum.1);
    }
    let [x, y, xy, xx] = [x_sum, y_sum, xy_sum, xx_sum].map(|(sum, error)| sum + error);
    let slope = (xy - x * y / n) / (xx - x * x / n);
    (slope, y / n - slope * x / n)
}
