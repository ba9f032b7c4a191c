//! A whole configuration file.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::NameScheme;
use crate::error::{ConfigError, Flaw};
use crate::remote;
use crate::schema::{Field, Fields, Kind, TEXTS, check, key};
use crate::scrape::{self, Escaping, JOBS, SHARED, ScrapeConfig, ScrapeLimits, ScrapeProtocol};
use crate::yaml::Node;

/// Files that a pattern may stand for.
const MAX_FILES: usize = 10_000;

/// `global`.
#[derive(Debug, Clone, PartialEq)]
pub struct Global {
    /// How often targets are scraped.
    pub scrape_interval: Duration,
    /// How long they may take.
    pub scrape_timeout: Duration,
    /// How often rules are evaluated.
    pub evaluation_interval: Duration,
    /// How far into the past rules are evaluated.
    pub rule_query_offset: Duration,
    /// Labels of everything that leaves.
    pub external_labels: Vec<(String, String)>,
    /// What is asked for; `None` for the usual.
    pub protocols: Option<Vec<ScrapeProtocol>>,
    /// What a scrape may be.
    pub limits: ScrapeLimits,
    /// Which names may be.
    pub names: NameScheme,
    /// How targets are asked to write the others.
    pub escaping: Option<Escaping>,
    /// Whether native histograms are scraped.
    pub native_histograms: bool,
    /// Whether their classic buckets are scraped besides.
    pub classic_histograms_too: bool,
    /// Whether classic histograms become native ones with custom buckets.
    pub convert_to_custom_buckets: bool,
    /// Whether `scrape_timeout_seconds` and its kin are kept.
    pub extra_metrics: bool,
    /// The file that failed scrapes are written to; empty for none.
    pub failure_log: String,
}

/// What a file says.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// `global`
    pub global: Global,
    /// `scrape_configs`, and those of `scrape_config_files`.
    pub scrape_configs: Vec<ScrapeConfig>,
    /// Patterns of rule files, relative to the file's folder.
    pub rule_files: Vec<String>,
}

const GLOBAL: Fields = &[
    key("evaluation_interval", Kind::Duration),
    key("rule_query_offset", Kind::Duration),
    key("query_log_file", Kind::Text),
    key("external_labels", Kind::Map(&Kind::Text)),
];

const SCRAPING: [Field; 3] =
    [key("global", Kind::Section(&[GLOBAL, SHARED])), key("scrape_configs", JOBS), key("scrape_config_files", TEXTS)];

/// A file of `scrape_config_files`.
const JOBS_FILE: Kind = Kind::Section(&[&[key("scrape_configs", JOBS)]]);

const FILE: Kind = Kind::Section(&[&SCRAPING, &[key("rule_files", TEXTS)], remote::KEYS]);

