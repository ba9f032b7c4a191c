//! The promises about an object store behind the disk: what is acknowledged survives an object store that fails, lies about
//! lengths, loses answers or is away; one writes; nothing stays that nobody names.

#![allow(clippy::unwrap_used)]

mod crash_toy;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::Path as Folder;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use braid_store::disk::RealDisk;
use braid_store::engine::{ManualClock, Options};
use braid_store::series::SeriesOptions;
use braid_store::{
    Column, Deletion, Doomed, Field, Order, Predicate, RemoteOptions, Request, Scan, Source, Store, StoreError, Table, Writer,
};
use bytes::Bytes;
use crash_toy::{START, Toy};
use futures::StreamExt;
use futures::stream::BoxStream;
use model::{Tenant, TimeRange};
use object_store::memory::InMemory;
use object_store::multipart::{MultipartStore, PartId};
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetRange, GetResult, GetResultPayload, ListResult, MultipartId, MultipartUpload, ObjectMeta,
    ObjectStore, ObjectStoreExt, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use objects::Bucket;
use wire::{Encoding, Signal};

/// An object store that can be told to behave badly.
#[derive(Debug, Default)]
struct Shaky {
    inner: InMemory,
    /// Every request fails.
    away: AtomicU32,
    /// Of a hundred requests so many fail; every second of these after it was done, so that its answer is lost.
    failing: AtomicU32,
    /// Of a hundred reads so many end early.
    halved: AtomicU32,
    draws: AtomicU64,
}

enum Fate {
    Well,
    Refuse,
    LoseAnswer,
}

impl std::fmt::Display for Shaky {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Shaky")
    }
}

fn unavailable() -> Error {
    Error::Generic { store: "shaky", source: "503 Service Unavailable".into() }
}

impl Shaky {
    fn draw(&self) -> u32 {
        let n = self.draws.fetch_add(1, Ordering::Relaxed).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        ((n >> 33) % 100) as u32
    }

    fn fate(&self) -> Fate {
        if self.away.load(Ordering::Relaxed) > 0 {
            return Fate::Refuse;
        }
        let drawn = self.draw();
        match drawn < self.failing.load(Ordering::Relaxed) {
            false => Fate::Well,
            true if drawn.is_multiple_of(2) => Fate::Refuse,
            true => Fate::LoseAnswer,
        }
    }

    async fn through<T>(&self, answer: impl Future<Output = Result<T>> + Send) -> Result<T> {
        match self.fate() {
            Fate::Well => answer.await,
            Fate::Refuse => Err(unavailable()),
            Fate::LoseAnswer => {
                let _ = answer.await;
                Err(unavailable())
            }
        }
    }
}

#[async_trait::async_trait]
impl ObjectStore for Shaky {
    async fn put_opts(&self, at: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        self.through(self.inner.put_opts(at, payload, options)).await
    }

    async fn put_multipart_opts(&self, at: &Path, options: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(at, options).await
    }

    async fn get_opts(&self, at: &Path, mut options: GetOptions) -> Result<GetResult> {
        if !options.head
            && self.draw() < self.halved.load(Ordering::Relaxed)
            && let Some(GetRange::Bounded(Range { start, end })) = options.range
        {
            options.range = Some(GetRange::Bounded(start..start + (end - start).div_ceil(2)));
            let got = self.through(self.inner.get_opts(at, options)).await?;
            let bytes = got.bytes().await?;
            let meta = self.inner.head(at).await?;
            let range = start..start + bytes.len() as u64;
            let payload = GetResultPayload::Stream(futures::stream::once(async move { Ok(bytes) }).boxed());
            return Ok(GetResult { payload, meta, range, attributes: Default::default(), extensions: Default::default() });
        }
        self.through(self.inner.get_opts(at, options)).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        match self.fate() {
            Fate::Well => self.inner.delete_stream(locations),
            _ => futures::stream::once(async { Err(unavailable()) }).boxed(),
        }
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        match self.fate() {
            Fate::Well => self.inner.list(prefix),
            _ => futures::stream::once(async { Err(unavailable()) }).boxed(),
        }
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.through(self.inner.copy_opts(from, to, options)).await
    }
}

