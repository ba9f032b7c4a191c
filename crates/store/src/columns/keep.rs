//! What readers of the log want of spans, copied from the columns that a request has just filled.
//!
//! The columns have found out already which spans have the same name and where each attribute stands, so that little is left to do:
//! ids and numbers are copied as they lie, a text once a request.

use model::Group;
use wire::{KeptSpans, Room, Wanted};

use super::builder::Builder;
use crate::recent::{WantsSpans, Wishes};

/// Keeps the spans of a request.
pub(crate) struct Keeping {
    wishes: Wishes<WantsSpans>,
    kept: KeptSpans,
    /// Different for each request of a head.
    request: u64,
    /// Where the spans that come next stand.
    place: Place,
}

/// Whose spans come.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Nobody's: none are to come.
    Before,
    /// Those of a group that somebody wants.
    Wanted,
    /// Those of one that nobody wants.
    Passing,
}

impl Keeping {
    /// For these wishes; the request before needed so much room.
    pub(crate) fn new(wishes: Wishes<WantsSpans>, last: Room) -> Self {
        Self { wishes, kept: KeptSpans::with_room(last), request: 0, place: Place::Before }
    }

    /// Begins request `number`.
    pub(super) fn begin(&mut self, number: u64) {
        self.request = number;
    }

    /// Whether what stands in the columns is to be copied before spans of this group follow: it is of another kind.
    pub(super) fn turns_at(&self, group: &Group<'_>) -> bool {
        self.place != Place::Before && self.place != self.place_of(group)
    }

    /// The spans that follow are of this group.
    pub(super) fn group(&mut self, group: &Group<'_>) {
        self.place = self.place_of(group);
        if self.place == Place::Wanted {
            self.kept.group(group);
        }
    }

    fn place_of(&self, group: &Group<'_>) -> Place {
        if self.wishes.group(group) { Place::Wanted } else { Place::Passing }
    }

    /// A span comes, of so many bytes on the wire.
    #[inline]
    pub(super) fn span(&mut self, size: usize) {
        match self.place {
            Place::Wanted => self.kept.size(size),
            Place::Passing => {}
            Place::Before => self.kept.give_up(),
        }
    }

    /// Copies the spans that stand in an open builder from row `from` on, all of the groups that came last.
    pub(super) fn copy(&mut self, builder: &mut Builder, from: usize) {
        if self.place == Place::Wanted && from < builder.len() {
            builder.keep(from, &self.wishes, self.request, &mut self.kept);
        }
    }

    /// What was kept; `None` where that is too much.
    pub(crate) fn finish(self) -> Option<KeptSpans> {
        self.kept.is_whole().then_some(self.kept)
    }
}
