//! The functions of the language: names, types, and what computes them.

use model::Histogram;

use crate::Type;
use crate::eval::frames::{self, Column};
use crate::eval::window::{Point, Window};
use crate::eval::{calendar, native, over_time, rate, trend};

/// A function.
#[derive(Debug)]
pub struct Function {
    /// Its name, case-sensitive.
    pub name: &'static str,
    /// Types of its arguments.
    pub args: &'static [Type],
    /// How many of the last arguments may be left out.
    pub optional: usize,
    /// How often the last argument may be given beyond the first time; `None` for any number.
    pub repeats: Option<usize>,
    /// Type of its value.
    pub returns: Type,
    /// Whether the reference calls it an experiment.
    pub experimental: bool,
    /// What computes it.
    pub(crate) kind: Kind,
}

/// How a function is computed.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Kind {
    /// From one series' samples in the range.
    Window(WindowFunction),
    /// From one float of an instant vector; histograms are left out.
    Math(fn(f64) -> f64),
    /// From one histogram of an instant vector; floats are left out.
    Native(fn(&Histogram) -> f64),
    /// From a time in seconds: of the vector's values, or of the evaluation.
    Calendar(fn(f64) -> f64),
    /// In its own way.
    Special(Special),
}

/// Computes a value from the samples of a range.
#[derive(Debug, Clone, Copy)]
pub(crate) struct WindowFunction {
    pub(crate) compute: fn(&Window<'_>) -> Point,
    /// Of plain floats, for all steps at once.
    pub(crate) column: Option<Column>,
    /// Whether the metric name stays.
    pub(crate) keeps_name: bool,
    /// Whether a metric that is no counter deserves a note.
    pub(crate) wants_counter: bool,
    /// Whether it looks at falling values.
    pub(crate) sees_resets: bool,
    /// What windows that overlap cost it.
    pub(crate) overlap: Overlap,
}

/// What the samples of windows cost that overlap, and so have many samples together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Overlap {
    /// Nothing: for all steps at once ([`WindowFunction::column`]) each sample is looked at once or twice, however many
    /// windows it is in.
    Free,
    /// Nothing, where values are such that their sums cannot overflow.
    FreeIfTame,
    /// Each window is walked: at least so many nanoseconds a sample.
    Walked(u64),
}

/// Functions that are computed in their own way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Special {
    Absent,
    AbsentOverTime,
    Clamp,
    ClampMin,
    ClampMax,
    End,
    HistogramFraction,
    HistogramQuantile,
    HistogramQuantiles,
    Info,
    LabelJoin,
    LabelReplace,
    MaxOf,
    MinOf,
    Pi,
    Range,
    Round,
    Scalar,
    Sort,
    SortDesc,
    SortByLabel,
    SortByLabelDesc,
    Start,
    Step,
    Time,
    Timestamp,
    Vector,
}

impl Function {
    /// Whether its value depends on the time of evaluation even where its arguments do not.
    pub(crate) fn is_of_its_time(&self) -> bool {
        matches!(self.kind, Kind::Calendar(_) | Kind::Special(Special::Time | Special::Timestamp))
            || self.name == "predict_linear"
    }

    /// Whether it puts an instant vector into an order.
    pub(crate) fn sorts(&self) -> bool {
        matches!(self.kind, Kind::Special(Special::Sort | Special::SortDesc | Special::SortByLabel | Special::SortByLabelDesc))
    }

    const fn experimental(mut self) -> Self {
        self.experimental = true;
        self
    }

    /// `optional` of its last arguments may be left out.
    const fn optional(mut self, optional: usize) -> Self {
        self.optional = optional;
        self
    }

    const fn repeats(mut self, repeats: Option<usize>) -> Self {
        self.repeats = repeats;
        self
    }

    const fn keeps_name(mut self) -> Self {
        if let Kind::Window(w) = &mut self.kind {
            w.keeps_name = true;
        }
        self
    }

    const fn column(mut self, column: Column) -> Self {
        if let Kind::Window(w) = &mut self.kind {
            w.column = Some(column);
        }
        self
    }

