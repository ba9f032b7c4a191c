//! One round of copying: segments, then the manifest that names them, then what may go.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use objects::{ObjectsError, Patience};
use parking_lot::Mutex;

use super::record::{self, FileSum, Mirrored, number_of, path_of};
use super::{Own, Remote, failed};
use crate::StoreError;
use crate::engine::{Live, files_of};
use crate::manifest::{Manifest, encode};

/// Segments that are copied at the same time.
const AT_ONCE: usize = 4;
/// Remote manifests that stay.
const KEPT: u64 = 4;

impl Remote {
    /// Copies what the manifest in force names and the object store lacks; `Live` keeps the files. Says whether there was anything to do.
    /// Also while nothing is in a segment yet the claim is held, so that an object store that was away is found to be back.
    ///
    /// # Errors
    /// IO; it is to be called again after a while. [`StoreError::Closed`] once this process is fenced.
    pub(crate) fn step(&self, in_force: Option<(&Manifest, &Live)>, min_free: u64) -> Result<bool, StoreError> {
        if self.fenced().is_some() {
            return Err(StoreError::Closed);
        }
        let outcome = match in_force {
            Some((manifest, live)) => self.try_step(manifest, live, min_free),
            None => self.hold(&mut self.own.lock(), 0).map(|()| false),
        };
        if outcome.is_err() {
            self.failures.fetch_add(1, Ordering::Relaxed);
        }
        outcome
    }

    fn try_step(&self, manifest: &Manifest, live: &Live, min_free: u64) -> Result<bool, StoreError> {
        let own = &mut *self.own.lock();
        let waiting: Vec<_> = live.all().filter(|s| !self.files.read().contains_key(&s.file)).collect();
        self.pending[0].store(waiting.len() as u64, Ordering::Relaxed);
        self.pending[1].store(waiting.iter().map(|s| s.bytes).sum(), Ordering::Relaxed);
        self.hold(own, manifest.number)?;
        let files: Vec<&str> = waiting.iter().map(|s| s.file.as_str()).collect();
        self.upload_all(own, &files)?;
        let done = self.newest.read().as_ref().is_some_and(|m| {
            m.epoch == own.epoch.unwrap_or(0)
                && m.state.covered == manifest.covered
                && m.state.segments == manifest.segments
                && m.state.tombstones == manifest.tombstones
                && m.state.waiting == manifest.waiting
        });
        if !done {
            let mut named = BTreeMap::new();
            let known = self.files.read();
            let stems: HashSet<&str> = manifest.segments.iter().map(|s| stem(&s.file)).collect();
            named.extend(known.iter().filter(|(path, _)| stems.contains(stem(path))).map(|(path, sum)| (path.clone(), *sum)));
            drop(known);
            self.write(own, manifest.clone(), named.clone(), Patience::UPKEEP)?;
            for (file, sum) in &named {
                self.cache.keep_whole(file, sum.bytes);
            }
        }
        let swept = self.sweep(own, manifest)?;
        let deleted = self.delete_dropped(manifest)?;
        let free = self.disk.free_space().unwrap_or(u64::MAX);
        self.cache.shrink((min_free.saturating_mul(2)).saturating_sub(free));
        Ok(!done || swept || deleted || !waiting.is_empty())
    }

    /// Claims the object store, or renews the claim when it is time to.
    fn hold(&self, own: &mut Own, local_number: u64) -> Result<(), StoreError> {
        if own.epoch.is_none() {
            self.claim(own, local_number, false, Patience::UPKEEP).inspect_err(|e| {
                if let StoreError::Held { .. } = e {
                    tracing::error!("{e}");
                    *self.fence.write() = Some(e.to_string());
                    self.is_fenced.store(true, Ordering::Release);
                }
            })?;
        }
        self.beat(own)
    }

    fn upload_all(&self, own: &mut Own, files: &[&str]) -> Result<(), StoreError> {
        if files.is_empty() {
            return Ok(());
        }
        let next = AtomicUsize::new(0);
        let failure = Mutex::new(None);
        let own = Mutex::new(own);
        std::thread::scope(|scope| {
            for _ in 0..AT_ONCE.min(files.len()) {
                scope.spawn(|| {
                    while failure.lock().is_none()
                        && let Some(file) = files.get(next.fetch_add(1, Ordering::Relaxed))
                    {
                        let beat = || {
                            if let Some(mut own) = own.try_lock() {
                                // A claim that cannot be renewed shows at the next manifest.
                                let _ = self.beat(&mut own);
                            }
                        };
                        match self.upload_segment(file, &beat) {
                            Ok(bytes) => {
                                self.uploaded.fetch_add(1, Ordering::Relaxed);
                                self.pending[0].fetch_sub(1, Ordering::Relaxed);
                                let take = |n: u64| Some(n.saturating_sub(bytes));
                                let _ = self.pending[1].fetch_update(Ordering::Relaxed, Ordering::Relaxed, take);
                            }
                            Err(e) => *failure.lock() = Some(e),
                        }
                    }
                });
            }
        });
        failure.into_inner().map_or(Ok(()), Err)
    }

