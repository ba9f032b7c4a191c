"""The OpenTelemetry SDK for browsers, in Chromium, sends spans to Braid from a page of another origin."""

import json
import os
import pathlib
import shutil
import socket
import subprocess

import pytest

from conftest import Braid, eventually

HERE = pathlib.Path(__file__).parent
ROOT = HERE.parent.parent
PAGE = ROOT / "lab/tasks/page"
CUSTOMARY = [3000, 3100, 3200, 4317, 4318, 8081, 9090]


def playwright():
    """A folder whose node_modules have playwright-core: the page's own, or one that npm fills."""
    for folder in (PAGE, ROOT / ".run/browser"):
        if (folder / "node_modules/playwright-core").is_dir():
            return folder
    if not shutil.which("npm"):
        pytest.skip("no npm on this machine")
    folder = ROOT / ".run/browser"
    folder.mkdir(parents=True, exist_ok=True)
    command = ["npm", "install", "--prefix", str(folder), "--no-audit", "--no-fund", "--fetch-retries=1", "playwright-core"]
    try:
        subprocess.run(command, check=True, capture_output=True, timeout=120)
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        pytest.skip(f"npm cannot install playwright-core: {error}")
    return folder


def free(port):
    with socket.socket() as s:
        try:
            s.bind(("127.0.0.1", port))
            return True
        except OSError:
            return False


def test_a_page_of_another_origin_sends_spans(tmp_path):
    if not shutil.which("node"):
        pytest.skip("no node on this machine")
    chromium = os.environ.get("CHROMIUM", "/usr/bin/chromium")
    if not os.path.exists(chromium):
        pytest.skip(f"no {chromium} on this machine (apt install chromium)")
    if not (PAGE / "dist/page.js").exists():
        pytest.skip("the lab's page is not built")
    folder = playwright()
    # The page finds Braid by the distance of its own port from the customary one.
    offset = next(o for o in range(21_000, 50_000, 977) if all(free(p + o) for p in CUSTOMARY))
    braid = Braid(tmp_path / "data", ports=("--port-offset", str(offset)))
    try:
        script = ["node", str(HERE / "browser.mjs"), str(offset), str(folder)]
        done = subprocess.run(script, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        traceparent = json.loads(done.stdout)["traceparent"]
        trace_id = traceparent.split("-")[1]
        trace = eventually(lambda: braid.json("tempo", f"/api/v2/traces/{trace_id}")["trace"].get("resourceSpans"))
        services = {a["value"]["stringValue"] for r in trace for a in r["resource"]["attributes"] if a["key"] == "service.name"}
        assert services == {"frontend-browser"}
        spans = [s for r in trace for scope in r["scopeSpans"] for s in scope["spans"]]
        assert any(s["name"] == "GET" or s["name"].startswith("HTTP GET") for s in spans), spans
    finally:
        assert braid.stop() == 0, braid.log()
