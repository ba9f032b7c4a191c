//! What is known of metric families: type, help, unit.

use std::collections::BTreeMap;

use wire::MetricKind;

/// So many families of a tenant are described.
const MAX_FAMILIES: usize = 20_000;
/// A help text is cut to so many bytes.
const MAX_TEXT: usize = 1024;

/// Descriptions by family. Every segment carries those that were known when it was written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Families(BTreeMap<String, (u8, String, String)>);

const KINDS: [MetricKind; 8] = [
    MetricKind::Unknown,
    MetricKind::Counter,
    MetricKind::Gauge,
    MetricKind::Histogram,
    MetricKind::GaugeHistogram,
    MetricKind::Summary,
    MetricKind::Info,
    MetricKind::StateSet,
];

fn cut(text: &str) -> String {
    text[..text.floor_char_boundary(MAX_TEXT)].to_owned()
}

impl Families {
    /// Takes a description; the newest stays. Beyond 20,000 families new ones are not described.
    pub(super) fn describe(&mut self, family: &str, kind: MetricKind, help: &str, unit: &str) {
        if let Some((k, h, u)) = self.0.get_mut(family) {
            if (*k, h.as_str(), u.as_str()) != (kind as u8, help, unit) {
                (*k, *h, *u) = (kind as u8, cut(help), cut(unit));
            }
        } else if self.0.len() < MAX_FAMILIES && !family.is_empty() && family.len() <= MAX_TEXT {
            self.0.insert(family.to_owned(), (kind as u8, cut(help), cut(unit)));
        }
    }

    /// Adds what `older` knows and this does not.
    pub(super) fn complete(&mut self, older: &Self) {
        for (family, description) in &older.0 {
            if self.0.len() >= MAX_FAMILIES {
                break;
            }
            if !self.0.contains_key(family) {
                self.0.insert(family.clone(), description.clone());
            }
        }
    }

    /// Name, type, help, unit of one family or of all, sorted by name.
    pub(super) fn list(&self, family: Option<&str>) -> Vec<(String, MetricKind, String, String)> {
        let row = |(name, (kind, help, unit)): (&String, &(u8, String, String))| {
            (name.clone(), KINDS.get(usize::from(*kind)).copied().unwrap_or_default(), help.clone(), unit.clone())
        };
        match family {
            Some(family) => self.0.get_key_value(family).map(row).into_iter().collect(),
            None => self.0.iter().map(row).collect(),
        }
    }

    /// As it stands in a segment.
    pub(super) fn to_json(&self) -> String {
        serde_json::to_string(&self.0).unwrap_or_else(|_| "{}".to_owned())
    }

    /// What [`Families::to_json`] wrote.
    ///
    /// # Errors
    /// What is wrong with the text.
    pub(super) fn from_json(text: &str) -> Result<Self, String> {
        serde_json::from_str(text).map(Self).map_err(|e| e.to_string())
    }

    /// Bytes held, about.
    pub(super) fn memory(&self) -> usize {
        self.0.iter().map(|(name, (_, help, unit))| name.len() + help.len() + unit.len() + 96).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptions_come_back_and_the_newest_stays() {
        let mut families = Families::default();
        families.describe("up", MetricKind::Gauge, "1 if \"up\"", "");
        families.describe("up", MetricKind::Counter, "changed", "s");
        families.describe("a", MetricKind::StateSet, &"ä".repeat(2000), "");
        let mut back = Families::from_json(&families.to_json()).expect("own JSON");
        assert_eq!(back, families);
        assert_eq!(back.list(Some("up")), [("up".to_owned(), MetricKind::Counter, "changed".to_owned(), "s".to_owned())]);
        assert!(back.list(None)[0].2.len() <= MAX_TEXT);
        let mut older = Families::default();
        older.describe("up", MetricKind::Gauge, "old", "");
        older.describe("z", MetricKind::Info, "", "");
        back.complete(&older);
        assert_eq!(back.list(None).iter().map(|r| r.0.as_str()).collect::<Vec<_>>(), ["a", "up", "z"]);
        assert_eq!(back.list(Some("up"))[0].2, "changed");
    }
}
