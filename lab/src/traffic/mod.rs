//! People, simulated. At the task page they look, add, tick off and delete tasks, and now and then press the buttons that
//! make errors, slow answers, bulk and load; others have circuits tested by the sense services or buy something in the shop. Each action is one trace that
//! starts here.

mod action;
mod circuit;
mod customer;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, header};
use kit::{Answer, Asker, Caller, Random, Stop, Telemetry, telemetry};
use opentelemetry::context::FutureExt;
use opentelemetry::trace::{SpanKind, Status, TraceContextExt};
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::trace::SdkTracer;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use self::action::Action;
use self::circuit::Circuit;
use self::customer::Shop;

const SERVICE: &str = "traffic";
/// Actions under way at once; when the system is slower than the rate asks for, visitors stay away.
const CROWD: usize = 64;
/// Above this many tasks everybody tidies up, so that a lab may run for months.
const TASKS: usize = 50;
/// Nobody deletes the last few.
const FEW: usize = 5;
const REPORT_EVERY: Duration = Duration::from_secs(30);

/// Flags of `braid-lab traffic`.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Options {
    /// Where the page lives.
    #[arg(long, env = "LAB_TARGET", default_value = "http://127.0.0.1:8081")]
    target: String,
    /// Where the sense services are, comma-separated; empty: nobody asks them.
    #[arg(
        long,
        value_name = "URLS",
        env = "LAB_SENSE_TARGETS",
        value_delimiter = ',',
        default_value = "http://127.0.0.1:5001,http://127.0.0.1:5002,http://127.0.0.1:5003"
    )]
    sense: Vec<String>,
    /// Where the shop's services are (transactions, auth, payment, inventory), comma-separated; empty: nobody shops.
    #[arg(
        long,
        value_name = "URLS",
        env = "LAB_SHOP_TARGETS",
        value_delimiter = ',',
        default_value = "http://127.0.0.1:8000,http://127.0.0.1:8001,http://127.0.0.1:8002,http://127.0.0.1:8003"
    )]
    shop: Vec<String>,
    /// Actions per second, on average.
    #[arg(long, env = "LAB_TRAFFIC_RATE", default_value_t = 4.0, value_parser = positive)]
    rate: f64,
    /// Seed of the visitors; the same seed makes the same choices.
    #[arg(long, env = "LAB_TRAFFIC_SEED", default_value_t = 1)]
    seed: u64,
    /// Stop after this many seconds (default: when told to).
    #[arg(long, value_parser = positive)]
    duration: Option<f64>,
}

/// Reads a number above zero.
pub(crate) fn positive(text: &str) -> Result<f64, String> {
    let number = text.parse::<f64>().map_err(|error| error.to_string())?;
    if number > 0.0 && number <= 1e6 { Ok(number) } else { Err("must be above 0 and at most 1000000".into()) }
}

/// The visitors' common knowledge.
struct Visitors {
    caller: Caller,
    target: String,
    /// Base URLs of the sense services.
    sense: Vec<String>,
    shop: Shop,
    tracer: SdkTracer,
    /// The tasks of the last look at the page, oldest first: id and whether it is done.
    seen: Mutex<Vec<(i64, bool)>>,
    random: Mutex<Random>,
    answered: AtomicU64,
    failed: AtomicU64,
}

/// Base URLs without a slash at their end; empty ones are none.
fn bases(urls: &[String]) -> Vec<String> {
    urls.iter().map(|url| url.trim().trim_end_matches('/').to_owned()).filter(|url| !url.is_empty()).collect()
}

/// Runs until `stop` or the end of the duration.
pub(crate) async fn run(options: Options, otlp: &str, stop: Stop) -> anyhow::Result<()> {
    let telemetry = Telemetry::start(SERVICE, otlp, &sense::KEYS)?;
    let visitors = Arc::new(Visitors {
        caller: Caller::new(Asker::new(Duration::from_secs(70)), telemetry.tracer()),
        sense: bases(&options.sense),
        shop: Shop::new(bases(&options.shop)),
        target: options.target.trim_end_matches('/').to_owned(),
        tracer: telemetry.tracer(),
        seen: Mutex::default(),
        random: Mutex::new(Random::new(options.seed)),
        answered: AtomicU64::new(0),
        failed: AtomicU64::new(0),
    });
    tracing::info!(target_url = visitors.target, rate = options.rate, seed = options.seed, "Traffic starts");
    let crowd = visitors.clone().come(options.rate, options.duration, &stop).await;
    leave(crowd, &stop).await;
    visitors.report();
    telemetry.stop().await;
    Ok(())
}

