//! In which format, and with which names, `/federate` answers (`expfmt.Negotiate`).

use std::borrow::Cow;

/// How names that old scrapers cannot read are written (`model.EscapingScheme`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Escaping {
    /// As they are, in quotes.
    AllowUtf8,
    /// `_` for what is not allowed.
    Underscores,
    /// `_dot_` for a dot, `__` for all else and for an underscore.
    Dots,
    /// `U__`, then the code points of what is not allowed.
    Values,
}

impl Escaping {
    fn named(name: &str) -> Option<Self> {
        match name {
            "allow-utf-8" => Some(Self::AllowUtf8),
            "underscores" => Some(Self::Underscores),
            "dots" => Some(Self::Dots),
            "values" => Some(Self::Values),
            _ => None,
        }
    }

    /// A name as a scraper that asked for this reads it.
    pub(super) fn name(self, name: &str) -> Cow<'_, str> {
        if self == Self::AllowUtf8 || (self != Self::Dots && classic(name, true)) {
            return name.into();
        }
        let allowed = |i: usize, c: char| c.is_ascii_alphabetic() || c == '_' || c == ':' || (i > 0 && c.is_ascii_digit());
        let mut out = String::with_capacity(name.len() + 8);
        if self == Self::Values {
            out.push_str("U__");
        }
        for (i, c) in name.char_indices() {
            match (self, c) {
                (Self::Dots | Self::Values, '_') => out.push_str("__"),
                (Self::Dots, '.') => out.push_str("_dot_"),
                (_, c) if allowed(i, c) => out.push(c),
                (Self::Dots, _) => out.push_str("__"),
                (Self::Values, c) => out.push_str(&format!("_{:x}_", u32::from(c))),
                _ => out.push('_'),
            }
        }
        out.into()
    }
}

/// Whether a metric's or label's name needs no quotes.
pub(super) fn classic(name: &str, colons: bool) -> bool {
    name.bytes()
        .enumerate()
        .all(|(i, b)| b.is_ascii_alphabetic() || b == b'_' || (colons && b == b':') || (i > 0 && b.is_ascii_digit()))
        && !name.is_empty()
}

/// How to answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Form {
    /// Delimited protobuf; else text.
    pub(super) protobuf: bool,
    pub(super) escaping: Escaping,
}

impl Form {
    /// What an `Accept` header prefers of what there is.
    pub(super) fn accepted(accept: &str) -> Self {
        let mut clauses: Vec<(f64, Vec<&str>)> = accept.split(',').map(clause).collect();
        clauses.sort_by(|a, b| b.0.total_cmp(&a.0));
        let mut escaping = Escaping::Underscores;
        for (_, parts) in &clauses {
            let value =
                |name: &str| parts.iter().find_map(|p| p.strip_prefix(name)?.strip_prefix('=')).map(|v| v.trim_matches('"'));
            escaping = value("escaping").and_then(Escaping::named).unwrap_or(escaping);
            let is_family = value("proto") == Some("io.prometheus.client.MetricFamily");
            match parts.first() {
                Some(&"application/vnd.google.protobuf") if is_family && value("encoding") == Some("delimited") => {
                    return Self { protobuf: true, escaping };
                }
                Some(&"text/plain") if matches!(value("version"), None | Some("0.0.4")) => break,
                _ => {}
            }
        }
        Self { protobuf: false, escaping }
    }

    pub(super) fn content_type(self) -> &'static str {
        macro_rules! with_escaping {
            ($kind:literal) => {
                match self.escaping {
                    Escaping::AllowUtf8 => concat!($kind, "; escaping=allow-utf-8"),
                    Escaping::Underscores => concat!($kind, "; escaping=underscores"),
                    Escaping::Dots => concat!($kind, "; escaping=dots"),
                    Escaping::Values => concat!($kind, "; escaping=values"),
                }
            };
        }
        match self.protobuf {
            true => {
                with_escaping!("application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited")
            }
            false => with_escaping!("text/plain; version=0.0.4; charset=utf-8"),
        }
    }
}

/// A clause's weight, and its parts: the type first.
fn clause(text: &str) -> (f64, Vec<&str>) {
    let parts: Vec<&str> = text.split(';').map(str::trim).collect();
    let weight = parts.iter().find_map(|p| p.strip_prefix("q=")?.parse().ok()).unwrap_or(1.0);
    (weight, parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scraper_gets_what_it_prefers_and_names_that_it_can_read() {
        let delimited = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited";
        for (accept, protobuf, escaping) in [
            ("", false, Escaping::Underscores),
            ("text/html, */*;q=0.1", false, Escaping::Underscores),
            ("text/plain;version=0.0.4;escaping=allow-utf-8", false, Escaping::AllowUtf8),
            (delimited, true, Escaping::Underscores),
            (&format!("{delimited};escaping=allow-utf-8;q=0.6,text/plain;version=0.0.4;q=0.3"), true, Escaping::AllowUtf8),
            (&format!("{delimited};q=0.2,text/plain;version=0.0.4;escaping=values;q=0.5"), false, Escaping::Values),
            ("application/openmetrics-text;version=1.0.0;escaping=dots,text/plain;q=0.5", false, Escaping::Dots),
        ] {
            assert_eq!(Form::accepted(accept), Form { protobuf, escaping }, "{accept}");
        }
    }

    #[test]
    fn names_are_escaped_as_schemes_have_it() {
        for (scheme, name, expected) in [
            (Escaping::AllowUtf8, "a.b", "a.b"),
            (Escaping::Underscores, "a.b-ü", "a_b__"),
            (Escaping::Underscores, "1a", "_a"),
            (Escaping::Dots, "a.b_c-d", "a_dot_b__c__d"),
            (Escaping::Values, "a.b_c", "U__a_2e_b__c"),
            (Escaping::Values, "a_b", "a_b"),
        ] {
            assert_eq!(scheme.name(name), expected);
        }
    }
}
