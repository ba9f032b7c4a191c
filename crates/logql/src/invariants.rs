//! What must hold for any bytes whatever: run by the fuzz targets in `fuzz/` and by property tests.

use std::borrow::Cow;
use std::sync::Arc;

use crate::pipeline::{Hints, Labels, Pipeline};
use crate::{Expr, LabelSet, parse};

/// A query parses or is refused; what parses prints, and its print means the same.
///
/// # Panics
/// When a promise is broken.
pub fn query(text: &str) {
    let Ok(expr) = parse(text) else { return };
    let _ = expr.pretty();
    let printed = expr.to_string();
    // Sizes are printed rounded: what they mean is not always what they meant.
    if let Ok(again) = parse(&printed) {
        assert_eq!(again.to_string(), printed, "{text}");
    }
}

/// Any line passes any pipeline: the first line of `text` is a pipeline, the rest is the line.
pub fn pipeline(text: &str) {
    let (stages, line) = text.split_once('\n').unwrap_or((text, ""));
    let Ok(Expr::Log(log)) = parse(&format!("{{a=\"b\"}} {stages}")) else { return };
    let Ok(pipeline) = Pipeline::new(&log.stages, Hints::default()) else { return };
    let mut labels = Labels::default();
    labels.reset(&Arc::new(LabelSet::from_pairs([("a", "b")])));
    let _ = pipeline.run(Cow::Borrowed(line), 0, &mut labels);
    let _ = labels.all();
}
