#!/usr/bin/env python3
"""Peers that are away for long while Braid takes in: what an exporter's peer, or the object store, has when it is back.

    bench/away.py exporter --braid PATH [--seconds 300] [--rate 2000] [--kind otlphttp|otlp]
    bench/away.py objects --braid PATH [--seconds 300] [--rate 2000]            # Python needs moto[server,s3] and boto3

`--rate` lines a second go in, and as many spans for an exporter. The peer is away from the beginning to `--seconds`; Braid is killed (SIGKILL) in
the middle and started again on its data; then the peer is back, and is asked for every line. Printed are what was kept of what was
acknowledged, how often a line came twice, memory, disk and log at the peak, how long the backlog took, and what `/ready` and
the metrics said meanwhile. Fails when anything is lost.
"""

import argparse
import collections
import gzip
import http.client
import json
import os
import re
import signal
import sys
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from server import Braid

LINES = 500


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["exporter", "objects"])
    parser.add_argument("--braid", required=True)
    parser.add_argument("--seconds", type=int, default=300)
    parser.add_argument("--rate", type=int, default=2000)
    parser.add_argument("--memory", default="512MiB")
    parser.add_argument("--dir", help="where the data goes")
    return parser.parse_args()


def ask(braid, face, path, **query):
    url = f"http://{braid.at[face]}{path}" + ("?" + urllib.parse.urlencode(query) if query else "")
    try:
        with urllib.request.urlopen(url, timeout=60) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def metrics(braid, pattern):
    text = ask(braid, "braid", "/metrics")[1]
    return {name: float(value) for name, value in re.findall(rf"^({pattern}\S*) (\S+)$", text, re.M)}


class Intake:
    """Sends lines at a rate, each with its number, until it is told to stop; what was refused or cut off is sent again."""

    def __init__(self, braid, rate):
        self.braid, self.rate = braid, rate
        self.acknowledged = 0
        self.refused = collections.Counter()
        self.stopped = threading.Event()
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self):
        begun, connection = time.monotonic(), None
        while not self.stopped.is_set():
            due = begun + self.acknowledged / self.rate
            time.sleep(max(0, due - time.monotonic()))
            first = self.acknowledged
            now = time.time_ns()
            values = [[str(now + n), f"number {n} " + os.urandom(40).hex()] for n in range(first, first + LINES)]
            body = json.dumps({"streams": [{"stream": {"app": "away"}, "values": values}]})
            while True:
                try:
                    if connection is None:
                        connection = http.client.HTTPConnection(self.braid.at["loki"], timeout=30)
                    connection.request("POST", "/loki/api/v1/push", body, {"Content-Type": "application/json"})
                    answer = connection.getresponse()
                    why = answer.read().decode()
                    if answer.status == 204:
                        break
                    self.refused[f"{answer.status} {re.sub(r'[0-9]+ s', 'N s', why.strip())[:160]}"] += 1
                except (OSError, http.client.HTTPException):
                    connection = None
                if self.stopped.is_set():
                    return
                time.sleep(0.1)
            self.acknowledged = first + LINES

    def stop(self):
        self.stopped.set()
        self.thread.join()


class Peak:
    """The largest that was seen."""

    def __init__(self, braid):
        self.braid = braid
        self.memory = self.disk = self.log = 0

    def look(self):
        try:
            self.memory = max(self.memory, self.braid.memory("VmHWM"))
            self.disk = max(self.disk, self.braid.bytes() / 2**20)
            self.log = max(self.log, metrics(self.braid, "braid_log_bytes")["braid_log_bytes"] / 2**20)
        except (OSError, KeyError):
            pass


def outage(options, braid, patterns):
    """Takes in for as long as the peer is away, with a kill in the middle."""
    intake, peak = Intake(braid, options.rate), Peak(braid)
    end, killed = time.monotonic() + options.seconds, False
    shown = time.monotonic()
    while time.monotonic() < end:
        time.sleep(0.5)
        peak.look()
        if not killed and time.monotonic() > end - options.seconds / 2:
            braid.process.send_signal(signal.SIGKILL)
            braid.process.wait()
            braid.start()
            killed = True
        if time.monotonic() - shown > options.seconds / 5:
            shown = time.monotonic()
            print(f"# {intake.acknowledged} lines, {peak.memory:.0f} MiB of memory, {peak.disk:.0f} on disk;", flush=True)
            print("#   ready:", ask(braid, "braid", "/ready")[1].replace("\n", " "), {k: v for p in patterns for k, v in metrics(braid, p).items()}, flush=True)
    return intake, peak


def report(**found):
    print(json.dumps(found, indent=1))


def numbers(text):
    return (int(n) for n in re.findall(rb"number ([0-9]+) ", text))


