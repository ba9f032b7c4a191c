//! Rule groups in Loki's ruler API: checked, kept, listed. A namespace is a file of groups, as Loki's own local rule storage has it:
//! `<directory>/<tenant>/<namespace>.yaml`. Nothing evaluates them yet; states are told as of rules that have not run.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use http::{Method, StatusCode, header};
use model::Tenant;
use serde::{Deserialize, Serialize};

use crate::answer::{Answer, Failure};
use crate::ask::Ask;
use crate::{Api, Face};

/// Bytes of a group as it is sent.
const MAX_BODY: usize = 1 << 20;
/// Groups of a tenant.
const MAX_GROUPS: usize = 1000;
/// Bytes of a namespace's name: it becomes the name of a file.
const MAX_NAME: usize = 80;
/// How often a group is evaluated that does not say it, seconds.
const INTERVAL: f64 = 60.0;
/// What an evaluation that never was is said to have been at.
const NEVER: &str = "0001-01-01T00:00:00Z";

/// A rule group, as in a rule file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Group {
    name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    interval: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    limit: Option<u64>,
    #[serde(default)]
    rules: Vec<Rule>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Rule {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    record: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    alert: Option<String>,
    expr: String,
    #[serde(default, rename = "for", skip_serializing_if = "Option::is_none")]
    held: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    keep_firing_for: Option<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    labels: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    annotations: BTreeMap<String, String>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    groups: Vec<Group>,
}

type Namespaces = BTreeMap<String, Vec<Group>>;

/// All rule groups.
#[derive(Debug, Default)]
pub(crate) struct Rules {
    dir: Option<PathBuf>,
    tenants: Mutex<BTreeMap<Tenant, Namespaces>>,
}

fn is_name(name: &str, more: &[char]) -> bool {
    !name.is_empty()
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || more.contains(&c))
}

/// Functions of the templates in labels and annotations: Prometheus'.
const FUNCTIONS: [&str; 29] = [
    "args",
    "externalURL",
    "first",
    "graphLink",
    "humanize",
    "humanize1024",
    "humanizeDuration",
    "humanizePercentage",
    "humanizeTimestamp",
    "label",
    "match",
    "now",
    "parseDuration",
    "pathPrefix",
    "query",
    "reReplaceAll",
    "safeHtml",
    "sortByLabel",
    "stripDomain",
    "stripPort",
    "strvalue",
    "tableLink",
    "title",
    "toDuration",
    "toLower",
    "toTime",
    "toUpper",
    "urlQueryEscape",
    "value",
];

/// Whether a text of an alert is a template, and what is wrong with it if it is none. Nothing is expanded yet.
fn check_template(name: &str, text: &str) -> Result<(), String> {
    const BEFORE: &str =
        "{{$labels := .Labels}}{{$externalLabels := .ExternalLabels}}{{$externalURL := .ExternalURL}}{{$value := .Value}}";
    let mut functions = template::Functions::new();
    for function in FUNCTIONS {
        functions.add(function, &[], Some(template::Kind::Any), |_| Ok(template::Value::Nil));
    }
    template::Template::parse(name, &format!("{BEFORE}{text}"), &functions).map(|_| ()).map_err(|e| e.to_string())
}

