#!/usr/bin/env python3
"""Pushes lines at a rate to Braid while WebSocket clients tail them, and says what each client got.

    bench/tail.py --braid PATH [--rate 20000] [--clients 10] [--seconds 60] [--memory 512MiB] [--stalled 1]

Each line has a number; a client that got a number twice, or not at all, is shown. Before the last line of the table `--stalled`
further clients connect that never read: they must be told what they lost, and must cost nobody else a line. Clients are processes of their own.
The server is started here, and ended by its process id.
"""

import argparse
import base64
import http.client
import json
import multiprocessing
import os
import re
import socket
import struct
import threading
import time
import urllib.parse
import urllib.request

from server import Braid


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--braid", required=True)
    parser.add_argument("--rate", type=int, default=20_000)
    parser.add_argument("--clients", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--batch", type=int, default=500)
    parser.add_argument("--memory", default="512MiB")
    parser.add_argument("--stalled", type=int, default=1)
    return parser.parse_args()


def open_tail(address, buffer=None):
    host, port = address.rsplit(":", 1)
    connection = socket.socket()
    if buffer:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
    connection.connect((host, int(port)))
    query = urllib.parse.urlencode({"query": '{job="tail"}', "limit": 1})
    key = base64.b64encode(os.urandom(16)).decode()
    connection.sendall((f"GET /loki/api/v1/tail?{query} HTTP/1.1\r\nHost: {address}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                        f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n").encode())
    reader = connection.makefile("rb", buffering=1 << 20)
    if b" 101 " not in reader.readline():
        raise SystemExit("the server does not speak WebSocket")
    while reader.readline().strip():
        pass
    return connection, reader


def frames(connection, reader):
    """Text messages; pings are answered."""
    while True:
        head = reader.read(2)
        if len(head) < 2:
            return
        length = head[1] & 127
        if length == 126:
            length = struct.unpack(">H", reader.read(2))[0]
        elif length == 127:
            length = struct.unpack(">Q", reader.read(8))[0]
        payload = reader.read(length)
        kind = head[0] & 15
        if kind == 9:
            connection.sendall(bytes([0x8A, 0x80 | len(payload), 0, 0, 0, 0]) + payload)
        elif kind == 8:
            return
        elif kind in (0, 1):
            yield payload


QUIET = 15
NUMBER = re.compile(rb"tail-line-(\d+)-")


def client(address, total, results, ready):
    connection, reader = open_tail(address)
    ready.put(None)
    seen, twice, lost, slowest = bytearray(total), 0, 0, 0.0
    # Nothing for so long: nothing more will come.
    connection.settimeout(QUIET)
    left = total
    try:
        for message in frames(connection, reader):
            last = None
            for match in NUMBER.finditer(message):
                n = int(match.group(1))
                last = match.end()
                if seen[n]:
                    twice += 1
                else:
                    seen[n] = 1
                    left -= 1
            if last is not None:
                sent = int(message[last:last + 13])
                slowest = max(slowest, time.time() * 1e3 - sent)
            if b'"dropped_entries":[]' not in message:
                lost += message.count(b'"timestamp"')
            if left == 0:
                break
    except OSError:
        pass
    results.put((total - left, twice, lost, slowest))


def push(address, first, step, total, batch, began, rate, failures, done):
    """Sends each batch at its time, or as soon as the one before it is answered; says when the last answer came, and how late the latest went."""
    connection, latest = http.client.HTTPConnection(address, timeout=60), 0.0
    for at in range(first * batch, total, step * batch):
        delay = began + at / rate - time.time()
        if delay > 0:
            time.sleep(delay)
        latest = max(latest, time.time() - (began + at / rate))
        now = time.time_ns()
        values = [[str(now + n), f"tail-line-{n}-{now // 1_000_000} level=info msg=\"something that happened\" path=/api/v1/items/{n % 1000}"]
                  for n in range(at, min(at + batch, total))]
        body = json.dumps({"streams": [{"stream": {"job": "tail", "service_name": "tail", "part": str(first)}, "values": values}]})
        connection.request("POST", "/loki/api/v1/push", body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        text = answer.read()
        if answer.status != 204:
            failures.append(text)
            return
    done.append((time.time(), latest))


def main():
    args = arguments()
    with Braid(args.braid, "tail", args.memory) as server:
        at = server.at
        total = int(args.rate * args.seconds) // args.batch * args.batch
        results, ready = multiprocessing.Queue(), multiprocessing.Queue()
        clients = [multiprocessing.Process(target=client, args=(at["loki"], total, results, ready), daemon=True) for _ in range(args.clients)]
        for process in clients:
            process.start()
        for _ in clients:
            ready.get(timeout=30)
        stalled = [open_tail(at["loki"], 4096) for _ in range(args.stalled)]
        time.sleep(1)
        print("| s | memory, MiB | lines sent to clients | dropped | waiting, bytes |\n|---|---|---|---|---|")
        failures, done, began = [], [], time.time() + 0.2
        pushers = [threading.Thread(target=push, args=(at["loki"], n, 2, total, args.batch, began, args.rate, failures, done)) for n in range(2)]
        for pusher in pushers:
            pusher.start()

        def metric(name, text):
            found = re.search(rf"^{name} (\d+)", text, re.M)
            return int(found.group(1)) if found else 0

        def row():
            text = urllib.request.urlopen(f"http://{at['braid']}/metrics").read().decode()
            sent, dropped, waiting = (metric(f"braid_loki_tail_{n}", text) for n in ("lines_total", "dropped_total", "waiting_bytes"))
            print(f"| {time.time() - began:.0f} | {server.memory():.0f} | {sent:,} | {dropped:,} | {waiting:,} |", flush=True)

        every = max(1.0, args.seconds / 12)
        while any(pusher.is_alive() for pusher in pushers):
            time.sleep(every)
            row()
        if failures:
            raise SystemExit(f"a push was refused: {failures[0]!r}")
        took, latest = max(end for end, _ in done) - began, max(late for _, late in done)
        found = [results.get(timeout=QUIET * 4) for _ in clients]
        row()
        print(f"\n{total:,} lines in {took:.1f} s ({total / took:,.0f} a second; a batch went {latest * 1e3:.0f} ms late at worst), peak memory {server.memory('VmHWM'):.0f} MiB")
        print("| client | lines | missing | twice | told that it lost | slowest frame, ms |\n|---|---|---|---|---|---|")
        for n, (got, twice, lost, slowest) in enumerate(sorted(found)):
            print(f"| {n + 1} | {got:,} | {total - got:,} | {twice} | {lost} | {slowest:.0f} |")
        for connection, reader in stalled:
            connection.settimeout(5)
            lost = got = 0
            try:
                for message in frames(connection, reader):
                    got += len(NUMBER.findall(message))
                    lost += message.split(b'"dropped_entries":', 1)[1].count(b'"timestamp"')
            except OSError:
                pass
            print(f"| stalled | {got:,} | {total - got:,} | | {lost} | |")
        if any(got != total or twice for got, twice, _, _ in found):
            raise SystemExit("lines were lost, or came twice")


if __name__ == "__main__":
    main()
