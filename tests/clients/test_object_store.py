"""Object storage against a real HTTP S3 server (moto), behind a proxy that drops, delays, refuses and truncates."""

import json
import os
import shutil
import signal
import subprocess
import threading
import time
import urllib.error
import urllib.request

import pytest

from conftest import Braid, eventually
from shaky_proxy import ShakyProxy

moto = pytest.importorskip("moto.server")
boto3 = pytest.importorskip("boto3")

KEYS = {"aws_access_key_id": "AKIATEST", "aws_secret_access_key": "hush", "region_name": "us-east-1"}


@pytest.fixture(scope="module")
def s3():
    """Host and port of an S3 server."""
    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    yield server.get_host_and_port()
    server.stop()


@pytest.fixture
def store(s3, request):
    """A bucket of one's own, and the proxy in front of it."""
    proxy = ShakyProxy(*s3)
    proxy.client = boto3.client("s3", endpoint_url=f"http://{s3[0]}:{s3[1]}", **KEYS)
    proxy.bucket = request.node.name.replace("_", "-")[:60]
    proxy.client.create_bucket(Bucket=proxy.bucket)
    proxy.objects = lambda prefix="": [
        o["Key"] for o in proxy.client.list_objects_v2(Bucket=proxy.bucket, Prefix="pre/" + prefix).get("Contents", [])
    ]
    yield proxy
    proxy.down()


def configure(tmp_path, store, keys=True, cache="64MiB", lease="60s"):
    path = tmp_path / "braid.yaml"
    secret = "access_key_id: AKIATEST, secret_access_key: hush, " if keys else ""
    path.write_text(
        f"storage:\n  min_free: 0\n  cache: {{max_size: {cache}}}\n"
        f"  object_store: {{url: s3://{store.bucket}/pre, endpoint: {store.url()}, {secret}region: us-east-1, lease: {lease}}}\n"
    )
    return ("--free-ports", "--config", str(path))


def push(braid, first, count):
    """Lines with the numbers from `first` on; a refused request is sent again."""
    now = time.time_ns() - 60_000_000_000
    values = [[str(now + n), f"line {n} " + "x" * (n % 50)] for n in range(first, first + count)]
    body = json.dumps({"streams": [{"stream": {"app": "s3"}, "values": values}]}).encode()
    request = urllib.request.Request(
        braid.url("loki", "/loki/api/v1/push"), body, {"content-type": "application/json"}, method="POST"
    )

    def once():
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return answer.status == 204
        except urllib.error.HTTPError as error:
            assert error.code == 503, error.read()
            return False

    eventually(once)


def numbers(braid):
    """What is there, and each as often as it is there."""
    eventually(lambda: b"braid_store_replaying 0\n" in braid.get("braid", "/metrics")[2])
    found = braid.json(
        "loki", "/loki/api/v1/query_range", query='{app="s3"}', limit=5000, start=time.time_ns() - 3_600_000_000_000
    )
    lines = [line for stream in found["data"]["result"] for _, line in stream["values"]]
    return sorted(int(line.split()[1]) for line in lines)


def settle(braid, seconds=90):
    def once():
        request = urllib.request.Request(braid.url("braid", "/api/admin/settle"), b"", method="POST")
        try:
            with urllib.request.urlopen(request, timeout=120) as answer:
                return answer.status == 204
        except urllib.error.HTTPError:
            return False

    eventually(once, seconds)


def metric(braid, name):
    for line in braid.get("braid", "/metrics")[2].decode().splitlines():
        if line.startswith(name + " "):
            return float(line.rsplit(" ", 1)[1])
    raise AssertionError(f"no {name}")


def test_a_lost_machine_is_replaced_by_an_empty_one(tmp_path, store):
    braid = Braid(tmp_path / "a", configure(tmp_path, store))
    push(braid, 0, 500)
    settle(braid)
    braid.stop(signal.SIGKILL)
    assert store.objects("segments/default/logs/") and store.objects("manifest/") and store.objects("writer/")
    shutil.rmtree(tmp_path / "a")
    # Killed, it has released nothing, and the next waits for the lease.
    command = [os.environ["BRAID"], "serve", *configure(tmp_path, store), "--data-dir", str(tmp_path / "b")]
    refused = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert refused.returncode == 1, refused
    assert "a second writer is refused" in refused.stderr and str(tmp_path / "a") in refused.stderr, refused.stderr
    time.sleep(1.5)
    braid = Braid(tmp_path / "b", configure(tmp_path, store, lease="1s"))
    assert numbers(braid) == list(range(500)), braid.log()
    push(braid, 500, 100)
    assert numbers(braid) == list(range(600))
    assert metric(braid, 'braid_object_store_requests_total{operation="get",result="ok"}') > 0
    assert braid.stop() == 0, braid.log()
    # Stopped in order, it lets the next one in at once.
    braid = Braid(tmp_path / "c", configure(tmp_path, store))
    assert numbers(braid) == list(range(500)), "what was in the log only is where the log is"
    assert braid.stop() == 0, braid.log()


