//! What readers of the log want of spans, copied from the columns that a request has just filled.
//!
//! The columns have found out already which spans have the same name and where each attribute stands, so that little is left to do:
//! ids and numbers are copied as they lie, a text once a request, a resource once for all requests.

use std::sync::Arc;

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use model::Group;
use wire::{KeptResource, KeptSpans, Wanted};

use super::builder::Builder;
use crate::recent::{WantsSpans, Wishes};

/// Bytes of resources that are remembered; past that all are forgotten.
const REMEMBERED: usize = 2 << 20;

/// The resources of earlier requests, as their readers know them.
#[derive(Debug, Default)]
pub(crate) struct KnownResources {
    /// By a hash of their groups.
    known: HashMap<u64, Known, FixedState>,
    bytes: usize,
    /// The number given out last.
    last: u64,
    /// Of the wishes that say who wants what.
    version: u64,
}

#[derive(Debug)]
struct Known {
    /// The group, so that no other passes for it.
    group: Box<[u8]>,
    /// Nothing where nobody wants its spans.
    resource: Option<Arc<KeptResource>>,
}

impl KnownResources {
    /// The resource of a group that is written as `bytes`, whose hash is `hash`; nothing where nobody wants its spans.
    fn of(&mut self, group: &Group<'_>, (hash, bytes): (u64, &[u8]), wishes: &Wishes<WantsSpans>) -> Option<Arc<KeptResource>> {
        if self.version != wishes.version() || self.bytes > REMEMBERED {
            self.known.clear();
            (self.bytes, self.version) = (0, wishes.version());
        }
        if let Some(known) = self.known.get(&hash).filter(|known| *known.group == *bytes) {
            return known.resource.clone();
        }
        self.last += 1;
        let resource = wishes.group(group).then(|| Arc::new(KeptResource::new(self.last, group.resource)));
        self.bytes += bytes.len() + resource.as_ref().map_or(0, |resource| resource.memory());
        self.known.insert(hash, Known { group: bytes.into(), resource: resource.clone() });
        resource
    }
}

/// Keeps the spans of a request.
pub(crate) struct Keeping<'k> {
    wishes: &'k Wishes<WantsSpans>,
    resources: &'k mut KnownResources,
    kept: &'k mut KeptSpans,
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

/// A group that is about to come.
pub(super) struct Coming(Option<Arc<KeptResource>>);

impl Coming {
    fn place(&self) -> Place {
        if self.0.is_some() { Place::Wanted } else { Place::Passing }
    }
}

impl<'k> Keeping<'k> {
    /// For these wishes, into `kept`, which is empty.
    pub(crate) fn new(wishes: &'k Wishes<WantsSpans>, resources: &'k mut KnownResources, kept: &'k mut KeptSpans) -> Self {
        Self { wishes, resources, kept, request: 0, place: Place::Before }
    }

    /// Begins request `number`.
    pub(super) fn begin(&mut self, number: u64) {
        self.request = number;
    }

    /// A group comes that is written as `bytes`, and their hash; and whether what stands in the columns is to be copied before its
    /// spans follow: it is of another kind.
    pub(super) fn coming(&mut self, group: &Group<'_>, bytes: (u64, &[u8])) -> (Coming, bool) {
        let coming = Coming(self.resources.of(group, bytes, self.wishes));
        let turns = self.place != Place::Before && self.place != coming.place();
        (coming, turns)
    }

    /// The spans that follow are of this group.
    pub(super) fn group(&mut self, group: Coming) {
        self.place = group.place();
        if let Some(resource) = group.0 {
            self.kept.group(resource);
        }
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
            builder.keep(from, self.wishes, self.request, self.kept);
        }
    }
}
