//! `braid serve`: opens the store, wires the parts, opens the ports, waits for a signal, closes in order.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use api::Api;
use collector::scrape::Scraper;
use collector::syslog::{self, SyslogCounters};
use collector::{Brake, Budget, Counters, Ingest, Receivers};
use correlate::{CorrelateError, Correlator};
use export::{ExportError, Exporters};
use store::disk::{Disk, RealDisk};
use store::{Source, Store, Writer};
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::context::TokioContext;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::about::{self, About};
use crate::admin::Admin;
use crate::app::{Apis, App, MetricsWriter, Reload, Settle};
use crate::config::{Config, ConfigError, Endpoint, Face};
use crate::dashboards::Dashboards;
use crate::gate::{Gate, login_path};
use crate::locks::Locks;
use crate::memory::Memory;
use crate::own::{Outgoing, Own};
use crate::process::Process;
use crate::reload::Reloads;
use crate::server::Port;
use crate::snapshots::Snapshots;
use crate::targets::Scraped;
use crate::{lanes, open_store, own, server, store_metrics, warm};

/// How long requests under way may take to finish once a signal came; the store closes after it, all within two seconds.
const DRAIN: Duration = Duration::from_millis(600);

/// How long after the start it says at the latest that it is ready, though what the first queries wait for may not be done.
const READY: Duration = Duration::from_millis(200);

/// How long settling waits for generated metrics to catch up.
const SETTLE: Duration = Duration::from_secs(60);

