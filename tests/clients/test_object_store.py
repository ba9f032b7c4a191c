"""Object storage against a real HTTP S3 server (moto), behind a proxy that drops, delays, refuses and truncates."""

import datetime
import json
import os
import random
import shutil
import signal
import subprocess
import threading
import time
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from conftest import Braid, eventually, metric
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


def configure(tmp_path, store, keys=True, cache="64MiB", lease="60s", log="2GiB"):
    path = tmp_path / "braid.yaml"
    secret = "access_key_id: AKIATEST, secret_access_key: hush, " if keys else ""
    path.write_text(
        f"storage:\n  min_free: 0\n  cache: {{max_size: {cache}}}\n  log: {{max_size: {log}}}\n"
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


def ready(braid):
    status, _, body = braid.get("braid", "/ready")
    return status, body.decode()


def test_away_for_so_long_that_the_log_is_full(tmp_path, store):
    """What would take hours with a log of 2 GiB: it fills up, what comes is refused and can be sent again, all of it arrives."""
    braid = Braid(tmp_path / "data", configure(tmp_path, store, log="4MiB", lease="2s"))
    settle(braid)
    assert ready(braid) == (200, "ready\n")
    store.down()
    noise = random.Random(7)
    kept = []

    def send(n):
        """Line `n`, with 64 kB that no compression makes smaller; whether it was taken, or why not."""
        values = [[str(time.time_ns()), f"line {n} {noise.randbytes(32_000).hex()}"]]
        body = json.dumps({"streams": [{"stream": {"app": "s3"}, "values": values}]}).encode()
        kind = {"content-type": "application/json"}
        try:
            urllib.request.urlopen(urllib.request.Request(braid.url("loki", "/loki/api/v1/push"), body, kind), timeout=30).read()
        except urllib.error.HTTPError as error:
            return error.code, error.headers.get("retry-after"), error.read().decode()
        kept.append(n)
        return None

    deadline = time.monotonic() + 60
    refused, n = None, 0
    while not refused and time.monotonic() < deadline:
        refused, n = send(n), n + 1
    assert refused and refused[0] == 503 and refused[1], refused
    assert "the log is at its size cap" in refused[2], refused
    # It is asked once there is a segment to copy.
    eventually(lambda: metric(braid, "braid_object_store_away_seconds") > 0)
    assert len(kept) > 30, "an acknowledged byte is in the log once"
    status, why = ready(braid)
    assert status == 503 and "requests are refused" in why and "has not answered for" in why and "wait on the local disk" in why
    assert metric(braid, "braid_object_store_away_seconds") > 0
    def used(folder):
        return sum(f.stat().st_size for f in (tmp_path / "data" / folder).rglob("*") if f.is_file())

    assert used("log") < 5 << 20, "the log's cap and an eighth"
    assert used(".") < 32 << 20, "and what segments of it take"
    with open(f"/proc/{braid.process.pid}/status") as text:
        peak = next(int(line.split()[1]) for line in text if line.startswith("VmHWM"))
    assert peak < 512 << 10, f"{peak} kB with a budget of 512 MiB"
    assert numbers(braid) == kept, "queries go on"
    braid.stop(signal.SIGKILL)
    braid = Braid(tmp_path / "data", configure(tmp_path, store, log="4MiB", lease="2s"))
    assert numbers(braid) == kept, "and nothing is lost by a kill"
    store.faults = {}
    store.up()
    eventually(lambda: send(n) is None, 60)
    eventually(lambda: ready(braid) == (200, "ready\n"))
    settle(braid)
    assert metric(braid, "braid_object_store_pending_segments") == 0
    assert metric(braid, "braid_log_bytes") < 4 << 20, "cut once the object store has it"
    assert braid.stop() == 0, braid.log()
    braid = Braid(tmp_path / "fresh", configure(tmp_path, store))
    assert numbers(braid) == kept, braid.log()
    assert braid.stop() == 0


def test_keys_that_are_not_good_any_more_are_said(tmp_path, store):
    braid = Braid(tmp_path / "data", configure(tmp_path, store))
    settle(braid)
    store.faults = {"403": 1.0}
    push(braid, 0, 10)
    try:
        settle(braid, 3)
    except AssertionError:
        pass

    def told():
        status, why = ready(braid)
        return status == 200 and "the object store has not answered as it should" in why and "403" in why

    eventually(told)
    assert metric(braid, "braid_object_store_away_seconds") > 0
    store.faults = {}
    settle(braid)
    assert ready(braid) == (200, "ready\n")
    assert "hush" not in braid.log()
    assert braid.stop() == 0


@pytest.fixture
def no_keys(tmp_path, monkeypatch):
    """An environment that names no credentials at all."""
    for name in list(os.environ):
        if name.startswith("AWS_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    return monkeypatch


def used(store):
    """The key ids with which requests were signed."""
    return {authorization.partition("Credential=")[2].partition("/")[0] for _, _, authorization, _ in store.seen}


def test_keys_come_from_the_environment(tmp_path, store, no_keys):
    profile = tmp_path / "credentials"
    profile.write_text("[default]\naws_access_key_id = OTHER\naws_secret_access_key = x\n")
    no_keys.setenv("AWS_SHARED_CREDENTIALS_FILE", str(profile))
    no_keys.setenv("AWS_ACCESS_KEY_ID", "AKIAENVIRONMENT")
    no_keys.setenv("AWS_SECRET_ACCESS_KEY", "x")
    braid = Braid(tmp_path / "data", configure(tmp_path, store, keys=False))
    assert braid.stop() == 0, braid.log()
    assert used(store) == {"AKIAENVIRONMENT"}


def test_keys_come_from_the_shared_profile(tmp_path, store, no_keys):
    profile = tmp_path / "credentials"
    profile.write_text("[default]\naws_access_key_id = OTHER\n[work]\naws_access_key_id = AKIAPROFILE\naws_secret_access_key = x\n")
    no_keys.setenv("AWS_SHARED_CREDENTIALS_FILE", str(profile))
    no_keys.setenv("AWS_PROFILE", "work")
    braid = Braid(tmp_path / "data", configure(tmp_path, store, keys=False))
    assert braid.stop() == 0, braid.log()
    assert used(store) == {"AKIAPROFILE"}


class Metadata:
    """A machine's metadata service (IMDSv2) and a container's credentials; every key is another, and soon over."""

    def __init__(self):
        self.asked = []
        self.given = []
        self.is_down = False
        service = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_):
                pass

            def answer(self, status, body):
                self.send_response(status)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body.encode())

            def keys(self):
                over = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=60)
                service.given.append(f"ASIA{len(service.given)}")
                return json.dumps(
                    {
                        "Code": "Success",
                        "AccessKeyId": service.given[-1],
                        "SecretAccessKey": "x",
                        "Token": "of-a-session",
                        "Expiration": over.strftime("%Y-%m-%dT%H:%M:%SZ"),
                    }
                )

            def do_PUT(self):
                service.asked.append(self.path)
                if service.is_down:
                    return self.answer(500, "")
                return self.answer(200, "a-token") if self.path == "/latest/api/token" else self.answer(404, "")

            def do_GET(self):
                service.asked.append(self.path)
                role = "/latest/meta-data/iam/security-credentials/"
                if service.is_down:
                    return self.answer(500, "")
                if self.path == "/container":
                    good = self.headers.get("authorization") == "of-the-pod"
                    return self.answer(200, self.keys()) if good else self.answer(403, "")
                if self.headers.get("x-aws-ec2-metadata-token") != "a-token":
                    return self.answer(401, "")
                if self.path == role:
                    return self.answer(200, "braid-role")
                return self.answer(200, self.keys()) if self.path == role + "braid-role" else self.answer(404, "")

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()


