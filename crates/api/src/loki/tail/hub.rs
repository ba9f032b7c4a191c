//! From the store's log to the clients' queues.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use logql::{Arrived, Arriving};
use model::{Group, Log, Tenant};
use store::Request;
use tokio::sync::Notify;
use tokio::sync::broadcast::{Receiver, error::RecvError};
use wire::{Limits, LogSink, Signal};

use super::client::Client;
use crate::Api;
use crate::answer::Failure;

/// Bytes of requests that wait to be decoded; what comes beyond is lost to the tails, and they are told.
const WAITING: usize = 32 << 20;

/// All clients that tail, and the requests that wait for them.
#[derive(Default)]
pub(crate) struct Tails {
    clients: Mutex<Clients>,
    waiting: Mutex<VecDeque<Request>>,
    waiting_bytes: AtomicUsize,
    arrived: Notify,
    /// Bytes in the queues of all clients.
    pub(super) queued: Arc<AtomicUsize>,
    pub(super) sent: AtomicU64,
    pub(super) dropped: AtomicU64,
}

#[derive(Default)]
struct Clients {
    list: Vec<Arc<Client>>,
    /// Whether the log is followed, and how often that was begun.
    following: bool,
    begun: u64,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic elsewhere leaves queues that are still sound.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A client's place; it is left when this is dropped.
pub(crate) struct Joined {
    pub(super) client: Arc<Client>,
    tails: Arc<Tails>,
}

impl Drop for Joined {
    fn drop(&mut self) {
        locked(&self.tails.clients).list.retain(|c| !Arc::ptr_eq(c, &self.client));
    }
}

impl Tails {
    /// Adds a client. Every line that becomes durable from now on is seen by it.
    pub(super) fn join(self: &Arc<Self>, api: &Arc<Api>, client: Client) -> Result<Joined, Failure> {
        let Some(live) = &api.live else {
            return Err(Failure::Unavailable("tailing is not available: nothing is taken in here".to_owned()));
        };
        let client = Arc::new(client);
        let mut clients = locked(&self.clients);
        let most = api.settings.max_tails;
        if clients.list.len() >= most {
            let now = clients.list.len() + 1;
            return Err(Failure::Crowded(format!("max concurrent tail requests limit exceeded, count > limit ({now} > {most})")));
        }
        clients.list.push(client.clone());
        if !std::mem::replace(&mut clients.following, true) {
            clients.begun += 1;
            tokio::spawn(follow(self.clone(), live.subscribe()));
            tokio::spawn(decode(self.clone(), clients.begun, api.settings.discover_levels, api.limits.clone()));
        }
        Ok(Joined { client, tails: self.clone() })
    }

    fn of(&self, tenant: &Tenant) -> Vec<Arc<Client>> {
        locked(&self.clients).list.iter().filter(|c| c.tenant == *tenant).cloned().collect()
    }

    /// Whether nobody is left; then nothing is followed any more.
    fn deserted(&self) -> bool {
        let mut clients = locked(&self.clients);
        if clients.list.is_empty() {
            clients.following = false;
            locked(&self.waiting).clear();
            self.waiting_bytes.store(0, Ordering::Relaxed);
        }
        clients.list.is_empty()
    }

    fn take(&self, request: Request) {
        let clients = self.of(&request.tenant);
        if clients.is_empty() {
            return;
        }
        let bytes = request.payload.len();
        if self.waiting_bytes.load(Ordering::Relaxed) + bytes > WAITING {
            clients.iter().for_each(|c| c.missed(1));
            return;
        }
        self.waiting_bytes.fetch_add(bytes, Ordering::Relaxed);
        locked(&self.waiting).push_back(request);
        self.arrived.notify_one();
    }

