//! Functions of a range that fit a line to its floats.

use super::sum::add;
use super::window::{Point, Window};

pub(crate) fn deriv(w: &Window<'_>) -> Point {
    line(w, |w| Some(regression(w, w.times[0]).0))
}

pub(crate) fn predict_linear(w: &Window<'_>) -> Point {
    line(w, |w| {
        let (slope, intercept) = regression(w, w.now);
        Some(slope * w.args[0] + intercept)
    })
}

/// The arguments are checked before: both between 0 and 1.
pub(crate) fn double_exponential_smoothing(w: &Window<'_>) -> Point {
    let [smoothing, trend] = w.args;
    line(w, |w| {
        let (mut before, mut level, mut slope) = (0.0, w.values[0], w.values[1] - w.values[0]);
        for (i, v) in w.values.iter().enumerate().skip(1) {
            let scaled = smoothing * v;
            if i > 1 {
                slope = trend * (level - before) + (1.0 - trend) * slope;
            }
            (before, level) = (level, scaled + (1.0 - smoothing) * (level + slope));
        }
        Some(level)
    })
}

/// What needs two floats at least.
fn line(w: &Window<'_>, f: impl FnOnce(&Window<'_>) -> Option<f64>) -> Point {
    w.leave_out_histograms();
    if w.values.len() < 2 { Point::Absent } else { f(w).into() }
}

/// Least squares: slope per second, and the value at `origin`.
fn regression(w: &Window<'_>, origin: i64) -> (f64, f64) {
    let first = w.values[0];
    if w.values.iter().all(|v| *v == first) {
        return if first.is_infinite() { (f64::NAN, f64::NAN) } else { (0.0, first) };
    }
    let (mut n, mut x_sum, mut y_sum, mut xy_sum, mut xx_sum) = (0.0, (0.0, 0.0), (0.0, 0.0), (0.0, 0.0), (0.0, 0.0));
    for (t, v) in w.times.iter().zip(w.values) {
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
