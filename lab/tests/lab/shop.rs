//! The shop as real processes: who may pay, what is left of the stock, and the metrics under the names of Flask's exporter.

use http::{Method, StatusCode};
use serde_json::json;

use crate::common::{Part, Received, Sink, ask, get, hex, text};

const JSON: (&str, &str) = ("content-type", "application/json");

/// One service on a free port.
async fn start(otlp: &str, flags: &[&str]) -> (Part, String) {
    let part = Part::start(&[&["--otlp", otlp], flags, &["--port", "0"]].concat());
    let url = part.url().await;
    (part, url)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payment_needs_a_session_and_its_trace_crosses_to_the_accounts() {
    let sink = Sink::start().await;
    let (_auth, auth) = start(&sink.endpoint, &["auth"]).await;
    let (_payment, payment) = start(&sink.endpoint, &["payment", "--auth", &auth]).await;
    let charge = format!("{payment}/charge");
    let amount = json!({"amount": 12.5}).to_string();
    assert_eq!(ask(Method::POST, &charge, &[JSON], &amount).await.status, StatusCode::UNAUTHORIZED);
    let stranger = ("authorization", "Bearer nobody");
    assert_eq!(ask(Method::POST, &charge, &[JSON, stranger], &amount).await.status, StatusCode::UNAUTHORIZED);

    let who = json!({"username": "ada", "password": "lovelace"}).to_string();
    let registered = ask(Method::POST, &format!("{auth}/register"), &[JSON], &who).await;
    assert_eq!((registered.status, &registered.json()["user_id"]), (StatusCode::CREATED, &json!("user_1")));
    assert_eq!(ask(Method::POST, &format!("{auth}/register"), &[JSON], &who).await.status, StatusCode::BAD_REQUEST);
    let wrong = json!({"username": "ada", "password": "byron"}).to_string();
    assert_eq!(ask(Method::POST, &format!("{auth}/login"), &[JSON], &wrong).await.status, StatusCode::UNAUTHORIZED);
    let token = ask(Method::POST, &format!("{auth}/login"), &[JSON], &who).await.json()["token"].as_str().unwrap().to_owned();
    let bearer = format!("Bearer {token}");
    let known = ("authorization", bearer.as_str());
    let nothing = json!({"amount": 0}).to_string();
    assert_eq!(ask(Method::POST, &charge, &[JSON, known], &nothing).await.status, StatusCode::BAD_REQUEST);

    // An acquirer may fail by design; it does not do so for ever.
    let (mut succeeded, mut failed) = (0, 0);
    let paid = loop {
        let trace = format!("{:032x}", 0xabc0 + succeeded + failed);
        let parent = format!("00-{trace}-00000000000000aa-01");
        let answer = ask(Method::POST, &charge, &[JSON, known, ("traceparent", &parent)], &amount).await;
        if answer.status == StatusCode::CREATED {
            succeeded += 1;
            break (answer.json(), trace);
        }
        assert_eq!((answer.status, &answer.json()["status"]), (StatusCode::INTERNAL_SERVER_ERROR, &json!("failed")));
        failed += 1;
    };
    assert_eq!((&paid.0["user_id"], &paid.0["amount"]), (&json!("user_1"), &json!(12.5)));
    let find = |received: &Received| {
        let spans = received.spans.iter().filter(|(_, span)| hex(&span.trace_id) == paid.1);
        let names: Vec<_> = spans.map(|(resource, span)| (text(resource, "service.name"), span.name.clone())).collect();
        let has = |service: &str, name: &str| names.iter().any(|(s, n)| s == service && n == name);
        (has("auth-service", "check_session") && has("payment-service", "payment_events process")).then_some(())
    };
    sink.wait_for("the accounts and the notification in the payment's trace", find).await;

    let of_payment = get(&format!("{payment}/metrics")).await.text;
    for line in [
        format!("payment_transactions_total{{status=\"success\"}} {succeeded}"),
        format!("payment_transactions_total{{status=\"failed\"}} {failed}"),
        "business_revenue_total_dollars 12.5".to_owned(),
        "payment_amount_total_cents_total 1250".to_owned(),
        format!("flask_http_request_total{{method=\"POST\",status=\"201\"}} {succeeded}"),
        format!("flask_http_request_duration_seconds_count{{method=\"POST\",path=\"/charge\",status=\"201\"}} {succeeded}"),
    ] {
        assert!(of_payment.lines().any(|l| l == line), "{line} in {of_payment}");
    }
    assert!(get(&format!("{auth}/metrics")).await.text.contains("\nauth_active_sessions 1\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn stock_is_taken_once_and_what_is_cached_is_forgotten_then() {
    let sink = Sink::start().await;
    let (_inventory, inventory) = start(&sink.endpoint, &["inventory"]).await;
    let stock = async || get(&format!("{inventory}/product/1")).await.json()["stock"].as_u64().unwrap();
    assert_eq!((stock().await, stock().await), (50, 50));
    let reserve = async |product: &str, quantity: u64| {
        let url = format!("{inventory}/product/{product}/reserve");
        ask(Method::POST, &url, &[JSON], &json!({"quantity": quantity}).to_string()).await.status
    };
    let all = futures::future::join_all((0..10).map(|_| reserve("1", 4))).await;
    assert!(all.iter().all(|status| *status == StatusCode::OK), "{all:?}");
    assert_eq!(stock().await, 10);
    assert_eq!(reserve("1", 11).await, StatusCode::BAD_REQUEST);
    assert_eq!(reserve("1", 0).await, StatusCode::BAD_REQUEST);
    assert_eq!(reserve("9", 1).await, StatusCode::NOT_FOUND);
    // Below a tenth of what there was the supplier comes.
    assert_eq!((reserve("1", 6).await, stock().await), (StatusCode::OK, 50));
    let metrics = get(&format!("{inventory}/metrics")).await.text;
    assert!(metrics.contains("\ninventory_sales_total{product_id=\"1\"} 46\n"), "{metrics}");
    assert!(metrics.contains("\ncache_hits_total 1\n"), "{metrics}");
}

#[tokio::test(flavor = "multi_thread")]
async fn recent_transactions_say_where_they_came_from() {
    let sink = Sink::start().await;
    let (_api, api) = start(&sink.endpoint, &["transactions"]).await;
    let recent = async || get(&format!("{api}/transactions")).await.json();
    let (first, second) = (recent().await, recent().await);
    assert_eq!((&first["source"], &second["source"], &first["count"]), (&json!("database"), &json!("cache"), &json!(5)));
    while ask(Method::POST, &format!("{api}/transactions/create"), &[], "").await.status != StatusCode::CREATED {}
    let third = recent().await;
    assert_eq!((&third["source"], &third["count"]), (&json!("database"), &json!(6)));
    assert_eq!(get(&format!("{api}/cache/stats")).await.json()["hit_rate"], json!(33.33));
    assert_eq!(get(&format!("{api}/error")).await.status, StatusCode::INTERNAL_SERVER_ERROR);
    let metrics = get(&format!("{api}/metrics")).await.text;
    assert!(metrics.contains("\nflask_http_request_exceptions_total{method=\"GET\",status=\"500\"} 1\n"), "{metrics}");
}