#[async_trait::async_trait]
impl MultipartStore for Shaky {
    async fn create_multipart(&self, at: &Path) -> Result<MultipartId> {
        self.through(self.inner.create_multipart(at)).await
    }

    async fn put_part(&self, at: &Path, id: &MultipartId, part: usize, data: PutPayload) -> Result<PartId> {
        self.through(self.inner.put_part(at, id, part, data)).await
    }

    async fn complete_multipart(&self, at: &Path, id: &MultipartId, parts: Vec<PartId>) -> Result<PutResult> {
        self.through(self.inner.complete_multipart(at, id, parts)).await
    }

    async fn abort_multipart(&self, at: &Path, id: &MultipartId) -> Result<()> {
        self.inner.abort_multipart(at, id).await
    }
}

/// A store over `dir` with `shaky` behind it.
struct Setup {
    shaky: Arc<Shaky>,
    cache: u64,
    lease: Duration,
    log_cap: u64,
}

impl Setup {
    fn new() -> Self {
        Self { shaky: Arc::default(), cache: 1 << 30, lease: Duration::from_secs(60), log_cap: 1 << 30 }
    }

    fn bucket(&self) -> Arc<Bucket> {
        let shaky = Arc::clone(&self.shaky);
        Arc::new(Bucket::new(Arc::clone(&shaky) as _, Some(shaky), "pre/fix", "mem://test".into()).unwrap())
    }

    fn options(&self, dir: &Folder, clock: &ManualClock) -> Options {
        let mut options = Options::new(Arc::new(RealDisk::open(dir).unwrap()));
        options.clock = Arc::new(clock.clone());
        options.log.file_bytes = 64 << 10;
        options.log_cap = self.log_cap;
        options.flush_bytes = 1 << 30;
        options.merge_at = 3;
        options.min_free = 0;
        options.grace = Duration::ZERO;
        options.busy_after = Duration::from_millis(50);
        options.remote = Some(RemoteOptions { cache_bytes: self.cache, lease: self.lease, ..RemoteOptions::new(self.bucket()) });
        options
    }

    fn try_open(&self, dir: &Folder) -> Result<(Toy, ManualClock), StoreError> {
        let clock = ManualClock::new(START);
        let toy = Toy::open(self.options(dir, &clock), &clock)?;
        toy.wait_until_replayed();
        Ok((toy, clock))
    }

    fn open(&self, dir: &Folder) -> Toy {
        self.try_open(dir).unwrap().0
    }

    /// What is there, by path below the prefix.
    fn objects(&self, folder: &str) -> Vec<String> {
        let found = self.bucket().list(folder, objects::Patience::UPKEEP).unwrap();
        found.into_iter().map(|o| o.path).collect()
    }
}

fn payload(n: u64, size: usize) -> Bytes {
    let mut text = format!("{n:012}").into_bytes();
    let mut state = n | 1;
    text.resize_with(12 + size, || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 56) as u8
    });
    text.into()
}

fn add(toy: &Toy, numbers: Range<u64>, size: usize) {
    for n in numbers {
        toy.append(Encoding::LokiPush, payload(n, size)).unwrap();
    }
}

fn numbers(toy: &Toy) -> Vec<u64> {
    toy.payloads(Signal::Logs).iter().map(|p| std::str::from_utf8(&p[..12]).unwrap().parse().unwrap()).collect()
}

fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(60);
    while !holds() {
        assert!(Instant::now() < end, "{what} did not happen");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn an_empty_directory_goes_on_with_what_the_object_store_has() {
    let setup = Setup::new();
    let dir = tempfile::tempdir().unwrap();
    let toy = setup.open(&dir.path().join("a"));
    add(&toy, 0..10, 3_000);
    toy.engine.flush_all().unwrap();
    toy.engine.close();
    drop(toy);
    // The machine is lost, and the next one, too.
    let toy = setup.open(&dir.path().join("b"));
    assert_eq!(numbers(&toy), (0..10).collect::<Vec<_>>());
    add(&toy, 10..20, 3_000);
    assert_eq!(numbers(&toy), (0..20).collect::<Vec<_>>());
    toy.engine.flush_all().unwrap();
    assert_eq!(numbers(&toy), (0..20).collect::<Vec<_>>(), "merged from local and fetched segments");
    toy.engine.close();
    drop(toy);
    let toy = setup.open(&dir.path().join("c"));
    assert_eq!(numbers(&toy), (0..20).collect::<Vec<_>>());
    drop(toy);
    // The first comes back with what it had: it is not the store's history any more.
    let refused = setup.try_open(&dir.path().join("a")).err().expect("refused").to_string();
    assert!(refused.contains("last written by the Braid of") && refused.contains("empty data directory"), "{refused}");
}

#[test]
fn a_second_writer_is_refused_by_name_and_a_silent_one_succeeded_and_fenced() {
    let mut setup = Setup::new();
    let dir = tempfile::tempdir().unwrap();
    let (a, b) = (dir.path().join("a"), dir.path().join("b"));
    let first = setup.open(&a);
    add(&first, 0..3, 100);
    first.engine.flush_all().unwrap();
    let refused = setup.try_open(&b).err().expect("refused");
    assert!(matches!(refused, StoreError::Held { .. }), "{refused}");
    let name = format!("the Braid of {} on ", a.display());
    assert!(refused.to_string().contains(&name) && refused.to_string().contains("a second writer is refused"), "{refused}");
    // It is silent for longer than the lease of the second.
    setup.lease = Duration::ZERO;
    let second = setup.open(&b);
    assert_eq!(numbers(&second), [0, 1, 2]);
    add(&second, 3..6, 100);
    second.engine.flush_all().unwrap();
    // The first finds out when it next writes; it deletes and cuts nothing.
    add(&first, 100..103, 100);
    eventually("the fence", || first.engine.flush_all().is_err() && first.engine.stats().remote.unwrap().fenced);
    let refused = first.append(Encoding::LokiPush, payload(200, 10)).expect_err("fenced").to_string();
    assert!(refused.contains(&format!("taken over by the Braid of {} on ", b.display())), "{refused}");
    assert_eq!(numbers(&first), [0, 1, 2, 100, 101, 102], "what it has can be read");
    drop(first);
    assert_eq!(numbers(&second), (0..6).collect::<Vec<_>>());
    second.engine.flush_all().unwrap();
    drop(second);
    assert_eq!(numbers(&setup.open(&dir.path().join("c"))), (0..6).collect::<Vec<_>>());
}

#[test]
fn an_object_store_that_is_back_is_found_also_while_there_is_nothing_to_copy() {
    let setup = Setup::new();
    let dir = tempfile::tempdir().unwrap();
    let toy = setup.open(dir.path());
    add(&toy, 0..3, 100);
    drop(toy);
    setup.shaky.away.store(1, Ordering::Relaxed);
    let toy = setup.open(dir.path());
    let away = || toy.engine.stats().remote.unwrap().away_seconds;
    assert!(away() > 0);
    setup.shaky.away.store(0, Ordering::Relaxed);
    eventually("no word of it being away", || away() == 0);
    assert_eq!(toy.engine.stats().flushes, 0);
    assert_eq!(setup.objects("manifest"), [""; 0]);
}

#[test]
fn the_log_does_not_outgrow_its_cap_between_two_looks_at_it() {
    let mut setup = Setup::new();
    setup.log_cap = 700 << 10;
    let dir = tempfile::tempdir().unwrap();
    let toy = setup.open(dir.path());
    setup.shaky.away.store(1, Ordering::Relaxed);
    let mut kept = 0;
    let refused = loop {
        match toy.append(Encoding::LokiPush, payload(kept, 10_000)) {
            Ok(()) => kept += 1,
            Err(e) => break e,
        }
        assert!(kept < 1000, "no cap");
    };
    assert!(matches!(refused, StoreError::Busy(_)), "{refused}");
    let log: u64 = std::fs::read_dir(dir.path().join("log")).unwrap().map(|f| f.unwrap().metadata().unwrap().len()).sum();
    assert!(log < (700 + 100) << 10, "{log} bytes: an eighth more than the cap, and one request");
    assert_eq!(numbers(&toy), (0..kept).collect::<Vec<_>>());
}

#[test]
fn while_the_object_store_is_away_writes_go_on_up_to_the_cap_and_then_it_catches_up() {
    let mut setup = Setup::new();
    setup.log_cap = 700 << 10;
    let dir = tempfile::tempdir().unwrap();
    let toy = setup.open(dir.path());
    add(&toy, 0..5, 10_000);
    toy.engine.flush_all().unwrap();
    setup.shaky.away.store(1, Ordering::Relaxed);
    let mut kept = 5;
    // More than one flush, all of which stays here.
    let refused = loop {
        match toy.append(Encoding::LokiPush, payload(kept, 10_000)) {
            Ok(()) => kept += 1,
            Err(e) => break e,
        }
        if kept.is_multiple_of(20) {
            toy.engine.flush(Signal::Logs).unwrap();
            std::thread::sleep(Duration::from_millis(100));
        }
        assert!(kept < 1000, "no cap");
    };
    assert!(kept > 60, "{kept} of about 70 fit");
    assert!(matches!(refused, StoreError::Busy(_)), "{refused}");
    assert!(refused.to_string().contains("object store mem://test"), "{refused}");
    assert_eq!(numbers(&toy), (0..kept).collect::<Vec<_>>(), "what is here can be read");
    // A restart without it.
    drop(toy);
    let toy = setup.open(dir.path());
    assert_eq!(numbers(&toy), (0..kept).collect::<Vec<_>>());
    setup.shaky.away.store(0, Ordering::Relaxed);
    eventually("taking in again", || toy.append(Encoding::LokiPush, payload(kept, 10_000)).is_ok());
    toy.engine.flush_all().unwrap();
    let stats = toy.engine.stats();
    assert!(stats.log_bytes < 200 << 10, "the log is cut: {} bytes", stats.log_bytes);
    assert_eq!(stats.remote.unwrap().pending_segments, 0);
    drop(toy);
    let other = tempfile::tempdir().unwrap();
    setup.lease = Duration::ZERO;
    assert_eq!(numbers(&setup.open(other.path())), (0..=kept).collect::<Vec<_>>());
}

#[test]
fn the_cache_stays_within_its_limit_and_damage_in_it_is_fetched_anew() {
    let mut setup = Setup::new();
    setup.cache = 3 << 20;
    let dir = tempfile::tempdir().unwrap();
    let (toy, clock) = setup.try_open(dir.path()).unwrap();
    for n in 0..8 {
        // An hour each: they are not merged.
        add(&toy, n..n + 1, 1_300_000);
        toy.engine.flush(Signal::Logs).unwrap();
        clock.advance(Duration::from_secs(3600));
    }
    toy.engine.flush_all().unwrap();
    let within = |toy: &Toy| {
        let stats = toy.engine.stats().remote.unwrap();
        assert!(stats.cache_bytes <= 3 << 20, "{stats:?}");
        stats
    };
    assert!(within(&toy).evictions > 0);
    for _ in 0..2 {
        assert_eq!(numbers(&toy), (0..8).collect::<Vec<_>>());
    }
    assert!(within(&toy).misses > 0);
    drop(toy);
    let folder = dir.path().join("objects/cache");
    let blocks: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|e| e.unwrap().path()).collect();
    assert!(!blocks.is_empty());
    for block in &blocks {
        let mut bytes = std::fs::read(block).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::write(block, bytes).unwrap();
    }
    setup.shaky.halved.store(30, Ordering::Relaxed);
    setup.shaky.failing.store(20, Ordering::Relaxed);
    let toy = setup.open(dir.path());
    assert_eq!(numbers(&toy), (0..8).collect::<Vec<_>>(), "halves and damaged blocks are not believed");
    within(&toy);
}