/// Runs until SIGTERM or SIGINT; `again` reads the configuration anew, for SIGHUP and `/-/reload`.
///
/// # Errors
/// What keeps the server from starting, or the store from closing.
pub(crate) fn run(
    config: Config,
    again: impl Fn() -> Result<Config, ConfigError> + Send + Sync + 'static,
    said: Said,
    own: Option<(Own, Outgoing)>,
) -> anyhow::Result<()> {
    let begun = Instant::now();
    let process = Process::new();
    let syslog_tls = config.syslog_tls.as_ref();
    let locks = Arc::new(Locks::open(&config.auth, &config.endpoints, syslog_tls)?);
    let store = Arc::new(open_store::open(&config)?);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("starting the runtime")?;
    let lane = lanes::intake().context("starting the runtime of the receivers")?;
    let intake = lane.handle().clone();
    let result = runtime.block_on(async {
        // First of all: whoever reads that Braid is ready may stop it at once.
        let mut signals = Signals::listen()?;
        let counters = Arc::new(Counters::default());
        let (budget, brake) = (Budget::new(config.in_flight), Brake::default());
        let ingest = Arc::new(
            Ingest::new(Arc::clone(&store) as Arc<dyn Writer>, config.limits.clone(), budget, counters)
                .with_tenants(config.tenants.ingest())
                .with_brake(brake.clone()),
        );
        let receivers = Receivers::new(Arc::clone(&ingest), config.origins.clone()).parse_zipkin_tags(config.parse_zipkin_tags);
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        let memory = Arc::new(Memory::new(config.memory, brake));
        tasks.spawn(Arc::clone(&memory).watch(Arc::clone(&store), stop.clone()));
        // A series takes about 300 bytes of it: a million series have room in 2 GiB.
        let scraper = Scraper::new(&ingest, &tasks, &stop, Budget::new(config.memory / 6));
        {
            // Scraping takes in, too.
            let _here = intake.enter();
            scraper.apply(&config.scrapes).map_err(anyhow::Error::msg)?;
        }
        let targets = Arc::new(Scraped(scraper.clone()));
        let dashboards = Arc::new(Dashboards::default());
        dashboards.read(config.dashboards.as_deref());
        let shown = config.shown.clone();
        let reloads = Arc::new(Reloads::new(intake.clone(), scraper, Arc::clone(&locks), Arc::clone(&dashboards), again, shown));
        let correlator = correlator(&store, config.correlation.as_ref())?;
        let (tenant, tenants) = config.tenants.queries();
        let bounds =
            api::Settings { admin: config.admin_api, slow: config.slow_query, tenant, tenants, ..config.queries.clone() };
        let asking = bounds.clone();
        let admin = Arc::new(Admin::new(Arc::clone(&store), config.storage.dir.clone()));
        let mut api = Api::new(Arc::clone(&store) as Arc<dyn Source>, targets, bounds)
            .with_admin(admin)
            .with_about(Arc::new(About::new(process, &config, Arc::clone(&reloads), Arc::clone(&store))))
            .with_dashboards(Arc::clone(&dashboards) as Arc<dyn api::Dashboards>)
            .with_live(Arc::clone(&store) as Arc<dyn Writer>, config.limits.wire.clone())
            .with_rules(config.storage.dir.join("rules").join("loki"));
        if let Some(correlator) = &correlator {
            api = api.with_correlator(Arc::clone(correlator));
        }
        let own_metrics = own.as_ref().map(|(own, _)| own.clone());
        if let Some((own, outgoing)) = own {
            api = api.observed(Box::new(move |asked| own.asked(asked)));
            tasks.spawn(own::run(outgoing, Arc::clone(&store) as Arc<dyn Writer>, stop.clone()));
        }
        let api = Arc::new(api);
        let (queries, stored) = (Arc::clone(&api), Arc::clone(&store));
        let runtime = tokio::runtime::Handle::current();
        let generator = generator(&store, &config, runtime);
        let generated = generator.clone();
        let correlation = correlator.clone();
        let exporters = exporters(&store, &config)?;
        let exporting = exporters.clone();
        let syslog_counters = Arc::new(SyslogCounters::default());
        let for_syslog = config.syslog.is_some().then(|| Arc::clone(&syslog_counters));
        let disk: Arc<dyn Disk> = Arc::new(RealDisk::open(&config.storage.dir).context("opening the data directory")?);
        let metrics: Vec<MetricsWriter> = vec![
            Box::new(move |out| {
                if let Ok(free) = disk.free_space() {
                    let name = "braid_data_free_bytes";
                    out.push_str(&format!(
                        "# HELP {name} Free bytes in the data directory's file system.\n# TYPE {name} gauge\n{name} {free}\n"
                    ));
                }
            }),
            Box::new(move |out| {
                if let Some(generator) = &generated {
                    generator.counters().write_text(out);
                }
            }),
            Box::new(move |out| {
                if let Some(correlator) = &correlation {
                    correlator.write_text(out);
                }
                if let Some(counters) = &for_syslog {
                    counters.write_text(out);
                }
                if let Some(exporters) = &exporting {
                    exporters.write_text(out);
                }
            }),
            Box::new(move |out| {
                let (index, decoded) = (stored.index_memory(), stored.decoded_memory());
                store_metrics::write_text(&stored.stats(), index, decoded, &stored.cache(), out);
                if let Some(objects) = stored.objects() {
                    objects.counters().write_text(out);
                }
            }),
            Box::new(move |out| {
                queries.metrics().write_text(out);
                queries.write_tail_metrics(out);
            }),
            Box::new(move |out| memory.write_text(out)),
            Box::new(move |out| own_metrics.iter().for_each(|own| own.write_text(out))),
            {
                let (reloads, locks) = (Arc::clone(&reloads), Arc::clone(&locks));
                Box::new(move |out| {
                    reloads.write_text(out);
                    locks.write_text(out);
                    dashboards.write_text(out);
                })
            },
        ];
        let (settled, generated, correlated) = (Arc::clone(&store), generator.clone(), correlator.clone());
        let settle: Settle = Arc::new(move || {
            if let Some(correlator) = &correlated {
                correlator.settle(SETTLE);
            }
            if let Some(generator) = &generated {
                generator.flush(SETTLE);
                // Each has written what the other passes by, or amends an event by: or else the log would be kept for it from there.
                if let Some(correlator) = &correlated {
                    correlator.settle(SETTLE);
                    generator.catch_up(SETTLE);
                }
            }
            settled.settle().map_err(|e| e.to_string())
        });
        let reload: Reload = {
            let reloads = Arc::clone(&reloads);
            Arc::new(move || reloads.reload())
        };
        let observed = Arc::clone(&store);
        let app = App::new(receivers, apis(&api), metrics, (settle, Arc::clone(&reload)), process);
        let app = app.with_gate(Gate::new(locks.guard().cloned())).with_snapshots(Snapshots::new(Arc::clone(&store)));
        let app = Arc::new(app.with_health(Box::new(move || health(&observed))));
        app.starting(true);
        let warmed = tasks.spawn(warm::warm(Arc::clone(&store), asking, Arc::clone(&app), stop.clone()));

        let mut others = Vec::new();
        if let Some(settings) = &config.syslog {
            let listen = syslog::listen(settings, locks.syslog(syslog_tls), &ingest, &syslog_counters, &tasks, &stop);
            let found = TokioContext::new(listen, intake.clone()).await.map_err(anyhow::Error::msg)?;
            others.extend(["syslog_udp", "syslog_tcp"].into_iter().zip(found).filter_map(|(name, at)| Some((name, at?))));
            others.iter().for_each(|(name, at)| tracing::info!("{name} on {at}"));
        }
        let listeners = bind(&config.endpoints, &locks).await?;
        let addresses: Vec<(Face, SocketAddr)> = listeners.iter().map(|(at, port)| (port.face, *at)).collect();
        app.listening(addresses.clone());
        app.configured(about::settings(&config));
        let secure = listeners.iter().any(|(_, port)| port.face == Face::Braid && port.tls.is_some());
        for (_, port) in listeners {
            tasks.spawn(server::serve(port, Arc::clone(&app), stop.clone(), tasks.clone(), intake.clone()));
        }
        tasks.spawn(Arc::clone(&locks).watch(stop.clone()));
        // Requests are answered meanwhile.
        let _ = tokio::time::timeout(READY.saturating_sub(begun.elapsed()), warmed).await;
        app.starting(false);
        api.set_ready(true);
        tracing::info!("ready after {:?}; data in {}", begun.elapsed(), config.storage.dir.display());
        let login = login(&locks, &addresses, secure, said)?;
        if said.ready {
            println!("{}", ready_line(&addresses, &others, login.as_deref()));
        }

        let which = loop {
            match signals.next().await {
                // Off this thread: it reads files. What is wrong with them stands in the log.
                "SIGHUP" => {
                    let reload = Arc::clone(&reload);
                    let _ = tokio::task::spawn_blocking(move || reload()).await;
                }
                which => break which,
            }
        };
        tracing::info!("{which}: shutting down");
        app.stopping();
        api.set_ready(false);
        if let Some(generator) = generator {
            // Off this thread: it may be writing, which needs the runtime.
            let _ = tokio::task::spawn_blocking(move || generator.stop()).await;
        }
        if let Some(correlator) = correlator {
            // Off this thread: it may be writing, which needs the runtime.
            let _ = tokio::task::spawn_blocking(move || correlator.stop()).await;
        }
        // Meanwhile what is being sent may still be answered for.
        let sent = tokio::task::spawn_blocking(move || exporters.map(|e| e.stop()));
        stop.cancel();
        tasks.close();
        if tokio::time::timeout(DRAIN, tasks.wait()).await.is_err() {
            tracing::warn!("{} connections did not finish within {DRAIN:?}", tasks.len());
        }
        let _ = sent.await;
        anyhow::Ok(())
    });
    // Tasks that are left (slow clients, long queries) are dropped here.
    lane.shutdown_timeout(Duration::from_millis(100));
    runtime.shutdown_timeout(Duration::from_millis(100));
    store.close();
    tracing::info!("stopped");
    result
}

