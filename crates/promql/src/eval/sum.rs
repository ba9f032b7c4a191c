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