#[test]
fn merges_retention_and_damage_reach_the_object_store() {
    let setup = Setup::new();
    let dir = tempfile::tempdir().unwrap();
    let (toy, clock) = setup.try_open(dir.path()).unwrap();
    for n in 0..9 {
        add(&toy, n..n + 1, 1_000);
        toy.engine.flush(Signal::Logs).unwrap();
    }
    let same = |toy: &Toy| {
        eventually("only what is named is there", || {
            toy.engine.flush_all().unwrap();
            let named: BTreeSet<String> = toy.engine.manifest_view().all().map(|s| s.file.clone()).collect();
            let there: BTreeSet<String> = setup.objects("segments").into_iter().filter(|p| !p.ends_with(".ids")).collect();
            named == there
        });
    };
    same(&toy);
    assert_eq!(setup.objects("segments").len(), 2, "one merged segment and its sidecar");
    assert_eq!(numbers(&toy), (0..9).collect::<Vec<_>>());
    // A damaged local file is put aside, here and there.
    let file = toy.engine.manifest_view().all().next().unwrap().file.clone();
    std::fs::write(dir.path().join(&file), b"damaged").unwrap();
    assert_eq!(numbers(&toy), Vec::<u64>::new());
    eventually("the quarantine", || {
        toy.engine.flush_all().unwrap();
        setup.objects("quarantine").len() == 2
    });
    same(&toy);
    add(&toy, 9..10, 1_000);
    toy.engine.flush_all().unwrap();
    clock.advance(Duration::from_secs(8 * 24 * 3600));
    toy.engine.expire();
    same(&toy);
    assert_eq!(setup.objects("segments"), Vec::<String>::new());
    assert!(setup.objects("manifest").len() <= 5);
}

