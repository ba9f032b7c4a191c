//! `ExportTraceServiceRequest` (`opentelemetry/proto/trace/v1/trace.proto`) to spans.

use model::{Event, Link, Span, SpanId, Timestamp, TraceId};

use super::Attributes;
use super::group::{Resource, Scope};
use crate::protobuf::{Field, Reader};
use crate::{Limits, SpanSink, Summary, WireError};

const BAD_TRACE_ID: &str = "spans with an invalid trace id (16 bytes, not all zero)";
const BAD_SPAN_ID: &str = "spans with an invalid span id (8 bytes, not all zero)";
const BAD_PARENT_ID: &str = "spans with an invalid parent span id (8 bytes or none)";
const BAD_TIME: &str = "spans with a time after the year 2262";

const CUT_ATTRIBUTES: &str = "attributes past the limit of a span";
const CUT_NESTED: &str = "events and links past the limit of a span";

/// Calls `sink` for each span of the request in `bytes`.
///
/// What a span has too much of (attributes, events, links) is left out, counted as dropped in the span, and named among what
/// was skipped; a sink without use for events and links hears nothing of theirs. A span is refused for an invalid id of its own and for a time that does not fit; a link with an invalid id, and an
/// attribute without a key, are left out and counted in the span's own counts of dropped things.
pub(crate) fn walk<S: SpanSink + ?Sized>(bytes: &[u8], limits: &Limits, sink: &mut S) -> Result<Summary, WireError> {
    let mut walker = Walker { limits, summary: Summary::default(), buffers: Buffers::default() };
    let mut resource = Resource::default();
    let mut scope = Scope::default();
    let mut r = Reader::new(bytes);
    while let Some(f) = r.field("ExportTraceServiceRequest")? {
        if f.number != 1 {
            continue;
        }
        let resource_spans = f.message()?;
        resource.read(resource_spans, limits)?;
        let mut r = resource_spans;
        while let Some(f) = r.field("ResourceSpans")? {
            if f.number != 2 {
                continue;
            }
            let scope_spans = f.message()?;
            if scope.read(scope_spans, limits)? {
                sink.group(&resource.group(&scope));
                let mut r = scope_spans;
                while let Some(f) = r.field("ScopeSpans")? {
                    if f.number == 2 {
                        walker.span(f.message()?, sink)?;
                    }
                }
            }
        }
    }
    Ok(walker.summary)
}

struct Walker<'l, 'a> {
    limits: &'l Limits,
    summary: Summary,
    buffers: Buffers<'a>,
}

/// Filled anew for each span.
#[derive(Default)]
struct Buffers<'a> {
    attributes: Attributes<'a>,
    nested: Attributes<'a>,
    events: Vec<Event<'a>>,
    links: Vec<Link<'a>>,
}