@pytest.fixture
def metadata():
    service = Metadata()
    yield service
    service.server.shutdown()
    service.server.server_close()


def test_keys_of_the_machine_are_asked_for_again_before_they_are_over(tmp_path, store, no_keys, metadata):
    no_keys.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", metadata.url)
    braid = Braid(tmp_path / "data", configure(tmp_path, store, keys=False))
    push(braid, 0, 10)
    settle(braid)
    assert used(store) <= set(metadata.given) and len(used(store)) > 1, (used(store), metadata.asked)
    metadata.is_down = True
    push(braid, 10, 10)
    metadata.is_down = False
    settle(braid)
    assert numbers(braid) == list(range(20))
    assert braid.stop() == 0, braid.log()


def test_keys_of_a_container(tmp_path, store, no_keys, metadata):
    token = tmp_path / "token"
    token.write_text("of-the-pod")
    no_keys.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", metadata.url + "/container")
    no_keys.setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", str(token))
    braid = Braid(tmp_path / "data", configure(tmp_path, store, keys=False))
    assert braid.stop() == 0, braid.log()
    assert used(store) and used(store) <= set(metadata.given), metadata.asked


def test_a_bucket_that_is_not_there_is_said(tmp_path, store):
    store.bucket = "nowhere"
    command = [os.environ["BRAID"], "serve", *configure(tmp_path, store), "--data-dir", str(tmp_path / "data")]
    refused = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert refused.returncode == 1 and "s3://nowhere/pre" in refused.stderr, refused