/// Appends, flushes, merges and ends without warning over an object store of which every fifth request fails, half of them
/// after they were done.
#[test]
fn nothing_is_lost_or_doubled_whatever_fails_and_whenever_it_ends() {
    for seed in 0..4u64 {
        let mut setup = Setup::new();
        setup.cache = 20_000;
        setup.shaky.draws.store(seed * 7_919, Ordering::Relaxed);
        setup.shaky.failing.store(20, Ordering::Relaxed);
        setup.shaky.halved.store(10, Ordering::Relaxed);
        let dir = tempfile::tempdir().unwrap();
        let mut kept = 0;
        for round in 0..5 {
            let toy = loop {
                // A start may meet one failure too many.
                match setup.try_open(dir.path()) {
                    Ok((toy, _)) => break toy,
                    Err(e) => assert!(matches!(e, StoreError::Io { .. }), "{e}"),
                }
            };
            assert_eq!(numbers(&toy), (0..kept).collect::<Vec<_>>(), "seed {seed}, round {round}");
            for n in 0..6 {
                add(&toy, kept..kept + 3, 2_000);
                kept += 3;
                toy.engine.flush(Signal::Logs).unwrap();
                if n == 3 && round % 2 == 0 {
                    // It may fail; what it leaves is what counts.
                    let _ = toy.engine.flush_all();
                }
            }
            drop(toy);
        }
        let toy = setup.open(dir.path());
        eventually("all of it is there", || toy.engine.flush_all().is_ok());
        drop(toy);
        setup.shaky.failing.store(0, Ordering::Relaxed);
        setup.shaky.halved.store(0, Ordering::Relaxed);
        setup.lease = Duration::ZERO;
        let other = tempfile::tempdir().unwrap();
        let toy = setup.open(other.path());
        assert_eq!(numbers(&toy), (0..kept).collect::<Vec<_>>(), "seed {seed}");
        let doubled: BTreeMap<u64, usize> = numbers(&toy).into_iter().fold(BTreeMap::new(), |mut all, n| {
            *all.entry(n).or_default() += 1;
            all
        });
        assert!(doubled.values().all(|n| *n == 1));
    }
}

