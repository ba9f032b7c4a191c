"""A Braid of one's own: started on ports that the system chooses, with a temporary data directory, stopped by its pid."""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request

import pytest


class Braid:
    """A running `braid serve`; `wrap` is a command that runs it."""

    def __init__(self, data_dir, ports=("--free-ports",), wrap=()):
        self.data_dir = data_dir
        self.wrap = wrap
        self.log_path = str(data_dir) + ".log"
        self.ports = ports
        self.process = None
        self.start()

    def start(self):
        command = [*self.wrap, os.environ["BRAID"], "serve", *self.ports, "--print-ready", "--data-dir", str(self.data_dir)]
        with open(self.log_path, "a") as log:
            self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
        line = self.process.stdout.readline()
        assert line, f"braid did not become ready:\n{self.log()}"
        self.addresses = json.loads(line)

    def log(self):
        with open(self.log_path) as log:
            return log.read()

    def stop(self, how=signal.SIGTERM):
        self.process.send_signal(how)
        code = self.process.wait(timeout=20)
        self.process.stdout.close()
        return code

    def url(self, face, path=""):
        return f"http://{self.addresses[face]}{path}"

    def get(self, face, path, accept=None, **query):
        """Status, content type and body of an answer."""
        url = self.url(face, path) + ("?" + urllib.parse.urlencode(query) if query else "")
        request = urllib.request.Request(url, headers={"Accept": accept} if accept else {})
        try:
            with urllib.request.urlopen(request, timeout=30) as response:
                return response.status, response.headers.get("content-type", ""), response.read()
        except urllib.error.HTTPError as error:
            return error.code, error.headers.get("content-type", ""), error.read()

    def json(self, face, path, **query):
        status, kind, body = self.get(face, path, **query)
        assert status == 200, f"{path}: {status} {body[:500]!r}"
        assert kind.startswith("application/json"), kind
        return json.loads(body)


prometheus_binary = shutil.which("prometheus")


def free_address():
    """A loopback address on which nothing listens yet."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return "127.0.0.1:%d" % s.getsockname()[1]


@contextlib.contextmanager
def prometheus_at(address, home, config, *flags):
    """Debian's Prometheus on `address`, with its configuration, data and log in `home`; stopped by its pid."""
    (home / "prometheus.yml").write_text(config)
    own = [f"--config.file={home}/prometheus.yml", f"--storage.tsdb.path={home}/data", f"--web.listen-address={address}"]
    with open(home / "log", "w") as log:
        process = subprocess.Popen([prometheus_binary, *own, *flags], stdout=log, stderr=log)
    try:
        yield address
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=30)


def metric(braid, name):
    """The value of a sample at `/metrics`, written as there."""
    for line in braid.get("braid", "/metrics")[2].decode().splitlines():
        if line.startswith(name + " "):
            return float(line.rsplit(" ", 1)[1])
    raise AssertionError(f"no {name}")


def eventually(check, seconds=30):
    """The first true value of `check`; its last exception or value once the time is up."""
    end = time.monotonic() + seconds
    while True:
        try:
            value = check()
            if value or time.monotonic() > end:
                assert value, f"still {value!r} after {seconds} s"
                return value
        except (AssertionError, OSError):
            if time.monotonic() > end:
                raise
        time.sleep(0.1)


@pytest.fixture(scope="module")
def braid(tmp_path_factory):
    server = Braid(tmp_path_factory.mktemp("braid") / "data")
    yield server
    if server.process.poll() is None:
        assert server.stop() == 0, server.log()