impl Config {
    /// The configuration in a file; `agent` where it is for Prometheus' agent mode, which has no rules.
    ///
    /// # Errors
    /// [`ConfigError`] with file, place and reason.
    pub fn load(file: &Path, agent: bool) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(file).map_err(|e| ConfigError::io(file, &e))?;
        let name = file.display().to_string();
        let node = Node::parse(&text).map_err(|f| f.in_file(&name))?;
        let config = Self::whole(&node, agent).map_err(|f| f.in_file(&name))?;
        config.with_files(&node, &name, file.parent().unwrap_or(Path::new("")))
    }

    /// What a file of its own says, without other files.
    fn whole(node: &Node, agent: bool) -> Result<Self, Flaw> {
        check(node, &FILE)?;
        for name in ["rule_files", "scrape_config_files"] {
            for path in node.list_of(name) {
                let text = path.text().unwrap_or_default();
                let good = text.split_once('*').is_none_or(|(_, after)| !after.contains(['/', '*']));
                path.must(
                    good,
                    format!("invalid {} file path {text:?}", if name == "rule_files" { "rule" } else { "scrape config" }),
                )?;
            }
        }
        let config = Self::scraping(node)?;
        remote::validate_sections(node, config.global.names)?;
        if agent {
            for name in ["alerting", "rule_files", "remote_read"] {
                let there = node.get(name).is_some_and(|n| !n.list().is_empty() || !n.pairs().is_empty());
                node.must(!there, format!("field {name} is not allowed in agent mode"))?;
            }
        }
        Ok(config)
    }

    /// What the sections about scraping say, in a tree that may have others.
    ///
    /// # Errors
    /// What is wrong in them.
    pub fn scraping(file: &Node) -> Result<Self, Flaw> {
        for field in &SCRAPING {
            file.get(field.name).map_or(Ok(()), |n| check(n, &field.kind))?;
        }
        let global = match file.get("global") {
            Some(node) => Global::of(node)?,
            None => Global::of(&Node { line: 1, column: 1, value: crate::yaml::Value::Null })?,
        };
        let mut jobs = HashMap::new();
        let scrape_configs = self_contained(file, &global, &mut jobs, "main config file")?;
        Ok(Self { global, scrape_configs, rule_files: file.texts_of("rule_files") })
    }

    /// Adds the jobs of `scrape_config_files`; paths in the file are relative to `folder` from here on.
    ///
    /// # Errors
    /// [`ConfigError`] with file, place and reason.
    pub fn with_files(mut self, file: &Node, name: &str, folder: &Path) -> Result<Self, ConfigError> {
        let mut jobs: HashMap<String, String> =
            self.scrape_configs.iter().map(|c| (c.job_name.clone(), name.to_owned())).collect();
        let mut own: Vec<ScrapeConfig> = std::mem::take(&mut self.scrape_configs);
        own = own.into_iter().map(|job| job.in_folder(folder)).collect();
        for pattern in file.list_of("scrape_config_files") {
            let text = pattern.text().unwrap_or_default();
            for path in files(&folder.join(text)).map_err(|e| pattern.flaw(format!("{text}: {e}")).in_file(name))? {
                let shown = path.display().to_string();
                let content = std::fs::read_to_string(&path).map_err(|e| ConfigError::io(&path, &e))?;
                let more = Node::parse(&content)
                    .and_then(|node| {
                        check(&node, &JOBS_FILE)?;
                        self_contained(&node, &self.global, &mut jobs, &shown)
                    })
                    .map_err(|f| f.in_file(&shown))?;
                let beside = path.parent().unwrap_or(folder);
                own.extend(more.into_iter().map(|job| job.in_folder(beside)));
            }
        }
        self.scrape_configs = own;
        Ok(self)
    }
}

/// The jobs in a tree whose keys were checked; names must be new.
fn self_contained(
    file: &Node,
    global: &Global,
    jobs: &mut HashMap<String, String>,
    name: &str,
) -> Result<Vec<ScrapeConfig>, Flaw> {
    file.list_of("scrape_configs")
        .iter()
        .map(|node| {
            let job = ScrapeConfig::of(node, global)?;
            if let Some(first) = jobs.insert(job.job_name.clone(), name.to_owned()) {
                let what = format!("found multiple scrape configs with job name {:?}, first found in {first}", job.job_name);
                return Err(node.get("job_name").unwrap_or(node).flaw(what));
            }
            Ok(job)
        })
        .collect()
}

