//! Points of delta temporality on their way in; what they add up to is told in [`super::totals`].

use std::collections::HashMap;
use std::sync::Arc;

use model::{Labels, Tenant};
use wire::Signal;

use super::head::When;
use super::registry::SeriesId;
use super::totals::{Amount, SILENCE_MS, Total};
use super::{Inner, Intake, SeriesView};
use crate::contract::MatchOp;
use crate::{LabelMatcher, StoreError};

/// A delta of a series whose sum is not in memory.
#[derive(Debug)]
pub(super) struct Waiting {
    slot: u32,
    id: SeriesId,
    labels: Arc<Labels>,
    time: i64,
    start: i64,
    amount: Amount,
}

/// The sums of the series of these deltas, as far as something of them is stored.
///
/// # Errors
/// IO.
pub(super) fn stored(inner: &Arc<Inner>, tenant: &Tenant, waiting: &[Waiting]) -> Result<HashMap<SeriesId, Total>, StoreError> {
    // The heads first: what becomes a segment meanwhile is in both then, not in neither.
    let heads = Arc::clone(&inner.heads.read());
    let live = inner.segments.in_service();
    let view = SeriesView::new(Arc::clone(inner), heads, live.share(Signal::Metrics)).without(live.tombstones().clone());
    let mut totals = HashMap::new();
    let mut asked = std::collections::HashSet::new();
    for delta in waiting.iter().filter(|w| asked.insert(w.id)) {
        let matcher = |(name, value)| LabelMatcher::new(name, MatchOp::Eq, value);
        let Ok(matchers) = delta.labels.iter().map(matcher).collect::<Result<Vec<_>, _>>() else { continue };
        for series in view.samples(tenant, &matchers, delta.time.saturating_sub(SILENCE_MS), i64::MAX)? {
            let series = series?;
            if series.labels == delta.labels {
                totals.extend(Total::of_last(&series).map(|total| (delta.id, total)));
            }
        }
    }
    Ok(totals)
}

impl Intake<'_, '_, '_> {
    /// Takes a delta of the current series.
    #[cold]
    pub(super) fn add(&mut self, slot: u32, time: i64, amount: Amount) {
        let series = &self.slots.slots()[slot as usize];
        let (id, labels) = (series.id, Arc::clone(&series.labels));
        let delta = Waiting { slot, id, labels, time, start: self.start, amount };
        // What a request has of a series stays in order: once one waits, all later ones do.
        if self.registry.total(id).is_some() { self.accumulate(&delta) } else { self.waiting.push(delta) }
    }

    /// Takes the deltas that waited, now that it is known what they are added to.
    pub(super) fn resume(&mut self, waiting: &[Waiting], totals: &HashMap<SeriesId, Total>) {
        for delta in waiting {
            if self.registry.total(delta.id).is_none()
                && let Some(total) = totals.get(&delta.id)
            {
                self.registry.set_total(delta.id, total.clone());
            }
            self.accumulate(delta);
        }
    }

    fn accumulate(&mut self, delta: &Waiting) {
        let total = match self.registry.total(delta.id) {
            Some(total) if delta.time <= total.time => {
                self.refused.unordered += 1;
                self.refused.histograms += u64::from(matches!(delta.amount, Amount::Histogram(_)));
                return;
            }
            Some(total) => {
                total.add(delta.time, delta.start, delta.amount.clone());
                total.clone()
            }
            None => {
                let total = Total { time: delta.time, start: delta.start, amount: delta.amount.clone() };
                self.registry.set_total(delta.id, total.clone());
                total
            }
        };
        let when = When { time: total.time, start: total.start, window: self.window };
        match total.amount {
            Amount::Float(value) => {
                let taken = self.slots.append(delta.slot, when, value);
                self.note(taken, false);
            }
            Amount::Histogram(histogram) => {
                let taken = self.slots.append_histogram(delta.slot, when, &histogram);
                self.note(taken, true);
            }
        }
    }
}
