//! Dashboards out of a directory: read at the start and with every reload. What is wrong with a file is logged, shown on the page and
//! counted; the others are served.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock};

use api::{Dashboard, DashboardError};
use serde_json::Value as Json;

/// Larger files are refused, bytes.
const MAX_FILE: u64 = 4 << 20;
/// More files are not read.
const MAX_FILES: usize = 1000;
/// Directories within directories.
const MAX_DEPTH: usize = 4;

/// The dashboards that were read last.
#[derive(Debug, Default)]
pub(crate) struct Dashboards(RwLock<Shelf>);

#[derive(Debug, Default)]
struct Shelf {
    found: Vec<Dashboard>,
    errors: Vec<DashboardError>,
}

impl Dashboards {
    /// Reads the directory anew; without one there are none.
    pub(crate) fn read(&self, directory: Option<&Path>) {
        let shelf = directory.map(Shelf::read).unwrap_or_default();
        for DashboardError { file, error } in &shelf.errors {
            tracing::warn!("no dashboard: {file}: {error}");
        }
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = shelf;
    }

    /// Appends how many there are, in Prometheus' text format.
    pub(crate) fn write_text(&self, out: &mut String) {
        let shelf = self.0.read().unwrap_or_else(PoisonError::into_inner);
        for (name, help, value) in [
            ("braid_dashboards", "Dashboards that are provisioned.", shelf.found.len()),
            ("braid_dashboards_failed", "Files of the dashboards' directory that are none.", shelf.errors.len()),
        ] {
            let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} gauge\n{name} {value}");
        }
    }
}

impl api::Dashboards for Dashboards {
    fn all(&self) -> (Vec<Dashboard>, Vec<DashboardError>) {
        let shelf = self.0.read().unwrap_or_else(PoisonError::into_inner);
        (shelf.found.clone(), shelf.errors.clone())
    }
}

impl Shelf {
    fn read(directory: &Path) -> Self {
        let (mut files, mut shelf) = (Vec::new(), Self::default());
        walk(directory, 0, &mut files, &mut shelf.errors);
        files.sort();
        if files.len() > MAX_FILES {
            let error = format!("{} files; the first {MAX_FILES} are read", files.len());
            shelf.errors.push(DashboardError { file: directory.display().to_string(), error });
            files.truncate(MAX_FILES);
        }
        let mut taken: BTreeMap<String, PathBuf> = BTreeMap::new();
        for file in files {
            let read = dashboard(directory, &file).and_then(|d| match taken.get(&d.id) {
                Some(other) => Err(format!("it has the uid {:?} of {}", d.id, other.display())),
                None => Ok(d),
            });
            match read {
                Ok(dashboard) => {
                    taken.insert(dashboard.id.clone(), file);
                    shelf.found.push(dashboard);
                }
                Err(error) => shelf.errors.push(DashboardError { file: file.display().to_string(), error }),
            }
        }
        shelf.found.sort_by(|a, b| (&a.folder, &a.title).cmp(&(&b.folder, &b.title)));
        shelf
    }
}

fn walk(directory: &Path, depth: usize, files: &mut Vec<PathBuf>, errors: &mut Vec<DashboardError>) {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(e) => {
            errors.push(DashboardError { file: directory.display().to_string(), error: e.to_string() });
            return;
        }
    };
    for path in entries.filter_map(Result::ok).map(|e| e.path()) {
        // Names that begin with a dot are what Kubernetes' mounts and editors leave.
        if path.file_name().is_none_or(|name| name.as_encoded_bytes().starts_with(b".")) {
            continue;
        }
        if path.is_dir() {
            if depth < MAX_DEPTH {
                walk(&path, depth + 1, files, errors);
            }
        } else if path.extension().is_some_and(|e| e.eq_ignore_ascii_case("json")) {
            files.push(path);
        }
    }
}

