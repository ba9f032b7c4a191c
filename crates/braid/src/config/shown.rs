//! The configuration file as it may be shown: what is secret in it is not.

use serde_json::Value;

/// What stands for a secret, as in Prometheus.
const SECRET: &str = "<secret>";
/// A key that has one of these in its name has a secret as its value, unless it names a file.
const SECRETS: [&str; 8] = ["password", "secret", "token", "credential", "api_key", "apikey", "private_key", "access_key"];
/// Maps whose every value may be one.
const MAPS: [&str; 2] = ["headers", "http_headers"];

/// `text`, a YAML file, without its secrets and comments.
pub(crate) fn shown(text: &str) -> String {
    let Ok(Some(mut file)) = serde_saphyr::from_str::<Option<Value>>(text) else { return String::new() };
    hide(&mut file, false);
    serde_saphyr::to_string(&file).unwrap_or_default()
}

/// Sections whose changes a reload takes over.
const RELOADED: [&str; 4] = ["dashboards", "global", "scrape_config_files", "scrape_configs"];

/// The sections of two files, as [`shown`] writes them, that differ and that only a restart takes over.
pub(crate) fn left_for_a_restart(started: &str, now: &str) -> Vec<String> {
    let sections = |text: &str| match serde_saphyr::from_str::<Option<Value>>(text) {
        Ok(Some(Value::Object(map))) => map,
        _ => serde_json::Map::new(),
    };
    let (started, now) = (sections(started), sections(now));
    let mut names: Vec<String> = started.keys().chain(now.keys()).cloned().collect();
    names.sort();
    names.dedup();
    names.retain(|name| !RELOADED.contains(&name.as_str()) && started.get(name) != now.get(name));
    names
}

fn hide(value: &mut Value, all: bool) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                let key = key.to_ascii_lowercase();
                let names_file = key.ends_with("_file") || key.ends_with("_path");
                let secret = all || (SECRETS.iter().any(|word| key.contains(word)) && !names_file);
                // Datadog's: `api: {key: …}`.
                if key == "api"
                    && let Some(inner) = value.get_mut("key")
                {
                    *inner = SECRET.into();
                }
                match value {
                    Value::Object(_) | Value::Array(_) => hide(value, secret || MAPS.contains(&key.as_str())),
                    Value::Null => {}
                    _ if secret => *value = SECRET.into(),
                    _ => hide(value, false),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| hide(item, all)),
        Value::String(_) if all => *value = SECRET.into(),
        Value::String(text) => {
            // `scheme://user:password@host`
            if let Some((scheme, rest)) = text.split_once("://")
                && let Some((user, rest)) = rest.split_once('@')
                && let Some((user, _)) = user.split_once(':').filter(|(user, _)| !user.contains('/'))
            {
                *text = format!("{scheme}://{user}:{SECRET}@{rest}");
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_secret_is_not_shown_and_everything_else_is() {
        let text = "
# a comment
memory: 1GiB
scrape_configs:
  - job_name: a
    basic_auth: {username: joe, password: hunter2, password_file: /etc/p}
    authorization: {type: Bearer, credentials: tok-1}
    proxy_url: http://joe:hunter3@proxy:80/x
    http_headers: {X-Key: {values: [k-9]}}
    static_configs: [{targets: ['a:1']}]
exporters:
  otlp: {endpoint: 'http://x:4317', headers: {api-key: abc}, tls: {key_file: /k}}
  datadog: {api: {key: dd-1, site: datadoghq.eu}}
";
        let shown = shown(text);
        for secret in ["hunter2", "hunter3", "tok-1", "k-9", "abc", "dd-1", "comment"] {
            assert!(!shown.contains(secret), "{secret} in {shown}");
        }
        for kept in ["1GiB", "joe", "/etc/p", "Bearer", "proxy:80/x", "a:1", "http://x:4317", "/k", "datadoghq.eu", SECRET] {
            assert!(shown.contains(kept), "{kept} not in {shown}");
        }
        let again: Value = serde_saphyr::from_str(&shown).expect("YAML");
        assert_eq!(again["scrape_configs"][0]["basic_auth"]["username"], "joe");
    }

    #[test]
    fn no_file_is_nothing_to_show() {
        assert_eq!((shown(""), shown("# nothing")), (String::new(), String::new()));
    }

    #[test]
    fn what_a_reload_does_not_take_over_is_named() {
        let started = "memory: 1GiB\nports: {loki: 1}\nscrape_configs: []\nlimits: {body: 1}\n";
        let now = "memory: 1GiB\nports: {loki: 2}\nscrape_configs: [{job_name: a}]\nqueries: {timeout: 1s}\n";
        assert_eq!(left_for_a_restart(started, now), ["limits", "ports", "queries"]);
        assert!(left_for_a_restart(started, started).is_empty() && left_for_a_restart("", "# nothing").is_empty());
    }
}
