"""`dns_sd_configs` and `docker_sd_configs` against servers that answer as DNS and Docker do, and then otherwise."""

import contextlib
import json
import os
import shutil
import socket
import socketserver
import struct
import subprocess
import tempfile
import threading
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from conftest import Braid, eventually

A, SRV = 1, 33
NXDOMAIN, SERVFAIL, REFUSED = 3, 2, 5


class Page(BaseHTTPRequestHandler):
    """A target: one sample."""

    def log_message(self, *_):
        pass

    def do_GET(self):
        body = b"answers 42\n"
        self.send_response(200)
        self.send_header("content-type", "text/plain; version=0.0.4")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@contextlib.contextmanager
def serving(server):
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture
def target():
    """The port of something to scrape, at every loopback address."""
    with serving(ThreadingHTTPServer(("0.0.0.0", 0), Page)) as server:
        yield server.server_address[1]


def labels(name):
    return b"".join(bytes([len(part)]) + part.encode() for part in name.strip(".").split(".")) + b"\0"


class Names:
    """A DNS server: `records` by name and type, `failing` names by the code that they are answered with. An hour to live."""

    def __init__(self, address):
        self.records = {}
        self.failing = {}
        self.asked = []
        names = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self):
                message, sock = self.request
                sock.sendto(names.answer(message), self.client_address)

        self.server = socketserver.ThreadingUDPServer((address, 53), Handler)

    def answer(self, message):
        at, parts = 12, []
        while message[at]:
            parts.append(message[at + 1 : at + 1 + message[at]].decode().lower())
            at += 1 + message[at]
        kind = struct.unpack(">H", message[at + 1 : at + 3])[0]
        name = ".".join(parts)
        self.asked.append((name, kind))
        answers = self.records.get((name, kind), [])
        known = any(other == name for other, _ in self.records)
        code = self.failing.get(name, 0 if known else NXDOMAIN)
        if code:
            answers = []
        head = message[:2] + struct.pack(">HHHHH", 0x8580 | code, 1, len(answers), 0, 0)
        body = b"".join(b"\xc0\x0c" + struct.pack(">HHIH", kind, 1, 3600, len(data)) + data for data in answers)
        return head + message[12 : at + 5] + body

    def srv(self, name, *targets):
        self.records[name, SRV] = [struct.pack(">HHH", 0, 0, port) + labels(host) for host, port in targets]

    def a(self, name, *addresses):
        self.records[name, A] = [socket.inet_aton(address) for address in addresses]


@pytest.fixture
def names():
    """A DNS server at an address of its own, port 53."""
    if os.geteuid() or not shutil.which("unshare"):
        pytest.skip("a DNS server of one's own takes root and unshare")
    names = Names("127.0.53.1")
    with serving(names.server):
        yield names


def active(braid):
    """The targets, by job: their labels with the address that is scraped."""
    found = {}
    for one in braid.json("prometheus", "/api/v1/targets", state="active")["data"]["activeTargets"]:
        address = urllib.parse.urlsplit(one["scrapeUrl"]).netloc
        found.setdefault(one["labels"]["job"], []).append(one["labels"] | {"address": address, "health": one["health"]})
    return {job: sorted(all, key=lambda one: one["address"]) for job, all in found.items()}


def value(braid, query):
    result = braid.json("prometheus", "/api/v1/query", query=query)["data"]["result"]
    return sorted((one["metric"].get("instance"), float(one["value"][1])) for one in result)


