//! Messages written by hand, so that the tests can also write wrong ones.

/// A length-delimited field.
pub(crate) fn bytes(number: u32, value: &[u8]) -> Vec<u8> {
    let mut out = varint(u64::from(number) << 3 | 2);
    out.extend(varint(value.len() as u64));
    out.extend_from_slice(value);
    out
}

/// A length-delimited field made of fields.
pub(crate) fn message(number: u32, fields: &[Vec<u8>]) -> Vec<u8> {
    bytes(number, &fields.concat())
}

/// A varint field.
pub(crate) fn int(number: u32, value: u64) -> Vec<u8> {
    [varint(u64::from(number) << 3), varint(value)].concat()
}

/// A fixed64 field.
pub(crate) fn fixed64(number: u32, value: u64) -> Vec<u8> {
    [varint(u64::from(number) << 3 | 1), value.to_le_bytes().to_vec()].concat()
}

pub(crate) fn varint(mut n: u64) -> Vec<u8> {
    let mut out = Vec::new();
    while n >= 0x80 {
        out.push(n as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
    out
}

/// `KeyValue` with a text, as field `number`.
pub(crate) fn attribute(number: u32, key: &str, value: &str) -> Vec<u8> {
    message(number, &[bytes(1, key.as_bytes()), message(2, &[bytes(1, value.as_bytes())])])
}

/// Nanoseconds since the Unix epoch.
pub(crate) fn now() -> u64 {
    std::time::UNIX_EPOCH.elapsed().expect("after 1970").as_nanos() as u64
}

/// `Span`, as field 2 of `ScopeSpans`.
pub(crate) fn span(trace: [u8; 16], span: [u8; 8], name: &str, start: u64) -> Vec<u8> {
    message(
        2,
        &[
            bytes(1, &trace),
            bytes(2, &span),
            bytes(5, name.as_bytes()),
            int(6, 2),
            fixed64(7, start),
            fixed64(8, start.wrapping_add(1_000_000)),
        ],
    )
}

/// `ExportTraceServiceRequest` of one service; also fits spans' siblings, whose numbers are the same.
pub(crate) fn export(service: &str, items: &[Vec<u8>]) -> Vec<u8> {
    let resource = message(1, &[attribute(1, "service.name", service)]);
    message(1, &[resource, message(2, items)])
}

/// `LogRecord`, as field 2 of `ScopeLogs`.
pub(crate) fn log(time: u64, body: &str) -> Vec<u8> {
    message(2, &[fixed64(1, time), int(2, 9), bytes(3, b"INFO"), message(5, &[bytes(1, body.as_bytes())])])
}

/// `Metric` with one gauge point, as field 2 of `ScopeMetrics`.
pub(crate) fn gauge(time: u64, name: &str, value: f64) -> Vec<u8> {
    let point = message(1, &[fixed64(3, time), fixed64(4, value.to_bits())]);
    message(2, &[bytes(1, name.as_bytes()), message(5, &[point])])
}

/// A name, other labels sorted by name, and samples.
pub(crate) type Series<'a> = (&'a str, &'a [(&'a str, &'a str)], &'a [(i64, f64)]);

/// `prometheus.WriteRequest` in snappy.
pub(crate) fn write_request(series: &[Series<'_>]) -> Vec<u8> {
    let mut encoder = wire::remote_write::Encoder::new();
    for (name, labels, samples) in series {
        let all = [("__name__", *name)].into_iter().chain(labels.iter().copied());
        encoder.series(all, samples);
    }
    encoder.finish().expect("small")
}
