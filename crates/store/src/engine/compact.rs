//! What happens to segments after they were written: small ones are merged, old ones deleted.
//!
//! Segments are grouped by tenant, signal and hour (metrics: six hours, for long chunks), and by whether their rows are kept apart. In a group, as many segments of
//! one level as [`super::Options::merge_at`] become one of the next level; and when its hour is over for good, all become one.
//! Spans and lines are written uncompressed by a flush and compressed by a merge, so even a segment that stays alone is
//! "merged" then.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use model::{HOUR_NS, hour_of};
use wire::Signal;

use super::stats::count;
use super::{Core, Segment};
use crate::{Segments, StoreError};

const TICK: Duration = Duration::from_secs(1);
/// How long the compactor waits after an error.
const AFTER_ERROR: Duration = Duration::from_secs(30);
/// How long merges are put off while memory is short.
const PUT_OFF: Duration = Duration::from_secs(10);
/// How often retention is applied.
const EXPIRE_EVERY: Duration = Duration::from_secs(60);
/// Rows may come this long after their hour before it counts as over.
const LATE: i64 = HOUR_NS;
/// Hours that a metrics segment may span.
const METRIC_HOURS: i64 = 6;

/// What is merged only with its like.
type Group<'a> = (&'a str, &'a str, i64, bool);

fn group_of(segment: &Segment) -> Group<'_> {
    let metrics = segment.signal == Signal::Metrics.as_str();
    let hour = if metrics { segment.hour.div_euclid(METRIC_HOURS) * METRIC_HOURS } else { segment.hour };
    (&segment.tenant, &segment.signal, hour, segment.apart)
}

/// Whether a segment is as a flush wrote it, of a kind that only a merge compresses.
fn is_raw(segment: &Segment) -> bool {
    segment.level == 0 && segment.signal != Signal::Metrics.as_str()
}

/// When the last row of a group can be.
fn end_of(group: &Group<'_>) -> i64 {
    let hours = if group.1 == Signal::Metrics.as_str() { METRIC_HOURS } else { 1 };
    group.2.saturating_add(hours).saturating_mul(HOUR_NS)
}

/// Merges that are not tried again in this process: they failed, or gave as many segments as went in.
#[derive(Debug, Default)]
pub(crate) struct Exhausted(HashSet<Vec<u64>>);

fn ids(segments: &[Segment]) -> Vec<u64> {
    segments.iter().map(|s| s.id).collect()
}

impl Core {
    /// The next segments to merge.
    fn choose(&self, all_hours: bool, exhausted: &Exhausted) -> Option<Vec<Segment>> {
        let live = self.live();
        let mut groups: BTreeMap<Group<'_>, Vec<&Segment>> = BTreeMap::new();
        for segment in live.all().filter(|s| s.bytes < self.options.merge_up_to) {
            groups.entry(group_of(segment)).or_default().push(segment);
        }
        let now = self.options.clock.now();
        let grace = i64::try_from(self.options.grace.as_nanos()).unwrap_or(i64::MAX);
        for (group, mut segments) in groups {
            segments.sort_by_key(|s| (s.level, s.id));
            let over = all_hours || end_of(&group).saturating_add(LATE).saturating_add(grace) < now;
            if over && (segments.len() > 1 || is_raw(segments[0])) {
                let chosen = self.within_size(segments.iter().copied());
                let worth = chosen.len() > 1 || chosen.iter().any(is_raw);
                if worth && !exhausted.0.contains(&ids(&chosen)) {
                    return Some(chosen);
                }
            }
            for same_level in segments.chunk_by(|a, b| a.level == b.level) {
                if same_level.len() >= self.options.merge_at.max(2) {
                    let chosen = self.within_size(same_level.iter().copied());
                    if chosen.len() > 1 && !exhausted.0.contains(&ids(&chosen)) {
                        return Some(chosen);
                    }
                }
            }
        }
        None
    }

