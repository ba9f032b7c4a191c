//! Which labels a sample has: the target's and its own.

use model::Labels;

use super::TargetConfig;

/// The target's labels: `job` and `instance` unless the configuration sets them, then what it sets; `__…` are for
/// relabelling only and go. Sorted by name, none empty.
pub(super) fn target_labels(job: &str, target: &TargetConfig) -> Vec<(String, String)> {
    let mut labels = target.labels.clone();
    for (name, value) in [("job", job), ("instance", &target.address)] {
        if !labels.iter().any(|(n, v)| n == name && !v.is_empty()) {
            labels.retain(|(n, _)| n != name);
            labels.push((name.to_owned(), value.to_owned()));
        }
    }
    labels.retain(|(n, v)| !n.starts_with("__") && !v.is_empty());
    labels.sort();
    labels
}

/// The labels of a scraped series. Where both have a label, the target's wins and the scraped one becomes `exported_…`,
/// or, with `honor_labels`, the scraped one wins.
pub(super) fn merge(scraped: &[(&str, &str)], target: &[(String, String)], honor_labels: bool) -> Labels {
    let has = |pairs: &[(String, String)], name: &str| pairs.iter().any(|(n, _)| n == name);
    let mut merged: Vec<(String, String)> = Vec::with_capacity(scraped.len() + target.len());
    let mut renamed: Vec<(&str, &str)> = Vec::new();
    for (name, value) in scraped {
        if !honor_labels && has(target, name) {
            renamed.push((name, value));
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
    fn a_renamed_label_finds_a_free_name() {
        let scraped = [("exported_job", "a"), ("job", "b")];
        let merged = merge(&scraped, &target(&[("job", "j")]), false);
        assert_eq!(merged.to_string(), r#"{exported_exported_job="b", exported_job="a", job="j"}"#);
    }

    #[test]
    fn configured_labels_win_over_the_defaults_and_meta_labels_go() {
        let config = TargetConfig { address: "h:1".into(), labels: target(&[("job", "mine"), ("__x", "1"), ("empty", "")]) };
        assert_eq!(target_labels("j", &config), target(&[("instance", "h:1"), ("job", "mine")]));
    }
}
