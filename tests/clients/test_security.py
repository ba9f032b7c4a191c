"""Real clients against a Braid that asks for credentials over TLS: curl, the OpenTelemetry SDK, Debian's Prometheus and promtool."""

import json
import os
import subprocess
import time

import pytest
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcSpans
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpSpans
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExportResult

from conftest import Braid, eventually, free_address, prometheus_at, prometheus_binary

SECTION = "tls: {cert_file: certs/braid.crt, key_file: certs/braid.key, client_ca_file: certs/ca.crt, client_auth: request}\n"


def tool(home, *arguments, **more):
    done = subprocess.run([os.environ["BRAID"], *arguments], cwd=home, check=True, capture_output=True, text=True, **more)
    return done.stdout.strip()


class Locked:
    """A Braid with TLS on every port, a sender's key, a reader's password."""

    def __init__(self, home):
        self.home = home
        tool(home, "certs", "ca")
        tool(home, "certs", "server")
        tool(home, "certs", "client", "agent")
        self.ca = str(home / "certs" / "ca.crt")
        self.sender = tool(home, "keys", "add", "--file", "keys.yaml", "--name", "sender", "--scope", "ingest")
        tool(home, "keys", "user", "ada", "--file", "keys.yaml", "--scope", "read", input="open sesame\n")
        tool(home, "keys", "user", "legacy", "--file", "keys.yaml", "--scope", "ingest", input="blue planet\n")
        (home / "braid.yaml").write_text("auth: {credentials_file: keys.yaml, certificate_scopes: [ingest]}\n" + SECTION)
        self.braid = Braid(home / "data", ("--free-ports", "--config", str(home / "braid.yaml")))

    def url(self, face, path=""):
        return f"https://{self.braid.addresses[face]}{path}"

    def curl(self, *arguments):
        """Status and body."""
        command = ["curl", "-sS", "--cacert", self.ca, "-w", "\n%{http_code}", *arguments]
        body, _, status = subprocess.run(command, check=True, capture_output=True, text=True, timeout=30).stdout.rpartition("\n")
        return int(status), body

    def query(self, query):
        status, body = self.curl("-u", "ada:open sesame", "-G", self.url("prometheus", "/api/v1/query"), "--data-urlencode", f"query={query}")
        assert status == 200, body
        return json.loads(body)["data"]["result"]


@pytest.fixture(scope="module")
def locked(tmp_path_factory):
    locked = Locked(tmp_path_factory.mktemp("locked"))
    yield locked
    assert locked.braid.stop() == 0, locked.braid.log()


def test_curl_sends_with_a_key_and_asks_with_a_password(locked):
    push = json.dumps({"streams": [{"stream": {"app": "curl"}, "values": [[str(time.time_ns()), "hello"]]}]})
    send = ["-H", "Content-Type: application/json", locked.url("loki", "/loki/api/v1/push"), "-d", push]
    assert locked.curl(*send)[0] == 401
    # On HTTP/2 an answer that comes before the body was read must not look like a broken stream.
    large = locked.home / "large"
    large.write_bytes(b"a" * 200_000)
    for _ in range(10):
        for unread in (send, [*send[:-1], f"@{large}"]):
            assert locked.curl("--http2", *unread)[0] == 401
        assert locked.curl("--http2", "-u", "ada:open sesame", locked.url("loki", "/nowhere"), "-d", f"@{large}")[0] in (403, 404)
    assert locked.curl("-H", f"Authorization: Bearer {locked.sender}", *send)[0] == 204
    assert locked.curl("-u", "ada:open sesame", *send)[0] == 403
    ask = locked.url("loki", "/loki/api/v1/query_range?query={app=\"curl\"}&since=1h").replace("{", "%7B").replace("}", "%7D").replace('"', "%22")
    status, body = locked.curl("-u", "ada:open sesame", ask)
    assert status == 200 and "hello" in body
    cert = ["--cert", str(locked.home / "certs" / "agent.crt"), "--key", str(locked.home / "certs" / "agent.key")]
    assert locked.curl(*cert, *send)[0] == 204, "a certificate is a credential here"


