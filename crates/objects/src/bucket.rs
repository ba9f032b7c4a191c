//! A bucket, or a prefix of one, asked from threads: each request is tried again, with backoff and jitter, for as long as
//! its [`Patience`] lasts; each attempt is counted.

use std::hash::{BuildHasher, RandomState};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use futures::TryStreamExt;
use futures::future::BoxFuture;
use object_store::multipart::{MultipartStore, PartId};
use object_store::path::Path;
use object_store::{Error, ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload};
use parking_lot::Mutex;
use tokio::runtime::Runtime;

use crate::counters::{Counters, Operation, Outcome};
use crate::error::ObjectsError;

/// The first pause between attempts; it doubles, and is drawn from its upper half.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// The longest.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// A file larger than this is sent in parts...
const WHOLE: u64 = 16 << 20;
/// ...of this size (S3 takes at most 10,000 parts: 80 GiB).
const PART: u64 = 8 << 20;
/// How often a waiting thread looks whether the bucket was closed.
const LOOK: Duration = Duration::from_millis(100);
/// After so long without an answer, queries do not wait for one any more.
const KNOWN_AWAY: Duration = Duration::from_secs(5);

/// How long a request is tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// No attempt begins later than this after the first.
    pub total: Duration,
    /// An attempt that takes longer has failed.
    pub attempt: Duration,
    /// One short attempt must do once the store is known to be away.
    pub hurried: bool,
}

impl Patience {
    /// Somebody waits for the answer of a query.
    pub const QUERY: Self = Self { total: Duration::from_secs(10), attempt: Duration::from_secs(10), hurried: true };
    /// Work in the background, which comes again.
    pub const UPKEEP: Self = Self { total: Duration::from_secs(30), attempt: Duration::from_secs(60), hurried: false };
    /// Before the server is there.
    pub const START: Self = Self { total: Duration::from_secs(5), attempt: Duration::from_secs(5), hurried: false };
    /// A command that copies much, and had better wait than begin anew.
    pub const COMMAND: Self = Self { total: Duration::from_secs(120), attempt: Duration::from_secs(120), hurried: false };
    /// What ends is not waited for.
    pub const PARTING: Self = Self { total: Duration::ZERO, attempt: Duration::from_millis(500), hurried: true };
}

/// An object as a list shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    /// Below the bucket's prefix.
    pub path: String,
    /// Its size.
    pub bytes: u64,
    /// When it was written, by the store's clock.
    pub modified: SystemTime,
}

/// An object store below a prefix.
pub struct Bucket {
    store: Arc<dyn ObjectStore>,
    parts: Option<Arc<dyn MultipartStore>>,
    prefix: String,
    name: String,
    counters: Counters,
    runtime: Option<Runtime>,
    closed: AtomicBool,
    /// Since when every attempt has failed, and why the last one did.
    away: Mutex<Option<(Instant, String)>>,
    jitter: RandomState,
}

impl std::fmt::Debug for Bucket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Bucket").field(&self.name).finish()
    }
}

impl Drop for Bucket {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // Dropping it would block, which is not allowed wherever a runtime's own thread drops the last reference.
            runtime.shutdown_background();
        }
    }
}

type Attempt<T> = BoxFuture<'static, Result<T, Error>>;

impl Bucket {
    /// `store` below `prefix`; `parts` where it can take an object in parts, `name` for messages.
    ///
    /// # Errors
    /// [`ObjectsError::Settings`] for a prefix that is none, or where no thread can be started.
    pub fn new(
        store: Arc<dyn ObjectStore>,
        parts: Option<Arc<dyn MultipartStore>>,
        prefix: &str,
        name: String,
    ) -> Result<Self, ObjectsError> {
        Path::parse(prefix).map_err(|e| ObjectsError::Settings(format!("{name}: {e}")))?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("braid-objects")
            .enable_all()
            .build()
            .map_err(|e| ObjectsError::Settings(format!("{name}: starting its threads: {e}")))?;
        Ok(Self {
            store,
            parts,
            prefix: prefix.trim_matches('/').to_owned(),
            name,
            counters: Counters::default(),
            runtime: Some(runtime),
            closed: AtomicBool::new(false),
            away: Mutex::new(None),
            jitter: RandomState::new(),
        })
    }

    /// What to call it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What was asked, and how it ended.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// For how long no attempt has succeeded; `None` when the last one did.
    #[must_use]
    pub fn away(&self) -> Option<Duration> {
        self.away.lock().as_ref().map(|(since, _)| since.elapsed())
    }