    /// Counts, for `/metrics`.
    pub(crate) fn write_text(&self, out: &mut String) {
        let clients = locked(&self.clients).list.len();
        let mut family = |name: &str, kind: &str, help: &str, value: u64| {
            out.push_str(&format!("# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}\n"));
        };
        family("braid_loki_tail_clients", "gauge", "Clients that tail logs.", clients as u64);
        let sent = self.sent.load(Ordering::Relaxed);
        family("braid_loki_tail_lines_total", "counter", "Lines sent to clients that tail.", sent);
        let dropped = self.dropped.load(Ordering::Relaxed);
        family("braid_loki_tail_dropped_total", "counter", "Lines that clients were too slow for.", dropped);
        let waiting = self.waiting_bytes.load(Ordering::Relaxed) + self.queued.load(Ordering::Relaxed);
        family("braid_loki_tail_waiting_bytes", "gauge", "Requests and lines that wait for tails.", waiting as u64);
    }
}

/// Takes requests from the log's channel, which it must never keep waiting: what waits there is not bounded in bytes.
async fn follow(tails: Arc<Tails>, mut log: Receiver<Request>) {
    loop {
        match log.recv().await {
            Ok(request) if request.encoding.signal() == Signal::Logs => tails.take(request),
            Ok(_) => {}
            Err(RecvError::Lagged(requests)) => locked(&tails.clients).list.iter().for_each(|c| c.missed(requests)),
            Err(RecvError::Closed) => return,
        }
        if tails.deserted() {
            // Wakes the decoder, so that it sees it too.
            tails.arrived.notify_one();
            return;
        }
    }
}

async fn decode(tails: Arc<Tails>, begun: u64, discover_levels: bool, limits: Arc<Limits>) {
    let is_mine = || {
        let clients = locked(&tails.clients);
        clients.following && clients.begun == begun
    };
    while is_mine() {
        let next = locked(&tails.waiting).pop_front();
        let Some(request) = next else {
            tails.arrived.notified().await;
            continue;
        };
        let bytes = request.payload.len();
        let clients = tails.of(&request.tenant);
        let (limits, counters) = (limits.clone(), tails.clone());
        // Off the async threads: a request may be large, a query's expressions slow.
        let work = tokio::task::spawn_blocking(move || hand_out(&request, &clients, discover_levels, &limits, &counters));
        if let Err(e) = work.await {
            tracing::error!("decoding a request for tails: {e}");
        }
        let _ = tails.waiting_bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| Some(n.saturating_sub(bytes)));
    }
    // What woke it may have been meant for the one that follows it.
    tails.arrived.notify_one();
}

fn hand_out(request: &Request, clients: &[Arc<Client>], discover_levels: bool, limits: &Limits, tails: &Tails) {
    let received = jiff::Timestamp::now().as_nanosecond() as i64;
    let mut sink = Sink { clients, group: None, wanting: Vec::new(), discover_levels, tails };
    // Receivers have checked it.
    let _ = wire::walk_logs(request.encoding, &request.payload, limits, received, &mut sink);
    clients.iter().for_each(|c| c.wake());
}

/// Hands each line of a request to the clients that want its stream.
struct Sink<'a> {
    clients: &'a [Arc<Client>],
    group: Option<Arriving>,
    wanting: Vec<&'a Client>,
    discover_levels: bool,
    tails: &'a Tails,
}

impl LogSink for Sink<'_> {
    fn group(&mut self, group: &Group<'_>) {
        let group = Arriving::new(group, self.discover_levels);
        self.wanting.clear();
        self.wanting.extend(self.clients.iter().map(|c| &**c).filter(|c| c.wants(group.stream())));
        self.group = Some(group);
    }

    fn log(&mut self, log: &Log<'_>) {
        let Some(group) = self.group.as_ref().filter(|_| !self.wanting.is_empty()) else { return };
        let line: Arrived = group.line(log);
        let dropped = self.wanting.iter().filter(|client| !client.offer(&line)).count();
        self.tails.dropped.fetch_add(dropped as u64, Ordering::Relaxed);
    }
}
