//! Which labels a sample has: the target's and its own.

use model::Labels;

/// The labels of a scraped series. Where both have a label, the target's wins and the scraped one becomes `exported_…`,
/// or, with `honor_labels`, the scraped one wins, also where it is empty: so a Pushgateway says that a series is no instance's.
pub(super) fn merge(scraped: &[(&str, &str)], target: &[(String, String)], honor_labels: bool) -> Labels {
    let has = |pairs: &[(String, String)], name: &str| pairs.iter().any(|(n, _)| n == name);
    let mut merged: Vec<(String, String)> = Vec::with_capacity(scraped.len() + target.len());
    let mut renamed: Vec<(&str, &str)> = Vec::new();
    for (name, value) in scraped {
        if !honor_labels && has(target, name) {
            if !value.is_empty() {
                renamed.push((name, value));
            }
        } else {
            merged.push(((*name).to_owned(), (*value).to_owned()));
        }
    }
    for (name, value) in target {
        if !has(&merged, name) {
            merged.push((name.clone(), value.clone()));
        }
    }
    for (name, value) in renamed {
        let mut name = format!("exported_{name}");
        while has(&merged, &name) {
            name.insert_str(0, "exported_");
        }
        merged.push((name, value.to_owned()));
    }
    Labels::from_pairs(merged)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect()
    }

    #[test]
    fn the_target_wins_unless_labels_are_honoured() {
        let scraped = [("__name__", "m"), ("job", "own"), ("x", "1")];
        let target = target(&[("instance", "h:1"), ("job", "j")]);
        assert_eq!(
            merge(&scraped, &target, false).to_string(),
            r#"{__name__="m", exported_job="own", instance="h:1", job="j", x="1"}"#
        );
        assert_eq!(merge(&scraped, &target, true).to_string(), r#"{__name__="m", instance="h:1", job="own", x="1"}"#);
    }

    #[test]
    fn an_empty_label_keeps_the_target_s_away_where_labels_are_honoured() {
        let scraped = [("__name__", "m"), ("instance", ""), ("x", "")];
        let target = target(&[("instance", "h:1"), ("job", "j")]);
        assert_eq!(merge(&scraped, &target, true).to_string(), r#"{__name__="m", job="j"}"#);
        assert_eq!(merge(&scraped, &target, false).to_string(), r#"{__name__="m", instance="h:1", job="j"}"#);
    }

    #[test]
    fn a_renamed_label_finds_a_free_name() {
        let scraped = [("exported_job", "a"), ("job", "b")];
        let merged = merge(&scraped, &target(&[("job", "j")]), false);
        assert_eq!(merged.to_string(), r#"{exported_exported_job="b", exported_job="a", job="j"}"#);
    }
}