    /// Why the last attempt failed; `None` when it did not.
    #[must_use]
    pub fn trouble(&self) -> Option<String> {
        self.away.lock().as_ref().map(|(_, why)| why.clone())
    }

    fn failed(&self, why: &str) {
        let mut away = self.away.lock();
        let since = away.as_ref().map_or_else(Instant::now, |(since, _)| *since);
        *away = Some((since, why.to_owned()));
    }

    /// Gives up what is under way; nothing is asked any more.
    pub fn close(&self) {
        self.closed.store(true, Ordering::Release);
    }

    fn at(&self, path: &str) -> Result<Path, ObjectsError> {
        let whole = if self.prefix.is_empty() { path.to_owned() } else { format!("{}/{path}", self.prefix) };
        Path::parse(whole).map_err(|e| ObjectsError::Settings(e.to_string()))
    }

    /// Runs `attempt` until it gives an answer or patience ends.
    fn run<T: Send + 'static>(
        &self,
        operation: Operation,
        path: &str,
        patience: Patience,
        attempt: impl Fn() -> Attempt<T>,
    ) -> Result<T, ObjectsError> {
        let begun = Instant::now();
        let known_away = patience.hurried && self.away().is_some_and(|since| since > KNOWN_AWAY);
        let (total, longest) = match known_away {
            true => (Duration::ZERO, patience.attempt.min(Duration::from_secs(2))),
            false => (patience.total, patience.attempt),
        };
        let what = || format!("{} {path} in {}", operation.as_str(), self.name);
        let mut pause = FIRST_PAUSE;
        for attempts in 1.. {
            let why = match self.once(attempt(), longest) {
                Ok(value) => {
                    self.counters.attempt(operation, Outcome::Ok);
                    *self.away.lock() = None;
                    return Ok(value);
                }
                Err(Failed::Closed) => {
                    return Err(ObjectsError::Away { what: what(), why: "it is being closed".into(), attempts });
                }
                Err(Failed::Late) => format!("no answer within {longest:?}"),
                Err(Failed::With(e)) => match verdict(&e) {
                    Outcome::Failed => innermost(&e),
                    outcome => {
                        self.counters.attempt(operation, outcome);
                        match &e {
                            _ if outcome == Outcome::Answered => *self.away.lock() = None,
                            // Keys that are not good any more: as good as not there, until somebody sees to it.
                            Error::PermissionDenied { .. } | Error::Unauthenticated { .. } | Error::Generic { .. } => {
                                self.failed(&innermost(&e));
                            }
                            _ => {}
                        }
                        let path = format!("{}/{path}", self.name);
                        return Err(match e {
                            Error::NotFound { .. } => ObjectsError::NotFound(path),
                            Error::AlreadyExists { .. } | Error::Precondition { .. } => ObjectsError::Exists(path),
                            e => ObjectsError::Refused { what: what(), why: innermost(&e) },
                        });
                    }
                },
            };
            self.counters.attempt(operation, Outcome::Failed);
            self.failed(&why);
            let pause_now = self.jittered(pause, attempts);
            if begun.elapsed() + pause_now >= total {
                return Err(ObjectsError::Away { what: what(), why, attempts });
            }
            tracing::debug!(operation = operation.as_str(), path, why, "the object store is asked again");
            self.counters.retry(operation);
            self.pause(pause_now);
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
        Err(ObjectsError::Away { what: what(), why: "too many attempts".into(), attempts: u32::MAX })
    }

    fn jittered(&self, pause: Duration, attempt: u32) -> Duration {
        let drawn = self.jitter.hash_one((attempt, Instant::now())) % 1000;
        pause / 2 + pause.mul_f64(drawn as f64 / 2000.0)
    }

    fn pause(&self, pause: Duration) {
        let until = Instant::now() + pause;
        while !self.closed.load(Ordering::Acquire) {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            std::thread::sleep(left.min(LOOK));
        }
    }

    /// Runs one future on the bucket's runtime and waits for it.
    fn once<T: Send + 'static>(&self, attempt: Attempt<T>, longest: Duration) -> Result<T, Failed> {
        let Some(runtime) = &self.runtime else { return Err(Failed::Closed) };
        if self.closed.load(Ordering::Acquire) {
            return Err(Failed::Closed);
        }
        let (tell, told) = mpsc::sync_channel(1);
        let task = runtime.spawn(async move {
            // Nobody waits any more where it cannot be told.
            let _ = tell.send(tokio::time::timeout(longest, attempt).await);
        });
        loop {
            match told.recv_timeout(LOOK) {
                Ok(Ok(Ok(value))) => return Ok(value),
                Ok(Ok(Err(e))) => return Err(Failed::With(e)),
                Ok(Err(_)) => return Err(Failed::Late),
                Err(RecvTimeoutError::Timeout) if !self.closed.load(Ordering::Acquire) => {}
                Err(_) => {
                    task.abort();
                    return Err(Failed::Closed);
                }
            }
        }
    }

    fn put_with(&self, path: &str, bytes: Bytes, mode: PutMode, patience: Patience) -> Result<(), ObjectsError> {
        let (at, size) = (self.at(path)?, bytes.len() as u64);
        self.run(Operation::Put, path, patience, || {
            let (store, at, payload) = (Arc::clone(&self.store), at.clone(), PutPayload::from_bytes(bytes.clone()));
            let options = PutOptions { mode: mode.clone(), ..PutOptions::default() };
            Box::pin(async move { store.put_opts(&at, payload, options).await.map(|_| ()) })
        })?;
        self.counters.sent(size);
        Ok(())
    }

    /// Writes an object whole, over one that is there.
    ///
    /// # Errors
    /// [`ObjectsError`].
    pub fn put(&self, path: &str, bytes: Bytes, patience: Patience) -> Result<(), ObjectsError> {
        self.put_with(path, bytes, PutMode::Overwrite, patience)
    }

    /// Writes an object that must not be there yet. Where an answer was lost and the request made again, `Exists` may speak
    /// of the own object: whoever needs to know reads it.
    ///
    /// # Errors
    /// [`ObjectsError::Exists`] and others.
    pub fn create(&self, path: &str, bytes: Bytes, patience: Patience) -> Result<(), ObjectsError> {
        self.put_with(path, bytes, PutMode::Create, patience)
    }

    /// A range of an object.
    ///
    /// # Errors
    /// [`ObjectsError`]; a shorter answer is a failure and asked for again.
    pub fn range(&self, path: &str, range: Range<u64>, patience: Patience) -> Result<Bytes, ObjectsError> {
        let at = self.at(path)?;
        let wanted = range.end.saturating_sub(range.start);
        let bytes = self.run(Operation::Get, path, patience, || {
            let (store, at, range) = (Arc::clone(&self.store), at.clone(), range.clone());
            Box::pin(async move { complete(store.get_range(&at, range).await?, wanted) })
        })?;
        self.counters.received(bytes.len() as u64);
        Ok(bytes)
    }

    /// An object whole, if it is not larger than `most`.
    ///
    /// # Errors
    /// [`ObjectsError`]; [`ObjectsError::Refused`] for one that is larger.
    pub fn get(&self, path: &str, most: u64, patience: Patience) -> Result<Bytes, ObjectsError> {
        let at = self.at(path)?;
        let bytes = self.run(Operation::Get, path, patience, || {
            let (store, at) = (Arc::clone(&self.store), at.clone());
            Box::pin(async move {
                let answer = store.get(&at).await?;
                let size = answer.meta.size;
                if size > most {
                    return Err(Error::NotSupported { source: format!("it has {size} bytes, more than {most}").into() });
                }
                complete(answer.bytes().await?, size)
            })
        })?;
        self.counters.received(bytes.len() as u64);
        Ok(bytes)
    }

    /// The size of an object.
    ///
    /// # Errors
    /// [`ObjectsError`].
    pub fn size(&self, path: &str, patience: Patience) -> Result<u64, ObjectsError> {
        let at = self.at(path)?;
        self.run(Operation::Head, path, patience, || {
            let (store, at) = (Arc::clone(&self.store), at.clone());
            Box::pin(async move { store.head(&at).await.map(|m| m.size) })
        })
    }

    /// What is below a folder, at any depth, by path.
    ///
    /// # Errors
    /// [`ObjectsError`].
    pub fn list(&self, folder: &str, patience: Patience) -> Result<Vec<Object>, ObjectsError> {
        let at = self.at(folder)?;
        let found = self.run(Operation::List, folder, patience, || {
            let (store, at) = (Arc::clone(&self.store), at.clone());
            Box::pin(async move { store.list(Some(&at)).try_collect::<Vec<_>>().await })
        })?;
        let own = if self.prefix.is_empty() { String::new() } else { format!("{}/", self.prefix) };
        let mut objects: Vec<Object> = found
            .into_iter()
            .filter_map(|o| {
                let path = o.location.as_ref().strip_prefix(&own)?.to_owned();
                Some(Object { path, bytes: o.size, modified: o.last_modified.into() })
            })
            .collect();
        objects.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(objects)
    }

    /// Removes an object; one that is not there is removed.
    ///
    /// # Errors
    /// [`ObjectsError`].
    pub fn delete(&self, path: &str, patience: Patience) -> Result<(), ObjectsError> {
        let at = self.at(path)?;
        let outcome = self.run(Operation::Delete, path, patience, || {
            let (store, at) = (Arc::clone(&self.store), at.clone());
            Box::pin(async move { store.delete(&at).await })
        });
        match outcome {
            Err(ObjectsError::NotFound(_)) => Ok(()),
            outcome => outcome,
        }
    }

    /// Copies an object within the store.
    ///
    /// # Errors
    /// [`ObjectsError`].
    pub fn copy(&self, from: &str, to: &str, patience: Patience) -> Result<(), ObjectsError> {
        let (source, target) = (self.at(from)?, self.at(to)?);
        self.run(Operation::Copy, from, patience, || {
            let (store, source, target) = (Arc::clone(&self.store), source.clone(), target.clone());
            Box::pin(async move { store.copy(&source, &target).await })
        })
    }

    /// Writes an object of `size` bytes, which `read` gives out in pieces from front to back, and returns their crc32c.
    /// `sent` hears of each piece that has arrived. Nothing is visible before all of it is there.
    ///
    /// # Errors
    /// [`ObjectsError`]; [`ObjectsError::File`] where `read` fails.
    pub fn upload(
        &self,
        path: &str,
        size: u64,
        patience: Patience,
        read: &mut dyn FnMut(u64, usize) -> std::io::Result<Bytes>,
        sent: &dyn Fn(u64),
    ) -> Result<u32, ObjectsError> {
        let mut crc = 0;
        let mut piece = |range: Range<u64>| {
            let bytes = read(range.start, (range.end - range.start) as usize)
                .map_err(|e| ObjectsError::File { what: format!("reading {path}"), why: e.to_string() })?;
            crc = crc32c::crc32c_append(crc, &bytes);
            Ok::<_, ObjectsError>(bytes)
        };
        if size <= WHOLE {
            let bytes = piece(0..size)?;
            self.put(path, bytes, patience)?;
            sent(size);
            return Ok(crc);
        }
        let pieces = (0..size.div_ceil(PART)).map(|n| n * PART..((n + 1) * PART).min(size));
        let at = self.at(path)?;
        let Some(parts) = &self.parts else {
            self.upload_to_folder(path, &at, patience, pieces, &mut piece, sent)?;
            return Ok(crc);
        };
        let id = self.run(Operation::Put, path, patience, || {
            let (parts, at) = (Arc::clone(parts), at.clone());
            Box::pin(async move { parts.create_multipart(&at).await })
        })?;
        let outcome = (|| {
            let mut ids: Vec<PartId> = Vec::new();
            for range in pieces {
                let bytes = piece(range)?;
                let number = ids.len();
                ids.push(self.run(Operation::Put, path, patience, || {
                    let (parts, at, id) = (Arc::clone(parts), at.clone(), id.clone());
                    let payload = PutPayload::from_bytes(bytes.clone());
                    Box::pin(async move { parts.put_part(&at, &id, number, payload).await })
                })?);
                self.counters.sent(bytes.len() as u64);
                sent(bytes.len() as u64);
            }
            self.run(Operation::Put, path, patience, || {
                let (parts, at, id, ids) = (Arc::clone(parts), at.clone(), id.clone(), ids.clone());
                Box::pin(async move { parts.complete_multipart(&at, &id, ids).await.map(|_| ()) })
            })
        })();
        match outcome {
            Ok(()) => Ok(crc),
            // Its answer was lost and the request made again, when the upload was over.
            Err(ObjectsError::NotFound(_)) if self.size(path, patience).is_ok_and(|n| n == size) => Ok(crc),
            Err(e) => {
                let (parts, at) = (Arc::clone(parts), at.clone());
                // What stays of it is the bucket's to expire.
                let _ = self.once(Box::pin(async move { parts.abort_multipart(&at, &id).await }), Patience::PARTING.attempt);
                Err(e)
            }
        }
    }

    /// As [`Bucket::upload`], where parts cannot be tried again.
    fn upload_to_folder(
        &self,
        path: &str,
        at: &Path,
        patience: Patience,
        pieces: impl Iterator<Item = Range<u64>>,
        piece: &mut dyn FnMut(Range<u64>) -> Result<Bytes, ObjectsError>,
        sent: &dyn Fn(u64),
    ) -> Result<(), ObjectsError> {
        let failed = |f: Failed| {
            self.counters.attempt(Operation::Put, Outcome::Failed);
            let why = match f {
                Failed::With(e) => innermost(&e),
                Failed::Late => "it takes too long".into(),
                Failed::Closed => "it is being closed".into(),
            };
            ObjectsError::Away { what: format!("put {path} in {}", self.name), why, attempts: 1 }
        };
        let (store, target) = (Arc::clone(&self.store), at.clone());
        let mut upload =
            self.once(Box::pin(async move { store.put_multipart(&target).await }), patience.attempt).map_err(failed)?;
        for range in pieces {
            let bytes = piece(range)?;
            let size = bytes.len() as u64;
            self.once(upload.put_part(PutPayload::from_bytes(bytes)), patience.attempt).map_err(failed)?;
            self.counters.sent(size);
            sent(size);
        }
        self.once(Box::pin(async move { upload.complete().await }), patience.attempt).map_err(failed)?;
        self.counters.attempt(Operation::Put, Outcome::Ok);
        Ok(())
    }
}

