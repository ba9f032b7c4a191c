//! What a client is told of streams and lines that were refused, in Loki's words.

use std::borrow::Cow;
use std::collections::BTreeMap;

use model::Timestamp;

use super::{BAD_LABELS, DUPLICATE_LABEL, StreamLabels, TOO_NEW, TOO_OLD};

/// Texts of one answer; what comes after is counted by its reason.
const TEXTS_MAX: usize = 100;
/// Bytes of them.
const BYTES_MAX: usize = 64 << 10;

/// One text for each line that is too old and for each stream that is refused, with how many have the same.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Told {
    texts: Vec<(Cow<'static, str>, u64)>,
    more: BTreeMap<&'static str, u64>,
}

impl Told {
    /// A line that is older than `oldest`.
    pub(super) fn too_old(&mut self, labels: &StreamLabels<'_>, time: Timestamp, oldest: Timestamp) {
        self.tell(TOO_OLD, || {
            let (time, oldest) = (seconds(time), seconds(oldest));
            format!("entry for stream '{labels}' has timestamp too old: {time}, oldest acceptable timestamp is: {oldest}").into()
        });
    }

    /// A line that is newer than lines may be.
    pub(super) fn too_new(&mut self, labels: &StreamLabels<'_>, time: Timestamp) {
        self.tell(TOO_NEW, || format!("entry for stream '{labels}' has timestamp too new: {}", seconds(time)).into());
    }

    /// A stream whose labels, as they were sent, do not parse.
    pub(super) fn bad_labels(&mut self, labels: &str, why: &str) {
        let labels: String = labels.chars().take(1_000).collect();
        self.tell(BAD_LABELS, || format!("error parsing labels '{labels}' with error: {why}").into());
    }

    /// A stream that is refused, or one of its lines.
    pub(super) fn refused(&mut self, labels: &StreamLabels<'_>, reason: &'static str) {
        self.tell(reason, || match labels.repeated().filter(|_| reason == DUPLICATE_LABEL) {
            Some(name) => format!("stream '{labels}' has duplicate label name: '{name}'").into(),
            None => reason.into(),
        });
    }

    fn tell(&mut self, reason: &'static str, text: impl FnOnce() -> Cow<'static, str>) {
        if self.more.is_empty() {
            let text = text();
            if let Some((_, n)) = self.texts.iter_mut().find(|(known, _)| *known == text) {
                *n += 1;
                return;
            }
            let bytes: usize = self.texts.iter().map(|(text, _)| text.len()).sum();
            if self.texts.len() < TEXTS_MAX && bytes + text.len() <= BYTES_MAX {
                self.texts.push((text, 1));
                return;
            }
        }
        *self.more.entry(reason).or_default() += 1;
    }

    /// All of it as one line: `2 errors like: …; 1 errors like: …`, or the only text there is. Empty where nothing was refused.
    #[must_use]
    pub fn message(&self) -> String {
        let more = self.more.iter().map(|(reason, n)| (*reason, *n));
        let all: Vec<(&str, u64)> = self.texts.iter().map(|(text, n)| (&**text, *n)).chain(more).collect();
        match all[..] {
            [(text, 1)] => text.to_owned(),
            _ => all.iter().map(|(text, n)| format!("{n} errors like: {text}")).collect::<Vec<_>>().join("; "),
        }
    }
}

/// RFC 3339, in seconds and UTC.
fn seconds(time: Timestamp) -> String {
    let at = time.div_euclid(1_000_000_000);
    let (day, second) = (at.div_euclid(86_400), at.rem_euclid(86_400));
    // Days since 0000-03-01, in eras of 400 years (Hinnant, "chrono-compatible low-level date algorithms").
    let shifted = day + 719_468;
    let (era, of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    let year = era * 400 + year + next;
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", second / 3600, second / 60 % 60, second % 60)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Limits;

    fn labels(text: &str) -> StreamLabels<'_> {
        let mut labels = StreamLabels::default();
        labels.parse(text, &Limits::default()).expect("within limits").expect("labels");
        labels
    }

    #[test]
    fn one_is_told_by_itself_and_several_are_counted() {
        let mut told = Told::default();
        assert_eq!(told.message(), "");
        let second = 1_000_000_000;
        told.too_old(&labels("{app=\"a\", q=\"\\\"\\n\"}"), 951_782_400 * second, 1_735_689_599 * second + 5);
        let first = "entry for stream '{app=\"a\", q=\"\\\"\\n\"}' has timestamp too old: 2000-02-29T00:00:00Z, \
                     oldest acceptable timestamp is: 2024-12-31T23:59:59Z";
        assert_eq!(told.message(), first);
        told.refused(&labels("{b=\"1\", b=\"2\"}"), DUPLICATE_LABEL);
        told.refused(&labels("{b=\"1\", b=\"2\"}"), DUPLICATE_LABEL);
        let second = "stream '{b=\"1\", b=\"2\"}' has duplicate label name: 'b'";
        assert_eq!(told.message(), format!("1 errors like: {first}; 2 errors like: {second}"));
    }

    #[test]
    fn a_million_lines_make_a_short_answer() {
        let mut told = Told::default();
        let stream = labels("{app=\"a\"}");
        (0..1_000_000).for_each(|second| told.too_old(&stream, second * 1_000_000_000, i64::MAX));
        assert!(
            told.message().len() < 20_000 && told.message().ends_with("; 999900 errors like: lines whose timestamp is too old")
        );
        let (mut told, value) = (Told::default(), "x".repeat(BYTES_MAX));
        told.too_old(&labels(&format!("{{app=\"{value}\"}}")), 0, 1);
        assert_eq!(told.message(), TOO_OLD);
    }

    #[test]
    fn times_of_all_years_can_be_said() {
        assert_eq!(seconds(i64::MIN), "1677-09-21T00:12:43Z");
        assert_eq!(seconds(i64::MAX), "2262-04-11T23:47:16Z");
        assert_eq!(seconds(-1), "1969-12-31T23:59:59Z");
    }
}
