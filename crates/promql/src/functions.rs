//! The functions of the language: names, types, and what computes them.

use crate::Type;
use crate::eval::calendar;
use crate::eval::range::{self, Samples};

/// A function.
#[derive(Debug)]
pub struct Function {
    /// Its name, case-sensitive.
    pub name: &'static str,
    /// Types of its arguments.
    pub args: &'static [Type],
    /// How many of the last arguments may be left out.
    pub optional: usize,
    /// Whether the last argument may be repeated.
    pub variadic: bool,
    /// Type of its value.
    pub returns: Type,
    /// What computes it.
    pub(crate) kind: Kind,
}

/// How a function is computed.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Kind {
    /// From one series' samples in the range.
    Range(RangeFunction),
    /// From one sample of an instant vector.
    Math(fn(f64) -> f64),
    /// From a time in seconds: of the vector's values, or of the evaluation.
    Calendar(fn(f64) -> f64),
    /// In its own way.
    Special(Special),
    /// Not yet.
    Missing,
}

/// Computes a value from the samples of a range.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RangeFunction {
    pub(crate) compute: fn(&Samples<'_>) -> Option<f64>,
    /// Whether the metric name stays.
    pub(crate) keeps_name: bool,
    /// Whether a metric that is no counter deserves a note.
    pub(crate) wants_counter: bool,
}

/// Functions that are computed in their own way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Special {
    Absent,
    AbsentOverTime,
    Clamp,
    ClampMin,
    ClampMax,
    HistogramQuantile,
    LabelJoin,
    LabelReplace,
    Pi,
    Round,
    Scalar,
    Sort,
    SortDesc,
    Time,
    Timestamp,
    Vector,
}

use Type::{Matrix as M, Scalar as S, Text as T, Vector as V};

const fn fixed(name: &'static str, args: &'static [Type], returns: Type, kind: Kind) -> Function {
    Function { name, args, optional: 0, variadic: false, returns, kind }
}

const fn math(name: &'static str, f: fn(f64) -> f64) -> Function {
    fixed(name, &[V], V, Kind::Math(f))
}

const fn calendar(name: &'static str, f: fn(f64) -> f64) -> Function {
    Function { name, args: &[V], optional: 1, variadic: false, returns: V, kind: Kind::Calendar(f) }
}

const fn over(name: &'static str, args: &'static [Type], compute: fn(&Samples<'_>) -> Option<f64>) -> Function {
    fixed(name, args, V, Kind::Range(RangeFunction { compute, keeps_name: false, wants_counter: false }))
}

const fn counter(name: &'static str, compute: fn(&Samples<'_>) -> Option<f64>) -> Function {
    fixed(name, &[M], V, Kind::Range(RangeFunction { compute, keeps_name: false, wants_counter: true }))
}

const fn pick(name: &'static str, compute: fn(&Samples<'_>) -> Option<f64>) -> Function {
    fixed(name, &[M], V, Kind::Range(RangeFunction { compute, keeps_name: true, wants_counter: false }))
}

const fn special(name: &'static str, args: &'static [Type], returns: Type, s: Special) -> Function {
    fixed(name, args, returns, Kind::Special(s))
}

/// The sign, 0 for zero, NaN for NaN.
fn sign(v: f64) -> f64 {
    if v < 0.0 {
        -1.0
    } else if v > 0.0 {
        1.0
    } else {
        v
    }
}