impl Group {
    /// What is wrong with it.
    fn check(&self) -> Result<(), String> {
        let group = &self.name;
        if group.trim().is_empty() {
            return Err("invalid rules config: rule group name must not be empty".to_owned());
        }
        let time = |what: &str, text: &Option<String>| match text {
            Some(text) if logql::parse_duration(text).is_none_or(|ns| ns < 0) => {
                Err(format!("group {group:?}: {what}: {text:?} is no duration"))
            }
            _ => Ok(()),
        };
        time("interval", &self.interval)?;
        for (at, rule) in self.rules.iter().enumerate() {
            let fail = |why: String| Err(format!("group {group:?}, rule {at}: {why}"));
            match (&rule.record, &rule.alert) {
                (Some(record), None) if !is_name(record, &[':']) => {
                    return fail(format!("invalid recording rule name: {record}"));
                }
                (Some(_), None) if !rule.annotations.is_empty() => {
                    return fail("invalid field 'annotations' in recording rule".into());
                }
                (Some(_), None) if rule.held.is_some() => return fail("invalid field 'for' in recording rule".into()),
                (None, Some(alert)) if alert.is_empty() => return fail("one of 'record' or 'alert' must be set".into()),
                (Some(_), None) | (None, Some(_)) => {}
                (Some(_), Some(_)) => return fail("only one of 'record' and 'alert' must be set".into()),
                (None, None) => return fail("one of 'record' or 'alert' must be set".into()),
            }
            match logql::parse(&rule.expr) {
                Ok(logql::Expr::Log(_)) => return fail("could not parse expression: a rule needs a metric query".into()),
                Ok(_) => {}
                Err(e) => return fail(format!("could not parse expression: {e}")),
            }
            time("for", &rule.held)?;
            time("keep_firing_for", &rule.keep_firing_for)?;
            if let Some(label) = rule.labels.keys().find(|l| !is_name(l, &[]) || *l == "__name__") {
                return fail(format!("invalid label name: {label}"));
            }
            if let Some(annotation) = rule.annotations.keys().find(|l| !is_name(l, &[])) {
                return fail(format!("invalid annotation name: {annotation}"));
            }
            if let Some(alert) = &rule.alert {
                for (what, texts) in [("label", &rule.labels), ("annotation", &rule.annotations)] {
                    for (name, text) in texts {
                        if let Err(e) = check_template(&format!("__alert_{alert}"), text) {
                            return fail(format!("{what} {name:?}: {e}"));
                        }
                    }
                }
            }
        }
        Ok(())
    }
}

/// A name as a file's: what may mean something to a file system is written `%XX`.
fn encoded(name: &str) -> String {
    let mut out = String::new();
    for (at, byte) in name.bytes().enumerate() {
        match byte {
            b'.' if at == 0 => out.push_str("%2E"),
            b if b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.') => out.push(char::from(b)),
            b => out.push_str(&format!("%{b:02X}")),
        }
    }
    out
}

fn decoded(name: &str) -> Option<String> {
    let (mut out, mut bytes) = (Vec::new(), name.bytes());
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'%' => {
                let digits = [bytes.next()?, bytes.next()?];
                u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?
            }
            b => b,
        });
    }
    String::from_utf8(out).ok()
}

impl Rules {
    /// The rules that are kept below `dir`. A file that is none is left alone and reported.
    pub(crate) fn open(dir: PathBuf) -> Self {
        let mut tenants: BTreeMap<Tenant, Namespaces> = BTreeMap::new();
        let entries =
            |dir: &PathBuf| std::fs::read_dir(dir).into_iter().flatten().filter_map(|entry| entry.ok().map(|e| e.path()));
        for folder in entries(&dir) {
            let tenant = folder.file_name().and_then(|n| decoded(n.to_str()?)).and_then(|name| Tenant::new(&name).ok());
            let Some(tenant) = tenant.filter(|_| folder.is_dir()) else { continue };
            for path in entries(&folder) {
                if !path.extension().is_some_and(|e| e == "yaml" || e == "yml") {
                    continue;
                }
                let read = std::fs::read_to_string(&path).map_err(|e| e.to_string());
                let file = read.and_then(|text| serde_saphyr::from_str::<File>(&text).map_err(|e| e.to_string()));
                let checked = file.and_then(|file| file.groups.iter().try_for_each(Group::check).map(|()| file));
                let namespace = path.file_stem().and_then(|n| decoded(n.to_str()?));
                match (checked, namespace) {
                    (Ok(file), Some(namespace)) => {
                        tenants.entry(tenant.clone()).or_default().insert(namespace, file.groups);
                    }
                    (Err(why), _) => tracing::warn!("rule file {} is left out: {why}", path.display()),
                    _ => {}
                }
            }
        }
        Self { dir: Some(dir), tenants: Mutex::new(tenants) }
    }

