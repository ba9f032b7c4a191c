//! What must hold for any bytes whatever: run by the fuzz targets in `fuzz/` and by property tests.

use std::borrow::Cow;
use std::sync::{Arc, LazyLock};

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

/// Any text is tokens or is refused, in time that grows with its length.
pub fn tokens(text: &str) {
    let _ = crate::lexer::lex(text);
}

/// The parsers of lines, for [`line_parser`].
pub const PARSERS: [&str; 11] = [
    "json",
    r#"json a="x.y[0]", b="z[\"k\"]""#,
    "logfmt",
    "logfmt --strict --keep-empty",
    r#"logfmt a="k", b="l""#,
    r#"regexp "(?P<a>\\w+)=(?P<b>.*)""#,
    r#"pattern "<a>: <_> [<b>]""#,
    "unpack",
    "decolorize",
    r#"json | logfmt | unpack | label_format c=a | drop b | keep c, __error__"#,
    r#"json | a > 5 or b = ip("10.0.0.0/8") or c >= 5m or d < 7KB"#,
];

/// Any line passes each parser; the same line, the same labels.
///
/// # Panics
/// When a promise is broken.
pub fn line_parser(which: usize, line: &str) {
    // Built once: that takes far longer than a line.
    static PIPELINES: LazyLock<Vec<Pipeline>> = LazyLock::new(|| {
        let build = |stages: &&str| {
            let Ok(Expr::Log(log)) = parse(&format!("{{a=\"b\"}} | {stages}")) else { panic!("{stages} does not parse") };
            Pipeline::new(&log.stages, Hints::default()).unwrap_or_else(|e| panic!("{stages} cannot be built: {e}"))
        };
        PARSERS.iter().map(build).collect()
    });
    let which = which % PARSERS.len();
    let (stages, pipeline) = (PARSERS[which], &PIPELINES[which]);
    let run = || {
        let mut labels = Labels::default();
        labels.reset(&Arc::new(LabelSet::from_pairs([("a", "b")])));
        let text = pipeline.run(Cow::Borrowed(line), 0, &mut labels).map(Cow::into_owned);
        (text, labels.all())
    };
    assert_eq!(run(), run(), "{stages}: {line:?}");
}

/// Any template is built or refused, and writes any line within its limits.
pub fn line_template(template: &str, line: &str) {
    let stage = crate::Stage::LineFormat(template.to_owned());
    let Ok(pipeline) = Pipeline::new(&[stage], Hints::default()) else { return };
    let mut labels = Labels::default();
    labels.reset(&Arc::new(LabelSet::from_pairs([("a", "b"), ("n", "5")])));
    let _ = pipeline.run(Cow::Borrowed(line), 1_700_000_000_000_000_000, &mut labels);
}

/// Any lines have levels, fields and patterns; the pattern of a single line is one that `|>` takes and that finds the line.
///
/// # Panics
/// When a promise is broken.
pub fn found_in(lines: &str) {
    let mut drain = crate::drain::Drain::default();
    let mut read = Vec::new();
    for text in lines.lines() {
        assert!(!crate::levels::of_line(text).is_empty());
        drain.add(text, 0);
        let stream = Arc::new(LabelSet::from_pairs([("a", "b")]));
        let (metadata, parsed) = (LabelSet::default(), LabelSet::default());
        read.push(crate::Line { time: 0, text: text.to_owned(), stream, metadata, parsed });
    }
    let fields = crate::detected_fields(&read, 50);
    for field in &fields {
        assert!(!crate::field_values(&read, &field.label, 1).is_empty(), "{}", field.label);
    }
    let _ = drain.patterns(10);
}