/// Lets the actions under way finish: for a while when the time is over, only just when told to stop.
async fn leave(mut crowd: JoinSet<()>, stop: &Stop) {
    let finished = async { while crowd.join_next().await.is_some() {} };
    let patience = async {
        tokio::select! {
            () = tokio::time::sleep(Duration::from_secs(5)) => {}
            () = stop.wait() => tokio::time::sleep(Duration::from_millis(800)).await,
        }
    };
    tokio::select! {
        () = finished => {}
        () = patience => {}
    }
}

impl Visitors {
    /// Starts actions at random moments, `rate` a second on average, until the end. Returns those still under way.
    async fn come(self: Arc<Self>, rate: f64, duration: Option<f64>, stop: &Stop) -> JoinSet<()> {
        let mut crowd = JoinSet::new();
        let mut report = tokio::time::interval(REPORT_EVERY);
        report.tick().await;
        let end = tokio::time::sleep(Duration::from_secs_f64(duration.unwrap_or(1e9)));
        tokio::pin!(end);
        let mut next = tokio::time::Instant::now();
        loop {
            tokio::select! {
                () = stop.wait() => return crowd,
                () = &mut end => return crowd,
                _ = report.tick() => self.report(),
                Some(_) = crowd.join_next(), if !crowd.is_empty() => {}
                () = tokio::time::sleep_until(next) => {
                    // After a pause of the whole machine nobody makes up for lost time.
                    next = next.max(tokio::time::Instant::now()) + Duration::from_secs_f64(self.with_random(|random| random.pause(rate)));
                    if crowd.len() < CROWD {
                        let visitor = self.clone();
                        let action = self.with_random(Action::choose);
                        crowd.spawn(async move { visitor.act(action).await });
                    }
                }
            }
        }
    }

    /// One action, and the look at the page that follows every change.
    async fn act(&self, action: Action) {
        let crowded = lock(&self.seen).len() > TASKS;
        let action = if crowded && matches!(action, Action::Create | Action::Bulk) { Action::Delete } else { action };
        let changed = match action {
            Action::Load => false,
            Action::Create => {
                self.action(action, async |visit| visit.post_task(&self.with_random(title)).await).await;
                true
            }
            Action::Toggle => {
                let seen = lock(&self.seen).clone();
                let Some((id, done)) = self.with_random(|random| random.pick(&seen).copied()) else { return };
                let body = json!({"completed": !done});
                self.action(action, async |visit| visit.send(Method::PUT, &format!("/api/tasks/{id}"), Some(body)).await).await;
                true
            }
            Action::Delete => {
                let oldest = Some(lock(&self.seen)).filter(|seen| seen.len() > FEW).and_then(|seen| seen.first().copied());
                let Some((id, _)) = oldest else { return };
                self.action(action, async |visit| visit.send(Method::DELETE, &format!("/api/tasks/{id}"), None).await).await;
                true
            }
            Action::Error => {
                self.action(action, async |visit| visit.send(Method::GET, "/api/simulate-error", None).await).await;
                false
            }
            Action::Slow => {
                self.action(action, async |visit| visit.send(Method::GET, "/api/simulate-slow?delay=2", None).await).await;
                false
            }
            Action::Bulk => {
                self.action(action, async |visit| {
                    let titles: Vec<String> = (1..=5).map(|number| format!("Bulk Task {number}")).collect();
                    let (a, b, c, d, e) = tokio::join!(
                        visit.post_task(&titles[0]),
                        visit.post_task(&titles[1]),
                        visit.post_task(&titles[2]),
                        visit.post_task(&titles[3]),
                        visit.post_task(&titles[4]),
                    );
                    a.and(b).and(c).and(d).and(e)
                })
                .await;
                true
            }
            Action::Smoke => {
                self.action(action, async |visit| visit.send(Method::POST, "/api/smoke/db?ops=300&type=rw", None).await).await;
                false
            }
            Action::Circuit => {
                let chosen = self.with_random(|random| Some((Circuit::choose(random), random.pick(&self.sense)?.clone())));
                if let Some((circuit, service)) = chosen {
                    let url = circuit.url(&service);
                    self.begin(action, circuit.context(), async |visit| visit.ask(Method::GET, &url, None).await).await;
                }
                false
            }
            Action::Browse | Action::Buy | Action::Transact => {
                if self.shop.is_open() {
                    self.action(action, async |visit| match action {
                        Action::Buy => self.shop.buy(visit).await,
                        Action::Transact => self.shop.transact(visit).await,
                        _ => self.shop.browse(visit).await,
                    })
                    .await;
                }
                false
            }
        };
        if changed || action == Action::Load {
            let answer = self.action(Action::Load, async |visit| visit.send(Method::GET, "/api/tasks", None).await).await;
            if let Some(answer) = answer {
                *lock(&self.seen) = tasks(&answer);
            }
        }
    }

