//! Correlation's own rows as others get them: a row leaves the ids of its related spans to be asked of the trace, which others
//! cannot do, and says where it stands in the log of this Braid, which tells others nothing.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use model::{Attr, Group, Link, Span, SpanId, TimeRange, Timestamp, TraceId, Value};
use store::{Field, IdSet, Predicate, Reader, Record};
use wire::otlp::TraceEncoder;
use wire::{Encoding, Limits, SpanSink, WireError};

use crate::{SERVICE, find, row};

/// Version of the scope of rows that have gone out. A Braid that receives one shows the span, and takes it for no event of its own:
/// its places in the log are those of another log.
const EXPORTED: &str = "exported";

/// Whether a group of spans is of this Braid's own events, which leave out what their trace says.
#[must_use]
pub fn is_own(scope_name: &str, scope_version: &str) -> bool {
    scope_name == SERVICE && scope_version != EXPORTED
}

/// The record as it is sent to others: rows that are spans of their trace get their links and the number of spans, the others
/// (events that join nothing) are left out. A record that is none of correlation's comes back as it is; `None` where nothing is left.
///
/// # Errors
/// A payload that is none.
pub fn outward(reader: &dyn Reader, record: Record, limits: &Limits) -> Result<Option<Record>, WireError> {
    if record.encoding != Encoding::OtlpTraces || !row::is_own(&record.payload) {
        return Ok(Some(record));
    }
    let mut about = About::default();
    wire::walk_spans(record.encoding, &record.payload, limits, &mut about)?;
    let related = related(reader, &record, &about).unwrap_or_else(|e| {
        tracing::debug!(sequence = record.sequence, "events go out without links: {e}");
        HashMap::new()
    });
    let mut spelled = Spelled { related, ..Spelled::default() };
    wire::walk_spans(record.encoding, &record.payload, limits, &mut spelled)?;
    match spelled.any {
        true => Ok(Some(Record { payload: spelled.encoder.finish()?.into(), ..record })),
        false => Ok(None),
    }
}

fn related(reader: &dyn Reader, record: &Record, about: &About) -> Result<HashMap<TraceId, Vec<SpanId>>, store::StoreError> {
    if about.traces.is_empty() {
        return Ok(HashMap::new());
    }
    let ids = Arc::new(IdSet::new(about.traces.iter().map(|t| t.0.to_vec()).collect()));
    let range = TimeRange::new(about.first, about.last.saturating_add(1));
    find::spans_of(reader, &record.tenant, range, Predicate::OneOf { field: Field::TraceId, ids })
}

/// Whether an event joins two signals or two services, and so is a span of its trace.
fn joins(span: &Span<'_>) -> bool {
    !span.attributes.iter().any(|a| a.key == row::JOINS && a.value == Value::Bool(false))
}

/// Another id for a row that goes out, the same whenever it does: the own one says where in the log the event stands, and the event
/// that the receiver makes of the same trace may stand at the same place in its log. The arrival tells them apart.
fn outward_id(span: &Span<'_>) -> SpanId {
    let window = span.attributes.iter().find(|a| a.key == row::WINDOW);
    let text = window.map_or("", |a| if let Value::Str(text) = a.value { text } else { "" });
    SpanId(xxhash_rust::xxh3::xxh3_64_with_seed(text.as_bytes(), u64::from_be_bytes(span.span_id.0)).to_be_bytes())
}

/// The traces that events are about, and from when to when these were.
#[derive(Debug)]
struct About {
    own: bool,
    traces: BTreeSet<TraceId>,
    first: Timestamp,
    last: Timestamp,
}

impl Default for About {
    fn default() -> Self {
        Self { own: false, traces: BTreeSet::new(), first: Timestamp::MAX, last: Timestamp::MIN }
    }
}

impl SpanSink for About {
    fn group(&mut self, group: &Group<'_>) {
        self.own = is_own(group.scope_name, group.scope_version);
    }

    fn wants_nested(&self) -> bool {
        false
    }

    fn wants(&self, key: &[u8]) -> bool {
        key == row::JOINS.as_bytes()
    }

    fn span(&mut self, span: &Span<'_>) {
        if self.own && joins(span) {
            self.traces.insert(span.trace_id);
            self.first = self.first.min(span.start);
            self.last = self.last.max(span.end);
        }
    }
}

/// Writes the rows anew.
#[derive(Debug, Default)]
struct Spelled {
    own: bool,
    any: bool,
    related: HashMap<TraceId, Vec<SpanId>>,
    encoder: TraceEncoder,
}

impl SpanSink for Spelled {
    fn group(&mut self, group: &Group<'_>) {
        self.own = is_own(group.scope_name, group.scope_version);
        let scope_version = if self.own { EXPORTED } else { group.scope_version };
        self.encoder.group(&Group { scope_version, ..group.clone() });
    }