impl Global {
    fn of(node: &Node) -> Result<Self, Flaw> {
        let names = scrape::name_scheme(node)?.unwrap_or_default();
        for (label, _) in node.get("external_labels").map_or(&[][..], Node::pairs) {
            let name = label.text().unwrap_or_default();
            label.must(names.is_label(name), format!("{name:?} is not a valid label name"))?;
        }
        let time =
            |name: &str, default: u64| node.duration_of(name).filter(|d| !d.is_zero()).unwrap_or(Duration::from_secs(default));
        let scrape_interval = time("scrape_interval", 60);
        let timeout = node.duration_of("scrape_timeout").unwrap_or_default();
        let at = node.get("scrape_timeout").unwrap_or(node);
        at.must(timeout <= scrape_interval, "global scrape timeout greater than scrape interval")?;
        let is = |name: &str| node.bool_of(name).unwrap_or(false);
        Ok(Self {
            scrape_interval,
            scrape_timeout: if timeout.is_zero() { Duration::from_secs(10).min(scrape_interval) } else { timeout },
            evaluation_interval: time("evaluation_interval", 60),
            rule_query_offset: time("rule_query_offset", 0),
            external_labels: node.map_of("external_labels").into_iter().map(|(n, v)| (n, expand(&v))).collect(),
            protocols: scrape::protocols(node)?,
            limits: scrape::limits(node),
            names,
            escaping: scrape::escaping(node)?,
            native_histograms: is("scrape_native_histograms"),
            classic_histograms_too: is("always_scrape_classic_histograms"),
            convert_to_custom_buckets: is("convert_classic_histograms_to_nhcb"),
            extra_metrics: is("extra_scrape_metrics"),
            failure_log: node.text_of("scrape_failure_log_file").to_owned(),
        })
    }
}

/// `$NAME` and `${NAME}` from the environment; `$$` is a dollar.
fn expand(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        out.push_str(before);
        let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let (name, left) = match (after.strip_prefix('$'), after.strip_prefix('{').and_then(|a| a.split_once('}'))) {
            (Some(left), _) => {
                out.push('$');
                rest = left;
                continue;
            }
            (None, Some(found)) => found,
            (None, None) => after.split_at(after.find(|c| !is_word(c)).unwrap_or(after.len())),
        };
        out.push_str(&std::env::var(name).unwrap_or_default());
        rest = left;
    }
    out + rest
}

/// The files that a pattern (`*` and `?` in its last part) stands for, sorted; one without them where it is there.
///
/// # Errors
/// A folder that cannot be read, or more files than there may be.
pub fn files(pattern: &Path) -> std::io::Result<Vec<PathBuf>> {
    let path = pattern.to_owned();
    let last = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    if !last.contains(['*', '?']) {
        return Ok(if path.exists() { vec![path] } else { Vec::new() });
    }
    let parent = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let entries = match std::fs::read_dir(parent) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name();
        if matches(last.as_bytes(), name.to_string_lossy().as_bytes()) {
            found.push(path.with_file_name(name));
        }
        if found.len() > MAX_FILES {
            return Err(std::io::Error::other(format!("more than {MAX_FILES} files")));
        }
    }
    found.sort();
    Ok(found)
}

