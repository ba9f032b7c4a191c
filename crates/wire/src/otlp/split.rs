//! Cuts a request into smaller ones. The three signals have the same frame (see [`super::group`]), so this knows no signal.

use crate::WireError;
use crate::protobuf::{Reader, Wire, write};

/// Tags and lengths around a part, at most.
const FRAME: usize = 32;

/// Cuts an OTLP request (protobuf, any signal) into requests of at most `max` bytes, each record with its resource and scope. A record
/// (span, log record, metric) that is larger alone stays whole. Records keep their bytes and their order.
///
/// # Errors
/// [`WireError`] when `request` is none.
pub fn split(request: &[u8], max: usize) -> Result<Vec<Vec<u8>>, WireError> {
    let mut cut = Cut { max, ..Cut::default() };
    let mut r = Reader::new(request);
    while let Some(f) = r.field("a request")? {
        if f.number != 1 {
            continue;
        }
        let whole = f.message()?;
        cut.resource_head = head(whole)?;
        cut.begin_resource();
        let mut r = whole;
        while let Some(f) = r.field("a resource's records")? {
            if f.number != 2 {
                continue;
            }
            let whole = f.message()?;
            cut.scope_head = head(whole)?;
            cut.begin_scope();
            let mut r = whole;
            while let Some(f) = r.field("a scope's records")? {
                if f.number == 2 {
                    cut.record(f.message()?.rest());
                }
            }
            cut.end_scope();
        }
        cut.end_resource();
    }
    cut.end_request();
    Ok(cut.done)
}

/// How many data points an `ExportMetricsServiceRequest` has.
///
/// # Errors
/// [`WireError`] when `request` is none.
pub fn data_points(request: &[u8]) -> Result<u64, WireError> {
    fn each<'a>(
        mut r: Reader<'a>,
        number: u32,
        mut then: impl FnMut(Reader<'a>) -> Result<(), WireError>,
    ) -> Result<(), WireError> {
        while let Some(f) = r.field("a request of metrics")? {
            if f.number == number {
                then(f.message()?)?;
            }
        }
        Ok(())
    }
    let mut points = 0;
    each(Reader::new(request), 1, |resource| {
        each(resource, 2, |scope| {
            each(scope, 2, |mut metric| {
                // Of several the last counts, as everywhere in protobuf.
                let mut data = None;
                while let Some(f) = metric.field("Metric")? {
                    if matches!(f.number, 5 | 7 | 9 | 10 | 11) {
                        data = Some(f);
                    }
                }
                let Some(data) = data else { return Ok(()) };
                each(data.message()?, 1, |_| {
                    points += 1;
                    Ok(())
                })
            })
        })
    })?;
    Ok(points)
}

/// The fields of a frame beside its list.
fn head(mut r: Reader<'_>) -> Result<Vec<u8>, WireError> {
    let mut out = Vec::new();
    while let Some(f) = r.field("a frame")? {
        match f.wire {
            Wire::Bytes(message) if f.number != 2 => write::set_bytes(&mut out, f.number, message.rest()),
            _ => {}
        }
    }
    Ok(out)
}

#[derive(Default)]
struct Cut {
    max: usize,
    done: Vec<Vec<u8>>,
    request: Vec<u8>,
    resource_head: Vec<u8>,
    resource: Vec<u8>,
    scope_head: Vec<u8>,
    scope: Vec<u8>,
    /// Whether the open scope, resource and request have records.
    recorded: [bool; 3],
}

impl Cut {
    fn begin_resource(&mut self) {
        self.resource.clone_from(&self.resource_head);
        self.recorded[1] = false;
    }

    fn begin_scope(&mut self) {
        self.scope.clone_from(&self.scope_head);
        self.recorded[0] = false;
    }

    fn record(&mut self, record: &[u8]) {
        let size = self.request.len() + self.resource.len() + self.scope.len() + record.len() + FRAME;
        if size > self.max && self.recorded.contains(&true) {
            self.end_scope();
            self.end_resource();
            self.end_request();
            self.begin_resource();
            self.begin_scope();
        }
        write::set_bytes(&mut self.scope, 2, record);
        self.recorded[0] = true;
    }

    fn end_scope(&mut self) {
        if std::mem::take(&mut self.recorded[0]) {
            write::set_bytes(&mut self.resource, 2, &self.scope);
            self.recorded[1] = true;
        }
    }

    fn end_resource(&mut self) {
        if std::mem::take(&mut self.recorded[1]) {
            write::set_bytes(&mut self.request, 1, &self.resource);
            self.recorded[2] = true;
        }
    }

    fn end_request(&mut self) {
        if std::mem::take(&mut self.recorded[2]) {
            self.done.push(std::mem::take(&mut self.request));
        }
    }
}
