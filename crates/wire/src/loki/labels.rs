//! Stream labels: the text `{app="a", env="b"}`, a metric selector with nothing but `=`.

use std::borrow::Cow;
use std::fmt;

use super::{DUPLICATE_LABEL, NO_LABELS, SERVICE_NAME, SERVICE_NAME_SOURCES, UNKNOWN_SERVICE};
use crate::{Limits, WireError};

/// The labels of a stream, sorted by name.
#[derive(Debug, Default)]
pub(crate) struct StreamLabels<'a> {
    pub(crate) pairs: Vec<(Cow<'a, str>, Cow<'a, str>)>,
}

impl<'a> StreamLabels<'a> {
    /// Reads the text of a `Stream.labels` field; `Err` inside says why it is no label set.
    pub(crate) fn parse(&mut self, text: &'a str, limits: &Limits) -> Result<Result<(), String>, WireError> {
        self.pairs.clear();
        let mut at = skip_space(text, 0);
        let fail = |at: usize, reason: &str| {
            Ok(Err(format!("1:{}: parse error: {reason}", text[..at.min(text.len())].chars().count() + 1)))
        };
        // A bare name before the braces is a metric's name, in Loki as in PromQL.
        let name = name_len(&text[at..]);
        if name > 0 {
            self.pairs.push((Cow::Borrowed("__name__"), Cow::Borrowed(&text[at..at + name])));
            at = skip_space(text, at + name);
        }
        if !text[at..].starts_with('{') {
            return fail(at, "unexpected text, expected \"{\"");
        }
        at = skip_space(text, at + 1);
        loop {
            if text[at..].starts_with('}') {
                at = skip_space(text, at + 1);
                break;
            }
            let name = name_len(&text[at..]);
            if name == 0 {
                return fail(at, "unexpected text in label set, expected a label name or \"}\"");
            }
            let name = &text[at..at + name];
            at = skip_space(text, at + name.len());
            if !text[at..].starts_with('=') || text[at..].starts_with("=~") {
                return fail(at, "unexpected operator in label set, expected \"=\"");
            }
            at = skip_space(text, at + 1);
            let (value, len) = match syntax::quoted(&text[at..]) {
                Ok(read) => read,
                Err(reason) => return fail(at, reason),
            };
            self.push(Cow::Borrowed(name), value, limits)?;
            at = skip_space(text, at + len);
            if text[at..].starts_with(',') {
                at = skip_space(text, at + 1);
            } else if !text[at..].starts_with('}') {
                return fail(at, "unexpected text in label set, expected \",\" or \"}\"");
            }
        }
        if at < text.len() {
            return fail(at, "unexpected text after the label set");
        }
        Ok(Ok(()))
    }

    /// Why one of the names is no label's name, as it is said of the same labels in the text form.
    pub(super) fn bad_name(&self) -> Option<String> {
        let (name, _) = self.pairs.iter().find(|(name, _)| name_len(name) != name.len() || name.is_empty())?;
        let shown: String = name.chars().take(100).collect();
        Some(format!("parse error: {shown:?} is no label name"))
    }

    pub(super) fn too_many(limits: &Limits) -> WireError {
        WireError::TooLarge { what: "the number of a stream's labels", limit: limits.max_labels }
    }

    /// Adds a label; an empty value means that it is absent.
    pub(crate) fn push(&mut self, name: Cow<'a, str>, value: Cow<'a, str>, limits: &Limits) -> Result<(), WireError> {
        if self.pairs.len() >= limits.max_labels {
            return Err(Self::too_many(limits));
        }
        if !value.is_empty() {
            self.pairs.push((name, value));
        }
        Ok(())
    }