enum Failed {
    With(Error),
    Late,
    Closed,
}

/// A body that ends early is no body.
fn complete(bytes: Bytes, wanted: u64) -> Result<Bytes, Error> {
    if bytes.len() as u64 == wanted {
        return Ok(bytes);
    }
    let why = format!("{} of {wanted} bytes came", bytes.len());
    Err(Error::Generic { store: "answer", source: why.into() })
}

/// What S3 says of a request that does not become better by being made again, where the library knows no kind of its own.
const REFUSALS: [&str; 6] = [
    "<Code>NoSuchBucket</Code>",
    "<Code>InvalidBucketName</Code>",
    "<Code>AuthorizationHeaderMalformed</Code>",
    "<Code>PermanentRedirect</Code>",
    "<Code>InvalidToken</Code>",
    "<Code>ExpiredToken</Code>",
];

fn verdict(e: &Error) -> Outcome {
    match e {
        Error::NotFound { .. } | Error::AlreadyExists { .. } | Error::Precondition { .. } | Error::NotModified { .. } => {
            Outcome::Answered
        }
        Error::PermissionDenied { .. }
        | Error::Unauthenticated { .. }
        | Error::InvalidPath { .. }
        | Error::NotSupported { .. }
        | Error::NotImplemented { .. }
        | Error::UnknownConfigurationKey { .. } => Outcome::Refused,
        Error::Generic { .. } if REFUSALS.iter().any(|code| e.to_string().contains(code)) => Outcome::Refused,
        _ => Outcome::Failed,
    }
}

