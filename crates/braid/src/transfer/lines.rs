//! Samples as lines of text: `{__name__="up",job="a"} 1 1700000000000`, as `promtool tsdb dump` prints them, and as
//! OpenMetrics has them: `up{job="a"} 1 1700000000.000`.

use anyhow::{Context, bail};
use store::MatchOp;

/// Labels, sorted.
pub(super) type Labels = Vec<(String, String)>;

/// A sample of a line; `None` for an empty line or a comment. Times are milliseconds, of seconds where `seconds` is set.
pub(super) fn parse(line: &str, seconds: bool) -> anyhow::Result<Option<(Labels, i64, f64)>> {
    let line = line.trim();
    if line.is_empty() || line.starts_with('#') {
        return Ok(None);
    }
    // Braces may stand inside quotes: the last one outside of them ends the labels.
    let (mut end, mut quoted, mut escaped) = (None, false, false);
    for (at, c) in line.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            '}' if !quoted => {
                end = Some(at + 1);
                break;
            }
            ' ' | '\t' if !quoted && !line[..at].contains('{') => {
                end = Some(at);
                break;
            }
            _ => {}
        }
    }
    let Some(end) = end else { bail!("no value behind the series") };
    let (series, rest) = line.split_at(end);
    // An exemplar may follow.
    let rest = rest.split(" # ").next().unwrap_or(rest);
    let mut words = rest.split_whitespace();
    let value: f64 = match words.next() {
        Some(text) => text.parse().with_context(|| format!("{text:?} is no number"))?,
        None => bail!("no value behind the series"),
    };
    let Some(time) = words.next() else { bail!("no timestamp behind the value") };
    if let Some(more) = words.next() {
        bail!("{more:?} behind the timestamp");
    }
    let bad = || format!("{time:?} is no timestamp");
    let time = match seconds {
        true => {
            let ms = (time.parse::<f64>().with_context(bad)? * 1e3).round();
            if !(ms.is_finite() && ms.abs() < 9e15) {
                bail!(bad());
            }
            ms as i64
        }
        false => time.parse().with_context(bad)?,
    };
    let mut labels: Labels = Vec::new();
    for m in promql::parse_selector(series).map_err(|e| anyhow::anyhow!("{e}"))? {
        if m.op != MatchOp::Eq {
            bail!("a series has labels, not matchers");
        }
        labels.push((m.name, m.value));
    }
    labels.retain(|(_, value)| !value.is_empty());
    labels.sort();
    if labels.windows(2).any(|w| w[0].0 == w[1].0) {
        bail!("a label stands there twice");
    }
    Ok(Some((labels, time, value)))
}

/// The line of a sample.
pub(super) fn print(labels: &[(String, String)], time: i64, value: f64, seconds: bool) -> String {
    let quote = |v: &str| format!("\"{}\"", v.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n"));
    let plain = |n: &str| {
        let mut chars = n.chars();
        chars.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_' || c == ':')
            && chars.all(|c| c.is_ascii_alphanumeric() || c == '_' || c == ':')
    };
    let name = labels.iter().find(|(n, v)| n == "__name__" && seconds && plain(v)).map_or("", |(_, v)| v.as_str());
    let others = labels.iter().filter(|(n, _)| name.is_empty() || n != "__name__");
    let pair = |(n, v): &(String, String)| match plain(n) {
        true => format!("{n}={}", quote(v)),
        false => format!("{}={}", quote(n), quote(v)),
    };
    let list: Vec<String> = others.map(pair).collect();
    let value = match value {
        v if v.is_nan() => "NaN".to_owned(),
        v if v.is_infinite() => if v > 0.0 { "+Inf" } else { "-Inf" }.to_owned(),
        v => v.to_string(),
    };
    match seconds {
        true => format!(
            "{name}{{{}}} {value} {}{}.{:03}",
            list.join(","),
            if time < 0 { "-" } else { "" },
            (time / 1000).abs(),
            (time % 1000).abs()
        ),
        false => format!("{{{}}} {value} {time}", list.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> Labels {
        pairs.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect()
    }

    #[test]
    fn lines_read_back_as_they_were_printed() {
        for (pairs, time, value) in [
            (labels(&[("__name__", "up"), ("job", "a")]), 1_700_000_000_123, 1.5),
            (labels(&[("__name__", "up"), ("job", "a b} \"c\\\nd")]), -1, f64::INFINITY),
            (labels(&[("__name__", "http.requests"), ("a.b", "ü")]), 0, -0.1),
        ] {
            for seconds in [true, false] {
                let line = print(&pairs, time, value, seconds);
                let read = parse(&line, seconds).unwrap_or_else(|e| panic!("{line}: {e:#}"));
                assert_eq!(read, Some((pairs.clone(), time, value)), "{line}");
            }
        }
        let nan = print(&labels(&[("__name__", "x")]), 1, f64::NAN, false);
        assert!(parse(&nan, false).expect("a line").is_some_and(|(_, _, v)| v.is_nan()), "{nan}");
    }

    #[test]
    fn bad_lines_say_what_is_wrong_with_them() {
        for (line, why) in [
            ("up", "no value"),
            ("{__name__=\"up\"}", "no value"),
            ("up 1", "no timestamp"),
            ("up x 1", "is no number"),
            ("up 1 x", "is no timestamp"),
            ("up 1 2 3", "behind the timestamp"),
            ("{a=~\"b\"} 1 2", "not matchers"),
            ("{a=\"b\",a=\"c\"} 1 2", "twice"),
        ] {
            let error = format!("{:#}", parse(line, false).expect_err(line));
            assert!(error.contains(why), "{line}: {error}");
        }
        assert_eq!(parse("# EOF", true).expect("a comment"), None);
    }
}