def test_targets_that_dns_names_come_and_go_with_their_records(tmp_path, names, target):
    resolv = tmp_path / "resolv.conf"
    resolv.write_text("nameserver 127.0.53.1\nsearch shop.test\noptions timeout:1 attempts:1\n")
    config = tmp_path / "braid.yaml"
    config.write_text(
        f"""
global: {{scrape_interval: 200ms, scrape_timeout: 200ms}}
scrape_configs:
  - job_name: srv
    dns_sd_configs: [{{names: [_metrics._tcp.shop.test], refresh_interval: 300ms}}]
    relabel_configs:
      - {{source_labels: [__meta_dns_srv_record_target], regex: "(.*)[.]", target_label: host}}
      - {{source_labels: [__meta_dns_srv_record_port], target_label: port}}
      - {{source_labels: [__meta_dns_name], target_label: found_by}}
  - job_name: a
    dns_sd_configs: [{{names: [web], type: A, port: {target}, refresh_interval: 300ms}}]
    relabel_configs:
      - {{source_labels: [__meta_dns_name], target_label: found_by}}
"""
    )
    names.a("one.shop.test", "127.0.0.1")
    names.a("two.shop.test", "127.0.0.2")
    names.srv("_metrics._tcp.shop.test", ("one.shop.test", target), ("two.shop.test", target))
    # Found by way of the search list.
    names.a("web.shop.test", "127.0.0.3")
    mount = ["unshare", "-m", "sh", "-ec", f'mount --bind {resolv} /etc/resolv.conf; exec "$@"', "sh"]
    braid = Braid(tmp_path / "data", ("--free-ports", "--config", str(config)), wrap=mount)
    try:
        def all_up():
            found = active(braid)
            return found if [len(found.get(job, [])) for job in ("srv", "a")] == [2, 1] and all(
                one["health"] == "up" for job in found.values() for one in job
            ) else None

        found = eventually(all_up)
        assert [(one["host"], one["port"], one["found_by"], one["instance"]) for one in found["srv"]] == [
            (f"{host}.shop.test", str(target), "_metrics._tcp.shop.test", f"{host}.shop.test:{target}") for host in ("one", "two")
        ]
        assert [(one["instance"], one["found_by"]) for one in found["a"]] == [(f"127.0.0.3:{target}", "web")]
        assert len(eventually(lambda: value(braid, "answers == 42"))) == 3

        # A server that fails or refuses has not said that there are none.
        names.failing = {"_metrics._tcp.shop.test": SERVFAIL, "web.shop.test": REFUSED}
        asked = len(names.asked)
        eventually(lambda: {("_metrics._tcp.shop.test", SRV), ("web.shop.test", A)} <= set(names.asked[asked:]))
        threading.Event().wait(1.5)
        assert [len(active(braid).get(job, [])) for job in ("srv", "a")] == [2, 1], braid.log()
        assert "dns_sd_configs" in braid.log()
        names.failing = {}

        # Records that may be kept for an hour are asked for again all the same.
        names.srv("_metrics._tcp.shop.test", ("two.shop.test", target))
        names.a("web.shop.test", "127.0.0.3", "127.0.0.4")
        eventually(lambda: [len(active(braid).get(job, [])) for job in ("srv", "a")] == [1, 2], 10)
        gone = f"one.shop.test:{target}"
        eventually(lambda: gone not in dict(value(braid, 'up{job="srv"}')), 10)

        # A name that is gone has no targets.
        del names.records["web.shop.test", A]
        eventually(lambda: "a" not in active(braid), 10)

        # A machine that changes its network has another server.
        other = Names("127.0.53.2")
        with serving(other.server):
            other.a("web.shop.test", "127.0.0.5")
            other.a("two.shop.test", "127.0.0.2")
            other.srv("_metrics._tcp.shop.test", ("two.shop.test", target))
            resolv.write_text("nameserver 127.0.53.2\nsearch shop.test\n")
            eventually(lambda: [one["instance"] for one in active(braid).get("a", [])] == [f"127.0.0.5:{target}"], 10)
    finally:
        assert braid.stop() == 0, braid.log()


