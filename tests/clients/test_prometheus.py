"""Prometheus itself sends what it scrapes by remote write, and reads it back through the HTTP API."""

import json
import shutil
import subprocess
import time
import urllib.parse
import urllib.request

import pytest

from conftest import eventually, free_address, prometheus_at, prometheus_binary

pytestmark = pytest.mark.skipif(not prometheus_binary, reason="no prometheus binary on this machine (apt install prometheus)")


@pytest.fixture(scope="module")
def prometheus(braid, tmp_path_factory):
    """Prometheus, scraping itself and Braid each second, writing to Braid."""
    home = tmp_path_factory.mktemp("prometheus")
    address = free_address()
    config = f"""
global: {{scrape_interval: 1s, external_labels: {{sender: debian}}}}
scrape_configs:
  - job_name: itself
    static_configs: [{{targets: ["{address}"]}}]
  - job_name: braid
    static_configs: [{{targets: ["{braid.addresses['braid']}"]}}]
remote_write:
  - url: {braid.url("prometheus", "/api/v1/write")}
    send_exemplars: true
    send_native_histograms: true
    queue_config: {{batch_send_deadline: 1s}}
"""
    with prometheus_at(address, home, config, "--enable-feature=native-histograms,exemplar-storage"):
        yield address


def test_scraped_samples_arrive(braid, prometheus):
    def values():
        result = braid.json("prometheus", "/api/v1/query", query='up{sender="debian"}')["data"]["result"]
        return {r["metric"]["job"]: r["value"][1] for r in result} == {"itself": "1", "braid": "1"}

    eventually(values, 60)


def test_a_rate_over_them(braid, prometheus):
    query = 'sum by (job) (rate(prometheus_http_requests_total{handler="/metrics"}[30s]))'

    def rate():
        result = braid.json("prometheus", "/api/v1/query", query=query)["data"]["result"]
        return result and 0.3 < float(result[0]["value"][1]) < 3

    eventually(rate, 60)


def test_braids_own_metrics_are_a_scrape_target(braid, prometheus):
    result = eventually(lambda: braid.json("prometheus", "/api/v1/query", query='braid_build_info{job="braid"}')["data"]["result"], 30)
    assert result[0]["metric"]["sender"] == "debian"


def test_the_same_answer_as_prometheus(braid, prometheus):
    """Both evaluate a query over the same samples at the same time."""
    at = time.time() - 3
    # Nothing that extrapolates: that has changed between the versions of Prometheus.
    query = 'sum by (handler) (max_over_time(prometheus_http_requests_total[10s])) > 0 or count(up) or sum by (job) (2 * up)'

    def both():
        url = f"http://{prometheus}/api/v1/query?" + urllib.parse.urlencode({"query": query, "time": at})
        with urllib.request.urlopen(url) as response:
            theirs = json.load(response)["data"]["result"]
        ours = braid.json("prometheus", "/api/v1/query", query=query, time=at)["data"]["result"]
        order = lambda rows: sorted((sorted(r["metric"].items()), r["value"]) for r in rows)
        assert order(ours) == order(theirs)
        return True

    eventually(both, 60)


@pytest.fixture(scope="module")
def reader(braid, prometheus, tmp_path_factory):
    """A second Prometheus without data of its own: it reads Braid remotely and scrapes its federation."""
    home = tmp_path_factory.mktemp("reader")
    address = free_address()
    config = f"""
global: {{scrape_interval: 1s}}
remote_read:
  - url: {braid.url("prometheus", "/api/v1/read")}
    read_recent: true
    required_matchers: {{sender: debian}}
scrape_configs:
  - job_name: federated
    metrics_path: /federate
    honor_labels: true
    params: {{"match[]": ['{{job="itself"}}']}}
    static_configs: [{{targets: ["{braid.addresses['prometheus']}"]}}]
    metric_relabel_configs: [{{source_labels: [sender], regex: debian, target_label: sender, replacement: federated}}]
"""
    # With native histograms it asks for protobuf.
    with prometheus_at(address, home, config, "--enable-feature=native-histograms"):
        yield address


def asked(address, query):
    url = f"http://{address}/api/v1/query?" + urllib.parse.urlencode({"query": query})
    with urllib.request.urlopen(url) as response:
        return json.load(response)["data"]["result"]


def test_prometheus_reads_what_it_wrote(braid, prometheus, reader):
    def up():
        rows = asked(reader, 'up{sender="debian"}')
        return {r["metric"]["job"]: r["value"][1] for r in rows} == {"itself": "1", "braid": "1"}

    eventually(up, 60)
    # The whole of a counter's samples, which come as chunks.
    count = eventually(lambda: asked(reader, 'count_over_time(prometheus_build_info{sender="debian"}[10m])'), 30)
    ours = braid.json("prometheus", "/api/v1/query", query='count_over_time(prometheus_build_info{sender="debian"}[10m])')
    assert abs(int(count[0]["value"][1]) - int(ours["data"]["result"][0]["value"][1])) <= 3


def test_prometheus_scrapes_the_federation(reader):
    rows = eventually(lambda: asked(reader, 'up{sender="federated"}'), 60)
    assert [(r["metric"]["job"], r["value"][1]) for r in rows] == [("itself", "1")]


@pytest.mark.skipif(not shutil.which("promtool"), reason="no promtool on this machine")
def test_promtool_asks(braid, prometheus):
    server = "http://" + braid.addresses["prometheus"]

    def promtool(*arguments):
        return subprocess.run(["promtool", *arguments], check=True, capture_output=True, text=True, timeout=30).stdout

    eventually(lambda: "itself" in promtool("query", "instant", server, 'up{sender="debian"}'), 60)
    assert "up" in promtool("query", "labels", server, "__name__")
    assert 'job="itself"' in promtool("query", "series", server, '--match=up{sender="debian"}')
    assert "=>" in promtool("query", "range", server, "--step=5s", "up")
    # Debian's promtool is older than its `check healthy` and `check ready`.
    if "healthy" in subprocess.run(["promtool", "check", "--help"], capture_output=True, text=True).stderr:
        assert "Healthy" in promtool("check", "healthy", f"--url={server}")
        assert "Ready" in promtool("check", "ready", f"--url={server}")
