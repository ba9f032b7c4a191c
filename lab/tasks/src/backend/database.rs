//! SQLite through a pool. Every query is a CLIENT span with `db.*` attributes and an observation in `db_query_duration_seconds`.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use kit::telemetry;
use opentelemetry::trace::SpanKind;
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::trace::SdkTracer;
use rusqlite::{Connection, Params, Row, TransactionBehavior};
use tokio::sync::Semaphore;

use super::metrics::Metrics;

/// Connections at most; SQLite has one writer, so more would only wait in another place.
const POOL_SIZE: usize = 5;
/// How long a request waits for a connection, and a connection for the write lock.
const PATIENCE: Duration = Duration::from_secs(5);

const SCHEMA: &str = "CREATE TABLE IF NOT EXISTS tasks (
    id INTEGER NOT NULL PRIMARY KEY,
    title VARCHAR(200) NOT NULL,
    description TEXT,
    completed BOOLEAN DEFAULT 0,
    created_at DATETIME DEFAULT (strftime('%Y-%m-%d %H:%M:%f000', 'now'))
)";

/// Why a piece of database work failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error(transparent)]
    Sqlite(#[from] rusqlite::Error),
    #[error("no connection became free within {} s", PATIENCE.as_secs())]
    PoolExhausted,
    #[error("the database work was interrupted")]
    Interrupted,
}

/// The pool: opens connections on demand, keeps idle ones.
#[derive(Debug, Clone)]
pub(crate) struct Database {
    path: PathBuf,
    idle: Arc<Mutex<Vec<Connection>>>,
    permits: Arc<Semaphore>,
    tracer: SdkTracer,
    metrics: Arc<Metrics>,
}

impl Database {
    /// Opens (or creates) the database file and its table. Directories are created as needed.
    pub(crate) fn open(path: &Path, tracer: SdkTracer, metrics: Arc<Metrics>) -> anyhow::Result<Self> {
        if let Some(directory) = path.parent() {
            std::fs::create_dir_all(directory)?;
        }
        let connection = connect(path)?;
        connection.execute(SCHEMA, [])?;
        Ok(Self {
            path: path.to_owned(),
            idle: Arc::new(Mutex::new(vec![connection])),
            permits: Arc::new(Semaphore::new(POOL_SIZE)),
            tracer,
            metrics,
        })
    }

    /// Runs `work` on a connection of the pool, on a thread that may block; its query spans are children of `context`.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        context: &Context,
        work: impl FnOnce(&mut Session<'_>) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, Error> {
        let permit = tokio::time::timeout(PATIENCE, self.permits.clone().acquire_owned()).await;
        let permit = permit.map_err(|_| Error::PoolExhausted)?.map_err(|_| Error::Interrupted)?;
        let database = self.clone();
        let context = context.clone();
        let task = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            let idle = database.idle().pop();
            let mut connection = idle.map_or_else(|| connect(&database.path), Ok)?;
            let mut session = Session { connection: &mut connection, database: &database, context: &context };
            let result = work(&mut session);
            // Whatever the work left open is rolled back; a connection that cannot do that is not used again.
            if connection.is_autocommit() || connection.execute_batch("ROLLBACK").is_ok() {
                database.idle().push(connection);
            }
            result
        });
        Ok(task.await.map_err(|_| Error::Interrupted)??)
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Connection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open(path)?;
    connection.busy_timeout(PATIENCE)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "NORMAL")?;
    connection.set_prepared_statement_cache_capacity(32);
    Ok(connection)
}

/// One borrowed connection, with the context that its spans belong to.
pub(crate) struct Session<'a> {
    connection: &'a mut Connection,
    database: &'a Database,
    context: &'a Context,
}

impl Session<'_> {
    /// Runs `work` in a transaction that takes the write lock at once; commits on `Ok`, rolls back on `Err`.
    pub(crate) fn transaction<T>(&mut self, work: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>) -> rusqlite::Result<T> {
        self.in_transaction(work, |inner| inner.commit())
    }

    /// Runs `work` in a transaction that is rolled back whatever comes of it.
    pub(crate) fn rolled_back<T>(&mut self, work: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>) -> rusqlite::Result<T> {
        self.in_transaction(work, |inner| inner.rollback())
    }

    fn in_transaction<T>(
        &mut self,
        work: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>,
        finish: impl FnOnce(rusqlite::Transaction<'_>) -> rusqlite::Result<()>,
    ) -> rusqlite::Result<T> {
        let inner = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let result = work(&Transaction { connection: &inner, database: self.database, context: self.context })?;
        finish(inner)?;
        Ok(result)
    }

    /// The rows of a query outside any transaction.
    pub(crate) fn query<T>(
        &self,
        sql: &'static str,
        parameters: impl Params,
        row: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
    ) -> rusqlite::Result<Vec<T>> {
        Transaction { connection: self.connection, database: self.database, context: self.context }.query(sql, parameters, row)
    }
}