class Daemon:
    """Docker's API, as far as discovery asks it."""

    def __init__(self, path=None):
        self.containers = []
        self.networks = []
        self.is_broken = False
        self.asked = []
        daemon = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_):
                pass

            def address_string(self):
                return "unix"

            def do_GET(self):
                url = urllib.parse.urlsplit(self.path)
                daemon.asked.append((url.path, urllib.parse.parse_qs(url.query)))
                found = {"/containers/json": daemon.containers, "/networks": daemon.networks}.get(url.path)
                status = 500 if daemon.is_broken else 404 if found is None else 200
                body = b"no" if status != 200 else json.dumps(found).encode()
                self.send_response(status)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

        if path:

            class Unix(socketserver.ThreadingUnixStreamServer):
                daemon_threads = True

            self.server = Unix(str(path), Handler)
            self.host = f"unix://{path}"
        else:
            self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
            self.host = f"tcp://127.0.0.1:{self.server.server_address[1]}"


def container(name, ip, port, **labels):
    return {
        "Id": name * 8,
        "Names": [f"/{name}"],
        "Labels": {"com.example.job": name, **labels},
        "Ports": [
            {"PrivatePort": port, "Type": "tcp"},
            {"PrivatePort": 53, "Type": "udp"},
        ],
        "HostConfig": {"NetworkMode": "shop"},
        "NetworkSettings": {"Networks": {"shop": {"IPAddress": ip, "NetworkID": "n1"}}},
    }


@pytest.mark.parametrize("kind", ["unix", "tcp"])
def test_containers_come_and_go_with_the_daemon(tmp_path, target, kind):
    daemon = Daemon(tmp_path / "docker.sock" if kind == "unix" else None)
    config = tmp_path / "braid.yaml"
    config.write_text(
        f"""
global: {{scrape_interval: 200ms, scrape_timeout: 200ms}}
scrape_configs:
  - job_name: docker
    docker_sd_configs:
      - host: {daemon.host}
        refresh_interval: 300ms
        filters: [{{name: label, values: ["obs_stack.enabled=true"]}}]
    relabel_configs:
      - {{source_labels: [__meta_docker_container_label_obs_stack_enabled], regex: "true", action: keep}}
      - {{source_labels: [__meta_docker_container_name], regex: "/(.*)", target_label: container}}
      - {{source_labels: [__meta_docker_container_label_com_example_job], target_label: service}}
      - {{source_labels: [__meta_docker_network_name], target_label: network}}
      - {{regex: "__meta_docker_container_label_(tier)", action: labelmap}}
"""
    )
    on = {"obs_stack.enabled": "true", "tier": "front"}
    daemon.networks = [{"Id": "n1", "Name": "shop", "Scope": "local", "Internal": False, "Ingress": False, "Labels": {}}]
    daemon.containers = [
        container("web", "127.0.0.1", target, **on),
        container("cart", "127.0.0.2", target, **on),
        container("other", "127.0.0.3", target),
    ]
    with serving(daemon.server):
        braid = Braid(tmp_path / "data", ("--free-ports", "--config", str(config)))
        try:
            def up(count):
                found = active(braid).get("docker", [])
                return found if [one["health"] for one in found] == ["up"] * count else None

            found = eventually(lambda: up(2))
            wanted = {"container": "web", "service": "web", "network": "shop", "tier": "front", "instance": f"127.0.0.1:{target}"}
            assert wanted.items() <= found[0].items() and found[1]["container"] == "cart", found
            path, query = next(one for one in daemon.asked if one[0] == "/containers/json")
            assert json.loads(query["filters"][0]) == {"label": ["obs_stack.enabled=true"]}
            dropped = braid.json("prometheus", "/api/v1/targets", state="dropped")["data"]["droppedTargets"]
            assert [one["discoveredLabels"]["__meta_docker_container_name"] for one in dropped] == ["/other"]

            daemon.is_broken = True
            asked = len(daemon.asked)
            eventually(lambda: len(daemon.asked) > asked + 1)
            assert len(active(braid)["docker"]) == 2, "a daemon that fails takes nothing away"
            assert "docker_sd_configs" in braid.log()
            daemon.is_broken = False

            daemon.containers = [one for one in daemon.containers if one["Names"] != ["/web"]]
            daemon.containers.append(container("pay", "127.0.0.4", target, **on))
            found = eventually(lambda: (all := up(2)) and all[1]["container"] == "pay" and all)
            assert [one["container"] for one in found] == ["cart", "pay"]
            eventually(lambda: f"127.0.0.1:{target}" not in dict(value(braid, "up")), 10)
            daemon.containers = []
            eventually(lambda: not active(braid) and not value(braid, "up"), 10)
        finally:
            assert braid.stop() == 0, braid.log()


