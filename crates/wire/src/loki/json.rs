//! Loki's JSON push body:
//! `{"streams":[{"stream":{"app":"a"},"values":[["<nanoseconds>","line",{"trace_id":"x"}]]}]}`, and that of its first API:
//! `{"streams":[{"labels":"{app=\"a\"}","entries":[{"ts":"2018-12-18T08:28:06.801064-04:00","line":"line"}]}]}`.

use std::borrow::Cow;
use std::ops::RangeInclusive;

use model::{Attr, Group, Timestamp, Value};

use super::push::{line_of, push_metadata};
use super::{BAD_LABELS, BAD_TIME, StreamLabels, TOO_NEW, TOO_OLD};
use crate::json::{Parser, Token};
use crate::syslog::rfc3339;
use crate::{Limits, LogSink, Summary, WireError};

/// Calls `sink` for each line of the request in `bytes`, which came at `received` (0 for not known). Unknown fields are passed over.
pub(crate) fn walk<S: LogSink + ?Sized>(
    bytes: &[u8],
    limits: &Limits,
    received: Timestamp,
    sink: &mut S,
) -> Result<Summary, WireError> {
    let times = limits.line_times(received);
    let mut summary = Summary::default();
    let mut parser = Parser::new(bytes)?;
    parser.object(|parser, key| match &*key {
        "streams" => parser.array(|parser, _| stream(parser, limits, &times, &mut summary, sink)),
        _ => parser.skip(),
    })?;
    parser.end()?;
    Ok(summary)
}

fn stream<'a, S: LogSink + ?Sized>(
    parser: &mut Parser<'a>,
    limits: &Limits,
    times: &RangeInclusive<Timestamp>,
    summary: &mut Summary,
    sink: &mut S,
) -> Result<(), WireError> {
    let mut text: Option<Cow<'a, str>> = None;
    let mut pairs: Vec<(Cow<'a, str>, Cow<'a, str>)> = Vec::new();
    // The labels may come after the lines: where these start is kept until the labels are known.
    let mut values: Option<Parser<'a>> = None;
    parser.object(|parser, key| match &*key {
        "stream" if parser.peek()? == Token::Object => parser.object(|parser, name| {
            pairs.push((name, parser.string()?));
            if pairs.len() > limits.max_labels { Err(StreamLabels::too_many(limits)) } else { Ok(()) }
        }),
        "labels" if parser.peek()? == Token::String => {
            text = Some(parser.string()?);
            Ok(())
        }
        "values" | "entries" => {
            values = Some(parser.clone());
            parser.skip()
        }
        _ => parser.skip(),
    })?;
    let mut labels = StreamLabels::default();
    let broken = match &text {
        Some(text) if pairs.is_empty() => labels.parse(text, limits)?.err(),
        _ => {
            for (name, value) in pairs {
                labels.push(name, value, limits)?;
            }
            labels.bad_name()
        }
    };
    let refused = if broken.is_some() { Some(BAD_LABELS) } else { labels.finish(limits).err() };
    let pairs: Vec<(&str, &str)> = labels.pairs.iter().map(|(n, v)| (&**n, &**v)).collect();
    if refused.is_none() {
        sink.group(&Group { labels: &pairs, ..Group::default() });
    }
    let Some(mut values) = values else { return Ok(()) };
    if values.null()? {
        return Ok(());
    }
    let (mut metadata, mut told) = (Vec::new(), false);
    values.array(|parser, _| {
        metadata.clear();
        let (time, line) = if parser.peek()? == Token::Object { first_entry(parser)? } else { entry(parser, &mut metadata)? };
        match refused.map_or_else(|| time.ok_or(BAD_TIME), Err) {
            Ok(time) if time < *times.start() => {
                summary.refused.add(TOO_OLD);
                summary.told.too_old(&labels, time, *times.start());
            }
            Ok(time) if time > *times.end() => {
                summary.refused.add(TOO_NEW);
                summary.told.too_new(&labels, time);
            }
            Ok(time) => {
                let mut attributes: Vec<Attr<'_>> = Vec::with_capacity(metadata.len());
                for (name, value) in &metadata {
                    push_metadata(&mut attributes, name, value, limits)?;
                }
                summary.accepted += 1;
                sink.log(&line_of(time, Value::Str(&line), &attributes));
            }
            Err(reason) => {
                summary.refused.add(reason);
                // A stream that is refused is told of once.
                if refused.is_none() || !std::mem::replace(&mut told, true) {
                    match &broken {
                        Some(why) => summary.told.bad_labels(text.as_deref().unwrap_or(&labels.to_string()), why),
                        None => summary.told.refused(&labels, reason),
                    }
                }
            }
        }
        Ok(())
    })
}

/// A time, `None` when it does not fit, and a line.
type Entry<'a> = (Option<Timestamp>, Cow<'a, str>);

/// `["<nanoseconds>", "line", {"name": "value"}]`.
fn entry<'a>(parser: &mut Parser<'a>, metadata: &mut Vec<(Cow<'a, str>, Cow<'a, str>)>) -> Result<Entry<'a>, WireError> {
    let (mut time, mut line) = (None, None);
    parser.array(|parser, index| {
        match index {
            0 => time = Some(parser.number_or_string()?),
            1 => line = Some(parser.string()?),
            2 if parser.peek()? == Token::Object => parser.object(|parser, name| {
                let value = parser.string()?;
                metadata.push((name, value));
                Ok(())
            })?,
            _ => parser.skip()?,
        }
        Ok(())
    })?;
    let (Some(time), Some(line)) = (time, line) else {
        return Err(parser.error("expected a time stamp and a line"));
    };
    let is_number = |t: &str| t.trim_start_matches('-').bytes().all(|b| b.is_ascii_digit()) && t != "-" && !t.is_empty();
    if !is_number(&time) {
        return Err(parser.error(format_args!("the time stamp {time:?} is no number of nanoseconds")));
    }
    Ok((time.parse().ok(), line))
}

/// `{"ts": "<RFC 3339>", "line": "line"}`.
fn first_entry<'a>(parser: &mut Parser<'a>) -> Result<Entry<'a>, WireError> {
    let (mut time, mut line) = (None, Cow::Borrowed(""));
    parser.object(|parser, key| {
        match &*key {
            "ts" | "timestamp" => time = Some(parser.string()?),
            "line" => line = parser.string()?,
            _ => parser.skip()?,
        }
        Ok(())
    })?;
    let Some(time) = time else { return Err(parser.error("expected a time stamp and a line")) };
    match rfc3339(&time) {
        Some(time) => Ok((Some(time), line)),
        None => Err(parser.error(format_args!("the time stamp {time:?} is no time in RFC 3339"))),
    }
}
