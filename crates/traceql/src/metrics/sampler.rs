//! Which spans, or traces, of many a sampled query looks at.

use crate::value::Static;

/// Takes one in so many.
#[derive(Debug)]
pub(super) struct Sampler {
    /// Adapts to the share of what matches.
    adaptive: bool,
    one_in: u64,
    offered: u64,
    taken: u64,
    measured: u64,
    /// Matches that came up after the last decision: they count from the next but one on.
    pending: u64,
}

impl Sampler {
    /// What a hint asks for; `None` for everything.
    pub(super) fn of(hint: Option<&Static<'_>>) -> Option<Self> {
        let (adaptive, one_in) = match hint? {
            Static::Bool(true) => (true, 1),
            Static::Float(share) if *share > 0.0 && *share < 1.0 => (false, (1.0 / share) as u64),
            _ => return None,
        };
        Some(Self { adaptive, one_in, offered: 0, taken: 0, measured: 0, pending: 0 })
    }

    /// Whether to look at the next one.
    pub(super) fn take(&mut self) -> bool {
        let take = if self.adaptive {
            self.offered += 1;
            self.measured == 0 || self.offered.is_multiple_of(self.one_in)
        } else {
            self.offered += 1;
            (self.offered - 1).is_multiple_of(self.one_in)
        };
        self.taken += u64::from(take);
        if self.pending > 0 {
            self.measured += std::mem::take(&mut self.pending);
            self.one_in = one_in(self.measured as f64 / self.taken as f64);
        }
        take
    }

    /// What was taken matched.
    pub(super) fn matched(&mut self) {
        self.pending += u64::from(self.adaptive);
    }

    /// By how much sums are too small.
    pub(super) fn factor(&self) -> f64 {
        if self.taken == 0 { 1.0 } else { self.offered as f64 / self.taken as f64 }
    }
}

/// About a tenth of the data is to match and to be looked at; half of that where everything matches.
fn one_in(share: f64) -> u64 {
    if share >= 1.0 { 20 } else { ((share * 10.0).ceil() as u64).clamp(1, 10) }
}