    /// Sorts, and adds `service_name` where it is missing and `limits` say so. An error says why the stream's lines are refused.
    pub(crate) fn finish(&mut self, limits: &Limits) -> Result<(), &'static str> {
        if self.pairs.is_empty() {
            return Err(NO_LABELS);
        }
        self.pairs.sort_unstable();
        if self.repeated().is_some() {
            return Err(DUPLICATE_LABEL);
        }
        let pairs = &mut self.pairs;
        if limits.discover_service_name
            && let Err(place) = pairs.binary_search_by(|(name, _)| (**name).cmp(SERVICE_NAME))
        {
            let found = SERVICE_NAME_SOURCES.iter().find_map(|s| pairs.iter().find(|(name, _)| name == s));
            let value = found.map_or(Cow::Borrowed(UNKNOWN_SERVICE), |(_, value)| value.clone());
            pairs.insert(place, (Cow::Borrowed(SERVICE_NAME), value));
        }
        Ok(())
    }
}

impl StreamLabels<'_> {
    /// A name that is there more than once.
    pub(super) fn repeated(&self) -> Option<&str> {
        self.pairs.windows(2).find(|w| w[0].0 == w[1].0).map(|w| &*w[0].0)
    }
}

/// As Loki shows a stream: `{app="a", env="b"}`.
impl fmt::Display for StreamLabels<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("{")?;
        for (i, (name, value)) in self.pairs.iter().enumerate() {
            write!(f, "{}{name}={value:?}", if i > 0 { ", " } else { "" })?;
        }
        f.write_str("}")
    }
}

/// Offset of the first character from `at` on that is no white space.
fn skip_space(text: &str, at: usize) -> usize {
    at + text.as_bytes()[at..].iter().take_while(|b| matches!(b, b' ' | b'\t' | b'\n' | b'\r')).count()
}

/// Length of the label name at the start of `text`, 0 when there is none.
fn name_len(text: &str) -> usize {
    let bytes = text.as_bytes();
    match bytes.first() {
        Some(b) if b.is_ascii_alphabetic() || *b == b'_' => {
            bytes.iter().take_while(|b| b.is_ascii_alphanumeric() || **b == b'_').count()
        }
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<String, String> {
        let mut labels = StreamLabels::default();
        labels.parse(text, &Limits::default()).map_err(|e| e.to_string())??;
        labels.finish(&Limits::default())?;
        Ok(labels.pairs.iter().map(|(n, v)| format!("{n}={v}")).collect::<Vec<_>>().join(","))
    }

    #[test]
    fn labels_come_sorted_and_unescaped_with_a_service_name() {
        for (text, labels) in [
            (r#"{env="prod", service_name="cart"}"#, "env=prod,service_name=cart"),
            (r#"{ b = "2" , a="1",}"#, "a=1,b=2,service_name=unknown_service"),
            (r#"{job="x",app="y"}"#, "app=y,job=x,service_name=y"),
            (r#"{a="x\"y\\", b=`C:\d`}"#, r#"a=x"y\,b=C:\d,service_name=unknown_service"#),
            (r#"{a="",b="1"}"#, "b=1,service_name=unknown_service"),
            (r#"up{a="1"}"#, "__name__=up,a=1,service_name=unknown_service"),
        ] {
            assert_eq!(parse(text).as_deref(), Ok(labels), "{text}");
        }
    }

    #[test]
    fn what_is_no_label_set_is_refused_with_its_place() {
        for (text, error) in [
            ("{}", NO_LABELS),
            (r#"{a="1",a="2"}"#, DUPLICATE_LABEL),
            ("", "1:1: parse error: unexpected text, expected \"{\""),
            (r#"{a"#, "1:3: parse error: unexpected operator in label set, expected \"=\""),
            (r#"{a="1"#, "1:4: parse error: unterminated quoted string"),
            (r#"{a=~"1"}"#, "1:3: parse error: unexpected operator in label set, expected \"=\""),
            (r#"{a="1"} x"#, "1:9: parse error: unexpected text after the label set"),
            (r#"{a="ä" b="1"}"#, "1:8: parse error: unexpected text in label set, expected \",\" or \"}\""),
        ] {
            assert_eq!(parse(text), Err(error.to_owned()), "{text}");
        }
    }
}