/// What makes metrics of spans. That it cannot begin (a read-only disk) keeps nothing else from being served.
fn generator(store: &Arc<Store>, config: &Config, runtime: tokio::runtime::Handle) -> Option<Arc<graph::Worker>> {
    if !config.generator.is_on() {
        // What was left to be read is given up, or the log would be kept for it.
        if let Err(e) = store.remove_reader(graph::READER) {
            tracing::warn!("forgetting where generated metrics stood: {e}");
        }
        return None;
    }
    let ignored_services = vec![correlate::SERVICE.to_owned()];
    match graph::Worker::start(Arc::clone(store), runtime, graph::Settings { ignored_services, ..config.generator.clone() }) {
        Ok(generator) => Some(Arc::new(generator)),
        Err(e) => {
            tracing::error!("no metrics are made of spans: {e}");
            None
        }
    }
}

/// Correlation at work; `None` where it is switched off, or the store has no cursor for it (a read-only file system).
fn correlator(store: &Arc<Store>, settings: Option<&correlate::Settings>) -> anyhow::Result<Option<Arc<Correlator>>> {
    let Some(settings) = settings else {
        // What was left to be read is given up, or the log would be kept for it.
        if let Err(e) = store.remove_reader(correlate::READER) {
            tracing::warn!("correlation's cursor cannot be removed: {e}");
        }
        return Ok(None);
    };
    match Correlator::start(Arc::clone(store), settings.clone(), tokio::runtime::Handle::current()) {
        Ok(correlator) => Ok(Some(Arc::new(correlator))),
        Err(CorrelateError::Store(e)) => {
            tracing::error!("correlation is off: {e}");
            Ok(None)
        }
        Err(e) => Err(e.into()),
    }
}

/// What keeps the store from doing all that it is for: whether it takes requests, and what.
fn health(store: &Store) -> (bool, Vec<String>) {
    let stats = store.stats();
    let mut reasons = Vec::new();
    match &stats.refusing {
        Some(_) if stats.full => reasons.push(
            "requests are refused: the data directory is read-only, or has less free space than storage.min_free".to_owned(),
        ),
        Some(why) => reasons.push(format!("requests are refused: {why}")),
        None => {}
    }
    if let Some(remote) = stats.remote.as_ref().filter(|r| r.away_seconds > 0 && !r.fenced) {
        reasons.push(format!(
            "the object store has not answered as it should for {} s: {} segments ({} bytes) wait on the local disk, and the log has \
             {} bytes; {}",
            remote.away_seconds, remote.pending_segments, remote.pending_bytes, stats.log_bytes, remote.trouble
        ));
    }
    if let Some(why) = store.snapshot().partial() {
        reasons.push(format!("answers may lack rows: {why}"));
    }
    (stats.refusing.is_none(), reasons)
}