def exporter(options):
    """A peer that counts every line that it takes, by number."""
    taken = collections.Counter()

    class Loki(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_):
            pass

        def do_POST(self):
            body = self.rfile.read(int(self.headers["content-length"]))
            if self.headers.get("content-encoding") == "gzip":
                body = gzip.decompress(body)
            taken.update(numbers(body))
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

    # The port is taken from the beginning, and nobody listens.
    server = ThreadingHTTPServer(("127.0.0.1", 0), Loki, bind_and_activate=False)
    server.server_bind()
    config = f"/tmp/away-{os.getpid()}.yaml"
    with open(config, "w") as file:
        file.write(
            f"exporters: {{otlphttp: {{endpoint: 'http://127.0.0.1:{server.server_address[1]}'}}}}\n"
            "service: {pipelines: {logs: {exporters: [otlphttp]}}}\n"
        )
    try:
        with Braid(options.braid, "away", options.memory, "--config", config, dir=options.dir) as braid:
            intake, peak = outage(options, braid, ["braid_exporter_queue", "braid_exporter_retries"])
            server.server_activate()
            threading.Thread(target=server.serve_forever, daemon=True).start()
            back, behind = time.monotonic(), intake.acknowledged
            while len(taken) < behind and time.monotonic() < back + 600:
                time.sleep(0.2)
                peak.look()
            drained = time.monotonic() - back
            intake.stop()
            deadline = time.monotonic() + 120
            while len(taken) < intake.acknowledged and time.monotonic() < deadline:
                time.sleep(0.2)
            lost = intake.acknowledged - len([n for n in taken if n < intake.acknowledged])
            report(
                acknowledged=intake.acknowledged, lost=lost, twice=sum(1 for n in taken.values() if n > 1),
                seconds_until_drained=round(drained, 1), peak_memory_mib=round(peak.memory), peak_disk_mib=round(peak.disk), peak_log_mib=round(peak.log),
                refused=dict(intake.refused), **metrics(braid, "braid_exporter_(?:sent|send_failed|enqueue_failed)"),
            )
            return lost
    finally:
        os.remove(config)


def objects(options):
    import boto3
    from moto.server import ThreadedMotoServer

    sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "tests", "clients"))
    from shaky_proxy import ShakyProxy

    s3 = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    s3.start()
    host, port = s3.get_host_and_port()
    keys = {"aws_access_key_id": "AKIATEST", "aws_secret_access_key": "hush", "region_name": "us-east-1"}
    boto3.client("s3", endpoint_url=f"http://{host}:{port}", **keys).create_bucket(Bucket="away")
    proxy = ShakyProxy(host, port)
    config = f"/tmp/away-{os.getpid()}.yaml"
    with open(config, "w") as file:
        file.write(
            f"storage: {{object_store: {{url: 's3://away/x', endpoint: '{proxy.url()}', access_key_id: AKIATEST, secret_access_key: hush, lease: 5s}}}}\n"
        )
    try:
        with Braid(options.braid, "away", options.memory, "--config", config, dir=options.dir) as braid:
            braid.settle()
            proxy.down()
            intake, peak = outage(options, braid, ["braid_object_store_(?:away|pending)"])
            proxy.faults = {}
            proxy.up()
            back = time.monotonic()
            intake.stop()
            def waits():
                found = metrics(braid, "braid_object_store_(?:away|pending_segments)")
                return not found or any(found.values())
            while waits() and time.monotonic() < back + 600:
                time.sleep(0.2)
                peak.look()
            drained = time.monotonic() - back
            braid.settle()
            said = metrics(braid, "braid_(?:object_store_(?:uploaded|failed_rounds|pending_segments)|log_bytes)")
            braid.stop()
            # Somebody else's machine, who has nothing but the object store.
            with Braid(options.braid, "away-other", options.memory, "--config", config, dir=options.dir) as other:
                count = 'sum(count_over_time({app="away"}[24h]))'
                answer = json.loads(ask(other, "loki", "/loki/api/v1/query", query=count)[1])
                found = int(answer["data"]["result"][0]["value"][1])
            report(
                acknowledged=intake.acknowledged, found_in_the_object_store=found, seconds_until_drained=round(drained, 1),
                peak_memory_mib=round(peak.memory), peak_disk_mib=round(peak.disk), peak_log_mib=round(peak.log), refused=dict(intake.refused), **said,
            )
            return int(found < intake.acknowledged)
    finally:
        os.remove(config)
        proxy.down()
        s3.stop()


if __name__ == "__main__":
    options = arguments()
    sys.exit(1 if (exporter if options.what == "exporter" else objects)(options) else 0)