    const fn overlap(mut self, overlap: Overlap) -> Self {
        if let Kind::Window(w) = &mut self.kind {
            w.overlap = overlap;
        }
        self
    }

    const fn sees_resets(mut self) -> Self {
        if let Kind::Window(w) = &mut self.kind {
            w.sees_resets = true;
        }
        self
    }
}

use Overlap::{Free, FreeIfTame, Walked};
use Type::{Matrix as M, Scalar as S, Text as T, Vector as V};

const fn fixed(name: &'static str, args: &'static [Type], returns: Type, kind: Kind) -> Function {
    Function { name, args, optional: 0, repeats: Some(0), returns, experimental: false, kind }
}

const fn math(name: &'static str, f: fn(f64) -> f64) -> Function {
    fixed(name, &[V], V, Kind::Math(f))
}

const fn native(name: &'static str, f: fn(&Histogram) -> f64) -> Function {
    fixed(name, &[V], V, Kind::Native(f))
}

const fn calendar(name: &'static str, f: fn(f64) -> f64) -> Function {
    fixed(name, &[V], V, Kind::Calendar(f)).optional(1)
}

const fn over(name: &'static str, args: &'static [Type], compute: fn(&Window<'_>) -> Point) -> Function {
    let window =
        WindowFunction { compute, column: None, keeps_name: false, wants_counter: false, sees_resets: false, overlap: Walked(1) };
    fixed(name, args, V, Kind::Window(window))
}

const fn counter(name: &'static str, compute: fn(&Window<'_>) -> Point) -> Function {
    let window =
        WindowFunction { compute, column: None, keeps_name: false, wants_counter: true, sees_resets: true, overlap: Walked(1) };
    fixed(name, &[M], V, Kind::Window(window))
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

/// The larger or the smaller of two; NaN where either is NaN.
pub(crate) fn extreme(max: bool, a: f64, b: f64) -> f64 {
    if a.is_nan() || b.is_nan() {
        return f64::NAN;
    }
    if max { a.max(b) } else { a.min(b) }
}

/// Every function.
static FUNCTIONS: [Function; 89] = [
    math("abs", f64::abs),
    special("absent", &[V], V, Special::Absent),
    special("absent_over_time", &[M], V, Special::AbsentOverTime),
    math("acos", f64::acos),
    math("acosh", f64::acosh),
    math("asin", f64::asin),
    math("asinh", f64::asinh),
    math("atan", f64::atan),
    math("atanh", f64::atanh),
    over("avg_over_time", &[M], over_time::avg).column(frames::avg).overlap(FreeIfTame),
    math("ceil", f64::ceil),
    over("changes", &[M], over_time::changes).column(frames::changes).overlap(Free),
    special("clamp", &[V, S, S], V, Special::Clamp),
    special("clamp_max", &[V, S], V, Special::ClampMax),
    special("clamp_min", &[V, S], V, Special::ClampMin),
    math("cos", f64::cos),
    math("cosh", f64::cosh),
    over("count_over_time", &[M], over_time::count).column(frames::count).overlap(Free),
    calendar("day_of_month", calendar::day_of_month),
    calendar("day_of_week", calendar::day_of_week),
    calendar("day_of_year", calendar::day_of_year),
    calendar("days_in_month", calendar::days_in_month),
    math("deg", f64::to_degrees),
    over("delta", &[M], rate::delta).column(frames::delta).overlap(Free),
    over("deriv", &[M], trend::deriv),
    over("double_exponential_smoothing", &[M, S, S], trend::double_exponential_smoothing).experimental(),
    special("end", &[], S, Special::End).experimental(),
    math("exp", f64::exp),
    over("first_over_time", &[M], over_time::first).column(frames::first).overlap(Free).keeps_name().experimental(),
    math("floor", f64::floor),
    native("histogram_avg", native::mean),
    native("histogram_count", native::count),
    special("histogram_fraction", &[S, S, V], V, Special::HistogramFraction),
    special("histogram_quantile", &[S, V], V, Special::HistogramQuantile),
    special("histogram_quantiles", &[V, T, S, S], V, Special::HistogramQuantiles).optional(1).repeats(Some(8)).experimental(),
    native("histogram_stddev", native::stddev),
    native("histogram_stdvar", native::stdvar),
    native("histogram_sum", native::sum),
    calendar("hour", calendar::hour),
    over("idelta", &[M], rate::idelta).column(frames::idelta).overlap(Free),
    counter("increase", rate::increase).column(frames::increase).overlap(Walked(0)),
    special("info", &[V, V], V, Special::Info).optional(1).experimental(),
    over("irate", &[M], rate::irate).column(frames::irate).overlap(Free),
    special("label_join", &[V, T, T, T], V, Special::LabelJoin).optional(1).repeats(None),
    special("label_replace", &[V, T, T, T, T], V, Special::LabelReplace),
    over("last_over_time", &[M], over_time::last).column(frames::last).overlap(Free).keeps_name(),
    math("ln", f64::ln),
    math("log10", f64::log10),
    math("log2", f64::log2),
    over("mad_over_time", &[M], over_time::mad).overlap(Walked(4)).experimental(),
    special("max_of", &[S, S], S, Special::MaxOf).experimental(),
    over("max_over_time", &[M], over_time::max).column(frames::max).overlap(Free),
    special("min_of", &[S, S], S, Special::MinOf).experimental(),
    over("min_over_time", &[M], over_time::min).column(frames::min).overlap(Free),
    calendar("minute", calendar::minute),
    calendar("month", calendar::month),
    special("pi", &[], S, Special::Pi),
    over("predict_linear", &[M, S], trend::predict_linear),
    over("present_over_time", &[M], over_time::present).column(frames::present).overlap(Free),
    over("quantile_over_time", &[S, M], over_time::quantile).overlap(Walked(2)),
    math("rad", f64::to_radians),
    special("range", &[], S, Special::Range).experimental(),
    counter("rate", rate::rate).column(frames::rate).overlap(Walked(0)),
    over("resets", &[M], over_time::resets).column(frames::resets).overlap(Free).sees_resets(),
    special("round", &[V, S], V, Special::Round).optional(1),
    special("scalar", &[V], S, Special::Scalar),
    math("sgn", sign),
    math("sin", f64::sin),
    math("sinh", f64::sinh),
    special("sort", &[V], V, Special::Sort),
    special("sort_by_label", &[V, T], V, Special::SortByLabel).optional(1).repeats(None).experimental(),
    special("sort_by_label_desc", &[V, T], V, Special::SortByLabelDesc).optional(1).repeats(None).experimental(),
    special("sort_desc", &[V], V, Special::SortDesc),
    math("sqrt", f64::sqrt),
    special("start", &[], S, Special::Start).experimental(),
    over("stddev_over_time", &[M], over_time::stddev).column(frames::stddev).overlap(Walked(3)),
    over("stdvar_over_time", &[M], over_time::stdvar).column(frames::stdvar).overlap(Walked(3)),
    special("step", &[], S, Special::Step).experimental(),
    over("sum_over_time", &[M], over_time::sum).column(frames::sum).overlap(FreeIfTame),
    math("tan", f64::tan),
    math("tanh", f64::tanh),
    special("time", &[], S, Special::Time),
    special("timestamp", &[V], V, Special::Timestamp),
    over("ts_of_first_over_time", &[M], over_time::ts_of_first).experimental(),
    over("ts_of_last_over_time", &[M], over_time::ts_of_last).experimental(),
    over("ts_of_max_over_time", &[M], over_time::ts_of_max).experimental(),
    over("ts_of_min_over_time", &[M], over_time::ts_of_min).experimental(),
    special("vector", &[S], V, Special::Vector),
    calendar("year", calendar::year),
];

/// All functions, by name.
pub fn functions() -> impl Iterator<Item = &'static Function> {
    FUNCTIONS.iter()
}

/// The function named `name`.
pub(crate) fn find(name: &str) -> Option<&'static Function> {
    FUNCTIONS.iter().find(|f| f.name == name)
}