    /// As many of them as make a segment that is not too large.
    fn within_size<'a>(&self, segments: impl Iterator<Item = &'a Segment>) -> Vec<Segment> {
        let mut bytes = 0;
        let fits = |s: &&Segment| {
            bytes += s.bytes;
            bytes <= self.options.merge_up_to
        };
        segments.take_while(fits).cloned().collect()
    }

    /// Merges one group, if there is one to merge: says whether something was done.
    pub(super) fn merge_once(&self, all_hours: bool) -> Result<bool, StoreError> {
        let mut exhausted = self.exhausted.lock();
        let Some(inputs) = self.choose(all_hours, &exhausted) else { return Ok(false) };
        let free = self.options.disk.free_space().unwrap_or(u64::MAX);
        let needed: u64 = inputs.iter().map(|s| s.bytes).sum();
        if free < needed.saturating_add(self.options.min_free / 2) {
            return Ok(false);
        }
        let Some(signal) = Signal::ALL.into_iter().find(|s| s.as_str() == inputs[0].signal) else {
            exhausted.0.insert(ids(&inputs));
            return Ok(true);
        };
        let metas: Vec<_> = inputs.iter().map(|s| (**s).clone()).collect();
        // Taken before the merge looks: of what comes later it may have left out more.
        let latest = self.live().tombstones().latest();
        let deleted_to = inputs.iter().map(|s| s.deleted_to).max().unwrap_or(0).max(latest);
        let mut merged = match self.table(signal).compact(&metas) {
            Ok(merged) => merged,
            Err(e) => {
                count(&self.counters.compaction_errors);
                // The disk may be better later; what is wrong with the segments stays wrong.
                if !matches!(e, StoreError::Io { .. } | StoreError::Full(_) | StoreError::Closed) {
                    exhausted.0.insert(ids(&inputs));
                }
                if let StoreError::Corrupt { file, reason } = &e {
                    // The reason names the file itself or a sidecar of it.
                    let stem = |path: &str| path.rsplit_once('.').map_or(path.to_owned(), |(s, _)| s.to_owned());
                    if let Some(damaged) = metas.iter().find(|m| m.file == *file || file.starts_with(&stem(&m.file))) {
                        self.segments.quarantine(damaged, reason);
                        return Ok(true);
                    }
                }
                return Err(e);
            }
        };
        let level = inputs.iter().map(|s| s.level).max().unwrap_or(0).saturating_add(1);
        let first = inputs.iter().map(|s| s.first_sequence).min().unwrap_or(0);
        let last = inputs.iter().map(|s| s.last_sequence).max().unwrap_or(0);
        for meta in &mut merged {
            (meta.level, meta.first_sequence, meta.last_sequence) = (level, first, last);
            meta.deleted_to = deleted_to;
        }
        let merged: Vec<Segment> = merged.into_iter().map(Arc::new).collect();
        if merged.len() >= inputs.len() {
            exhausted.0.insert(ids(&merged));
        }
        if self.swap(&inputs, &merged)? {
            count(&self.counters.compactions);
        }
        Ok(true)
    }

    /// Drops segments whose last row is older than the retention of their signal, then the oldest hours above the total size.
    pub(super) fn expire(&self) {
        let now = self.kept.lock().time.now(&*self.options.clock);
        let live = self.live();
        let mut gone: Vec<Segment> = Vec::new();
        let mut rest: Vec<&Segment> = Vec::new();
        for signal in Signal::ALL {
            let age = i64::try_from(self.options.retention[signal as usize].as_nanos()).unwrap_or(i64::MAX);
            let oldest = now.saturating_sub(age);
            for segment in live.of(signal) {
                if segment.last < oldest { gone.push(Arc::clone(segment)) } else { rest.push(segment) }
            }
        }
        if let Some(most) = self.options.max_bytes {
            let mut bytes: u64 = rest.iter().map(|s| s.bytes).sum();
            rest.sort_by_key(|s| (hour_of(s.last), s.id));
            for segment in rest {
                if bytes <= most {
                    break;
                }
                bytes -= segment.bytes;
                gone.push(Arc::clone(segment));
            }
        }
        drop(live);
        if gone.is_empty() {
            return;
        }
        let segments = gone.len();
        match self.swap(&gone, &[]) {
            Ok(true) => {
                self.counters.expired.fetch_add(segments as u64, std::sync::atomic::Ordering::Relaxed);
                tracing::info!(segments, "retention has dropped segments");
            }
            Ok(false) => {}
            Err(e) => tracing::warn!(error = %e, "retention could not drop segments; trying again"),
        }
    }
}

/// The compactor's thread.
pub(crate) fn run(core: &Arc<Core>) {
    let (mut expired, mut put_off) = (None, None);
    while !core.is_stopping() {
        let now = core.options.clock.monotonic();
        if expired.is_none_or(|at| now.saturating_sub(at) >= EXPIRE_EVERY) {
            expired = Some(now);
            core.expire();
        }
        if let Err(e) = core.carry_out(core.options.clock.now())
            && !matches!(e, StoreError::Closed)
        {
            tracing::error!(error = %e, "a request to delete could not be carried out; trying again");
        }
        // Merging takes memory; but it is put off only for so long, or segments would pile up.
        let now = core.options.clock.monotonic();
        if core.is_short_of_memory() && now.saturating_sub(*put_off.get_or_insert(now)) < PUT_OFF {
            core.rest(TICK / 10);
            continue;
        }
        put_off = None;
        match core.merge_once(false).and_then(|merged| Ok(merged || core.rewrite_once(false)?)) {
            Ok(true) => {}
            Ok(false) => core.rest(TICK),
            Err(e) => {
                if !matches!(e, StoreError::Closed) {
                    tracing::error!(error = %e, "segments could not be merged");
                }
                core.rest(AFTER_ERROR);
            }
        }
    }
}