    fn tenants(&self) -> MutexGuard<'_, BTreeMap<Tenant, Namespaces>> {
        self.tenants.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn of(&self, tenant: &Tenant) -> Namespaces {
        self.tenants().get(tenant).cloned().unwrap_or_default()
    }

    /// Changes a namespace: on disk first, then here.
    fn change(
        &self,
        tenant: &Tenant,
        namespace: &str,
        change: impl FnOnce(&mut Vec<Group>) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let mut tenants = self.tenants();
        let known = tenants.entry(tenant.clone()).or_default();
        let mut groups = known.get(namespace).cloned().unwrap_or_default();
        change(&mut groups)?;
        let others: usize = known.iter().filter(|(name, _)| *name != namespace).map(|(_, groups)| groups.len()).sum();
        if others + groups.len() > MAX_GROUPS {
            return Err(Failure::BadData(format!("per-user rule groups limit (limit: {MAX_GROUPS}) exceeded")));
        }
        self.save(tenant, namespace, &groups)
            .map_err(|e| Failure::Internal(format!("keeping the rules of {namespace:?}: {e}")))?;
        match groups.is_empty() {
            true => known.remove(namespace),
            false => known.insert(namespace.to_owned(), groups),
        };
        Ok(())
    }

    fn save(&self, tenant: &Tenant, namespace: &str, groups: &[Group]) -> std::io::Result<()> {
        let Some(dir) = &self.dir else { return Ok(()) };
        let folder = dir.join(encoded(tenant.as_str()));
        std::fs::create_dir_all(&folder)?;
        let path = folder.join(format!("{}.yaml", encoded(namespace)));
        if groups.is_empty() {
            return match std::fs::remove_file(&path) {
                Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(e),
                _ => std::fs::File::open(&folder)?.sync_all(),
            };
        }
        let text = serde_saphyr::to_string(&File { groups: groups.to_vec() }).map_err(std::io::Error::other)?;
        let new = folder.join(format!("{}.new", encoded(namespace)));
        let mut file = std::fs::File::create(&new)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&new, &path)?;
        std::fs::File::open(&folder)?.sync_all()
    }
}

/// `GET`, `POST` and `DELETE` of all rules, a namespace, a group.
pub(super) async fn handle(api: Arc<Api>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let method = parts.method.clone();
    let answer = async {
        let ask = Ask::read(Request::from_parts(parts, Body::empty())).await?;
        let body =
            to_bytes(body, MAX_BODY).await.map_err(|_| Failure::BadData("the rule group is larger than 1 MiB".to_owned()))?;
        let state = api.clone();
        let work = tokio::task::spawn_blocking(move || answer(&state.rules, &method, &ask, &body));
        work.await.unwrap_or_else(|e| Err(Failure::Internal(format!("the rules: {e}"))))
    };
    answer.await.unwrap_or_else(|failure| Face::Loki.fail(failure))
}

fn accepted() -> Response {
    let body = "{\"status\":\"success\",\"data\":null,\"errorType\":\"\",\"error\":\"\"}";
    (StatusCode::ACCEPTED, [(header::CONTENT_TYPE, "application/json")], body).into_response()
}

fn yaml(value: &impl Serialize) -> Result<Response, Failure> {
    let text = serde_saphyr::to_string(value).map_err(|e| Failure::Internal(e.to_string()))?;
    Ok(([(header::CONTENT_TYPE, "application/yaml")], text).into_response())
}