@pytest.fixture
def podman(tmp_path):
    """Podman with a storage of its own and an image of a shell, its API on a socket; runs its commands."""
    if os.geteuid() or not shutil.which("podman") or not os.path.exists("/usr/bin/python3"):
        pytest.skip("no podman that a test may run containers with")
    # Podman refuses a longer path.
    short = tempfile.mkdtemp(prefix="bp")
    own = ["podman", "--root", f"{short}/root", "--runroot", f"{short}/run", "--storage-driver", "vfs"]

    def run(*arguments, **more):
        return subprocess.run([*own, *arguments], capture_output=True, timeout=60, check=True, **more).stdout.decode().strip()

    run.socket = tmp_path / "podman.sock"
    (tmp_path / "image").mkdir()
    (tmp_path / "image" / "empty").write_text("")
    image = subprocess.run(["tar", "-C", str(tmp_path / "image"), "-c", "."], capture_output=True, check=True).stdout
    try:
        run("import", "-", "empty", input=image)
    except subprocess.SubprocessError as error:
        pytest.skip(f"podman does not work here: {getattr(error, 'stderr', error)}")
    service = subprocess.Popen([*own, "system", "service", "--time=0", f"unix://{run.socket}"], stderr=subprocess.DEVNULL)
    try:
        eventually(run.socket.exists)
        yield run
    finally:
        service.terminate()
        service.wait(20)
        run("rm", "-fa", "-t", "0")
        shutil.rmtree(short, ignore_errors=True)


def test_a_container_of_podman_is_found_scraped_and_gone(tmp_path, podman):
    (tmp_path / "www").mkdir()
    (tmp_path / "www" / "metrics").write_text("answers 42\n")
    # The machine's own Python, so that no image has to be fetched.
    mounts = [flag for at in ("/usr", "/lib", "/lib64") for flag in ("-v", f"{at}:{at}:ro")]
    mounts += ["-v", f"{tmp_path}/www:/www:ro", "--ulimit", "nofile=1024:1024", "--ulimit", "nproc=100:100"]
    command = ["empty", "/usr/bin/python3", "-m", "http.server", "-d", "/www", "9400"]
    try:
        podman("run", "-d", "--name", "web", "--label", "obs_stack.enabled=true", *mounts, *command)
    except subprocess.CalledProcessError as error:
        pytest.skip(f"podman runs no containers here: {error.stderr.decode()[-300:]}")
    podman("run", "-d", "--name", "other", *mounts, *command)
    config = tmp_path / "braid.yaml"
    config.write_text(
        f"""
global: {{scrape_interval: 200ms, scrape_timeout: 200ms}}
scrape_configs:
  - job_name: podman
    fallback_scrape_protocol: PrometheusText0.0.4
    docker_sd_configs:
      - {{host: "unix://{podman.socket}", port: 9400, refresh_interval: 300ms, filters: [{{name: label, values: ["obs_stack.enabled=true"]}}]}}
    relabel_configs:
      - {{source_labels: [__meta_docker_container_name], regex: "/(.*)", target_label: container}}
"""
    )
    braid = Braid(tmp_path / "data", ("--free-ports", "--config", str(config)))
    try:
        eventually(lambda: [(one["container"], one["health"]) for one in active(braid).get("podman", [])] == [("web", "up")])
        assert [one for _, one in eventually(lambda: value(braid, "answers"))] == [42.0]
        podman("rm", "-f", "-t", "0", "web")
        eventually(lambda: not active(braid) and not value(braid, "up"), 20)
    finally:
        assert braid.stop() == 0, braid.log()
