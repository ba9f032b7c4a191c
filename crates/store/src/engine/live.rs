//! The segments in service at one moment.

use std::sync::Arc;

use wire::Signal;

use crate::{SegmentMeta, Tombstones};

/// Segments by signal. As long as someone holds this, their files stay.
#[derive(Debug, Clone, Default)]
pub struct Live {
    by_signal: [Arc<Vec<Arc<SegmentMeta>>>; 3],
    tombstones: Tombstones,
    waiting: Tombstones,
}

impl Live {
    /// These segments.
    #[must_use]
    pub fn new(segments: &[Arc<SegmentMeta>]) -> Self {
        Self::default().replace(&[], segments)
    }

    /// The segments of one signal, by id.
    #[must_use]
    pub fn of(&self, signal: Signal) -> &[Arc<SegmentMeta>] {
        &self.by_signal[signal as usize]
    }

    /// The same list, to keep.
    #[must_use]
    pub fn share(&self, signal: Signal) -> Arc<Vec<Arc<SegmentMeta>>> {
        Arc::clone(&self.by_signal[signal as usize])
    }

    /// The deletions that segments are read without.
    #[must_use]
    pub fn tombstones(&self) -> &Tombstones {
        &self.tombstones
    }

    /// With these deletions.
    #[must_use]
    pub fn without(&self, tombstones: Tombstones) -> Self {
        Self { tombstones, ..self.clone() }
    }

    /// The requests to delete that wait: nothing is taken out for them, but snapshots hide their rows.
    #[must_use]
    pub fn waiting(&self) -> &Tombstones {
        &self.waiting
    }

    /// With these requests.
    #[must_use]
    pub(crate) fn hiding(&self, waiting: Tombstones) -> Self {
        Self { waiting, ..self.clone() }
    }

    /// With the deletions of another moment, those that wait too.
    #[must_use]
    pub(crate) fn with_deletions_of(&self, other: &Self) -> Self {
        self.without(other.tombstones.clone()).hiding(other.waiting.clone())
    }

    /// All of them.
    pub fn all(&self) -> impl Iterator<Item = &Arc<SegmentMeta>> {
        self.by_signal.iter().flat_map(|s| s.iter())
    }

    /// Without the segments of these ids, with `added`.
    pub(crate) fn replace(&self, gone: &[u64], added: &[Arc<SegmentMeta>]) -> Self {
        let mut by_signal = self.by_signal.clone();
        for signal in Signal::ALL {
            let list = &mut by_signal[signal as usize];
            let new = || added.iter().filter(|s| s.signal == signal.as_str());
            if new().next().is_none() && !list.iter().any(|s| gone.contains(&s.id)) {
                continue;
            }
            let mut segments: Vec<_> = list.iter().filter(|s| !gone.contains(&s.id)).chain(new()).cloned().collect();
            segments.sort_by_key(|s| s.id);
            *list = Arc::new(segments);
        }
        Self { by_signal, ..self.clone() }
    }
}
