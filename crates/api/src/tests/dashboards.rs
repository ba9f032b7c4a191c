//! The dashboards that ship with the page: each of their queries is one that Braid answers.

use super::*;

/// A shipped file by its name, and what is in it.
fn shipped() -> Vec<(String, Json)> {
    let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/../../ui/public/dashboards");
    let mut files: Vec<(String, Json)> = std::fs::read_dir(dir)
        .expect("the dashboards")
        .map(|entry| entry.expect("a file").path())
        .filter(|path| path.extension().is_some_and(|e| e == "json") && path.file_stem().is_some_and(|s| s != "index"))
        .map(|path| {
            let text = std::fs::read_to_string(&path).expect("a file");
            (path.display().to_string(), serde_json::from_str(&text).expect("JSON"))
        })
        .collect();
    files.sort_by(|a, b| a.0.cmp(&b.0));
    files
}

/// A query with the dashboard's variables as they stand in the file, and Grafana's own.
fn filled(query: &str, dashboard: &Json) -> String {
    let mut query = query.replace("$__rate_interval", "1m").replace("$__interval", "1m").replace("$__range", "1h");
    for variable in dashboard["templating"]["list"].as_array().into_iter().flatten() {
        let value = match variable["current"]["value"].as_str() {
            Some("$__all") => variable["allValue"].as_str().unwrap_or(".*"),
            value => value.unwrap_or(""),
        };
        let name = variable["name"].as_str().expect("a name");
        query = query.replace(&format!("${{{name}}}"), value).replace(&format!("${name}"), value);
    }
    query
}

/// How a target's query is asked for: the path, and the parameter that takes it.
fn parser(target: &Json) -> Option<(&'static str, &'static str, &'static str)> {
    match target["datasource"]["type"].as_str() {
        Some("prometheus") => Some(("/api/v1/parse_query", "query", "expr")),
        Some("loki") => Some(("/loki/api/v1/format_query", "query", "expr")),
        Some("tempo") if target["queryType"] == "serviceMap" => None,
        Some("tempo") => Some(("/api/search", "q", "query")),
        other => panic!("no data source of Braid's: {other:?}"),
    }
}

#[tokio::test]
async fn every_query_of_a_shipped_dashboard_parses() {
    let router = every_port(&Arc::new(Api::new(Arc::new(Memory::new()), Arc::new(NoTargets), Settings::default())));
    let mut asked = 0;
    for (file, dashboard) in shipped() {
        for panel in dashboard["panels"].as_array().expect("panels") {
            for target in panel["targets"].as_array().into_iter().flatten() {
                let Some((path, parameter, field)) = parser(target) else { continue };
                let query = filled(target[field].as_str().expect("a query"), &dashboard);
                assert!(!query.contains('$'), "{file}: a variable that is not there: {query}");
                let encoded: String = query.bytes().map(|byte| format!("%{byte:02X}")).collect();
                let (status, body) = get(&router, &format!("{path}?{parameter}={encoded}")).await;
                assert_eq!(status, 200, "{file}, {}: {query}: {body}", panel["title"]);
                asked += 1;
            }
        }
    }
    assert!(asked > 40, "only {asked} queries were found");

    // One of those that they were made from is none: it would not have passed.
    let wrong = "histogram_quantile(0.95,%20rate(flask_http_request_duration_seconds_bucket[5m]))%20by%20(job)%20*%201000";
    let (status, _) = get(&router, &format!("/api/v1/parse_query?query={wrong}")).await;
    assert_eq!(status, 400);
}
