//! The newest segments, opened before anybody asks.

use std::cmp::Reverse;
use std::sync::Arc;

use model::{Labels, Tenant};
use wire::Signal;

use super::SeriesView;
use crate::{SegmentMeta, StoreError};

/// A series of the newest segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Newest {
    /// Whose it is.
    pub tenant: Tenant,
    /// Its labels.
    pub labels: Arc<Labels>,
    /// Time of its last sample, milliseconds.
    pub last_ms: i64,
}

impl SeriesView {
    /// Opens the indexes of the newest segments, as many as have `most` bytes together, and reads the times that several series
    /// have, so that the first query over them does not wait for that; says which series the newest of them begins with. Segments that several tenants share are left
    /// alone: of whom to open them is not known.
    ///
    /// # Errors
    /// IO. Damage is reported, and passed by.
    pub(crate) fn open_newest(&self, most: u64) -> Result<Option<Newest>, StoreError> {
        let of_one = |s: &&SegmentMeta| s.signal == Signal::Metrics.as_str() && !s.is_shared() && !self.inner.is_broken(s);
        let mut segments: Vec<&SegmentMeta> = self.segments.iter().map(|s| &**s).filter(of_one).collect();
        segments.sort_by_key(|s| Reverse((s.last, s.id)));
        let (mut bytes, mut newest) = (0_u64, None);
        for meta in segments {
            bytes = bytes.saturating_add(meta.bytes);
            if bytes > most {
                break;
            }
            let Ok(tenant) = Tenant::new(&meta.tenant) else { continue };
            let opened = self.inner.open(meta, &tenant).and_then(|index| match index {
                Some(index) => index.read_times(index.all_runs().iter()).map(|()| Some(index)),
                None => Ok(None),
            });
            let index = match opened {
                Ok(Some(index)) => index,
                Ok(None) => continue,
                Err(StoreError::Corrupt { reason, .. }) => {
                    self.inner.damaged(meta, &reason);
                    continue;
                }
                Err(e) => return Err(e),
            };
            if newest.is_none()
                && let Some(id) = index.ids().first()
                && let Some(labels) = self.inner.catalog(&tenant).read().labels(*id).cloned()
                && let Some(last_ms) = index.runs(0).iter().map(|run| run.last).max()
            {
                newest = Some(Newest { tenant, labels, last_ms });
            }
        }
        Ok(newest)
    }
}
