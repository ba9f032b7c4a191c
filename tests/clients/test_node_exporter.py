"""Debian's node_exporter is scraped, and promtool finds nothing to complain about in what Braid says of itself."""

import shutil
import signal
import subprocess

import pytest

from conftest import Braid, eventually, free_address

exporter_binary = shutil.which("prometheus-node-exporter") or shutil.which("node_exporter")
promtool = shutil.which("promtool")


@pytest.mark.skipif(not exporter_binary, reason="no node_exporter on this machine (apt install prometheus-node-exporter)")
def test_node_exporter_is_scraped(tmp_path):
    address = free_address()
    process = subprocess.Popen([exporter_binary, f"--web.listen-address={address}"], stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL)
    config = tmp_path / "braid.yaml"
    config.write_text(f"scrape_configs: [{{job_name: node, scrape_interval: 1s, static_configs: [{{targets: ['{address}']}}]}}]\n")
    braid = Braid(tmp_path / "data", ports=("--free-ports", "--config", str(config)))
    try:
        ask = lambda query: braid.json("prometheus", "/api/v1/query", query=query)["data"]["result"]
        eventually(lambda: ask('up{job="node"} == 1'))
        assert float(eventually(lambda: ask("count({job='node'})"))[0]["value"][1]) > 100
        assert eventually(lambda: ask("node_load1"))
        kinds = braid.json("prometheus", "/api/v1/metadata", metric="node_cpu_seconds_total")["data"]
        assert kinds["node_cpu_seconds_total"][0]["type"] == "counter"
    finally:
        braid.stop()
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=20)


@pytest.mark.skipif(not promtool, reason="no promtool on this machine (apt install prometheus)")
def test_promtool_speaks_to_braid(braid):
    # Debian's 2.42 has no such checks yet.
    known = subprocess.run([promtool, "check", "--help"], capture_output=True, text=True)
    for check in (c for c in ("healthy", "ready") if f"check {c}" in known.stdout + known.stderr):
        done = subprocess.run([promtool, "check", check, f"--url={braid.url('prometheus')}"], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    done = subprocess.run([promtool, "query", "instant", braid.url("prometheus"), "1 + 1"], capture_output=True, text=True)
    assert done.returncode == 0 and "2" in done.stdout, done
    done = subprocess.run([promtool, "query", "labels", braid.url("prometheus"), "__name__"], capture_output=True, text=True)
    assert done.returncode == 0, done
    own = braid.get("braid", "/metrics")[2]
    done = subprocess.run([promtool, "check", "metrics"], input=own, capture_output=True)
    errors = [l for l in done.stderr.decode().splitlines() if "error while linting" in l or "parse" in l]
    assert not errors, done.stderr
