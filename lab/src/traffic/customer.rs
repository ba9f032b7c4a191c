//! Customers of the shop: they look round, log in, reserve and pay.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use http::Method;
use kit::{Answer, Random};
use serde_json::{Value, json};

use super::{Visit, lock};

/// Customers that come back before new ones come.
const REGULARS: usize = 12;
/// One in so many purchases is a new customer's.
const NEW: f64 = 0.1;
const PASSWORD: &str = "lab-visitor";

/// The shop as the visitors know it.
#[derive(Debug, Default)]
pub(super) struct Shop {
    /// Transactions, accounts, payments, stock; nothing where nobody shops.
    urls: Option<[String; 4]>,
    /// Of those who are logged in.
    tokens: Mutex<Vec<String>>,
    customers: AtomicU64,
}

impl Shop {
    /// `urls` in the order of [`shop::Service::ALL`]; none where there are not four.
    pub(super) fn new(urls: Vec<String>) -> Self {
        Self { urls: urls.try_into().ok(), ..Self::default() }
    }

    pub(super) fn is_open(&self) -> bool {
        self.urls.is_some()
    }

    fn url(&self, service: usize, target: &str) -> String {
        let base = self.urls.as_ref().map_or("", |urls| urls[service].as_str());
        format!("{base}{target}")
    }

    pub(super) async fn browse(&self, visit: &Visit<'_>) -> anyhow::Result<Answer> {
        visit.ask(Method::GET, &self.url(3, "/products"), None).await?;
        visit.ask(Method::GET, &self.url(0, "/transactions"), None).await
    }

    pub(super) async fn transact(&self, visit: &Visit<'_>) -> anyhow::Result<Answer> {
        visit.ask(Method::POST, &self.url(0, "/transactions/create"), None).await
    }

    /// Reserves a product and pays for it; somebody whom the shop does not know any more logs in anew the next time.
    pub(super) async fn buy(&self, visit: &Visit<'_>) -> anyhow::Result<Answer> {
        let token = self.customer(visit).await?;
        let (product, amount) =
            visit.visitors.with_random(|random| (1 + (random.unit() * 5.0) as u64 % 5, 10.0 + (random.unit() * 100.0).floor()));
        let reserve = self.url(3, &format!("/product/{product}/reserve"));
        visit.ask(Method::POST, &reserve, Some(json!({"quantity": 1}))).await?;
        let paid = visit.ask_as(&token, Method::POST, &self.url(2, "/charge"), Some(json!({"amount": amount}))).await?;
        if paid.status == http::StatusCode::UNAUTHORIZED {
            lock(&self.tokens).retain(|known| *known != token);
        }
        Ok(paid)
    }

    /// The token of one who is logged in: mostly a regular, now and then somebody new.
    async fn customer(&self, visit: &Visit<'_>) -> anyhow::Result<String> {
        let known = lock(&self.tokens).clone();
        let choose = |random: &mut Random| if random.unit() < NEW { None } else { random.pick(&known).cloned() };
        if let Some(token) = visit.visitors.with_random(choose) {
            return Ok(token);
        }
        // Another run's customers have other names.
        let number = self.customers.fetch_add(1, Ordering::Relaxed);
        let name = format!("visitor-{}-{number}", std::process::id());
        let credentials = json!({"username": name, "password": PASSWORD});
        visit.ask(Method::POST, &self.url(1, "/register"), Some(credentials.clone())).await?;
        let answer = visit.ask(Method::POST, &self.url(1, "/login"), Some(credentials)).await?;
        let body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        let token = body.get("token").and_then(Value::as_str).map(str::to_owned);
        let token = token.ok_or_else(|| anyhow::anyhow!("the shop lets nobody in: HTTP {}", answer.status.as_u16()))?;
        let mut tokens = lock(&self.tokens);
        if tokens.len() >= REGULARS {
            tokens.remove(0);
        }
        tokens.push(token.clone());
        Ok(token)
    }
}
