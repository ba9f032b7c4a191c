//! What the first query would otherwise wait for is done right after the start: until it is done, for 0.2 s at most, the
//! server says that it is not ready yet.
//!
//! Two things take ten times as long as answering does: reading the index of the newest samples, and reading the program. It
//! is 45 MB, of which a query needs some three, here and there; where a page of it is not in memory, Linux reads what lies
//! around it as well (8 MB in all on some machines), a dozen times over, and the query waits each time. So the newest
//! indexes are opened, and a few small questions are asked of one series, and of the last second of the lines of the last hours, inside the process, over connections as the ports
//! serve them: reading a request and writing an answer are spread over a dozen places as well. A server without samples and lines
//! asks nothing, and stays as small as it starts.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use api::{Api, NoTargets, Settings};
use axum::Router;
use axum::body::Body;
use axum::http::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use model::{Tenant, TimeRange};
use store::series::Newest;
use store::{Column, Field, Order, Predicate, Reader, Scan, Source, Store, StoreError, Table};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use crate::app::App;
use crate::arriving::Arriving;
use crate::config::Face;
use crate::gate::Peer;
use crate::server;
use crate::transfer::percent;

/// Bytes of the segments whose indexes are opened: half an hour of a million samples a minute. What an index takes of memory
/// is a fraction of it.
const MOST: u64 = 64 << 20;
/// Milliseconds before the newest sample that are asked about.
const SPAN_MS: i64 = 600_000;

/// How far behind the clock the newest line may be, nanoseconds: what is older nobody is about to ask for.
const LINES_NS: i64 = 2 * 3_600_000_000_000;
/// Nanoseconds before it in which words are looked for.
const FEW_NS: i64 = 5_000_000;
/// Nanoseconds before it that are asked about.
const LAST_NS: i64 = 1_000_000_000;

/// What anybody may ask of `App`: it goes through the gate and past the receivers, as every request does.
const PULSE: &str = "/-/healthy";

/// Does it, unless `stop` comes first. What fails is left to the queries that come.
pub(crate) async fn warm(store: Arc<Store>, settings: Settings, app: Arc<App>, stop: CancellationToken) {
    let opened = Arc::clone(&store);
    let newest = tokio::task::spawn_blocking(move || (opened.open_newest(MOST), newest_line(&*opened.snapshot())));
    let Ok((newest, line)) = newest.await else { return };
    let newest = newest.unwrap_or_else(|e| {
        tracing::debug!("the newest samples were not opened: {e}");
        None
    });
    let line = line.unwrap_or_else(|e| {
        tracing::debug!("the newest line was not read: {e}");
        None
    });
    if newest.is_none() && line.is_none() {
        return;
    }
    // An API of its own: nobody's counts, logs or queues know of it.
    let api = Arc::new(Api::new(store as Arc<dyn Source>, Arc::new(NoTargets), settings));
    let (samples, lines) = (api::prometheus_router(&api), api::loki_router(&api));
    let tenant = newest.as_ref().map_or_else(Tenant::default, |newest| newest.tenant.clone());
    let pulse = (&samples, tenant.clone(), PULSE.to_owned());
    let of_samples = newest.iter().flat_map(questions).map(|question| (&samples, tenant.clone(), question));
    let of_lines = line.into_iter().flat_map(questions_of_lines).map(|question| (&lines, Tenant::default(), question));
    for (router, tenant, question) in std::iter::once(pulse).chain(of_samples).chain(of_lines) {
        if stop.is_cancelled() {
            return;
        }
        match ask(&app, router, &tenant, &question).await {
            Ok(answer) => tracing::debug!(answer = answer.lines().next(), question, "asked beforehand"),
            Err(e) => tracing::debug!("{question} was not asked beforehand: {e}"),
        }
    }
}

/// When the newest line came of who names no tenant, if it is not old.
fn newest_line(reader: &dyn Reader) -> Result<Option<i64>, StoreError> {
    let now = i64::try_from(jiff::Timestamp::now().as_nanosecond()).unwrap_or(i64::MAX);
    let scan = Scan {
        tenant: Tenant::default(),
        table: Table::Logs,
        range: TimeRange::new(now.saturating_sub(LINES_NS), now),
        predicate: Predicate::True,
        projection: vec![Column::Field(Field::Time)],
        order: Order::NewestFirst,
        limit: Some(1),
    };
    let batch = reader.scan(&scan)?.next().transpose()?;
    Ok(batch.filter(|batch| batch.rows() > 0).and_then(|batch| batch.int(0, Field::Time)))
}