fn dashboard(directory: &Path, file: &Path) -> Result<Dashboard, String> {
    let mut text = String::new();
    let open = fs::File::open(file).map_err(|e| e.to_string())?;
    open.take(MAX_FILE + 1).read_to_string(&mut text).map_err(|e| e.to_string())?;
    if text.len() as u64 > MAX_FILE {
        return Err(format!("it is larger than {} MiB", MAX_FILE >> 20));
    }
    let json: Json = serde_json::from_str(&text).map_err(|e| format!("it is not JSON: {e}"))?;
    // As a file, or as Grafana's API wraps it.
    let d = json.get("dashboard").unwrap_or(&json);
    if !d.get("panels").or_else(|| d.get("rows")).is_some_and(Json::is_array) {
        return Err("it is no dashboard: it has no panels".to_owned());
    }
    let word = |key: &str| d.get(key).and_then(Json::as_str).filter(|text| !text.is_empty());
    let stem = file.file_stem().unwrap_or_default().to_string_lossy();
    let good = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    let id = match word("uid").filter(|uid| uid.chars().all(good)) {
        Some(uid) => uid.to_owned(),
        None => stem.chars().map(|c| if good(c) { c } else { '-' }).collect(),
    };
    let folder = file.parent().and_then(|p| p.strip_prefix(directory).ok()).map(|p| p.display().to_string()).unwrap_or_default();
    Ok(Dashboard {
        id,
        title: word("title").unwrap_or(&stem).to_owned(),
        description: word("description").unwrap_or_default().to_owned(),
        folder,
        json: text.into(),
    })
}

#[cfg(test)]
mod tests {
    use api::Dashboards as _;

    use super::*;

    #[test]
    fn every_dashboard_of_the_directory_is_served_and_every_file_that_is_none_is_named() {
        let dir = tempfile::tempdir().expect("a directory");
        let write = |name: &str, text: &str| {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
            fs::write(path, text).expect("a file");
        };
        write("b.json", r#"{"uid":"shop","title":"Shop","description":"carts","panels":[]}"#);
        write("team/my board.json", r#"{"dashboard":{"uid":"not/safe","rows":[]}}"#);
        write("again.JSON", r#"{"uid":"twice","title":"Again","panels":[]}"#);
        write("broken.json", r#"{"title":"#);
        write("other.json", r#"{"title":"no board"}"#);
        write("twice.json", r#"{"uid":"shop","panels":[]}"#);
        write("large.json", &" ".repeat((MAX_FILE + 1) as usize));
        write("readme.txt", "no JSON");
        write("..data/hidden.json", "{}");
        let dashboards = Dashboards::default();
        dashboards.read(Some(dir.path()));

        let (found, errors) = dashboards.all();
        let shown: Vec<_> = found.iter().map(|d| (&*d.folder, &*d.id, &*d.title, &*d.description)).collect();
        assert_eq!(shown, [("", "twice", "Again", ""), ("", "shop", "Shop", "carts"), ("team", "my-board", "my board", "")]);
        assert_eq!(&*found[1].json, r#"{"uid":"shop","title":"Shop","description":"carts","panels":[]}"#);
        let said: Vec<String> =
            errors.iter().map(|e| format!("{}: {}", e.file.rsplit('/').next().unwrap_or(""), e.error)).collect();
        assert!(said[0].starts_with("broken.json: it is not JSON: EOF"), "{said:?}");
        assert_eq!(said[1], "large.json: it is larger than 4 MiB");
        assert_eq!(said[2], "other.json: it is no dashboard: it has no panels");
        assert!(said[3].starts_with("twice.json: it has the uid \"shop\" of "), "{said:?}");
        let mut text = String::new();
        dashboards.write_text(&mut text);
        assert!(text.contains("\nbraid_dashboards 3\n") && text.ends_with("\nbraid_dashboards_failed 4\n"), "{text}");

        // What was corrected is there with the next reading; a directory that is gone is named.
        write("other.json", r#"{"title":"a board","panels":[]}"#);
        dashboards.read(Some(dir.path()));
        assert!(dashboards.all().0.iter().any(|d| d.id == "other"));
        dashboards.read(Some(&dir.path().join("none")));
        let (found, errors) = dashboards.all();
        assert!(found.is_empty() && errors[0].file.ends_with("/none"), "{errors:?}");
        dashboards.read(None);
        assert_eq!(dashboards.all(), (Vec::new(), Vec::new()));
    }
}