/// The sentence that says most: errors of object stores repeat their causes at every level.
fn innermost(e: &Error) -> String {
    let mut last: &dyn std::error::Error = e;
    while let Some(source) = last.source() {
        last = source;
    }
    let (whole, last) = (e.to_string(), last.to_string());
    // A status or an XML body stands in the middle.
    let told = if whole.contains("status") { whole } else { last };
    let mut line: String = told.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.len() > 300 {
        line.truncate(line.floor_char_boundary(300));
        line.push('…');
    }
    line
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use object_store::memory::InMemory;

    use super::*;

    const SHORT: Patience = Patience { total: Duration::from_millis(700), attempt: Duration::from_secs(5), hurried: false };

    fn bucket(prefix: &str) -> Bucket {
        let store = Arc::new(InMemory::new());
        Bucket::new(Arc::clone(&store) as _, Some(store), prefix, "memory".into()).expect("a bucket")
    }

    #[test]
    fn what_is_put_comes_back_below_the_prefix() {
        for prefix in ["", "a/b"] {
            let bucket = bucket(prefix);
            bucket.put("x/1", Bytes::from_static(b"one"), SHORT).expect("put");
            bucket.create("x/2*'(", Bytes::from_static(b"two"), SHORT).expect("new");
            let again = bucket.create("x/1", Bytes::from_static(b"other"), SHORT).expect_err("is there");
            assert!(matches!(again, ObjectsError::Exists(_)), "{again}");
            assert_eq!(bucket.get("x/1", 100, SHORT).expect("there"), "one");
            assert_eq!(bucket.range("x/2*'(", 1..3, SHORT).expect("there"), "wo");
            assert_eq!(bucket.size("x/1", SHORT).expect("there"), 3);
            assert!(matches!(bucket.get("x/1", 2, SHORT), Err(ObjectsError::Refused { .. })));
            bucket.copy("x/1", "y/1", SHORT).expect("copied");
            let paths: Vec<String> = bucket.list("x", SHORT).expect("listed").into_iter().map(|o| o.path).collect();
            assert_eq!(paths, ["x/1", "x/2*'("]);
            bucket.delete("x/1", SHORT).expect("gone");
            bucket.delete("x/1", SHORT).expect("gone already");
            assert!(matches!(bucket.get("x/1", 100, SHORT), Err(ObjectsError::NotFound(_))));
            assert_eq!(bucket.away(), None);
        }
    }

    #[test]
    fn large_files_go_in_parts_and_into_folders() {
        let size = WHOLE + PART / 2;
        let byte = |at: u64| (at * 31 % 251) as u8;
        let whole: Vec<u8> = (0..size).map(byte).collect();
        let dir = tempfile::tempdir().expect("a directory");
        let folder = crate::Location::parse(&format!("file://{}", dir.path().display())).expect("an address");
        let folder = folder.connect(&crate::Settings::default()).expect("a folder");
        for bucket in [&bucket("p"), &*folder] {
            let seen = AtomicUsize::new(0);
            let crc = bucket.upload(
                "large",
                size,
                Patience::COMMAND,
                &mut |at, n| Ok(whole[at as usize..at as usize + n].to_vec().into()),
                &|n| {
                    seen.fetch_add(n as usize, Ordering::Relaxed);
                },
            );
            assert_eq!(crc.expect("sent"), crc32c::crc32c(&whole));
            assert_eq!(seen.into_inner() as u64, size);
            assert!(bucket.get("large", size, SHORT).expect("there") == whole);
        }
    }

    #[test]
    fn failures_are_tried_again_and_then_told() {
        let bucket = bucket("");
        let tries = AtomicUsize::new(0);
        let failing = |fail: usize| {
            let n = tries.fetch_add(1, Ordering::Relaxed);
            let outcome = match n < fail {
                true => Err(Error::Generic { store: "test", source: "503 Slow Down".into() }),
                false => Ok(n),
            };
            Box::pin(async move { outcome }) as Attempt<usize>
        };
        assert_eq!(bucket.run(Operation::Get, "x", SHORT, || failing(2)).expect("at last"), 2);
        assert_eq!(bucket.counters().retried(), 2);
        tries.store(0, Ordering::Relaxed);
        let error = bucket.run(Operation::Get, "x", SHORT, || failing(1000)).expect_err("never");
        assert!(error.is_away() && error.to_string().contains("503 Slow Down"), "{error}");
        assert!(bucket.away().is_some());
        let missing = || {
            tries.fetch_add(1, Ordering::Relaxed);
            let source = "status code: 404 Not Found: <Error><Code>NoSuchBucket</Code></Error>".into();
            Box::pin(std::future::ready(Err(Error::Generic { store: "test", source }))) as Attempt<usize>
        };
        tries.store(0, Ordering::Relaxed);
        let error = bucket.run(Operation::List, "x", SHORT, missing).expect_err("refused");
        assert!(matches!(&error, ObjectsError::Refused { why, .. } if why.contains("NoSuchBucket")), "{error}");
        assert_eq!((tries.load(Ordering::Relaxed), bucket.away().is_some()), (1, true), "a missing bucket is not asked again");
        let slow = Patience { total: Duration::ZERO, attempt: Duration::from_millis(20), hurried: false };
        let error = bucket.run(Operation::Get, "x", slow, || Box::pin(std::future::pending::<Result<(), Error>>()));
        assert!(error.expect_err("late").to_string().contains("no answer within"));
        bucket.close();
        assert!(bucket.run(Operation::Get, "x", SHORT, || failing(0)).is_err(), "closed");
    }
}