/// Asks over a connection that is served as a port serves its own; the whole answer, as it came.
async fn ask(app: &Arc<App>, router: &Router, tenant: &Tenant, question: &str) -> std::io::Result<String> {
    let (mut near, far) = UnixStream::pair()?;
    let (app, router) = (Arc::clone(app), router.clone());
    let service = service_fn(move |request: Request<Incoming>| {
        let (app, router) = (Arc::clone(&app), router.clone());
        async move {
            if request.uri().path() == PULSE {
                let peer = Peer { address: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), secure: false, certified: false };
                return Ok(app.answer(Face::Prometheus, peer, Arriving::of(request)).await);
            }
            router.oneshot(request.map(Body::new)).await
        }
    });
    let serve = async { server::builder().serve_connection_with_upgrades(TokioIo::new(far), service).await };
    let ask = async {
        let of = tenant.as_str();
        let head = format!("GET {question} HTTP/1.1\r\nHost: braid\r\nX-Scope-OrgID: {of}\r\nConnection: close\r\n\r\n");
        near.write_all(head.as_bytes()).await?;
        let mut answer = Vec::new();
        near.read_to_end(&mut answer).await?;
        Ok(String::from_utf8_lossy(&answer).into_owned())
    };
    // What went wrong on the far side shows on the near one.
    let (_, answer) = tokio::join!(serve, ask);
    answer
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
    // Whatever the series is, it may stand for a bucket.
    let bucket = |le: &str| format!("label_replace(rate({selector}[5m]), \"le\", \"{le}\", \"\", \"\")");
    vec![
        range(format!("sum by (job) (rate({selector}[5m])) / 2")),
        range(format!("histogram_quantile(0.9, sum by (le) ({} or {}))", bucket("1"), bucket("+Inf"))),
        instant(format!("topk(1, avg_over_time({selector}[5m]))")),
        format!("/api/v1/series?match[]={}&start={start}&end={end}", percent(&selector)),
    ]
}

