"""Python's prometheus_client, scraped in OpenMetrics and in the text format."""

import http.server
import threading

import prometheus_client
import pytest
from prometheus_client.openmetrics import exposition as openmetrics

from conftest import Braid, eventually


def serve(registry, formats):
    """Serves `registry` in the first of `formats` (media type, function) that the scraper accepts; what it accepted is kept."""
    asked = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            accept = self.headers.get("Accept", "")
            asked.append(accept)
            media, write = next(f for f in formats if f[0].split(";")[0] in accept)
            body = write(registry)
            self.send_response(200)
            self.send_header("Content-Type", media)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server, asked


FORMATS = {
    "openmetrics": [(openmetrics.CONTENT_TYPE_LATEST, openmetrics.generate_latest)],
    "text": [("text/plain; version=0.0.4; charset=utf-8", prometheus_client.generate_latest)],
}


@pytest.mark.parametrize("name", FORMATS)
def test_what_the_client_counts_is_what_queries_find(name, tmp_path):
    registry = prometheus_client.CollectorRegistry()
    requests = prometheus_client.Counter("requests", "All of them.", ["path"], registry=registry)
    latency = prometheus_client.Histogram("latency_seconds", "How long.", buckets=(1, 2.5), registry=registry)
    requests.labels(path='/a"b\\c').inc(3, exemplar={"trace_id": "abcdef"})
    for seconds in (0.5, 2, 9):
        latency.observe(seconds)
    server, asked = serve(registry, FORMATS[name])
    config = tmp_path / "braid.yaml"
    config.write_text(
        "scrape_configs:\n- job_name: py\n  scrape_interval: 500ms\n"
        f"  static_configs: [{{targets: ['127.0.0.1:{server.server_port}']}}]\n"
    )
    braid = Braid(tmp_path / "data", ("--free-ports", "--config", str(config)))
    try:

        def values(query):
            result = braid.json("prometheus", "/api/v1/query", query=query)["data"]["result"]
            return {r["metric"].get("le", r["metric"].get("path", "")): r["value"][1] for r in result}

        eventually(lambda: values("up") == {"": "1"})
        assert eventually(lambda: values("requests_total")) == {'/a"b\\c': "3"}
        assert values("latency_seconds_bucket") == {"1.0": "1", "2.5": "2", "+Inf": "3"}
        assert values("latency_seconds_sum") == {"": "11.5"}
        rows = braid.json("prometheus", "/api/v1/targets/metadata", metric="latency_seconds")["data"]
        assert [(r["type"], r["help"]) for r in rows] == [("histogram", "How long.")]
        assert asked[0].startswith("application/openmetrics-text;version=1.0.0"), asked[0]
        server.shutdown()
        server.server_close()
        eventually(lambda: values("up") == {"": "0"} and values("requests_total") == {})
    finally:
        assert braid.stop() == 0, braid.log()
