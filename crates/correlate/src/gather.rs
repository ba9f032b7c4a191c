//! The spans of a request that the table has walked, and lines. They are gathered by trace first: a request has several of each, and
//! looking a trace up among all that are known is most of what a span or a line costs.

use std::hash::BuildHasher;

use foldhash::fast::RandomState;
use hashbrown::HashTable;
use model::TraceId;
use wire::KeptSpans;

use crate::keys::{Found, FoundIn};
use crate::lines::Line;
use crate::loom::Loom;
use crate::names::Name;
use crate::sink::Origin;
use crate::trace::is_near;
use crate::window::LogId;

/// What the spans or lines of a request say of one trace, and the window does not know yet.
#[derive(Debug)]
struct Member {
    trace: TraceId,
    /// Its window; `None` where the request counts already.
    slot: Option<u32>,
    spans: u32,
    errors: u32,
    lines: u32,
    failed_lines: u32,
    /// The window names its lines.
    names_lines: bool,
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
    /// A request begins.
    pub(crate) fn begin(&mut self) {
        self.members.clear();
        self.found.clear();
    }

    /// The number of a trace; its window is opened where it is not.
    fn number(&mut self, loom: &mut Loom, origin: Origin, trace: TraceId, as_such: bool) -> usize {
        let Self { members, found, hasher } = self;
        let hash = |trace: &TraceId| hasher.hash_one(u128::from_le_bytes(trace.0));
        let at = hash(&trace);
        if let Some(number) = found.find(at, |number| members[*number as usize].trace == trace) {
            return *number as usize;
        }
        let slot = loom.window(origin, trace, as_such);
        let names_lines = slot.and_then(|slot| loom.opened(slot)).is_some_and(|window| window.names_lines());
        members.push(Member {
            trace,
            slot,
            spans: 0,
            errors: 0,
            lines: 0,
            failed_lines: 0,
            names_lines,
            times: NO_TIMES,
            service: Name::default(),
        });
        let number = members.len() - 1;
        found.insert_unique(at, number as u32, |number| hash(&members[*number as usize].trace));
        number
    }

    /// Takes all spans of a request.
    pub(crate) fn take(&mut self, loom: &mut Loom, origin: Origin, spans: &KeptSpans) {
        self.begin();
        let finder = loom.finder();
        let mut attributes = spans.attributes(|name| finder.knows(name));
        let mut near = usize::MAX;
        for (resource, members) in spans.groups() {
            let sender = loom.kept_sender(origin.tenant, resource);
            if sender.own {
                continue;
            }
            let service = loom.names.hold(&sender.entity.service);
            for span in members {
                let trace = spans.trace_id(span);
                if self.members.get(near).is_none_or(|member| member.trace != trace) {
                    near = self.number(loom, origin, trace, true);
                }
                let member = &mut self.members[near];
                let Some(slot) = member.slot else { continue };
                let (start, end) = spans.times(span);
                member.time(loom, origin, start);
                member.time(loom, origin, end);
                member.spans += 1;
                member.errors += u32::from(spans.status_code(span) == 2);
                if spans.is_root(span)
                    && let Some(mut window) = loom.opened(slot)
                {
                    window.root(service, spans.name(span));
                }
                member.serve(loom, service);
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
        self.end(loom, origin);
    }

    /// Takes a line that names a trace; gives back its window.
    pub(crate) fn line(
        &mut self,
        loom: &mut Loom,
        origin: Origin,
        line: &Line<'_>,
        service: Name,
        id: impl FnOnce() -> LogId,
    ) -> Option<u32> {
        let number = self.number(loom, origin, line.trace?, line.as_such);
        let member = &mut self.members[number];
        let slot = member.slot?;
        if line.as_such && !member.names_lines {
            // Earlier lines had the id in their text only.
            loom.window(origin, member.trace, true);
            member.names_lines = true;
        }
        member.time(loom, origin, line.time);
        match member.names_lines {
            true => loom.opened(slot)?.log(id, line.failed),
            false => {
                member.lines += 1;
                member.failed_lines += u32::from(line.failed);
            }
        }
        member.serve(loom, service);
        Some(slot)
    }

    /// The request ends: the windows are told what they do not know yet.
    pub(crate) fn end(&mut self, loom: &mut Loom, origin: Origin) {
        self.members.iter_mut().for_each(|member| member.tell(loom, origin));
    }
}

impl Member {
    #[inline]
    fn time(&mut self, loom: &mut Loom, origin: Origin, time: i64) {
        if is_near(time, origin.received) {
            let (first, last) = self.times;
            self.times = (first.min(time), last.max(time));
            return;
        }
        // Whether it is believed depends on all that came before.
        self.tell(loom, origin);
        if let Some(mut window) = self.slot.and_then(|slot| loom.opened(slot)) {
            window.time(time, origin.received);
        }
    }

    #[inline]
    fn serve(&mut self, loom: &mut Loom, service: Name) {
        if self.service == service {
            return;
        }
        self.service = service;
        if let Some(mut window) = self.slot.and_then(|slot| loom.opened(slot)) {
            window.service(service);
        }
    }

    /// Tells the window what it does not know yet.
    fn tell(&mut self, loom: &mut Loom, origin: Origin) {
        let Some(mut window) = self.slot.and_then(|slot| loom.opened(slot)) else { return };
        let (first, last) = std::mem::replace(&mut self.times, NO_TIMES);
        if first <= last {
            window.time(first, origin.received);
            window.time(last, origin.received);
        }
        window.spans(std::mem::take(&mut self.spans), std::mem::take(&mut self.errors));
        window.lines(std::mem::take(&mut self.lines), std::mem::take(&mut self.failed_lines));
    }
}
