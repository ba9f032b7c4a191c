//! `http_sd_configs`: groups that a server answers with.

use std::sync::Arc;
use std::time::Duration;

use prometheus::HttpClient;

use super::{ANSWER, Answer, Source, TIMEOUT};
use crate::Ingest;
use crate::scrape::Surroundings;
use crate::scrape::client::{Client, Question};

pub(super) struct Server {
    url: String,
    client: Client,
    refresh: Duration,
    ingest: Arc<Ingest>,
}

impl Server {
    pub(super) fn new(url: String, config: &HttpClient, refresh: Duration, around: &Surroundings) -> Result<Self, String> {
        Ok(Self { client: Client::new(config, None)?.of(&url)?, url, refresh, ingest: Arc::clone(&around.ingest) })
    }
}

impl Source for Server {
    async fn groups(&self) -> Answer {
        let mut held = self.ingest.hold(0).map_err(|e| e.to_string())?;
        let headers = [("x-prometheus-refresh-interval-seconds", self.refresh.as_secs_f64().to_string())];
        let question = Question {
            url: &self.url,
            accept: "application/json",
            headers: &headers,
            compressed: true,
            timeout: TIMEOUT,
            limit: ANSWER,
        };
        let answered = self.client.get(question, &mut held).await?;
        let media = answered.content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        if media != "application/json" {
            return Err(format!("{}: unsupported content type {:?}", self.url, answered.content_type));
        }
        let text = String::from_utf8(answered.body).map_err(|_| format!("{}: not UTF-8", self.url))?;
        let mut groups = prometheus::groups_of_file(&text, &self.url).map_err(|f| f.in_file(&self.url).to_string())?;
        for group in &mut groups {
            group.labels.push(("__meta_url".to_owned(), self.url.clone()));
        }
        Ok(groups)
    }
}
