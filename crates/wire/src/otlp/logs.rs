//! `ExportLogsServiceRequest` (`opentelemetry/proto/logs/v1/logs.proto`) to log records.

use std::borrow::Cow;

use model::{Log, SpanId, Timestamp, TraceId, Value};

use super::group::{Resource, Scope};
use super::labels::stream_labels;
use super::{Attributes, any_value};
use crate::protobuf::Reader;
use crate::{Limits, LogSink, Summary, WireError};

const BAD_TIME: &str = "log records with a time after the year 2262";

/// Calls `sink` for each log record of the request in `bytes`. A record without any time gets `received`.
///
/// A record whose time does not fit is refused. A trace or span id of a wrong length is left out and the record kept;
/// an attribute without a key is left out and counted in the record's `dropped_attributes_count`.
pub(crate) fn walk<S: LogSink + ?Sized>(
    bytes: &[u8],
    limits: &Limits,
    received: Timestamp,
    sink: &mut S,
) -> Result<Summary, WireError> {
    let mut walker = Walker { limits, received, summary: Summary::default(), attributes: Attributes::default() };
    let mut resource = Resource::default();
    let mut scope = Scope::default();
    let mut r = Reader::new(bytes);
    while let Some(f) = r.field("ExportLogsServiceRequest")? {
        if f.number != 1 {
            continue;
        }
        let resource_logs = f.message()?;
        resource.read(resource_logs, limits)?;
        let labels = stream_labels(&resource.attributes.list);
        let labels: Vec<(&str, &str)> = labels.iter().map(|(name, value)| (*name, &**value)).collect();
        let mut r = resource_logs;
        while let Some(f) = r.field("ResourceLogs")? {
            if f.number != 2 {
                continue;
            }
            let scope_logs = f.message()?;
            if scope.read(scope_logs, limits)? {
                let mut group = resource.group(&scope);
                group.labels = &labels;
                sink.group(&group);
                let mut r = scope_logs;
                while let Some(f) = r.field("ScopeLogs")? {
                    if f.number == 2 {
                        walker.record(f.message()?, sink)?;
                    }
                }
            }
        }
    }
    Ok(walker.summary)
}

struct Walker<'l, 'a> {
    limits: &'l Limits,
    received: Timestamp,
    summary: Summary,
    attributes: Attributes<'a>,
}

impl<'a> Walker<'_, 'a> {
    fn record<S: LogSink + ?Sized>(&mut self, mut r: Reader<'a>, sink: &mut S) -> Result<(), WireError> {
        self.attributes.clear();
        let (mut time, mut observed, mut dropped) = (0u64, 0u64, 0u32);
        let mut log = Log {
            time: 0,
            observed: 0,
            severity_number: 0,
            severity_text: "",
            body: Value::Nested(Cow::Borrowed("{}")),
            event_name: "",
            trace_id: TraceId::NONE,
            span_id: SpanId::NONE,
            flags: 0,
            attributes: &[],
            dropped_attributes: 0,
        };
        while let Some(f) = r.field("LogRecord")? {
            match f.number {
                1 => time = f.fixed64()?,
                2 => log.severity_number = f.u32()? as i32,
                3 => log.severity_text = f.string("LogRecord.severity_text")?,
                5 => log.body = any_value(f.message()?, self.limits)?,
                6 => self.attributes.push_wanted(f.message()?, self.limits, |key| sink.wants(key))?,
                7 => dropped = f.u32()?,
                8 => log.flags = f.fixed32()?,
                9 => log.trace_id = TraceId::from_slice(f.bytes()?).unwrap_or_default(),
                10 => log.span_id = SpanId::from_slice(f.bytes()?).unwrap_or_default(),
                11 => observed = f.fixed64()?,
                12 => log.event_name = f.string("LogRecord.event_name")?,
                _ => {}
            }
        }
        let first_set = if time != 0 { time } else { observed };
        let (Ok(time), Ok(observed)) = (Timestamp::try_from(first_set), Timestamp::try_from(observed)) else {
            self.summary.refused.add(BAD_TIME);
            return Ok(());
        };
        log.time = if time != 0 { time } else { self.received };
        log.observed = observed;
        log.attributes = &self.attributes.list;
        log.dropped_attributes = dropped.saturating_add(self.attributes.dropped);
        self.summary.accepted += 1;
        sink.log(&log);
        Ok(())
    }
}