fn answer(rules: &Rules, method: &Method, ask: &Ask, body: &[u8]) -> Result<Response, Failure> {
    let tenant = ask.tenant()?;
    let (namespace, group) = (ask.path("namespace"), ask.path("group"));
    let missing = |what: &str| Failure::NotFound(what.to_owned());
    match (method.as_str(), namespace, group) {
        ("GET" | "HEAD", "", _) => match rules.of(&tenant) {
            all if all.is_empty() => Err(missing("no rule groups found\n")),
            all => yaml(&all),
        },
        ("GET" | "HEAD", namespace, "") => match rules.of(&tenant).remove_entry(namespace) {
            None => Err(missing("no rule groups found\n")),
            Some((name, groups)) => yaml(&BTreeMap::from([(name, groups)])),
        },
        ("GET" | "HEAD", namespace, group) => {
            let groups = rules.of(&tenant).remove(namespace).unwrap_or_default();
            let found = groups.into_iter().find(|g| g.name == group);
            yaml(&found.ok_or_else(|| missing("group does not exist\n"))?)
        }
        ("POST", namespace, "") if !namespace.is_empty() => {
            if namespace.len() > MAX_NAME {
                return Err(Failure::BadData(format!("a namespace may have {MAX_NAME} bytes")));
            }
            let text =
                std::str::from_utf8(body).map_err(|_| Failure::BadData("unable to decoded rule group: not UTF-8".to_owned()))?;
            let group: Group =
                serde_saphyr::from_str(text).map_err(|e| Failure::BadData(format!("unable to decoded rule group: {e}")))?;
            group.check().map_err(Failure::BadData)?;
            rules.change(&tenant, namespace, |groups| {
                match groups.iter_mut().find(|g| g.name == group.name) {
                    Some(known) => *known = group,
                    None => groups.push(group),
                }
                Ok(())
            })?;
            Ok(accepted())
        }
        ("DELETE", namespace, group) if !namespace.is_empty() => {
            rules.change(&tenant, namespace, |groups| {
                let before = groups.len();
                groups.retain(|g| !group.is_empty() && g.name != group);
                match before == groups.len() {
                    true => Err(missing(if group.is_empty() { "no rule groups found\n" } else { "group does not exist\n" })),
                    false => Ok(()),
                }
            })?;
            Ok(accepted())
        }
        _ => Ok(StatusCode::METHOD_NOT_ALLOWED.into_response()),
    }
}

fn success(data: &serde_json::Value, rows: usize) -> Answer {
    let body = serde_json::json!({"status": "success", "data": data, "errorType": "", "error": ""});
    Answer::json(body.to_string(), rows)
}

/// The groups as Prometheus tells them.
pub(super) async fn prometheus_rules(api: Arc<Api>, ask: Ask) -> Result<Answer, Failure> {
    let wanted = |name: &str, value: &str| ask.all(name).next().is_none() || ask.all(name).any(|v| v == value);
    let kind = ask.get("type").unwrap_or("");
    if !matches!(kind, "" | "alert" | "record") {
        return Err(Failure::BadData(format!("not supported value {kind:?}")));
    }
    let seconds = |text: &Option<String>| text.as_deref().and_then(logql::parse_duration).map(|ns| ns as f64 / 1e9);
    let mut out = Vec::new();
    for (namespace, groups) in api.rules.of(&ask.tenant()?) {
        for group in groups {
            if !wanted("file", &namespace) || !wanted("rule_group", &group.name) {
                continue;
            }
            let rules: Vec<serde_json::Value> = group
                .rules
                .iter()
                .filter_map(|rule| {
                    let (name, alerting) = (rule.alert.as_ref().or(rule.record.as_ref())?, rule.alert.is_some());
                    if !wanted("rule_name", name) || (kind == "alert" && !alerting) || (kind == "record" && alerting) {
                        return None;
                    }
                    let mut json = serde_json::json!({
                        "name": name,
                        "query": rule.expr,
                        "labels": rule.labels,
                        "health": "unknown",
                        "lastEvaluation": NEVER,
                        "evaluationTime": 0,
                        "type": if alerting { "alerting" } else { "recording" },
                    });
                    if alerting {
                        json["state"] = "inactive".into();
                        json["duration"] = seconds(&rule.held).unwrap_or(0.0).into();
                        json["annotations"] = serde_json::json!(rule.annotations);
                        json["alerts"] = serde_json::json!([]);
                    }
                    Some(json)
                })
                .collect();
            if rules.is_empty() && !group.rules.is_empty() {
                continue;
            }
            out.push(serde_json::json!({
                "name": group.name,
                "file": namespace,
                "rules": rules,
                "interval": seconds(&group.interval).unwrap_or(INTERVAL),
                "limit": group.limit.unwrap_or(0),
                "lastEvaluation": NEVER,
                "evaluationTime": 0,
            }));
        }
    }
    let rows = out.len();
    Ok(success(&serde_json::json!({"groups": out}), rows))
}

