//! What the first query would otherwise wait for is done right after the start, while the server is ready already.
//!
//! Two things take ten times as long as answering does: reading the index of the newest samples, and reading the program. It
//! is 45 MB, of which a query needs some three, here and there; where a page of it is not in memory, Linux reads what lies
//! around it as well (8 MB in all on some machines), a dozen times over, and the query waits each time. So the newest
//! indexes are opened, and a few small questions are asked of one series, inside the process. A server without samples
//! asks nothing, and stays as small as it starts.

use std::sync::Arc;

use api::{Api, NoTargets, Settings};
use axum::body::Body;
use axum::http::{Request, StatusCode};
use http_body_util::BodyExt;
use store::series::Newest;
use store::{Source, Store};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use crate::transfer::percent;

/// Bytes of the segments whose indexes are opened: half an hour of a million samples a minute. What an index takes of memory
/// is a fraction of it.
const MOST: u64 = 64 << 20;
/// Milliseconds before the newest sample that are asked about.
const SPAN_MS: i64 = 600_000;

/// Does it, unless `stop` comes first. What fails is left to the queries that come.
pub(crate) async fn warm(store: Arc<Store>, settings: Settings, stop: CancellationToken) {
    let opened = Arc::clone(&store);
    let newest = match tokio::task::spawn_blocking(move || opened.open_newest(MOST)).await {
        Ok(Ok(Some(newest))) => newest,
        Ok(Err(e)) => return tracing::debug!("the newest samples were not opened: {e}"),
        Ok(Ok(None)) | Err(_) => return,
    };
    for question in questions(&newest) {
        if stop.is_cancelled() {
            return;
        }
        let status = ask(&store, &settings, &newest, &question).await;
        tracing::debug!(%status, question, "asked beforehand");
    }
}

/// Asks as a client would, of an API of its own: nobody's counts, logs or queues know of it.
async fn ask(store: &Arc<Store>, settings: &Settings, newest: &Newest, question: &str) -> StatusCode {
    let api = Api::new(Arc::clone(store) as Arc<dyn Source>, Arc::new(NoTargets), settings.clone());
    let request = Request::get(question).header("X-Scope-OrgID", newest.tenant.as_str()).body(Body::empty());
    let Ok(request) = request else { return StatusCode::BAD_REQUEST };
    let Ok(response) = api::prometheus_router(&Arc::new(api)).oneshot(request).await;
    let status = response.status();
    let _ = response.into_body().collect().await;
    status
}

/// Paths of questions about one series, which between them go most of the ways that a dashboard's go.
fn questions(newest: &Newest) -> Vec<String> {
    let plain = |name: &str| name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    if !newest.labels.iter().all(|(name, _)| plain(name)) {
        return Vec::new();
    }
    let selector = newest.labels.to_string();
    // A pattern, too.
    let selector = format!("{}, __name__=~\".+\"}}", selector.trim_end_matches('}'));
    let (start, end) = ((newest.last_ms - SPAN_MS) / 1000, newest.last_ms / 1000);
    let range = |query: String| format!("/api/v1/query_range?query={}&start={start}&end={end}&step=15", percent(&query));
    let instant = |query: String| format!("/api/v1/query?query={}&time={end}", percent(&query));
    vec![
        range(format!("sum by (job) (rate({selector}[5m])) / 2")),
        range(format!("histogram_quantile(0.9, sum by (le) (rate({selector}[5m])))")),
        instant(format!("topk(1, avg_over_time({selector}[5m]))")),
        format!("/api/v1/series?match[]={}&start={start}&end={end}", percent(&selector)),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::{Labels, Tenant};
    use store::disk::RealDisk;
    use store::series::SeriesOptions;
    use store::{Options, Writer};
    use wire::remote_write::Encoder;
    use wire::{Encoding, RawLabels, SampleSink};

    fn open(dir: &std::path::Path) -> Arc<Store> {
        let mut options = Options::new(Arc::new(RealDisk::open(dir).expect("a directory")));
        options.min_free = 0;
        options.share_below = 0;
        Arc::new(Store::open(options, SeriesOptions::default()).expect("a store"))
    }

    #[tokio::test]
    async fn a_process_opens_the_newest_samples_and_answers_questions_about_them_before_it_is_asked() {
        let dir = tempfile::tempdir().expect("a directory");
        let now = jiff::Timestamp::now().as_millisecond();
        let labels = [("__name__", "a_total"), ("job", "a \"job\" & more")];
        {
            let store = open(dir.path());
            assert_eq!(store.open_newest(MOST).expect("no failure"), None);
            let mut request = Encoder::new();
            SampleSink::series(&mut request, RawLabels::from_pairs(b"a", &labels));
            (0..40).for_each(|i| request.sample(now - (40 - i) * 15_000, i as f64));
            let payload = request.finish().expect("a request").into();
            let request = store::Request { tenant: Tenant::default(), encoding: Encoding::RemoteWrite, payload };
            store.append(request).await.expect("taken");
            store.settle().expect("settles");
            store.close();
        }
        let store = open(dir.path());
        assert_eq!(store.open_newest(1).expect("no failure"), None, "too large");
        let newest = store.open_newest(MOST).expect("no failure").expect("a series");
        assert_eq!(newest.labels.as_ref(), &Labels::from_pairs(labels));
        assert_eq!(newest.last_ms, now - 15_000);
        let asked = questions(&newest);
        assert_eq!(asked.len(), 4);
        for question in asked {
            assert_eq!(ask(&store, &Settings::default(), &newest, &question).await, StatusCode::OK, "{question}");
        }
        let odd = Newest { labels: Arc::new(Labels::from_pairs([("a.b", "c")])), ..newest };
        assert!(questions(&odd).is_empty());
        warm(Arc::clone(&store), Settings::default(), CancellationToken::new()).await;
        store.close();
    }
}
