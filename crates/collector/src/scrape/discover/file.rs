//! `file_sd_configs`: groups in YAML or JSON files.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use prometheus::TargetGroup;

use super::ANSWER;

/// What is known of a file: when it was written, how long it is.
type Stamp = (Option<SystemTime>, u64);

pub(super) struct Reader {
    patterns: Vec<String>,
    job: String,
    files: BTreeMap<PathBuf, (Stamp, Vec<TargetGroup>)>,
}

impl Reader {
    pub(super) fn new(patterns: Vec<String>, job: String) -> Self {
        Self { patterns, job, files: BTreeMap::new() }
    }

    /// The files that there are now.
    fn found(&self) -> BTreeMap<PathBuf, Stamp> {
        let mut found = BTreeMap::new();
        for pattern in &self.patterns {
            match prometheus::files(Path::new(pattern)) {
                Ok(paths) => found.extend(paths.into_iter().map(|path| {
                    let stamp = std::fs::metadata(&path).map_or((None, 0), |m| (m.modified().ok(), m.len()));
                    (path, stamp)
                })),
                Err(e) => tracing::warn!(job = self.job, "file_sd_configs: {pattern}: {e}"),
            }
        }
        found
    }

    /// Whether a file came, went or was written.
    pub(super) fn changed(&self) -> bool {
        let known = self.files.iter().map(|(path, (stamp, _))| (path.clone(), *stamp));
        self.found() != known.collect()
    }

    /// The groups of all files. A file that cannot be read counts as it was when it could.
    pub(super) fn groups(&mut self) -> Vec<TargetGroup> {
        let found = self.found();
        self.files.retain(|path, _| found.contains_key(path));
        for (path, stamp) in found {
            match read(&path, stamp) {
                Ok(groups) => {
                    self.files.insert(path, (stamp, groups));
                }
                Err(why) => {
                    tracing::warn!(job = self.job, "file_sd_configs: {why}");
                    self.files.entry(path).or_default().0 = stamp;
                }
            }
        }
        self.files.values().flat_map(|(_, groups)| groups.iter().cloned()).collect()
    }
}

fn read(path: &Path, (_, len): Stamp) -> Result<Vec<TargetGroup>, String> {
    let name = path.display().to_string();
    if len > ANSWER as u64 {
        return Err(format!("{name}: {len} bytes are more than the {ANSWER} that may be"));
    }
    let text = std::fs::read_to_string(path).map_err(|e| format!("{name}: {e}"))?;
    let mut groups = prometheus::groups_of_file(&text, &name).map_err(|flaw| flaw.in_file(&name).to_string())?;
    for group in &mut groups {
        group.labels.push(("__meta_filepath".to_owned(), name.clone()));
    }
    Ok(groups)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(groups: &[TargetGroup]) -> Vec<&str> {
        groups.iter().flat_map(|g| &g.targets).map(|labels| labels[0].1.as_str()).collect()
    }

    #[test]
    fn files_come_change_break_and_go() {
        let dir = tempfile::tempdir().expect("a directory");
        let pattern = |name: &str| dir.path().join(name).display().to_string();
        let mut reader = Reader::new(vec![pattern("t/*.json"), pattern("one.yml")], "j".into());
        assert!(reader.groups().is_empty());
        std::fs::create_dir(dir.path().join("t")).expect("made");
        let (json, yml) = (dir.path().join("t/a.json"), dir.path().join("one.yml"));
        std::fs::write(&json, r#"[{"targets": ["a:1", "a:2"], "labels": {"x": "y"}}]"#).expect("written");
        std::fs::write(&yml, "- targets: ['b:1']\n").expect("written");
        assert!(reader.changed());
        let groups = reader.groups();
        assert_eq!(addresses(&groups), ["b:1", "a:1", "a:2"]);
        assert!(groups[1].labels.contains(&("__meta_filepath".into(), json.display().to_string())));
        assert!(!reader.changed());
        std::fs::write(&json, r#"[{"targets": ["#).expect("written");
        assert!(reader.changed());
        assert_eq!(addresses(&reader.groups()), ["b:1", "a:1", "a:2"], "a broken file counts as it was");
        std::fs::remove_file(&yml).expect("there");
        assert_eq!(addresses(&reader.groups()), ["a:1", "a:2"]);
    }
}