/// Lines of a tenant that have a text in them.
fn lines(store: &Store, tenant: &Tenant, needle: &str) -> usize {
    let scan = Scan {
        tenant: tenant.clone(),
        table: Table::Logs,
        range: TimeRange::ALL,
        predicate: Predicate::Contains { column: Column::Field(Field::Body), needle: needle.into() },
        projection: vec![Column::Field(Field::Body)],
        order: Order::Any,
        limit: None,
    };
    store.snapshot().scan(&scan).unwrap().map(|batch| batch.unwrap().rows()).sum()
}

#[test]
fn a_deletion_reaches_the_object_store_and_whoever_opens_it_next() {
    let setup = Setup::new();
    let dir = tempfile::tempdir().unwrap();
    let clock = ManualClock::new(START);
    let open = |name: &str| {
        let store = Store::open(setup.options(&dir.path().join(name), &clock), SeriesOptions::default()).unwrap();
        while store.snapshot().partial().is_some() {
            std::thread::sleep(Duration::from_millis(1));
        }
        store
    };
    let tenants = [Tenant::default(), Tenant::new("other").unwrap()];
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let store = open("a");
    for tenant in &tenants {
        for n in 0..20 {
            let word = if n % 2 == 0 { "secret" } else { "public" };
            let body = format!(r#"{{"streams":[{{"stream":{{"app":"shop"}},"values":[["{}","a {word} {n}"]]}}]}}"#, START + n);
            let request = Request { tenant: tenant.clone(), encoding: Encoding::LokiPushJson, payload: body.into() };
            runtime.block_on(store.append(request)).unwrap();
        }
    }
    store.settle().unwrap();
    assert_eq!(store.stats().segments, [0, 1, 0], "two small tenants share a segment");
    // Ordered while the object store is away: it is in force here at once, and there as soon as that can be.
    setup.shaky.away.store(1, Ordering::Relaxed);
    let needle = Predicate::Contains { column: Column::Field(Field::Body), needle: "secret".into() };
    let doomed = Doomed::Lines(needle);
    let words = "the secrets".to_owned();
    store.delete(Deletion { tenant: tenants[0].clone(), range: TimeRange::ALL, doomed, words, delay: Duration::ZERO }).unwrap();
    let seen = |store: &Store| tenants.each_ref().map(|t| (lines(store, t, "secret"), lines(store, t, "public")));
    assert_eq!(seen(&store), [(0, 10), (10, 10)]);
    setup.shaky.away.store(0, Ordering::Relaxed);
    let bucket = setup.bucket();
    let known_there = || {
        let all = bucket.list("manifest", objects::Patience::UPKEEP).unwrap();
        all.iter().any(|o| {
            let bytes = bucket.get(&o.path, 1 << 20, objects::Patience::UPKEEP).unwrap_or_default();
            bytes.windows(11).any(|w| w == b"the secrets")
        })
    };
    eventually("the deletion in the object store", known_there);
    store.close();
    drop(store);
    // The machine is lost before a byte was removed.
    let store = open("b");
    assert_eq!(seen(&store), [(0, 10), (10, 10)]);
    assert_eq!(store.stats().deletions_pending, 1);
    store.clean().unwrap();
    assert_eq!((store.stats().deletions_pending, store.stats().rewritten), (0, 1));
    assert_eq!(seen(&store), [(0, 10), (10, 10)]);
    store.close();
    drop(store);
    let store = open("c");
    assert_eq!(seen(&store), [(0, 10), (10, 10)]);
    let listed = store.snapshot().tombstones(&tenants[0]);
    assert!(listed.len() == 1 && listed[0].cleaned > 0, "{listed:?}");
}
