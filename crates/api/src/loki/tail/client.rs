//! One client: its queue, and the task that empties it into the WebSocket.

use std::collections::{HashSet, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::extract::ws::{CloseFrame, Message, WebSocket, close_code};
use logql::{Arrived, Direction, LabelSet, Line, LogQuery, Tail, Tally};
use model::{Tenant, TimeRange};
use tokio::sync::Notify;

use super::hub::Joined;
use super::{Asked, frame};
use crate::answer::Failure;
use crate::loki::query::question;
use crate::run::blocking;
use crate::{Api, Face};

/// Lines that may wait for a client.
const MOST_LINES: usize = 20_000;
/// Bytes that they may have.
const MOST_BYTES: usize = 8 << 20;
/// Bytes that the lines of all clients may have together.
const MOST_QUEUED: usize = 64 << 20;
/// Notices of lost lines that are kept; more are only counted.
const MOST_NOTICES: usize = 1000;
/// Lines and bytes of one frame; a single line may be longer.
const FRAME_LINES: usize = 2000;
const FRAME_BYTES: usize = 2 << 20;
/// Bytes that a frame which closes a WebSocket has for the reason.
const MOST_REASON: usize = 123;
/// How long a client may take none of what is sent to it.
const PATIENCE: Duration = Duration::from_secs(300);
/// How often a silent connection is tried.
const PING: Duration = Duration::from_secs(10);
/// How long lines that were read from the store may come again from the log.
const OVERLAP: Duration = Duration::from_secs(10);

/// A line that a client was too slow for: its labels, and its time.
pub(super) type Dropped = (LabelSet, i64);

/// A client that tails.
pub(super) struct Client {
    pub(super) tenant: Tenant,
    tail: Mutex<Tail>,
    queue: Mutex<Queue>,
    filled: Notify,
    /// Bytes in the queues of all clients.
    queued: Arc<AtomicUsize>,
}

impl Drop for Client {
    fn drop(&mut self) {
        self.queued.fetch_sub(locked(&self.queue).bytes, Ordering::Relaxed);
    }
}

#[derive(Default)]
struct Queue {
    lines: VecDeque<(Instant, Line)>,
    bytes: usize,
    dropped: Vec<Dropped>,
    /// Why no more lines come.
    over: Option<Failure>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a line takes, roughly.
fn size(line: &Line) -> usize {
    let labels = |set: &LabelSet| set.iter().map(|(n, v)| n.len() + v.len() + 32).sum::<usize>();
    // The stream's labels are shared.
    128 + line.text.len() + labels(&line.metadata) + labels(&line.parsed)
}

impl Client {
    pub(super) fn new(tenant: Tenant, query: &LogQuery, queued: Arc<AtomicUsize>) -> Result<Self, logql::EvalError> {
        let tail = Mutex::new(Tail::new(query)?);
        Ok(Self { tenant, tail, queue: Mutex::default(), filled: Notify::new(), queued })
    }

    pub(super) fn wants(&self, stream: &LabelSet) -> bool {
        locked(&self.tail).wants(stream)
    }

    /// Queues a line if the query wants it; `false` where there is no room. The first line that the query fails for is the last.
    pub(super) fn offer(&self, line: &Arrived) -> bool {
        if locked(&self.queue).over.is_some() {
            return true;
        }
        let line = locked(&self.tail).line(line);
        let mut queue = locked(&self.queue);
        let line = match line {
            Ok(Some(line)) => line,
            Ok(None) => return true,
            Err(e) => {
                queue.over = Some(e.into());
                return true;
            }
        };
        let bytes = size(&line);
        // One line always fits, however long.
        let full = queue.lines.len() >= MOST_LINES
            || queue.bytes + bytes > MOST_BYTES
            || self.queued.load(Ordering::Relaxed) + bytes > MOST_QUEUED;
        if full && !queue.lines.is_empty() {
            queue.note((line.labels(), line.time));
            return false;
        }
        queue.bytes += bytes;
        self.queued.fetch_add(bytes, Ordering::Relaxed);
        queue.lines.push_back((Instant::now(), line));
        true
    }

    /// Requests went by unread: of which streams nobody knows.
    pub(super) fn missed(&self, _requests: u64) {
        let now = jiff::Timestamp::now().as_nanosecond() as i64;
        locked(&self.queue).note((LabelSet::default(), now));
        self.wake();
    }

    pub(super) fn wake(&self) {
        self.filled.notify_one();
    }

    /// Why no more lines come, once all that came were taken.
    fn over(&self) -> Option<Failure> {
        let queue = locked(&self.queue);
        queue.over.clone().filter(|_| queue.lines.is_empty() && queue.dropped.is_empty())
    }

    /// Takes what is due: lines that came before `before`, and all notices. When the next line is due, where there is one.
    fn take(&self, before: Instant) -> (Vec<Line>, Vec<Dropped>, Option<Instant>) {
        let mut queue = locked(&self.queue);
        let (mut lines, mut bytes) = (Vec::new(), 0);
        while lines.len() < FRAME_LINES
            && bytes < FRAME_BYTES
            && queue.lines.front().is_some_and(|(arrived, _)| *arrived <= before)
        {
            if let Some((_, line)) = queue.lines.pop_front() {
                bytes += size(&line);
                lines.push(line);
            }
        }
        queue.bytes -= bytes;
        self.queued.fetch_sub(bytes, Ordering::Relaxed);
        let next = queue.lines.front().map(|(arrived, _)| *arrived);
        (lines, std::mem::take(&mut queue.dropped), next)
    }
}

impl Queue {
    fn note(&mut self, dropped: Dropped) {
        if self.dropped.len() < MOST_NOTICES {
            self.dropped.push(dropped);
        }
    }
}

fn fingerprint(line: &Line) -> u64 {
    let mut hasher = DefaultHasher::new();
    (line.time, &line.text, line.labels()).hash(&mut hasher);
    hasher.finish()
}

/// The newest lines that are there already, oldest first.
async fn history(api: &Arc<Api>, joined: &Joined, asked: &Asked) -> Result<Vec<Line>, Failure> {
    let (state, tenant) = (api.clone(), joined.client.tenant.clone());
    let (query, start, limit) = (asked.query.clone(), asked.start, asked.limit);
    blocking(api, None, move |cancelled| {
        let (reader, tally) = (state.source.snapshot(), Tally::default());
        let question = question(&state, &*reader, &tenant, cancelled, &tally);
        // What is from now on comes from the log; clocks of senders may be ahead.
        let range = TimeRange::new(start, i64::MAX);
        let mut lines = logql::lines(&question, &query, range, Direction::Backward, limit)?;
        lines.reverse();
        Ok(lines)
    })
    .await
}

/// Lines in portions that are a frame each.
fn frames(mut lines: &[Line]) -> impl Iterator<Item = &[Line]> {
    std::iter::from_fn(move || {
        let mut bytes = 0;
        let fit = lines.iter().take(FRAME_LINES).take_while(|line| {
            let first = bytes == 0;
            bytes += size(line);
            first || bytes <= FRAME_BYTES
        });
        let (frame, rest) = lines.split_at(fit.count());
        lines = rest;
        (!frame.is_empty()).then_some(frame)
    })
}

/// Sends until the client leaves, or takes nothing for too long.
pub(super) async fn run(api: &Arc<Api>, joined: Joined, asked: Asked, mut socket: WebSocket) {
    let begun = Instant::now();
    let mut known = HashSet::new();
    match history(api, &joined, &asked).await {
        Ok(lines) => {
            known.extend(lines.iter().map(fingerprint));
            for lines in frames(&lines) {
                api.tails.sent.fetch_add(lines.len() as u64, Ordering::Relaxed);
                if !send(&mut socket, Message::Text(frame::text(lines, &[], asked.shape).into())).await {
                    return;
                }
            }
        }
        Err(failure) => return fail(api, &mut socket, &failure).await,
    }
    let client = &joined.client;
    loop {
        let due = Instant::now().checked_sub(asked.delay).unwrap_or_else(Instant::now);
        let (mut lines, dropped, next) = client.take(due);
        if !known.is_empty() {
            lines.retain(|line| !known.remove(&fingerprint(line)));
            if begun.elapsed() > OVERLAP {
                known.clear();
            }
        }
        if !lines.is_empty() || !dropped.is_empty() {
            lines.sort_by_key(|line| line.time);
            api.tails.sent.fetch_add(lines.len() as u64, Ordering::Relaxed);
            let text = frame::text(&lines, &dropped, asked.shape);
            drop((lines, dropped));
            if !send(&mut socket, Message::Text(text.into())).await {
                return;
            }
            continue;
        }
        if let Some(failure) = client.over() {
            return fail(api, &mut socket, &failure).await;
        }
        let wait = match next {
            Some(arrived) => (arrived + asked.delay).saturating_duration_since(Instant::now()),
            None => PING,
        };
        tokio::select! {
            () = client.filled.notified() => {
                // Lines that are held back need no more than their time.
                if !asked.delay.is_zero() {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
            () = tokio::time::sleep(wait) => {
                if next.is_none() && !send(&mut socket, Message::Ping(Vec::new().into())).await {
                    return;
                }
            }
            message = socket.recv() => match message {
                Some(Ok(Message::Close(_))) => {
                    // The answer to it goes out with the next read, which finds the end.
                    let _ = tokio::time::timeout(PATIENCE, socket.recv()).await;
                    return;
                }
                Some(Err(e)) => {
                    tracing::debug!("a tail ends: {e}");
                    let reason = "a frame that WebSocket does not know".into();
                    let _ = send(&mut socket, Message::Close(Some(CloseFrame { code: close_code::PROTOCOL, reason }))).await;
                    return;
                }
                None => return,
                Some(Ok(_)) => {}
            },
        }
    }
}

/// Ends a tail, and says why.
async fn fail(api: &Api, socket: &mut WebSocket, failure: &Failure) {
    tracing::debug!("a tail ends: {failure:?}");
    api.metrics.failed(Face::Loki, failure);
    let (code, why) = match failure {
        Failure::BadData(why) | Failure::Execution(why) | Failure::Limit(_, why) => (close_code::POLICY, why.as_str()),
        Failure::Timeout => (close_code::POLICY, "the query timed out"),
        Failure::Unavailable(why) | Failure::Crowded(why) => (close_code::AGAIN, why.as_str()),
        _ => (close_code::ERROR, "the lines before the tail could not be read"),
    };
    let reason = why[..why.floor_char_boundary(MOST_REASON)].into();
    let _ = send(socket, Message::Close(Some(CloseFrame { code, reason }))).await;
}

/// Whether it could be sent.
async fn send(socket: &mut WebSocket, message: Message) -> bool {
    matches!(tokio::time::timeout(PATIENCE, socket.send(message)).await, Ok(Ok(())))
}
