#!/usr/bin/env python3
"""Scrapes many targets and says what that costs: processor time, memory, and whether any scrape was missed.

    bench/scrape.py --braid PATH [--targets 1000] [--series 500] [--interval 15] [--seconds 120] [--memory 512MiB] [--core N]

The targets are paths of servers that are started here (as many processes as --servers says), each with its own series: a
quarter counters, the rest gauges, of which every second one changes from scrape to scrape. `--targets 2000 --interval 60
--memory 2GiB` keeps a million series. `--core` binds Braid to one core, and the targets to the others.
"""

import argparse
import json
import multiprocessing
import os
import shutil
import socket
import tempfile
import threading
import time
import urllib.parse
import urllib.request

from server import Braid


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--braid", required=True)
    parser.add_argument("--targets", type=int, default=1000)
    parser.add_argument("--series", type=int, default=500)
    parser.add_argument("--interval", type=int, default=15)
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--memory", default="512MiB")
    parser.add_argument("--servers", type=int, default=2)
    parser.add_argument("--core", type=int)
    return parser.parse_args()


def page(target, series, round_):
    lines = ["# TYPE requests_total counter", "# TYPE level gauge"]
    for n in range(series):
        if n % 4 == 0:
            lines.append(f'requests_total{{route="/api/v1/items/{n}",code="200",pod="pod-{target}"}} {round_ * (n + 7)}')
        else:
            value = n + (round_ if n % 2 else 0)
            lines.append(f'level{{part="part-{n}",zone="zone-{n % 7}",pod="pod-{target}"}} {value}')
    return "\n".join(lines) + "\n"


def serve(listener, series):
    """Answers one request after the other on each connection; a thread a connection is enough for this."""
    rounds, pages = {}, {}

    def answer(connection):
        buffer = b""
        with connection:
            while True:
                while b"\r\n\r\n" not in buffer:
                    more = connection.recv(65536)
                    if not more:
                        return
                    buffer += more
                head, buffer = buffer.split(b"\r\n\r\n", 1)
                target = head.split(b" ", 2)[1].rsplit(b"/", 1)[1].decode()
                rounds[target] = n = rounds.get(target, 0) + 1
                if n % 8 not in pages:
                    pages[n % 8] = page("@T@", series, n % 8)
                body = pages[n % 8].replace("@T@", target).encode()
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\nContent-Length: "
                                   + str(len(body)).encode() + b"\r\n\r\n" + body)

    while True:
        connection, _ = listener.accept()
        threading.Thread(target=answer, args=(connection,), daemon=True).start()


def query(at, text):
    url = f"http://{at['prometheus']}/api/v1/query?query={urllib.parse.quote(text)}"
    with urllib.request.urlopen(url, timeout=60) as answer:
        result = json.load(answer)["data"]["result"]
    return float(result[0]["value"][1]) if result else 0.0


def main():
    args = arguments()
    home = tempfile.mkdtemp(prefix="braid-scrape-")
    others = set(os.sched_getaffinity(0)) - {args.core}
    servers, addresses = [], []
    for _ in range(args.servers):
        listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
        addresses.append("127.0.0.1:%d" % listener.getsockname()[1])
        server = multiprocessing.Process(target=serve, args=(listener, args.series), daemon=True)
        server.start()
        if args.core is not None and others:
            os.sched_setaffinity(server.pid, others)
        servers.append(server)
        listener.close()
    groups = [{"targets": [addresses[n % len(addresses)]], "labels": {"__metrics_path__": f"/target/{n}", "target": str(n)}}
              for n in range(args.targets)]
    with open(f"{home}/targets.json", "w") as out:
        json.dump(groups, out)
    with open(f"{home}/braid.yaml", "w") as out:
        out.write(f"scrape_configs:\n- job_name: many\n  scrape_interval: {args.interval}s\n  scrape_timeout: {args.interval}s\n"
                  f"  file_sd_configs: [{{files: ['{home}/targets.json']}}]\n")
    with Braid(args.braid, "scrape", args.memory, "--config", f"{home}/braid.yaml") as braid:
        at = braid.at
        if args.core is not None:
            os.sched_setaffinity(braid.pid, {args.core})
        # Every target once, then the stretch that counts.
        time.sleep(args.interval + 5)
        began, before = time.monotonic(), braid.cpu()
        while time.monotonic() - began < args.seconds:
            time.sleep(1)
        seconds, spent = time.monotonic() - began, braid.cpu() - before
        window = f"{int(args.seconds) // args.interval * args.interval}s"
        scrapes = query(at, f"sum(count_over_time(up[{window}]))")
        wanted = args.targets * (int(args.seconds) // args.interval)
        print(f"targets, series each, interval       {args.targets}, {args.series}, {args.interval} s")
        series = query(at, "sum(scrape_samples_post_metric_relabeling * up)")
        print(f"series                               {series:,.0f}")
        print(f"samples a second                     {query(at, f'sum(sum_over_time(scrape_samples_scraped[{window}]))') / int(window[:-1]):,.0f}")
        print(f"scrapes, of so many due, failed      {scrapes:,.0f}, {wanted:,}, {query(at, f'sum(count_over_time((up == 0)[{window}:{args.interval}s]))'):,.0f}")
        print(f"scrape seconds, median / p99         {query(at, 'quantile(0.5, scrape_duration_seconds)'):.3f} / {query(at, 'quantile(0.99, scrape_duration_seconds)'):.3f}")
        print(f"CPU, cores                           {spent / seconds:.2f}")
        print(f"memory, MiB (now, peak)              {braid.memory():.0f}, {braid.memory('VmHWM'):.0f} of {args.memory}")
    for server in servers:
        server.terminate()
    shutil.rmtree(home, ignore_errors=True)


if __name__ == "__main__":
    main()
