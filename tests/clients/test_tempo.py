"""Zipkin's and Jaeger's senders, and Tempo's streaming API, as their own clients speak them."""

import struct
import time

import pytest

grpc = pytest.importorskip("grpc")
sdk = pytest.importorskip("opentelemetry.sdk.trace")


def test_opentelemetrys_zipkin_exporter(braid):
    zipkin = pytest.importorskip("opentelemetry.exporter.zipkin.json")
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.trace import SpanKind, Status, StatusCode

    provider = sdk.TracerProvider(resource=Resource.create({"service.name": "zipkin-shop", "host.name": "h"}))
    exporter = zipkin.ZipkinExporter(endpoint=braid.url("zipkin", "/api/v2/spans"))
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracer = provider.get_tracer("lib", "1.2")
    with tracer.start_as_current_span("order", kind=SpanKind.SERVER) as span:
        span.set_attribute("n", 7)
        span.add_event("paid", {"by": "card"})
        span.set_status(Status(StatusCode.ERROR, "late"))
        trace = format(span.get_span_context().trace_id, "032x")
    provider.shutdown()
    [batch] = braid.json("tempo", f"/api/v2/traces/{trace}")["trace"]["resourceSpans"]
    resource = {a["key"]: a["value"] for a in batch["resource"]["attributes"]}
    assert resource["service.name"] == {"stringValue": "zipkin-shop"}
    [scope] = batch["scopeSpans"]
    [span] = scope["spans"]
    assert (span["name"], span["kind"], span["status"]["code"]) == ("order", "SPAN_KIND_SERVER", "STATUS_CODE_ERROR")
    assert {"key": "n", "value": {"stringValue": "7"}} in span["attributes"]
    assert len(span["events"]) == 1


def field(number, value):
    """A field of protobuf: a number or bytes."""
    def varint(n):
        out = b""
        while n >= 0x80:
            out += bytes([n & 0x7F | 0x80])
            n >>= 7
        return out + bytes([n])

    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    value = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(value)) + value


def fields(message):
    """The fields of a message, by number."""
    out, at = {}, 0

    def varint():
        nonlocal at
        n = shift = 0
        while True:
            byte = message[at]
            at += 1
            n |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return n

    while at < len(message):
        tag = varint()
        if tag & 7 == 0:
            value = varint()
        elif tag & 7 == 1:
            (value,) = struct.unpack_from("<d", message, at)
            at += 8
        else:
            size = varint()
            value = message[at : at + size]
            at += size
        out.setdefault(tag >> 3, []).append(value)
    return out


def post_spans(channel, service, trace, span, start):
    timestamp = field(1, start) + field(2, 0)
    tag = field(1, "span.kind") + field(3, "client")
    body = b"".join([
        field(1, trace), field(2, span), field(3, "ask"), field(6, timestamp), field(7, field(2, 5_000_000)), field(8, tag),
    ])
    batch = field(1, body) + field(2, field(1, service))
    call = channel.unary_unary("/jaeger.api_v2.CollectorService/PostSpans")
    return call(field(1, batch), timeout=10)


def test_jaegers_grpc_and_tempos_streams(braid):
    now = int(time.time()) - 5
    trace = bytes(range(1, 17))
    with grpc.insecure_channel(braid.addresses["jaeger_grpc"]) as channel:
        assert post_spans(channel, "jaeger-shop", trace, b"\x01" * 8, now) == b""
    with grpc.insecure_channel(braid.addresses["tempo"]) as channel:
        def ask(method, request):
            call = channel.unary_stream(f"/tempopb.StreamingQuerier/{method}")
            return fields(list(call(request, timeout=10))[-1])

        query = '{ resource.service.name = "jaeger-shop" }'
        window = field(5, now - 60) + field(6, now + 60)
        [found] = ask("Search", field(8, query) + window)[1]
        found = fields(found)
        assert found[1] == [trace.hex().lstrip("0").encode()]
        assert found[3] == [b"ask"]
        scopes = [fields(s) for s in ask("SearchTagsV2", b"")[1]]
        assert b"resource" in [s[1][0] for s in scopes]
        assert b"service.name" in ask("SearchTags", b"")[1]
        values = [fields(v) for v in ask("SearchTagValuesV2", field(1, "resource.service.name") + field(2, query))[1]]
        assert [v[2][0] for v in values] == [b"jaeger-shop"]
        assert ask("SearchTagValues", field(1, "service.name") + field(2, query))[1] == [b"jaeger-shop"]
        times = field(2, (now - 60) * 10**9) + field(3, (now + 60) * 10**9)
        metrics = query + " | count_over_time()"
        [series] = ask("MetricsQueryRange", field(1, metrics) + times + field(4, 30 * 10**9))[1]
        samples = [fields(s) for s in fields(series)[2]]
        assert sum(s.get(1, [0])[0] for s in samples) == 1
        [series] = ask("MetricsQueryInstant", field(1, metrics) + times)[1]
        assert fields(series)[2] == [1.0]
        with pytest.raises(grpc.RpcError) as refused:
            ask("Search", field(8, "{ not traceql"))
        assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT
        with pytest.raises(grpc.RpcError) as unknown:
            ask("Nothing", b"")
        assert unknown.value.code() == grpc.StatusCode.UNIMPLEMENTED