impl<'a> Walker<'_, 'a> {
    fn span<S: SpanSink + ?Sized>(&mut self, mut r: Reader<'a>, sink: &mut S) -> Result<(), WireError> {
        let Buffers { attributes, nested, events, links } = &mut self.buffers;
        attributes.clear();
        nested.clear();
        events.clear();
        links.clear();
        let mut span = Span::default();
        let (size, with_nested) = (r.rest().len(), sink.wants_nested());
        let mut cut = 0;
        let mut refused = None;
        let mut status = None;
        while let Some(f) = r.field("Span")? {
            match f.number {
                1 => span.trace_id = TraceId::from_slice(f.bytes()?).unwrap_or_default(),
                2 => span.span_id = SpanId::from_slice(f.bytes()?).unwrap_or_default(),
                3 => span.trace_state = f.string("Span.trace_state")?,
                4 => match SpanId::from_slice(f.bytes()?) {
                    Ok(id) => span.parent_span_id = id,
                    Err(_) => refused = Some(BAD_PARENT_ID),
                },
                5 => span.name = f.string("Span.name")?,
                6 => span.kind = f.u32()? as i32,
                7 => span.start = time(&f, &mut refused)?,
                8 => span.end = time(&f, &mut refused)?,
                9 => attributes.push_wanted(f.message()?, self.limits, |key| sink.wants(key))?,
                10 => span.dropped_attributes = f.u32()?,
                11 if events.len() >= self.limits.max_events_per_span => {
                    span.dropped_events = span.dropped_events.saturating_add(1);
                    cut += 1;
                }
                11 if with_nested => {
                    events.push(event(f.message()?, nested, &mut refused, self.limits)?);
                }
                // The sender's count comes on top of what was left out here, in whichever order they come.
                12 => span.dropped_events = span.dropped_events.saturating_add(f.u32()?),
                13 if links.len() >= self.limits.max_events_per_span => {
                    span.dropped_links = span.dropped_links.saturating_add(1);
                    cut += 1;
                }
                13 if with_nested => match link(f.message()?, nested, self.limits)? {
                    Some(link) => links.push(link),
                    None => span.dropped_links = span.dropped_links.saturating_add(1),
                },
                14 => span.dropped_links = span.dropped_links.saturating_add(f.u32()?),
                15 => status = Some(f.message()?),
                16 => span.flags = f.fixed32()?,
                _ => {}
            }
        }
        if let Some(mut r) = status {
            while let Some(f) = r.field("Status")? {
                match f.number {
                    2 => span.status_message = f.string("Status.message")?,
                    3 => span.status_code = f.u32()? as i32,
                    _ => {}
                }
            }
        }
        if span.trace_id.is_none() {
            refused = Some(BAD_TRACE_ID);
        } else if span.span_id.is_none() {
            refused = Some(BAD_SPAN_ID);
        }
        if let Some(reason) = refused {
            self.summary.refused.add(reason);
            return Ok(());
        }
        span.dropped_attributes = span.dropped_attributes.saturating_add(attributes.dropped);
        span.attributes = &attributes.list;
        span.events = events;
        span.links = links;
        span.nested = &nested.list;
        self.summary.accepted += 1;
        self.summary.skipped.add_many(CUT_ATTRIBUTES, attributes.cut + nested.cut);
        self.summary.skipped.add_many(CUT_NESTED, cut);
        sink.size(size);
        sink.span(&span);
        Ok(())
    }
}

#[inline]
fn time(f: &Field<'_>, refused: &mut Option<&'static str>) -> Result<Timestamp, WireError> {
    let unsigned = f.fixed64()?;
    Ok(Timestamp::try_from(unsigned).unwrap_or_else(|_| {
        *refused = Some(BAD_TIME);
        0
    }))
}

fn event<'a>(
    mut r: Reader<'a>,
    nested: &mut Attributes<'a>,
    refused: &mut Option<&'static str>,
    limits: &Limits,
) -> Result<Event<'a>, WireError> {
    let mut event = Event::default();
    let first = nested.list.len();
    nested.dropped = 0;
    while let Some(f) = r.field("Span.Event")? {
        match f.number {
            1 => event.time = time(&f, refused)?,
            2 => event.name = f.string("Span.Event.name")?,
            3 => nested.push(f.message()?, limits)?,
            4 => event.dropped_attributes = f.u32()?,
            _ => {}
        }
    }
    event.attributes = first..nested.list.len();
    event.dropped_attributes = event.dropped_attributes.saturating_add(nested.dropped);
    Ok(event)
}

/// `None` for a link with an id of the wrong length.
fn link<'a>(mut r: Reader<'a>, nested: &mut Attributes<'a>, limits: &Limits) -> Result<Option<Link<'a>>, WireError> {
    let mut link = Link::default();
    let mut valid = true;
    let first = nested.list.len();
    nested.dropped = 0;
    while let Some(f) = r.field("Span.Link")? {
        match f.number {
            1 => match TraceId::from_slice(f.bytes()?) {
                Ok(id) => link.trace_id = id,
                Err(_) => valid = false,
            },
            2 => match SpanId::from_slice(f.bytes()?) {
                Ok(id) => link.span_id = id,
                Err(_) => valid = false,
            },
            3 => link.trace_state = f.string("Span.Link.trace_state")?,
            4 => nested.push(f.message()?, limits)?,
            5 => link.dropped_attributes = f.u32()?,
            6 => link.flags = f.fixed32()?,
            _ => {}
        }
    }
    if !valid {
        nested.list.truncate(first);
        return Ok(None);
    }
    link.attributes = first..nested.list.len();
    link.dropped_attributes = link.dropped_attributes.saturating_add(nested.dropped);
    Ok(Some(link))
}