    /// Runs `work` inside the span of an action, which is the root of its trace.
    async fn action(&self, action: Action, work: impl AsyncFnOnce(&Visit<'_>) -> anyhow::Result<Answer>) -> Option<Answer> {
        self.begin(action, Context::new(), work).await
    }

    /// The same with a baggage, which `start` brings.
    async fn begin(
        &self,
        action: Action,
        start: Context,
        work: impl AsyncFnOnce(&Visit<'_>) -> anyhow::Result<Answer>,
    ) -> Option<Answer> {
        let operation = action.operation();
        let attributes = [KeyValue::new("app.operation", operation)];
        let span = telemetry::span(&self.tracer, &start, SpanKind::Internal, operation, attributes);
        let visit = Visit { visitors: self, span: span.clone(), operation };
        let outcome = work(&visit).with_context(span.clone()).await;
        if let Err(error) = &outcome {
            span.span().set_status(Status::error(format!("{error:#}")));
            // One line per outage, like the exporter: the rest is in the report.
            if self.failed.fetch_add(1, Ordering::Relaxed) == 0 {
                tracing::warn!(operation, error = format!("{error:#}"), "There is no answer; visitors keep trying");
            }
        } else {
            self.answered.fetch_add(1, Ordering::Relaxed);
        }
        telemetry::end(&span);
        outcome.ok()
    }

    fn with_random<T>(&self, work: impl FnOnce(&mut Random) -> T) -> T {
        work(&mut lock(&self.random))
    }

    fn report(&self) {
        let answered = self.answered.swap(0, Ordering::Relaxed);
        let failed = self.failed.swap(0, Ordering::Relaxed);
        tracing::info!(answered, failed, "Actions since the last report");
    }
}

/// The requests of one action.
struct Visit<'a> {
    visitors: &'a Visitors,
    span: Context,
    operation: &'static str,
}

impl Visit<'_> {
    async fn post_task(&self, title: &str) -> anyhow::Result<Answer> {
        let body = json!({"title": title, "description": "", "completed": false});
        self.send(Method::POST, "/api/tasks", Some(body)).await
    }

    /// One request to the page's server.
    async fn send(&self, method: Method, target: &str, body: Option<Value>) -> anyhow::Result<Answer> {
        self.ask(method, &format!("{}{target}", self.visitors.target), body).await
    }

    async fn ask(&self, method: Method, url: &str, body: Option<Value>) -> anyhow::Result<Answer> {
        self.ask_with(HeaderMap::new(), method, url, body).await
    }

    /// The same as one who is logged in.
    async fn ask_as(&self, token: &str, method: Method, url: &str, body: Option<Value>) -> anyhow::Result<Answer> {
        let mut headers = HeaderMap::new();
        headers.insert(header::AUTHORIZATION, HeaderValue::try_from(format!("Bearer {token}"))?);
        self.ask_with(headers, method, url, body).await
    }

    async fn ask_with(&self, mut headers: HeaderMap, method: Method, url: &str, body: Option<Value>) -> anyhow::Result<Answer> {
        headers.insert("x-operation", HeaderValue::from_static(self.operation));
        headers.insert(header::USER_AGENT, HeaderValue::from_static("braid-lab-traffic"));
        let body = body.map_or_else(Bytes::new, |body| {
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
            body.to_string().into()
        });
        self.visitors.caller.call(&self.span, method, url, headers, body).await
    }
}

fn title(random: &mut Random) -> String {
    const VERBS: [&str; 6] = ["Write", "Review", "Ship", "Measure", "Repair", "Water"];
    const THINGS: [&str; 8] =
        ["the report", "the dashboard", "a bug", "the plants", "the release", "the runbook", "two alerts", "the bicycle"];
    let verb = random.pick(&VERBS).copied().unwrap_or_default();
    let thing = random.pick(&THINGS).copied().unwrap_or_default();
    format!("{verb} {thing}")
}

/// Id and completion of each task in an answer of `GET /api/tasks`; nothing from any other answer.
fn tasks(answer: &Answer) -> Vec<(i64, bool)> {
    let body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    let tasks = body.get("tasks").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    tasks.iter().filter_map(|task| Some((task.get("id")?.as_i64()?, task.get("completed")?.as_bool()?))).collect()
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tasks_are_read_from_a_list_and_from_nothing_else() {
        let answer = |body: &'static str| Answer { status: http::StatusCode::OK, body: Bytes::from_static(body.as_bytes()) };
        assert_eq!(tasks(&answer(r#"{"tasks":[{"id":3,"completed":true},{"id":"x"}],"count":2}"#)), vec![(3, true)]);
        assert_eq!(tasks(&answer("<html>")), vec![]);
    }
}