def test_faults_of_every_kind_lose_nothing(tmp_path, store):
    store.faults = {"drop": 0.06, "lose": 0.06, "503": 0.06, "delay": 0.03, "truncate": 0.06}
    sent = 0
    for _ in range(4):
        # Whatever ends it: the next start goes on.
        braid = eventually(lambda: Braid(tmp_path / "data", configure(tmp_path, store, cache="100KiB", lease="2s")))
        assert numbers(braid) == list(range(sent)), braid.log()
        for _ in range(4):
            push(braid, sent, 60)
            sent += 60
        killer = threading.Timer(0.8, braid.process.kill)
        killer.start()
        try:
            settle(braid, 2)
        except (OSError, AssertionError):
            pass
        killer.join()
        braid.process.wait(20)
        braid.process.stdout.close()
    braid = eventually(lambda: Braid(tmp_path / "data", configure(tmp_path, store, cache="100KiB", lease="2s")))
    settle(braid)
    assert numbers(braid) == list(range(sent)), braid.log()
    assert metric(braid, 'braid_object_store_retries_total{operation="put"}') >= 0
    braid.stop(signal.SIGKILL)
    met = {fault for *_, fault in store.seen if fault}
    assert met == {"drop", "lose", "503", "delay", "truncate"}, met
    store.faults = {}
    time.sleep(2.5)
    braid = Braid(tmp_path / "fresh", configure(tmp_path, store, lease="2s"))
    assert numbers(braid) == list(range(sent)), braid.log()
    assert braid.stop() == 0


def test_away_and_back(tmp_path, store):
    braid = Braid(tmp_path / "data", configure(tmp_path, store))
    push(braid, 0, 100)
    settle(braid)
    store.down()
    push(braid, 100, 200)
    assert numbers(braid) == list(range(300)), "ingestion and queries go on"
    braid.stop(signal.SIGKILL)
    braid = Braid(tmp_path / "data", configure(tmp_path, store))
    assert numbers(braid) == list(range(300)), "it starts without it"
    eventually(lambda: metric(braid, "braid_object_store_away_seconds") > 0)
    push(braid, 300, 50)
    # An empty directory cannot know what it would go on with.
    command = [os.environ["BRAID"], "serve", *configure(tmp_path, store), "--data-dir", str(tmp_path / "other")]
    refused = subprocess.run(command, capture_output=True, text=True, timeout=90)
    assert refused.returncode == 1 and "does not answer as it should" in refused.stderr, refused
    store.faults = {}
    store.up()
    settle(braid)
    eventually(lambda: metric(braid, "braid_object_store_away_seconds") == 0)
    assert metric(braid, "braid_object_store_pending_segments") == 0
    assert braid.stop() == 0
    braid = Braid(tmp_path / "fresh", configure(tmp_path, store))
    assert numbers(braid) == list(range(350)), braid.log()
    assert braid.stop() == 0


def test_keys_come_from_the_shared_profile(tmp_path, store, monkeypatch):
    profile = tmp_path / "credentials"
    profile.write_text("[default]\naws_access_key_id = OTHER\n[work]\naws_access_key_id = AKIAPROFILE\naws_secret_access_key = x\n")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(profile))
    monkeypatch.setenv("AWS_PROFILE", "work")
    braid = Braid(tmp_path / "data", configure(tmp_path, store, keys=False))
    assert braid.stop() == 0, braid.log()
    assert store.seen and all("Credential=AKIAPROFILE/" in authorization for _, _, authorization, _ in store.seen)


def test_a_bucket_that_is_not_there_is_said(tmp_path, store):
    store.bucket = "nowhere"
    command = [os.environ["BRAID"], "serve", *configure(tmp_path, store), "--data-dir", str(tmp_path / "data")]
    refused = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert refused.returncode == 1 and "s3://nowhere/pre" in refused.stderr, refused
