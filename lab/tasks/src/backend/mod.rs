//! The REST backend of the task manager: the seed's endpoints over SQLite, on port 5000 by default.

mod api;
mod database;
mod metrics;
mod tasks;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use kit::{CallbackOptions, Stop, Telemetry, serve};
use opentelemetry::metrics::Histogram;
use opentelemetry_sdk::trace::SdkTracer;

use self::database::Database;
use self::metrics::Metrics;

/// `service.name` unless the environment says otherwise: the seed's, so that its dashboards and queries find their data.
const SERVICE: &str = "flask-backend";

/// Flags of `braid-lab backend`.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// Address to listen on.
    #[arg(long, env = "LAB_BACKEND_HOST", default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    host: IpAddr,
    /// Port to listen on.
    #[arg(long, env = "LAB_BACKEND_PORT", default_value_t = crate::BACKEND_PORT)]
    port: u16,
    /// The SQLite file; a `sqlite:///` URL is understood too.
    #[arg(long, env = "DATABASE_URL", default_value = ".run/lab/tasks.db")]
    database: String,
    #[command(flatten)]
    callbacks: CallbackOptions,
}

/// What every handler needs.
#[derive(Debug)]
struct App {
    database: Database,
    metrics: Arc<Metrics>,
    tracer: SdkTracer,
    /// `database_query_duration_seconds`, which leaves over OTLP.
    query_seconds: Histogram<f64>,
}

/// Runs the backend until `stop`, with its telemetry going to `otlp`.
pub async fn run(options: Options, otlp: &str, stop: Stop) -> anyhow::Result<()> {
    let telemetry = Telemetry::start(SERVICE, otlp, &[])?;
    let served = run_with(&telemetry, options, stop).await;
    telemetry.stop().await;
    served
}

async fn run_with(telemetry: &Telemetry, options: Options, stop: Stop) -> anyhow::Result<()> {
    let metrics = Arc::new(Metrics::new());
    let path = database_path(&options.database);
    let database = Database::open(&path, telemetry.tracer(), metrics.clone())
        .map_err(|error| error.context(format!("cannot open the database {}", path.display())))?;
    tracing::info!(path = %path.display(), "Database initialized");
    let query_seconds = telemetry
        .meter()
        .f64_histogram("database_query_duration_seconds")
        .with_description("Database query duration in seconds")
        .with_unit("s")
        .with_boundaries(vec![0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0])
        .build();
    let app = Arc::new(App { database, metrics, tracer: telemetry.tracer(), query_seconds });
    serve(SocketAddr::new(options.host, options.port), api::routes(app, &options.callbacks), stop).await
}

/// `sqlite:///relative.db` and `sqlite:////absolute.db` as SQLAlchemy reads them, or a plain path.
fn database_path(url: &str) -> PathBuf {
    PathBuf::from(url.strip_prefix("sqlite:///").unwrap_or(url))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn database_urls_are_sqlalchemys() {
        assert_eq!(database_path("sqlite:////app/data/tasks.db"), PathBuf::from("/app/data/tasks.db"));
        assert_eq!(database_path("sqlite:///tasks.db"), PathBuf::from("tasks.db"));
        assert_eq!(database_path("/x/tasks.db"), PathBuf::from("/x/tasks.db"));
    }
}
