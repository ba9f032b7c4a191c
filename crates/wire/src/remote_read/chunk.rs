//! A series' samples as chunks of the kinds that Prometheus has.

use model::Histogram;

use super::{histogram, xor};

/// A chunk, as `prometheus.Chunk` has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunk {
    /// Time of the first sample, milliseconds.
    pub first: i64,
    /// Time of the last one.
    pub last: i64,
    /// `prometheus.Chunk.Encoding`: 1 for floats, 2 and 3 for histograms of integers and of floats.
    pub(super) encoding: u64,
    pub(super) data: Vec<u8>,
}

impl Chunk {
    /// Bytes of its data.
    #[must_use]
    pub fn size(&self) -> usize {
        self.data.len()
    }
}

/// The chunks of a series in the order of time: a chunk holds samples of one kind. Both lists are by time (milliseconds).
#[must_use]
pub fn chunks(mut floats: &[(i64, f64)], mut histograms: &[(i64, &Histogram)]) -> Vec<Chunk> {
    let mut out = Vec::new();
    loop {
        let first = histograms.first().map_or(i64::MAX, |h| h.0);
        let (run, rest) = floats.split_at(floats.partition_point(|f| f.0 < first || histograms.is_empty()));
        floats = rest;
        out.extend(
            run.chunks(xor::CHUNK_SAMPLES).filter_map(|run| {
                Some(Chunk { first: run.first()?.0, last: run.last()?.0, encoding: 1, data: xor::encode(run) })
            }),
        );
        let first = floats.first().map_or(i64::MAX, |f| f.0);
        let (run, rest) = histograms.split_at(histograms.partition_point(|h| h.0 <= first));
        histograms = rest;
        out.extend(histogram::runs(run).filter_map(|(run, header)| {
            let (encoding, data) = histogram::encode(run, header);
            Some(Chunk { first: run.first()?.0, last: run.last()?.0, encoding, data })
        }));
        if floats.is_empty() && histograms.is_empty() {
            return out;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_take_turns_in_the_order_of_time() {
        let h = Histogram { count: 1.5, zero_count: 1.5, ..Histogram::default() };
        let whole = Histogram { count: 1.0, zero_count: 1.0, ..Histogram::default() };
        let floats: Vec<(i64, f64)> = (0..130).chain(500..502).map(|t| (t, 1.0)).collect();
        let histograms: Vec<(i64, &Histogram)> =
            (200..203).chain(600..601).map(|t| (t, if t < 202 { &whole } else { &h })).collect();
        let found: Vec<(i64, i64, u64)> = chunks(&floats, &histograms).iter().map(|c| (c.first, c.last, c.encoding)).collect();
        assert_eq!(found, [(0, 119, 1), (120, 129, 1), (200, 201, 2), (202, 202, 3), (500, 501, 1), (600, 600, 3)]);
        assert!(chunks(&[], &[]).is_empty());
    }
}
