//! Which names metrics and labels may have.

/// `metric_name_validation_scheme`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum NameScheme {
    /// Any UTF-8 that is not empty.
    #[default]
    Utf8,
    /// Letters, digits and underscores (metrics: colons too), not beginning with a digit.
    Legacy,
}

impl NameScheme {
    /// Whether a label may be called so.
    #[must_use]
    pub fn is_label(self, name: &str) -> bool {
        match self {
            Self::Utf8 => !name.is_empty(),
            Self::Legacy => is_legacy(name, false),
        }
    }

    /// Whether a metric may be called so.
    #[must_use]
    pub fn is_metric(self, name: &str) -> bool {
        match self {
            Self::Utf8 => !name.is_empty(),
            Self::Legacy => is_legacy(name, true),
        }
    }

    /// Whether a label's name may come of this once `$1` and `${name}` in it are replaced.
    #[must_use]
    pub fn is_label_template(self, text: &str) -> bool {
        match self {
            Self::Utf8 => !text.is_empty(),
            Self::Legacy => is_legacy_template(text),
        }
    }
}

fn is_legacy(name: &str, colon: bool) -> bool {
    let first = |b: u8| b.is_ascii_alphabetic() || b == b'_' || colon && b == b':';
    name.bytes().next().is_some_and(first) && name.bytes().all(|b| first(b) || b.is_ascii_digit())
}

/// Prometheus' `^(?:(?:[a-zA-Z_]|\$(?:\{\w+\}|\w+))+\w*)+$`: letters, digits and references, not beginning with a digit.
fn is_legacy_template(text: &str) -> bool {
    let is_word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    let mut rest = text.as_bytes();
    if rest.first().is_none_or(u8::is_ascii_digit) {
        return false;
    }
    while let Some((first, after)) = rest.split_first() {
        rest = match (first, after) {
            (b'$', [b'{', inner @ ..]) => match inner.iter().position(|b| !is_word(*b)) {
                Some(len) if len > 0 && inner[len] == b'}' => &inner[len + 1..],
                _ => return false,
            },
            (b'$', [b, inner @ ..]) if is_word(*b) => inner,
            (b, after) if is_word(*b) => after,
            _ => return false,
        };
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn legacy_names_are_identifiers_and_utf8_names_are_anything() {
        for (name, label, metric) in
            [("a", true, true), ("a:b", false, true), ("9a", false, false), ("a.b", false, false), ("", false, false)]
        {
            assert_eq!((NameScheme::Legacy.is_label(name), NameScheme::Legacy.is_metric(name)), (label, metric), "{name}");
            assert_eq!(NameScheme::Utf8.is_label(name), !name.is_empty());
        }
    }

    #[test]
    fn templates_of_legacy_names_may_have_references() {
        for good in ["a", "$1", "${1}", "${foo}_bar", "a_${1}b9", "_$1_$2"] {
            assert!(NameScheme::Legacy.is_label_template(good), "{good}");
        }
        for bad in ["", "$", "${", "${}", "${a-b}", "9a", "a.b", "foo$$bar", "${1}-", "a $1"] {
            assert!(!NameScheme::Legacy.is_label_template(bad), "{bad}");
        }
    }
}
