//! Loki's JSON push body:
//! `{"streams":[{"stream":{"app":"a"},"values":[["<nanoseconds>","line",{"trace_id":"x"}]]}]}`.

use model::{Attr, Group, Timestamp, Value};

use super::push::{line_of, push_metadata};
use super::{BAD_TIME, StreamLabels, TOO_OLD};
use crate::json::{Parser, Token};
use crate::{Limits, LogSink, Summary, WireError};

/// Calls `sink` for each line of the request in `bytes`, which came at `received` (0 for not known). Unknown fields are passed over.
pub(crate) fn walk<S: LogSink + ?Sized>(
    bytes: &[u8],
    limits: &Limits,
    received: Timestamp,
    sink: &mut S,
) -> Result<Summary, WireError> {
    let oldest = limits.oldest_line(received);
    let mut summary = Summary::default();
    let mut parser = Parser::new(bytes)?;
    parser.object(|parser, key| match &*key {
        "streams" => parser.array(|parser, _| stream(parser, limits, oldest, &mut summary, sink)),
        _ => parser.skip(),
    })?;
    parser.end()?;
    Ok(summary)
}

fn stream<'a, S: LogSink + ?Sized>(
    parser: &mut Parser<'a>,
    limits: &Limits,
    oldest: Timestamp,
    summary: &mut Summary,
    sink: &mut S,
) -> Result<(), WireError> {
    let mut labels = StreamLabels::default();
    // The labels may come after the lines: where these start is kept until the labels are known.
    let mut values: Option<Parser<'a>> = None;
    parser.object(|parser, key| match &*key {
        "stream" if parser.peek()? == Token::Object => parser.object(|parser, name| {
            let value = parser.string()?;
            labels.push(name, value, limits)
        }),
        "values" => {
            values = Some(parser.clone());
            parser.skip()
        }
        _ => parser.skip(),
    })?;
    let refused = labels.finish(limits).err();
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
        let (mut time, mut line) = (None, None);
        metadata.clear();
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
        match refused.map_or_else(|| time.parse().map_err(|_| BAD_TIME), Err) {
            Ok(time) if time < oldest => {
                summary.refused.add(TOO_OLD);
                summary.told.too_old(&labels, time, oldest);
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
                    summary.told.refused(&labels, reason);
                }
            }
        }
        Ok(())
    })
}