/// No rule is evaluated, so none fires.
pub(super) async fn prometheus_alerts(_: Arc<Api>, _: Ask) -> Result<Answer, Failure> {
    Ok(success(&serde_json::json!({"alerts": []}), 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(text: &str) -> Result<Group, String> {
        let group: Group = serde_saphyr::from_str(text).map_err(|e| e.to_string())?;
        group.check().map(|()| group)
    }

    #[test]
    fn groups_are_checked_as_loki_does() {
        let fine = "name: a\ninterval: 1m\nrules:\n- alert: X\n  expr: 'sum(rate({app=\"a\"} |= \"e\" [1m])) > 1'\n  for: 5m\n  labels: {severity: '{{ $labels.app | toUpper }}'}\n  annotations: {s: '{{ $value | humanize }} of {{ printf \"%q\" $externalURL }}'}\n";
        assert!(group(fine).is_ok(), "{:?}", group(fine));
        for (text, why) in [
            ("name: ''\nrules: []", "must not be empty"),
            ("name: a\nrules:\n- expr: 'vector(1)'", "one of 'record' or 'alert' must be set"),
            ("name: a\nrules:\n- {record: x, alert: y, expr: 'vector(1)'}", "only one of"),
            ("name: a\nrules:\n- {record: x, expr: '{a=\"b\"}'}", "a rule needs a metric query"),
            ("name: a\nrules:\n- {record: x, expr: 'sum('}", "could not parse expression"),
            ("name: a\nrules:\n- {record: 'x y', expr: 'vector(1)'}", "invalid recording rule name"),
            ("name: a\ninterval: soon\nrules: []", "no duration"),
            ("name: a\nnonsense: 1", "nonsense"),
            (
                "name: a\nrules:\n- {alert: x, expr: 'vector(1)', annotations: {s: '{{ .Value '}}",
                "annotation \"s\": template: __alert_x:1: unclosed",
            ),
            ("name: a\nrules:\n- {alert: x, expr: 'vector(1)', labels: {s: '{{ nope }}'}}", "function \"nope\" not defined"),
        ] {
            let error = group(text).expect_err(text);
            assert!(error.contains(why), "{text}: {error}");
        }
    }

    #[test]
    fn rules_come_back_from_their_files() {
        let dir = tempfile::tempdir().expect("a directory");
        let (tenant, name) = (Tenant::default(), "../a b.c");
        let rules = Rules::open(dir.path().join("rules"));
        let new = group("name: g\nrules:\n- {record: 'a:b', expr: 'vector(1)'}").expect("a group");
        rules
            .change(&tenant, name, |groups| {
                groups.push(new.clone());
                Ok(())
            })
            .expect("kept");
        let again = Rules::open(dir.path().join("rules"));
        assert_eq!(again.of(&tenant), Namespaces::from([(name.to_owned(), vec![new])]));
        again
            .change(&tenant, name, |groups| {
                groups.clear();
                Ok(())
            })
            .expect("gone");
        assert!(Rules::open(dir.path().join("rules")).of(&tenant).is_empty());
        assert_eq!(decoded(&encoded(name)).as_deref(), Some(name));
    }
}
