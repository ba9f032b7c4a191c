//! The segments in service at one moment.

use std::sync::Arc;

use wire::Signal;

use crate::SegmentMeta;

/// Segments by signal. As long as someone holds this, their files stay.
#[derive(Debug, Clone)]
pub struct Live {
    by_signal: [Arc<Vec<Arc<SegmentMeta>>>; 3],
    plain: [Arc<[SegmentMeta]>; 3],
}

impl Default for Live {
    fn default() -> Self {
        Self { by_signal: Default::default(), plain: std::array::from_fn(|_| Arc::from([])) }
    }
}

impl Live {
    /// The segments of one signal, by id.
    #[must_use]
    pub fn of(&self, signal: Signal) -> &[Arc<SegmentMeta>] {
        &self.by_signal[signal as usize]
    }

    /// The same list without what keeps the files: hold this [`Live`] beside it.
    #[must_use]
    pub fn metas(&self, signal: Signal) -> &Arc<[SegmentMeta]> {
        &self.plain[signal as usize]
    }

    /// All of them.
    pub fn all(&self) -> impl Iterator<Item = &Arc<SegmentMeta>> {
        self.by_signal.iter().flat_map(|s| s.iter())
    }

    /// Without the segments of these ids, with `added`.
    pub(crate) fn replace(&self, gone: &[u64], added: &[Arc<SegmentMeta>]) -> Self {
        let (mut by_signal, mut plain) = (self.by_signal.clone(), self.plain.clone());
        for signal in Signal::ALL {
            let list = &mut by_signal[signal as usize];
            let new = || added.iter().filter(|s| s.signal == signal.as_str());
            if new().next().is_none() && !list.iter().any(|s| gone.contains(&s.id)) {
                continue;
            }
            let mut segments: Vec<_> = list.iter().filter(|s| !gone.contains(&s.id)).chain(new()).cloned().collect();
            segments.sort_by_key(|s| s.id);
            plain[signal as usize] = segments.iter().map(|s| (**s).clone()).collect();
            *list = Arc::new(segments);
        }
        Self { by_signal, plain }
    }
}