/// Queries of one transaction.
pub(crate) struct Transaction<'a> {
    connection: &'a Connection,
    database: &'a Database,
    context: &'a Context,
}

impl Transaction<'_> {
    /// The rows of a query.
    pub(crate) fn query<T>(
        &self,
        sql: &'static str,
        parameters: impl Params,
        row: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
    ) -> rusqlite::Result<Vec<T>> {
        self.observed(sql, || self.connection.prepare_cached(sql)?.query_map(parameters, row)?.collect())
    }

    /// The number of rows that a statement changed.
    pub(crate) fn execute(&self, sql: &'static str, parameters: impl Params) -> rusqlite::Result<usize> {
        self.observed(sql, || self.connection.prepare_cached(sql)?.execute(parameters))
    }

    fn observed<T>(&self, sql: &'static str, work: impl FnOnce() -> rusqlite::Result<T>) -> rusqlite::Result<T> {
        let operation = operation(sql);
        let namespace = self.database.path.display().to_string();
        // Both generations of the semantic conventions: dashboards and service maps in the field look for either.
        let attributes = [
            KeyValue::new("db.system", "sqlite"),
            KeyValue::new("db.system.name", "sqlite"),
            KeyValue::new("db.name", namespace.clone()),
            KeyValue::new("db.namespace", namespace),
            KeyValue::new("db.statement", sql),
            KeyValue::new("db.query.text", sql),
            KeyValue::new("db.operation", operation),
            KeyValue::new("db.operation.name", operation),
            KeyValue::new("db.collection.name", "tasks"),
        ];
        let span =
            telemetry::span(&self.database.tracer, self.context, SpanKind::Client, format!("{operation} tasks"), attributes);
        let started = Instant::now();
        let result = work();
        self.database.metrics.db_query_seconds.observe([operation], started.elapsed().as_secs_f64());
        if let Err(error) = &result {
            telemetry::fail(&span, "rusqlite::Error", error);
        }
        telemetry::end(&span);
        result
    }
}

/// The first word of a statement; what is neither INSERT, UPDATE nor DELETE counts as SELECT.
fn operation(sql: &str) -> &'static str {
    let word = sql.split_whitespace().next().unwrap_or_default();
    ["INSERT", "UPDATE", "DELETE"].into_iter().find(|known| word.eq_ignore_ascii_case(known)).unwrap_or("SELECT")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use opentelemetry::trace::TracerProvider;
    use opentelemetry_sdk::trace::SdkTracerProvider;

    use super::*;

    fn open(directory: &Path) -> Database {
        let tracer = SdkTracerProvider::builder().build().tracer("test");
        Database::open(&directory.join("deep/tasks.db"), tracer, Arc::new(Metrics::new())).unwrap()
    }

    async fn count(database: &Database) -> i64 {
        let context = Context::new();
        let counted = database.run(&context, |session| session.query("SELECT COUNT(*) FROM tasks", [], |row| row.get(0)));
        counted.await.unwrap()[0]
    }

    #[tokio::test]
    async fn a_failed_transaction_leaves_nothing_and_the_pool_usable() {
        let directory = tempfile::tempdir().unwrap();
        let database = open(directory.path());
        let context = Context::new();
        for _ in 0..2 * POOL_SIZE {
            let work = database.run(&context, |session| {
                session.transaction(|transaction| {
                    transaction.execute("INSERT INTO tasks (title) VALUES ('a')", [])?;
                    transaction.execute("INSERT INTO tasks (title) VALUES (NULL)", [])
                })
            });
            assert!(matches!(work.await, Err(Error::Sqlite(_))));
        }
        assert_eq!(count(&database).await, 0);
    }

    #[tokio::test]
    async fn rolled_back_work_returns_its_result_and_leaves_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let database = open(directory.path());
        let context = Context::new();
        let work = database.run(&context, |session| {
            session.rolled_back(|transaction| transaction.execute("INSERT INTO tasks (title) VALUES ('a')", []))
        });
        assert_eq!(work.await.unwrap(), 1);
        assert_eq!(count(&database).await, 0);
    }

    #[test]
    fn operations_are_the_first_word_or_select() {
        assert_eq!(operation("  insert into t"), "INSERT");
        assert_eq!(operation("UPDATE t"), "UPDATE");
        assert_eq!(operation("DELETE FROM t"), "DELETE");
        assert_eq!(operation("WITH a AS (SELECT 1) SELECT 1"), "SELECT");
        assert_eq!(operation(""), "SELECT");
    }
}
