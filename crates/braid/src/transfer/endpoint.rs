//! A server that is asked and written to: over the network, or in this process over a data directory.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, bail};
use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::http::{Method, Request};
use collector::{Budget, Counters, Doors, Ingest, Origins, Receivers};
use store::{Source, Store, Writer};
use tower::ServiceExt;

use super::Place;
use crate::backup::Wrong;
use crate::config::{Config, Overrides};
use crate::open_store;

/// Answers larger than this are not taken.
const LARGEST: usize = 1 << 30;
/// How often a refusal that may be tried again is tried again.
const TRIES: u32 = 30;
/// How often a server is asked that has not answered once: most likely there is none.
const FIRST_TRIES: u32 = 3;

/// Status and body of an answer.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: Bytes,
}

impl Answer {
    /// The body, if the answer is a success.
    pub(super) fn success(self) -> anyhow::Result<Bytes> {
        if (200..300).contains(&self.status) {
            return Ok(self.body);
        }
        bail!("{}: {}", self.status, String::from_utf8_lossy(&self.body).trim())
    }
}

/// The server.
pub(super) struct Endpoint {
    tenant: String,
    way: Way,
    /// Whether there was an answer.
    answered: AtomicBool,
}

enum Way {
    Remote { client: reqwest::Client, base: String },
    Local { store: Arc<Store>, receivers: Receivers, apis: Router },
}

impl Endpoint {
    /// Reaches for the server, or opens the directory and waits until all of it can be read.
    pub(super) async fn open(place: &Place) -> anyhow::Result<Self> {
        let tenant = model::Tenant::new(&place.tenant).context("--tenant")?.as_str().to_owned();
        if let Some(url) = &place.url {
            let client = place.access.client(true)?.timeout(Duration::from_secs(300)).build().context("an HTTP client")?;
            let way = Way::Remote { client, base: url.trim_end_matches('/').to_owned() };
            return Ok(Self { tenant, way, answered: AtomicBool::new(false) });
        }
        let Some(dir) = &place.data_dir else {
            return Err(Wrong("neither --url nor --data-dir says where the rows are".to_owned()).into());
        };
        let config = Config::load(None, &Overrides { data_dir: Some(dir.clone()), ..Overrides::default() })?;
        let store = Arc::new(open_store::open(&config).context("a running server is reached with --url")?);
        while store.snapshot().partial().is_some() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let ingest = Ingest::new(
            Arc::clone(&store) as Arc<dyn Writer>,
            config.limits.clone(),
            Budget::new(config.in_flight),
            Arc::new(Counters::default()),
        );
        let receivers = Receivers::new(Arc::new(ingest), Origins::default());
        let targets = Arc::new(api::NoTargets);
        let apis = api::Api::new(Arc::clone(&store) as Arc<dyn Source>, targets, api::Settings::default());
        let way = Way::Local { store, receivers, apis: api::every_port(&Arc::new(apis)) };
        Ok(Self { tenant, way, answered: AtomicBool::new(false) })
    }

    /// One request.
    async fn once(&self, method: Method, path: &str, headers: &[(&str, &str)], body: Bytes) -> anyhow::Result<Answer> {
        match &self.way {
            Way::Remote { client, base } => {
                let mut request =
                    client.request(method, format!("{base}{path}")).header("x-scope-orgid", &self.tenant).body(body);
                for (name, value) in headers {
                    request = request.header(*name, *value);
                }
                let response = request.send().await.with_context(|| format!("asking {base}"))?;
                let status = response.status().as_u16();
                Ok(Answer { status, body: response.bytes().await.with_context(|| format!("reading the answer of {base}"))? })
            }
            Way::Local { receivers, apis, .. } => {
                let mut request = Request::builder().method(method).uri(path).header("x-scope-orgid", &self.tenant);
                for (name, value) in headers {
                    request = request.header(*name, *value);
                }
                let request = request.body(Body::from(body)).context("a request")?;
                let response = match receivers.handle(Doors::ALL, request).await {
                    Ok(response) => response,
                    Err(request) => match apis.clone().oneshot(request).await {
                        Ok(response) => response,
                        Err(never) => match never {},
                    },
                };
                let status = response.status().as_u16();
                Ok(Answer { status, body: to_bytes(response.into_body(), LARGEST).await.context("reading an answer")? })
            }
        }
    }

    /// One request; what may be tried again is.
    pub(super) async fn send(&self, method: Method, path: &str, headers: &[(&str, &str)], body: Bytes) -> anyhow::Result<Answer> {
        let mut tries = 0;
        loop {
            let answer = self.once(method.clone(), path, headers, body.clone()).await;
            tries += 1;
            let again = match &answer {
                Ok(answer) => matches!(answer.status, 429 | 503),
                Err(_) => matches!(self.way, Way::Remote { .. }),
            };
            self.answered.fetch_or(answer.is_ok(), Ordering::Relaxed);
            let most = if self.answered.load(Ordering::Relaxed) { TRIES } else { FIRST_TRIES };
            if !again || tries >= most {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(200 * u64::from(tries.min(10)))).await;
        }
    }

    /// A form, posted; the answer's body.
    pub(super) async fn ask(&self, path: &str, form: &[(&str, &str)]) -> anyhow::Result<serde_json::Value> {
        self.ask_with(path, form, &[]).await
    }

    /// The same with headers.
    pub(super) async fn ask_with(
        &self,
        path: &str,
        form: &[(&str, &str)],
        headers: &[(&str, &str)],
    ) -> anyhow::Result<serde_json::Value> {
        let body = form.iter().map(|(k, v)| format!("{k}={}", percent(v))).collect::<Vec<_>>().join("&");
        let headers = [&[("content-type", "application/x-www-form-urlencoded")][..], headers].concat();
        let answer = self.send(Method::POST, path, &headers, Bytes::from(body)).await?;
        let body = answer.success().with_context(|| path.to_owned())?;
        serde_json::from_slice(&body).with_context(|| format!("the answer of {path}"))
    }

    /// Ends what was opened here.
    pub(super) fn close(self) {
        if let Way::Local { store, .. } = self.way {
            store.close();
        }
    }
}

/// Percent-encoding of a form's values.
pub(crate) fn percent(text: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.~".contains(&b);
    text.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}