    /// Copies a segment: its sidecars first, so that whoever sees it sees them.
    fn upload_segment(&self, segment: &str, beat: &dyn Fn()) -> Result<u64, StoreError> {
        let mut files = files_of(&*self.disk, segment).map_err(StoreError::io(format!("listing {segment}")))?;
        files.retain(|f| !f.ends_with(".tmp"));
        files.sort_by_key(|f| f == segment);
        if files.last().is_none_or(|f| f != segment) {
            return Err(StoreError::Io { what: format!("copying {segment}"), source: std::io::ErrorKind::NotFound.into() });
        }
        let mut total = 0;
        for path in files {
            let file = self.disk.open(&path).map_err(StoreError::io(format!("opening {path}")))?;
            let bytes = file.size().map_err(StoreError::io(format!("size of {path}")))?;
            let mut read = |offset: u64, len: usize| {
                let mut piece = vec![0; len];
                file.read_at(offset, &mut piece)?;
                Ok(Bytes::from(piece))
            };
            let crc32c = self
                .bucket
                .upload(&path, bytes, Patience::UPKEEP, &mut read, &|_| beat())
                .map_err(failed("copying a segment"))?;
            self.files.write().insert(path, FileSum { bytes, crc32c });
            total += bytes;
        }
        Ok(total)
    }

    /// Writes the next remote manifest, and makes it the one that counts.
    pub(super) fn write(
        &self,
        own: &mut Own,
        state: Manifest,
        files: BTreeMap<String, FileSum>,
        patience: Patience,
    ) -> Result<(), StoreError> {
        let Some(epoch) = own.epoch else { return Err(StoreError::Closed) };
        let manifest = Mirrored { number: own.next, epoch, writer: self.me.clone(), state, files };
        let bytes = encode(&manifest, manifest.state.format())?;
        match self.bucket.create(&path_of(own.next), bytes.into(), patience) {
            Ok(()) => {}
            Err(ObjectsError::Exists(_)) => {
                let there = self.read_manifest(own.next, patience)?;
                if there.writer != self.me {
                    self.fence(&there.writer, there.epoch);
                    return Err(StoreError::Closed);
                }
                if there != manifest {
                    // An earlier attempt, of which no answer came: it stands, and this one takes the next number.
                    own.next += 1;
                    let source = std::io::ErrorKind::TimedOut.into();
                    return Err(StoreError::Io { what: "an earlier manifest has arrived; writing the next".into(), source });
                }
            }
            Err(e) => return Err(failed("writing a manifest")(e)),
        }
        self.alone(epoch, patience)?;
        own.next += 1;
        record::save(&*self.disk, &manifest)?;
        let old = manifest.number.saturating_sub(KEPT);
        *self.newest.write() = Some(Arc::new(manifest));
        if old > 0 {
            // One that stays is in nobody's way; the sweep at the next start finds it.
            let _ = self.bucket.delete(&path_of(old), patience);
        }
        Ok(())
    }

    /// Once after a start: removes what neither the remote manifest nor the local one names: what a crash left behind.
    fn sweep(&self, own: &mut Own, local: &Manifest) -> Result<bool, StoreError> {
        if own.swept {
            return Ok(false);
        }
        let Some(newest) = self.newest.read().clone() else { return Ok(false) };
        let stems: HashSet<&str> = local.segments.iter().map(|s| stem(&s.file)).collect();
        let dropped: HashSet<String> = self.dropped.lock().iter().map(|d| stem(&d.file).to_owned()).collect();
        for object in self.bucket.list("segments", Patience::UPKEEP).map_err(failed("looking for what a crash left"))? {
            let named = newest.files.contains_key(&object.path) || stems.contains(stem(&object.path));
            if !named && !dropped.contains(stem(&object.path)) {
                tracing::info!(path = object.path, "removing an object that no manifest names");
                self.remove(&object.path)?;
            }
        }
        for object in self.bucket.list("manifest", Patience::UPKEEP).map_err(failed("looking for old manifests"))? {
            if number_of(&object.path).is_some_and(|n| n + KEPT <= newest.number) {
                self.remove(&object.path)?;
            }
        }
        own.swept = true;
        Ok(true)
    }

    fn remove(&self, path: &str) -> Result<(), StoreError> {
        self.bucket.delete(path, Patience::UPKEEP).map_err(failed("deleting an object"))?;
        self.deleted.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// Deletes the objects of dropped segments that the newest remote manifest lacks.
    fn delete_dropped(&self, local: &Manifest) -> Result<bool, StoreError> {
        let Some(newest) = self.newest.read().clone() else { return Ok(false) };
        let mut deleted = false;
        loop {
            let next = {
                let mut dropped = self.dropped.lock();
                let named = |id: u64| newest.state.segments.iter().chain(&local.segments).any(|s| s.id == id);
                let Some(at) = dropped.iter().position(|d| !named(d.id)) else { return Ok(deleted) };
                dropped.swap_remove(at)
            };
            let files: Vec<String> = self.files.read().keys().filter(|path| stem(path) == stem(&next.file)).cloned().collect();
            let outcome = files.iter().try_for_each(|file| {
                if next.damaged {
                    let aside = format!("quarantine/{}", file.replace('/', "_"));
                    match self.bucket.copy(file, &aside, Patience::UPKEEP) {
                        Ok(()) | Err(ObjectsError::NotFound(_)) => {}
                        Err(e) => return Err(failed("putting a damaged object aside")(e)),
                    }
                }
                self.remove(file)?;
                self.files.write().remove(file);
                self.cache.forget(file);
                Ok(())
            });
            if let Err(e) = outcome {
                self.dropped.lock().push(next);
                return Err(e);
            }
            deleted |= !files.is_empty();
        }
    }
}

/// What a segment's file and its sidecars have in common.
pub(crate) fn stem(path: &str) -> &str {
    let name = path.rfind('/').map_or(0, |at| at + 1);
    path[name..].find('.').map_or(path, |dot| &path[..name + dot])
}