/// Exporters at work; `None` where the store has no cursor for them (a read-only file system).
fn exporters(store: &Arc<Store>, config: &Config) -> anyhow::Result<Option<Arc<Exporters>>> {
    let (source, limits) = (Arc::clone(store), config.limits.wire.clone());
    let rewrite: export::Rewrite = Arc::new(move |record: store::Record| {
        if !correlate::row::is_own(&record.payload) {
            return Some(record);
        }
        let as_it_is = record.clone();
        // What cannot be read cannot be encoded either, which is counted there.
        correlate::outward(&*source.snapshot(), record, &limits).unwrap_or(Some(as_it_is))
    });
    match Exporters::start(store, &config.exporters, &tokio::runtime::Handle::current(), &rewrite) {
        Ok(exporters) => Ok(Some(Arc::new(exporters))),
        Err(e @ ExportError::Store { .. }) => {
            tracing::error!("nothing is exported: {e}");
            Ok(None)
        }
        Err(e) => Err(e.into()),
    }
}

fn apis(api: &Arc<Api>) -> Apis {
    Apis {
        braid: api::every_port(api),
        prometheus: api::prometheus_port(api),
        loki: api::loki_port(api),
        tempo: api::tempo_port(api),
        correlation: api::correlation_port(api),
    }
}

/// What is said on standard output and to the terminal.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Said {
    /// A line of JSON when ready.
    pub(crate) ready: bool,
    /// A link that logs in, also where standard error is no terminal.
    pub(crate) login_link: bool,
}

/// A link that logs in once, where there is a page and something to log in for: said to whoever started this and reads along. It
/// is not for logs that are kept.
fn login(locks: &Locks, addresses: &[(Face, SocketAddr)], secure: bool, said: Said) -> anyhow::Result<Option<String>> {
    use std::io::IsTerminal;
    let page = addresses.iter().find(|(face, _)| *face == Face::Braid);
    let (Some(guard), Some((_, at))) = (locks.guard(), page) else { return Ok(None) };
    let terminal = std::io::stderr().is_terminal();
    if !said.login_link && !terminal {
        return Ok(None);
    }
    let host = if at.ip().is_unspecified() { format!("localhost:{}", at.port()) } else { at.to_string() };
    let path = login_path(&guard.link().map_err(anyhow::Error::msg)?);
    let link = format!("{}://{host}{path}", if secure { "https" } else { "http" });
    // Whoever reads the line of JSON has it there.
    if terminal || !said.ready {
        eprintln!("braid: log in once, within ten minutes, at {link}");
    }
    Ok(Some(link))
}

/// Opens the ports; one that is taken is reported and left out, unless it is required.
async fn bind(endpoints: &[Endpoint], locks: &Locks) -> anyhow::Result<Vec<(SocketAddr, Port)>> {
    let mut listeners = Vec::new();
    for Endpoint { face, address, required, tls } in endpoints {
        match TcpListener::bind(address).await {
            Ok(listener) => {
                let address = listener.local_addr().with_context(|| format!("{face} on {address}"))?;
                let tls = locks.http(tls.as_ref());
                tracing::info!("{face} on {address}{}", if tls.is_some() { ", with TLS" } else { "" });
                listeners.push((address, Port { listener, face: *face, tls }));
            }
            Err(e) if *required => return Err(e).with_context(|| format!("cannot listen on {address} ({face})")),
            Err(e) => tracing::warn!("{face} is left out: cannot listen on {address}: {e}"),
        }
    }
    Ok(listeners)
}

/// `{"pid":1,"braid":"127.0.0.1:3000",…}`.
fn ready_line(addresses: &[(Face, SocketAddr)], others: &[(&str, SocketAddr)], login: Option<&str>) -> serde_json::Value {
    let mut line = serde_json::Map::new();
    line.insert("pid".into(), std::process::id().into());
    for (face, address) in addresses {
        line.insert(face.as_str().into(), address.to_string().into());
    }
    for (name, address) in others {
        line.insert((*name).into(), address.to_string().into());
    }
    if let Some(link) = login {
        line.insert("login".into(), link.into());
    }
    line.into()
}

/// What asks Braid to stop, or to read its configuration anew.
struct Signals {
    hup: Signal,
    term: Signal,
    int: Signal,
}

impl Signals {
    fn listen() -> anyhow::Result<Self> {
        Ok(Self {
            hup: signal(SignalKind::hangup()).context("listening for SIGHUP")?,
            term: signal(SignalKind::terminate()).context("listening for SIGTERM")?,
            int: signal(SignalKind::interrupt()).context("listening for SIGINT")?,
        })
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.hup.recv() => "SIGHUP",
            _ = self.term.recv() => "SIGTERM",
            _ = self.int.recv() => "SIGINT",
        }
    }
}