/// Paths of questions about the second before a line, as those who look at lines ask.
fn questions_of_lines(last: i64) -> Vec<String> {
    let all = "{service_name=~\".+\"}";
    let asked = |query: &str, before: i64, behind: i64, more: &str| {
        let (start, end) = (last.saturating_sub(before), last.saturating_add(behind));
        format!("/loki/api/v1/query_range?query={}&start={start}&end={end}{more}", percent(query))
    };
    let newest = |query: &str, before: i64| asked(query, before, 1, "&direction=backward&limit=10");
    // Steps are whole seconds: the one behind the line counts it.
    let counted = |query: &str| asked(query, LAST_NS, LAST_NS, "&step=1");
    vec![
        newest(all, LAST_NS),
        // Texts are large: of a few lines.
        newest(&format!("{all} |= \"e\""), FEW_NS),
        newest(&format!("{all} | json | status >= 0"), LAST_NS),
        counted(&format!("sum(count_over_time({all} | json | status >= 0 [1s]))")),
        counted(&format!("sum by (service_name)(count_over_time({all}[1s]))")),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::Labels;
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

    /// Writes the request, which becomes a segment, and closes the store.
    async fn settle(store: Arc<Store>, mut request: Encoder) {
        let payload = request.finish().expect("a request").into();
        let request = store::Request { tenant: Tenant::default(), encoding: Encoding::RemoteWrite, payload };
        store.append(request).await.expect("taken");
        store.settle().expect("settles");
        store.close();
    }

    #[tokio::test]
    async fn the_times_of_scrapes_are_read_beforehand_and_the_values_that_are_asked_for_at_once() {
        let dir = tempfile::tempdir().expect("a directory");
        // In one hour, so in one segment.
        let begin = jiff::Timestamp::now().as_millisecond() / 3_600_000 * 3_600_000 - 3_600_000;
        let mut request = Encoder::new();
        for target in 0..12 {
            for name in ["a", "b"] {
                let text = target.to_string();
                let labels = [("__name__", name), ("instance", text.as_str())];
                SampleSink::series(&mut request, RawLabels::from_pairs(format!("{name}{text}").as_bytes(), &labels));
                (0..40).for_each(|i| request.sample(begin + i * 15_000 + target * 100, i as f64));
            }
        }
        settle(open(dir.path()), request).await;
        let store = open(dir.path());
        store.open_newest(MOST).expect("no failure").expect("a series");
        let before = store.stats().reads;
        let (reader, tenant) = (store.snapshot(), Tenant::default());
        let selection = reader.select(&tenant, &[], begin, begin + 3_600_000).expect("no failure");
        let mut samples = 0;
        let mut each = |_: usize, series: &mut store::SeriesSamples| {
            samples += series.times.len();
            std::ops::ControlFlow::Continue(())
        };
        selection.read(0..24, &mut each).expect("no failure");
        assert_eq!(samples, 24 * 40);
        assert_eq!(store.stats().reads - before, 1, "of twelve scrapes");
        drop(selection);
        store.close();
    }

    #[tokio::test]
    async fn a_process_opens_the_newest_samples_and_answers_questions_about_them_before_it_is_asked() {
        let dir = tempfile::tempdir().expect("a directory");
        let now = jiff::Timestamp::now().as_millisecond();
        let labels = [("__name__", "a_total"), ("job", "a \"job\" & more")];
        let empty = open(dir.path());
        assert_eq!(empty.open_newest(MOST).expect("no failure"), None);
        let mut request = Encoder::new();
        SampleSink::series(&mut request, RawLabels::from_pairs(b"a", &labels));
        (0..40).for_each(|i| request.sample(now - (40 - i) * 15_000, i as f64));
        settle(empty, request).await;
        let store = open(dir.path());
        assert_eq!(store.open_newest(1).expect("no failure"), None, "too large");
        let newest = store.open_newest(MOST).expect("no failure").expect("a series");
        assert_eq!(newest.labels.as_ref(), &Labels::from_pairs(labels));
        assert_eq!(newest.last_ms, now - 15_000);
        let app = App::bare(Arc::clone(&store) as Arc<dyn Writer>);
        let api = Api::new(Arc::clone(&store) as Arc<dyn Source>, Arc::new(NoTargets), Settings::default());
        let router = api::prometheus_router(&Arc::new(api));
        let asked = questions(&newest);
        assert_eq!(asked.len(), 4);
        for question in asked {
            let answer = ask(&app, &router, &newest.tenant, &question).await.expect("answered");
            assert!(
                answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.contains("\"status\":\"success\""),
                "{question}: {answer}"
            );
            assert!(!answer.contains(":[]"), "{question}: {answer}");
        }
        let pulse = ask(&app, &router, &newest.tenant, PULSE).await.expect("answered");
        assert!(pulse.ends_with("Prometheus Server is Healthy.\n"), "{pulse}");
        let odd = Newest { labels: Arc::new(Labels::from_pairs([("a.b", "c")])), ..newest };
        assert!(questions(&odd).is_empty());
        warm(Arc::clone(&store), Settings::default(), app, CancellationToken::new()).await;
        store.close();
    }

    #[tokio::test]
    async fn the_last_lines_are_asked_for_before_anybody_asks() {
        let dir = tempfile::tempdir().expect("a directory");
        let store = open(dir.path());
        assert_eq!(newest_line(&*store.snapshot()).expect("no failure"), None);
        let now = jiff::Timestamp::now().as_nanosecond();
        let entries: Vec<String> =
            (1..50).map(|i| format!(r#"["{}","{{\"status\":{i},\"a\":\"e\"}}"]"#, now - i * 1_000_000)).collect();
        let body = format!(r#"{{"streams":[{{"stream":{{"service_name":"a"}},"values":[{}]}}]}}"#, entries.join(","));
        let request = store::Request { tenant: Tenant::default(), encoding: Encoding::LokiPushJson, payload: body.into() };
        store.append(request).await.expect("taken");
        store.settle().expect("settles");
        let last = newest_line(&*store.snapshot()).expect("no failure").expect("a line");
        assert_eq!(i128::from(last), now - 1_000_000);
        let app = App::bare(Arc::clone(&store) as Arc<dyn Writer>);
        let api = Api::new(Arc::clone(&store) as Arc<dyn Source>, Arc::new(NoTargets), Settings::default());
        let router = api::loki_router(&Arc::new(api));
        for question in questions_of_lines(last) {
            let answer = ask(&app, &router, &Tenant::default(), &question).await.expect("answered");
            assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && !answer.contains("\"result\":[]"), "{question}: {answer}");
        }
        warm(Arc::clone(&store), Settings::default(), app, CancellationToken::new()).await;
        store.close();
    }
}