    fn span(&mut self, span: &Span<'_>) {
        if !self.own {
            self.any = true;
            return self.encoder.span(span);
        }
        if !joins(span) {
            return;
        }
        self.any = true;
        let mut attributes: Vec<Attr<'_>> = span.attributes.iter().filter(|a| a.key != row::LAST).cloned().collect();
        attributes.push(Attr { key: "correlation.span_count", value: Value::Int(span.dropped_links.into()) });
        let related = self.related.get(&span.trace_id).map_or(&[][..], Vec::as_slice);
        let links: Vec<Link<'_>> =
            related.iter().map(|id| Link { trace_id: span.trace_id, span_id: *id, ..Link::default() }).collect();
        let span_id = outward_id(span);
        let dropped_links = span.dropped_links.saturating_sub(u32::try_from(links.len()).unwrap_or(u32::MAX));
        self.encoder.span(&Span { span_id, attributes: &attributes, links: &links, dropped_links, ..span.clone() });
    }
}

#[cfg(test)]
mod tests {
    use model::Tenant;
    use store::Source;
    use store::memory::Memory;

    use super::*;
    use crate::Part;

    const TRACE: TraceId = TraceId([1; 16]);

    fn part(services: &[&str], spans: u64) -> Part {
        let services = services.iter().map(|s| (*s).into()).collect();
        Part { services, spans, times: (100, 200), arrived: (100, 200), sequences: (5, 7), ..Part::new(TRACE) }
    }

    fn record(parts: &[Part]) -> Record {
        let payload = row::encode(parts).expect("sound").into();
        Record { sequence: 9, received: 300, tenant: Tenant::default(), encoding: Encoding::OtlpTraces, payload }
    }

    fn spans(ids: &[u8]) -> Vec<u8> {
        let mut encoder = TraceEncoder::default();
        encoder.group(&Group { resource: &[Attr { key: "service.name", value: Value::Str("shop") }], ..Group::default() });
        for id in ids {
            encoder.span(&Span { trace_id: TRACE, span_id: SpanId([*id; 8]), start: 150, end: 160, ..Span::default() });
        }
        encoder.finish().expect("sound")
    }

    #[derive(Default)]
    struct Seen(Vec<(String, String, Vec<SpanId>, u32, Vec<String>)>, String, String);

    impl SpanSink for Seen {
        fn group(&mut self, group: &Group<'_>) {
            (self.1, self.2) = (group.scope_name.to_owned(), group.scope_version.to_owned());
        }

        fn span(&mut self, span: &Span<'_>) {
            let links = span.links.iter().map(|l| l.span_id).collect();
            let keys = span.attributes.iter().map(|a| format!("{}={:?}", a.key, a.value)).collect();
            self.0.push((self.1.clone(), self.2.clone(), links, span.dropped_links, keys));
        }
    }

    #[test]
    fn what_goes_out_has_its_links_and_is_nobodys_event() {
        let (memory, limits) = (Memory::new(), Limits::default());
        let ingest = |payload: &[u8]| {
            wire::walk_spans(Encoding::OtlpTraces, payload, &limits, &mut memory.ingest(&Tenant::default())).expect("OTLP");
        };
        ingest(&spans(&[1, 2]));
        let parts = [part(&["shop", "cart"], 3), part(&["shop"], 1)];
        let record = record(&parts);
        ingest(&record.payload);
        let reader = memory.snapshot();
        let out = outward(&*reader, record, &limits).expect("OTLP").expect("something");
        let mut seen = Seen::default();
        wire::walk_spans(out.encoding, &out.payload, &limits, &mut seen).expect("OTLP");
        let [(name, version, links, dropped, keys)] = &seen.0[..] else { panic!("one joins, one does not: {:?}", seen.0) };
        assert_eq!((name.as_str(), version.as_str(), *dropped), (SERVICE, EXPORTED, 1));
        assert_eq!(*links, [SpanId([1; 8]), SpanId([2; 8])]);
        assert!(keys.contains(&"correlation.span_count=Int(3)".to_owned()), "{keys:?}");
        assert!(!keys.iter().any(|k| k.starts_with(row::LAST)), "{keys:?}");

        // In another Braid it is a span, and no event.
        let other = Memory::new();
        wire::walk_spans(out.encoding, &out.payload, &limits, &mut other.ingest(&Tenant::default())).expect("OTLP");
        let found = find::of_traces(&*other.snapshot(), &Tenant::default(), &[TRACE], &false.into()).expect("memory");
        assert!(found.is_empty(), "{found:?}");
    }

    #[test]
    fn what_joins_nothing_stays_and_what_others_sent_passes() {
        let (memory, limits) = (Memory::new(), Limits::default());
        let reader = memory.snapshot();
        assert!(outward(&*reader, record(&[part(&["shop"], 1)]), &limits).expect("OTLP").is_none());
        let other = Record { payload: spans(&[1]).into(), ..record(&[]) };
        let payload = other.payload.clone();
        assert_eq!(outward(&*reader, other, &limits).expect("OTLP").expect("as it is").payload, payload);
    }
}