@pytest.mark.parametrize("transport", ["grpc", "http"])
@pytest.mark.parametrize("who", ["key", "password", "wrong"])
def test_the_sdk_sends_with_headers_over_tls(locked, transport, who, monkeypatch):
    import base64

    basic = "Basic " + base64.b64encode(b"legacy:blue planet").decode()
    credential = {"key": f"Bearer {locked.sender}", "password": basic, "wrong": "Bearer braid_00000000_x"}[who]
    # Bundles that a machine has for all of Python's requests would win over the SDK's own variable.
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
    # As a person would do it: by the SDK's own variables.
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_CERTIFICATE", locked.ca)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "authorization=" + credential.replace(" ", "%20").replace("=", "%3D"))
    exporter = GrpcSpans(endpoint=locked.url("otlp_grpc")) if transport == "grpc" else HttpSpans(endpoint=locked.url("otlp_http", "/v1/traces"))
    results = []
    export = exporter.export
    exporter.export = lambda spans: results.append(export(spans)) or results[-1]
    provider = TracerProvider(resource=Resource.create({"service.name": "locked"}))
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    with provider.get_tracer("t").start_as_current_span("s") as span:
        trace_id = f"{span.get_span_context().trace_id:032x}"
    provider.shutdown()
    status, _ = locked.curl("-u", "ada:open sesame", locked.url("tempo", f"/api/traces/{trace_id}"))
    if who == "wrong":
        assert results == [SpanExportResult.FAILURE] and status == 404
    else:
        assert results == [SpanExportResult.SUCCESS] and status == 200


@pytest.mark.skipif(not prometheus_binary, reason="no prometheus binary on this machine (apt install prometheus)")
def test_prometheus_scrapes_and_writes_and_promtool_asks(locked):
    home = locked.home / "prometheus"
    home.mkdir()
    address = free_address()
    (home / "sender.key").write_text(locked.sender)
    (home / "ada.password").write_text("open sesame")
    tls = f"{{ca_file: {locked.ca}}}"
    ada = f"{{username: ada, password_file: {home}/ada.password}}"
    config = f"""
global: {{scrape_interval: 1s, external_labels: {{sender: debian}}}}
scrape_configs:
  - job_name: braid
    scheme: https
    basic_auth: {ada}
    tls_config: {tls}
    static_configs: [{{targets: ["{locked.braid.addresses['braid']}"]}}]
remote_write:
  - url: {locked.url("prometheus", "/api/v1/write")}
    authorization: {{credentials_file: {home}/sender.key}}
    tls_config: {tls}
    queue_config: {{batch_send_deadline: 1s}}
"""
    with prometheus_at(address, home, config):
        result = eventually(lambda: locked.query('braid_auth_verifications_total{job="braid",sender="debian"}'), 60)
        # What was scraped with a password was written with a key, and neither asked argon2 again and again.
        assert float(result[0]["value"][1]) < 20
        (home / "http.yml").write_text(f"basic_auth: {ada}\ntls_config: {tls}\n")
        ask = subprocess.run(["promtool", "query", "instant", "--http.config.file", str(home / "http.yml"), locked.url("prometheus"), 'up{sender="debian"}'],
                             capture_output=True, text=True, timeout=60)
        if "unknown long flag" in ask.stderr:
            ask = subprocess.run(["promtool", "check", "healthy", "--http.config.file", str(home / "http.yml"), "--url", locked.url("prometheus")],
                                 capture_output=True, text=True, timeout=60)
            if "unknown long flag" in ask.stderr or "expected command" in ask.stderr:
                pytest.skip("this promtool reads no HTTP configuration")
            assert ask.returncode == 0, ask.stderr
        else:
            assert ask.returncode == 0 and 'job="braid"' in ask.stdout, ask.stderr
