//! What a client is sent: `{"streams":[…],"dropped_entries":[…]}`.

use logql::Line;

use super::Shape;
use super::client::Dropped;
use crate::json;
use crate::loki::legacy::streams_json as legacy_streams;
use crate::loki::query::streams_json;

pub(super) fn text(lines: &[Line], dropped: &[Dropped], shape: Shape) -> String {
    let mut out = String::from("{\"streams\":");
    out.push_str(&match shape {
        Shape::Flat => streams_json(lines, false),
        Shape::Categorized => streams_json(lines, true),
        Shape::Legacy => legacy_streams(lines),
    });
    if shape == Shape::Categorized {
        out.push_str(",\"encodingFlags\":[\"categorize-labels\"]");
    }
    out.push_str(",\"dropped_entries\":[");
    json::list(&mut out, dropped, |out, (labels, time)| {
        out.push_str("{\"labels\":");
        json::pairs(out, labels.iter());
        out.push_str(&format!(",\"timestamp\":\"{time}\"}}"));
    });
    out.push_str("]}");
    out
}