/// Every function, sorted by name.
static FUNCTIONS: [Function; 87] = [
    math("abs", f64::abs),
    special("absent", &[V], V, Special::Absent),
    special("absent_over_time", &[M], V, Special::AbsentOverTime),
    math("acos", f64::acos),
    math("acosh", f64::acosh),
    math("asin", f64::asin),
    math("asinh", f64::asinh),
    math("atan", f64::atan),
    math("atanh", f64::atanh),
    over("avg_over_time", &[M], range::avg),
    math("ceil", f64::ceil),
    over("changes", &[M], range::changes),
    special("clamp", &[V, S, S], V, Special::Clamp),
    special("clamp_max", &[V, S], V, Special::ClampMax),
    special("clamp_min", &[V, S], V, Special::ClampMin),
    math("cos", f64::cos),
    math("cosh", f64::cosh),
    over("count_over_time", &[M], range::count),
    calendar("day_of_month", calendar::day_of_month),
    calendar("day_of_week", calendar::day_of_week),
    calendar("day_of_year", calendar::day_of_year),
    calendar("days_in_month", calendar::days_in_month),
    math("deg", f64::to_degrees),
    over("delta", &[M], range::delta),
    over("deriv", &[M], range::deriv),
    fixed("double_exponential_smoothing", &[M, S, S], V, Kind::Missing),
    math("exp", f64::exp),
    pick("first_over_time", range::first),
    math("floor", f64::floor),
    fixed("histogram_avg", &[V], V, Kind::Missing),
    fixed("histogram_count", &[V], V, Kind::Missing),
    fixed("histogram_fraction", &[S, S, V], V, Kind::Missing),
    special("histogram_quantile", &[S, V], V, Special::HistogramQuantile),
    Function { name: "histogram_quantiles", args: &[V, T, S], optional: 0, variadic: true, returns: V, kind: Kind::Missing },
    fixed("histogram_stddev", &[V], V, Kind::Missing),
    fixed("histogram_stdvar", &[V], V, Kind::Missing),
    fixed("histogram_sum", &[V], V, Kind::Missing),
    calendar("hour", calendar::hour),
    over("idelta", &[M], range::idelta),
    counter("increase", range::increase),
    Function { name: "info", args: &[V, V], optional: 1, variadic: false, returns: V, kind: Kind::Missing },
    counter("irate", range::irate),
    Function {
        name: "label_join",
        args: &[V, T, T, T],
        optional: 1,
        variadic: true,
        returns: V,
        kind: Kind::Special(Special::LabelJoin),
    },
    special("label_replace", &[V, T, T, T, T], V, Special::LabelReplace),
    pick("last_over_time", range::last),
    math("ln", f64::ln),
    math("log10", f64::log10),
    math("log2", f64::log2),
    over("mad_over_time", &[M], range::mad),
    over("max_over_time", &[M], range::max),
    over("min_over_time", &[M], range::min),
    calendar("minute", calendar::minute),
    calendar("month", calendar::month),
    special("pi", &[], S, Special::Pi),
    over("predict_linear", &[M, S], range::predict_linear),
    over("present_over_time", &[M], range::present),
    over("quantile_over_time", &[S, M], range::quantile),
    math("rad", f64::to_radians),
    fixed("range", &[], S, Kind::Missing),
    counter("rate", range::rate),
    over("resets", &[M], range::resets),
    Function { name: "round", args: &[V, S], optional: 1, variadic: false, returns: V, kind: Kind::Special(Special::Round) },
    special("scalar", &[V], S, Special::Scalar),
    math("sgn", sign),
    math("sin", f64::sin),
    math("sinh", f64::sinh),
    special("sort", &[V], V, Special::Sort),
    Function { name: "sort_by_label", args: &[V, T], optional: 1, variadic: true, returns: V, kind: Kind::Missing },
    Function { name: "sort_by_label_desc", args: &[V, T], optional: 1, variadic: true, returns: V, kind: Kind::Missing },
    special("sort_desc", &[V], V, Special::SortDesc),
    math("sqrt", f64::sqrt),
    fixed("start", &[], S, Kind::Missing),
    over("stddev_over_time", &[M], range::stddev),
    over("stdvar_over_time", &[M], range::stdvar),
    fixed("step", &[], S, Kind::Missing),
    over("sum_over_time", &[M], range::sum),
    math("tan", f64::tan),
    math("tanh", f64::tanh),
    special("time", &[], S, Special::Time),
    special("timestamp", &[V], V, Special::Timestamp),
    over("ts_of_first_over_time", &[M], range::ts_of_first),
    over("ts_of_last_over_time", &[M], range::ts_of_last),
    over("ts_of_max_over_time", &[M], range::ts_of_max),
    over("ts_of_min_over_time", &[M], range::ts_of_min),
    special("vector", &[S], V, Special::Vector),
    calendar("year", calendar::year),
    fixed("end", &[], S, Kind::Missing),
];

/// The function named `name`.
pub(crate) fn find(name: &str) -> Option<&'static Function> {
    FUNCTIONS.iter().find(|f| f.name == name)
}
