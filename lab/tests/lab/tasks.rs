//! What the backend and the proxy answer, from outside.

use crate::common::{Lab, Sink, ask, eventually, get, post_json, try_ask};
use http::{Method, StatusCode};
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
async fn a_task_lives_from_creation_to_deletion() {
    let lab = Lab::start(&Sink::start().await.endpoint).await;
    let tasks = format!("{}/api/tasks", lab.proxy_url);
    let created = post_json(&tasks, &[], r#"{"title":"<b>Ship</b>"}"#).await;
    assert_eq!(created.status, StatusCode::CREATED);
    let task = created.json();
    assert_eq!((&task["id"], &task["title"], &task["description"]), (&json!(1), &json!("<b>Ship</b>"), &json!("")));
    assert_eq!(task["completed"], json!(false));
    let at = task["created_at"].as_str().unwrap();
    assert!(at.len() == 26 && at.contains('T') && !at.ends_with('Z'), "{at}");

    let one = format!("{tasks}/1");
    let kind = [("content-type", "application/json")];
    let updated = ask(Method::PUT, &one, &kind, r#"{"completed":true}"#).await;
    assert_eq!((updated.status, &updated.json()["completed"]), (StatusCode::OK, &json!(true)));
    assert_eq!(updated.json()["title"], "<b>Ship</b>");
    assert_eq!(get(&one).await.json(), updated.json());
    assert_eq!(get(&tasks).await.json(), json!({"tasks": [updated.json()], "count": 1}));
    assert_eq!(ask(Method::DELETE, &one, &[], "").await.json(), json!({"message": "Task deleted successfully"}));
    for method in [Method::GET, Method::PUT, Method::DELETE] {
        let gone = ask(method, &one, &kind, "{}").await;
        assert_eq!((gone.status, gone.json()), (StatusCode::NOT_FOUND, json!({"error": "Task not found"})));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_clients_mistakes_are_its_own() {
    let lab = Lab::start(&Sink::start().await.endpoint).await;
    let tasks = format!("{}/api/tasks", lab.backend_url);
    let missing = post_json(&tasks, &[], "{}").await;
    assert_eq!((missing.status, missing.json()), (StatusCode::BAD_REQUEST, json!({"error": "Title is required"})));
    for (body, kind, status) in [
        ("{\"title\"", "application/json", 400),
        ("\u{ff}", "application/json", 400),
        ("[]", "application/json", 400),
        ("title=x", "application/x-www-form-urlencoded", 415),
    ] {
        let answer = ask(Method::POST, &tasks, &[("content-type", kind)], body).await;
        assert_eq!(answer.status.as_u16(), status, "{body}");
        assert!(answer.json()["error"].is_string());
    }
    let large = format!(r#"{{"title":"{}"}}"#, "x".repeat(2 << 20));
    for server in [&lab.backend_url, &lab.proxy_url] {
        let url = format!("{server}/api/tasks");
        // The refusal comes before the body is read: a client that is still sending may see the connection end instead.
        let json = [("content-type", "application/json")];
        let answer = eventually("a refusal", async || try_ask(Method::POST, &url, &json, &large).await).await;
        assert_eq!(answer.status, StatusCode::PAYLOAD_TOO_LARGE);
    }

    for (path, status) in [
        ("/api/simulate-slow?delay=soon", 400),
        ("/api/simulate-slow?delay=nan", 400),
        ("/api/simulate-slow?delay=-1", 400),
        ("/api/simulate-slow?delay=0", 200),
        ("/api/simulate-error", 500),
        ("/api/tasks/abc", 404),
        ("/api/nothing", 404),
        ("/api/smoke/db", 405),
    ] {
        let answer = get(&format!("{}{path}", lab.backend_url)).await;
        assert_eq!(answer.status.as_u16(), status, "{path}");
    }
    let metrics = get(&format!("{}/metrics", lab.backend_url)).await.text;
    let unknown = r#"http_requests_total{method="GET",endpoint="unknown",status_code="404"} 2"#;
    assert!(metrics.lines().any(|line| line == unknown), "{metrics}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_smoke_test_leaves_no_trace_in_the_table() {
    let lab = Lab::start(&Sink::start().await.endpoint).await;
    for (kind, read, write) in [("read", 7, 0), ("write", 0, 7), ("rw", 3, 4)] {
        let url = format!("{}/api/smoke/db?ops=7&type={kind}", lab.proxy_url);
        let answer = ask(Method::POST, &url, &[], "").await.json();
        assert_eq!(answer["performed"], json!({"read": read, "write": write}));
        assert_eq!((&answer["ok"], &answer["requested_ops"]), (&json!(true), &json!(7)));
    }
    assert_eq!(get(&format!("{}/api/tasks", lab.proxy_url)).await.json()["count"], 0);
    for query in ["ops=-1", "ops=x", "ops=1000000", "type=none"] {
        let url = format!("{}/api/smoke/db?{query}", lab.proxy_url);
        assert_eq!(ask(Method::POST, &url, &[], "").await.status, StatusCode::BAD_REQUEST, "{query}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_proxy_serves_the_page_and_says_cors_once() {
    let mut lab = Lab::start(&Sink::start().await.endpoint).await;
    for path in ["/", "/index.html", "/any/where"] {
        let page = get(&format!("{}{path}", lab.proxy_url)).await;
        assert!(page.text.contains("<title>Task Manager</title>"), "{path}");
    }
    assert!(get(&format!("{}/page.js", lab.proxy_url)).await.text.contains("frontend-browser"));
    let api = format!("{}/api/tasks", lab.proxy_url);
    for (method, status) in [(Method::GET, 200), (Method::OPTIONS, 204)] {
        let answer = ask(method, &api, &[("origin", "http://elsewhere")], "").await;
        assert_eq!(answer.status.as_u16(), status);
        let origins: Vec<_> = answer.headers.get_all("access-control-allow-origin").iter().collect();
        assert_eq!(origins, ["*"]);
        assert_eq!(answer.headers["access-control-allow-methods"], "GET,POST,PUT,DELETE,OPTIONS");
    }
    lab.backend.child.kill().unwrap();
    lab.backend.child.wait().unwrap();
    assert_eq!(get(&api).await.status, StatusCode::BAD_GATEWAY);
}
