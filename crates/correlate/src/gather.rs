//! The spans of a request that the table has walked. They are gathered by trace first: a request has several of each, and looking a
//! trace up among all that are known is most of what a span costs.

use std::hash::BuildHasher;

use foldhash::fast::RandomState;
use hashbrown::HashTable;
use model::{Group, TraceId};
use wire::KeptSpans;

use crate::keys::{Found, FoundIn};
use crate::loom::Loom;
use crate::names::Name;
use crate::sink::Origin;
use crate::trace::is_near;

/// What the spans of a request say of one trace, and the window does not know yet.
#[derive(Debug)]
struct Member {
    trace: TraceId,
    /// Its window; `None` where the request counts already.
    slot: Option<u32>,
    spans: u32,
    errors: u32,
    /// First and last time; the first is larger where there is none.
    times: (i64, i64),
    /// The service that the window was told last.
    service: Name,
}

const NO_TIMES: (i64, i64) = (i64::MAX, i64::MIN);

/// The traces of a request; kept for its memory.
#[derive(Debug, Default)]
pub(crate) struct Gathering {
    members: Vec<Member>,
    found: HashTable<u32>,
    hasher: RandomState,
}

impl Gathering {
    /// The number of a trace; its window is opened where it is not.
    fn number(&mut self, loom: &mut Loom, origin: Origin, trace: TraceId) -> usize {
        let Self { members, found, hasher } = self;
        let hash = |trace: &TraceId| hasher.hash_one(u128::from_le_bytes(trace.0));
        let at = hash(&trace);
        if let Some(number) = found.find(at, |number| members[*number as usize].trace == trace) {
            return *number as usize;
        }
        let slot = loom.window(origin, trace, true);
        members.push(Member { trace, slot, spans: 0, errors: 0, times: NO_TIMES, service: Name::default() });
        let number = members.len() - 1;
        found.insert_unique(at, number as u32, |number| hash(&members[*number as usize].trace));
        number
    }

    /// Takes all spans of a request.
    pub(crate) fn take(&mut self, loom: &mut Loom, origin: Origin, spans: &KeptSpans) {
        self.members.clear();
        self.found.clear();
        let finder = loom.finder();
        let mut attributes = spans.attributes(|name| finder.knows(name));
        let mut near = usize::MAX;
        for (resource, members) in spans.groups() {
            let sender = loom.sender(origin.tenant, &Group { resource: &resource, ..Group::default() });
            if sender.own {
                continue;
            }
            let service = loom.names.hold(&sender.entity.service);
            for span in members {
                let trace = spans.trace_id(span);
                if self.members.get(near).is_none_or(|member| member.trace != trace) {
                    near = self.number(loom, origin, trace);
                }
                let member = &mut self.members[near];
                let Some(slot) = member.slot else { continue };
                let (start, end) = spans.times(span);
                if is_near(start, origin.received) && is_near(end, origin.received) {
                    let (first, last) = member.times;
                    member.times = (first.min(start.min(end)), last.max(start.max(end)));
                } else {
                    // Whether it is believed depends on all that came before.
                    member.tell(loom, origin);
                    if let Some(mut window) = loom.opened(slot) {
                        window.time(start, origin.received);
                        window.time(end, origin.received);
                    }
                }
                member.spans += 1;
                member.errors += u32::from(spans.status_code(span) == 2);
                if spans.is_root(span)
                    && let Some(mut window) = loom.opened(slot)
                {
                    window.root(service, spans.name(span));
                }
                if member.service != service {
                    member.service = service;
                    if let Some(mut window) = loom.opened(slot) {
                        window.service(service);
                    }
                }
                let own = if attributes.is_empty() { &[] } else { attributes.of(span) };
                if !(own.is_empty() && sender.keys.is_empty()) {
                    let mut found = Found::beginning_with(&sender.keys);
                    finder.attributes(own, FoundIn::Attribute, &mut found);
                    loom.keys(slot, &found);
                    loom.oversized(found.oversized);
                }
            }
            loom.names.release(service);
        }
        self.members.iter_mut().for_each(|member| member.tell(loom, origin));
    }
}

impl Member {
    /// Tells the window what it does not know yet.
    fn tell(&mut self, loom: &mut Loom, origin: Origin) {
        let Some(mut window) = self.slot.and_then(|slot| loom.opened(slot)) else { return };
        let (first, last) = std::mem::replace(&mut self.times, NO_TIMES);
        if first <= last {
            window.time(first, origin.received);
            window.time(last, origin.received);
        }
        window.spans(std::mem::take(&mut self.spans), std::mem::take(&mut self.errors));
    }
}