/// Whether a name fits a pattern of `*` and `?`.
fn matches(pattern: &[u8], name: &[u8]) -> bool {
    // The last star, and where what it stands for ends so far.
    let (mut p, mut n, mut star) = (0, 0, None);
    while n < name.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, n));
                p += 1;
            }
            Some(b) if *b == b'?' || *b == name[n] => (p, n) = (p + 1, n + 1),
            _ => match star {
                Some((at, from)) => {
                    (p, n) = (at + 1, from + 1);
                    star = Some((at, from + 1));
                }
                None => return false,
            },
        }
    }
    pattern[p.min(pattern.len())..].iter().all(|b| *b == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(text: &str) -> Result<Config, String> {
        Node::parse(text).and_then(|node| Config::whole(&node, false)).map_err(|f| f.in_file("p.yml").to_string())
    }

    #[test]
    fn jobs_inherit_from_global_what_they_do_not_say() {
        let config = load(
            "global: {scrape_interval: 15s, sample_limit: 7, label_limit: 3, scrape_failure_log_file: f.log}\nscrape_configs:\n- job_name: a\n  scrape_timeout: 5s\n  sample_limit: 9\n- {job_name: b, scrape_interval: 5s, scheme: https}\n",
        )
        .expect("good");
        let [a, b] = &config.scrape_configs[..] else { panic!("two jobs") };
        assert_eq!((a.interval.as_secs(), a.timeout.as_secs(), a.limits.samples, a.limits.labels), (15, 5, 9, 3));
        assert_eq!((b.interval.as_secs(), b.timeout.as_secs(), b.limits.samples, &*b.scheme), (5, 5, 7, "https"));
        assert_eq!(a.clone().in_folder(Path::new("/etc")).failure_log, "/etc/f.log");
        assert_eq!(a.protocols.first(), Some(&ScrapeProtocol::OpenMetrics100));
        assert_eq!((a.metrics_path.as_str(), a.honor_timestamps), ("/metrics", true));
    }

    #[test]
    fn what_is_wrong_is_said_with_its_place() {
        for (text, expected) in [
            ("scrape_confgs: []\n", "p.yml:1:1: unknown key `scrape_confgs`; did you mean `scrape_configs`?"),
            (
                "scrape_configs:\n- job_name: a\n- job_name: a\n",
                "p.yml:3:13: found multiple scrape configs with job name \"a\", first found in main config file",
            ),
            ("scrape_configs:\n- job_name: a\n  scrape_interval: x\n", "p.yml:3:20: not a valid duration string: \"x\""),
            ("scrape_configs:\n- job_name: a\n  static_configs: {}\n", "p.yml:3:19: expected a list, found a section with keys"),
            (
                "scrape_configs:\n- job_name: a\n  dns_sd_configs: [{names: [x], type: A}]\n",
                "p.yml:3:20: a port is required in DNS-SD configs for all record types except SRV",
            ),
            ("scrape_configs:\n- job_name: a\n  honor_labels: maybe\n", "p.yml:3:17: \"maybe\" is no boolean"),
            (
                "scrape_configs:\n- job_name: a\n  basic_auth: {}\n  bearer_token: x\n",
                "p.yml:2:3: at most one of basic_auth, oauth2, bearer_token & bearer_token_file must be configured",
            ),
            (
                "remote_write:\n- {url: 'http://x', azuread: {managed_identity: {client_id: x}}}\n",
                "p.yml:2:49: the provided Azure Managed Identity client_id is invalid",
            ),
            ("rule_files: ['a/*/b']\n", "p.yml:1:14: invalid rule file path \"a/*/b\""),
        ] {
            assert_eq!(load(text).expect_err(text), expected);
        }
    }

    #[test]
    fn oauth2_is_read_and_its_secret_not_shown() {
        let config = load(
            "scrape_configs:\n- job_name: a\n  oauth2: {client_id: me, client_secret: hush, token_url: 'http://x/t', scopes: [b], endpoint_params: {c: d}}\n",
        )
        .expect("good");
        let crate::Credentials::OAuth2(oauth2) = &config.scrape_configs[0].http.credentials else { panic!("oauth2") };
        assert_eq!(
            (oauth2.client_id.as_str(), oauth2.token_url.as_str(), &*oauth2.scopes),
            ("me", "http://x/t", &["b".to_owned()][..])
        );
        assert_eq!(oauth2.endpoint_params, [("c".to_owned(), "d".to_owned())]);
        assert!(!format!("{config:?}").contains("hush"), "{config:?}");
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics(text in "[a-z:\\-\\[\\]{}\"'&*!|> \n0-9$_]{0,80}", key in 0..3usize) {
            let _ = load(&text);
            let keys = ["scrape_configs:\n- job_name: a\n  relabel_configs:\n  - ", "global:\n  ", "remote_write:\n- "];
            let _ = load(&format!("{}{text}", keys[key]));
        }
    }

    #[test]
    fn patterns_stand_for_files() {
        for (pattern, name, fits) in [
            ("*.yml", "a.yml", true),
            ("a*b*c", "axxbyyc", true),
            ("a?", "ab", true),
            ("*.yml", "a.yaml", false),
            ("a*b", "ab", true),
            ("a", "ab", false),
        ] {
            assert_eq!(matches(pattern.as_bytes(), name.as_bytes()), fits, "{pattern} {name}");
        }
    }

    #[test]
    fn external_labels_take_from_the_environment() {
        assert_eq!(expand("a$$b"), "a$b");
        assert_eq!(expand("${BRAID_NO_SUCH_VARIABLE}x"), "x");
        assert_eq!(expand("plain"), "plain");
    }
}
