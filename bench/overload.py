#!/usr/bin/env python3
"""Sends Braid more than it can take, on three receivers at once, and says what becomes of memory, refusals and queries.

    bench/overload.py --braid PATH --generator PATH [--memory 512MiB] [--seconds 30] [--conns 20] [--items 20,5,3]

The generator is the reference load generator (or `braid-bench load`). Everything runs on loopback; the server and the
generators are started here and ended by their process ids. Under load ends when the first of them has sent all its items (millions of
samples, lines and spans), so that what is measured is the load of all three.
"""

import argparse
import json
import statistics
import subprocess
import threading
import time
import urllib.error
import urllib.parse
import urllib.request

from server import Braid, end


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--braid", required=True)
    parser.add_argument("--generator", required=True)
    parser.add_argument("--memory", default="512MiB")
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--conns", type=int, default=20, help="of each generator; more than 20 the reference generator does not take for lines")
    parser.add_argument("--items", default="20,5,3")
    return parser.parse_args()


def get(url):
    began = time.monotonic()
    try:
        with urllib.request.urlopen(url, timeout=30) as answer:
            answer.read()
            return time.monotonic() - began, answer.status
    except urllib.error.HTTPError as error:
        return time.monotonic() - began, error.code
    except TimeoutError:
        return time.monotonic() - began, "timeout"


def queries(at, now):
    series, lines, spans = (urllib.parse.quote(q) for q in ('count({__name__=~".+"})', '{service_name=~".+"}', "{}"))
    return [
        f"http://{at['prometheus']}/api/v1/query?query={series}&time={now}",
        f"http://{at['loki']}/loki/api/v1/query_range?query={lines}&start={now - 300}&end={now}&limit=100",
        f"http://{at['tempo']}/api/search?q={spans}&start={now - 300}&end={now}&limit=20",
    ]


def ask(urls, seconds, load=()):
    """Latencies and statuses of one query after the other, as long as all of the load is there."""
    took, codes, until = [[] for _ in urls], {}, time.monotonic() + seconds
    while time.monotonic() < until and all(process.poll() is None for process in load):
        for n, url in enumerate(urls):
            seconds_taken, code = get(url)
            took[n].append(seconds_taken)
            codes[code] = codes.get(code, 0) + 1
            time.sleep(0.02)
    p95 = [statistics.quantiles(t, n=20)[18] * 1e3 if len(t) > 1 else t[0] * 1e3 for t in took]
    return p95, codes


def main():
    args = arguments()
    started = []
    with Braid(args.braid, "overload", args.memory) as server:
        try:
            measure(args, server, started)
        finally:
            for process in started:
                end(process)


def measure(args, server, started):
    """Asks idle and under load; the processes that it starts are in `started`."""
    at, home = server.at, server.home
    target = {"metrics": f"http://{at['prometheus']}/api/v1/write", "logs": f"http://{at['loki']}/loki/api/v1/push",
              "traces": f"http://{at['otlp_http']}/v1/traces"}

    def generate(kind, count, conns, seed):
        command = [args.generator, kind, "--url", target[kind], "--conns", str(conns), "--seed", str(seed)]
        # Samples are as many as there are series and time: 10,000 series, one every 15 s.
        command += ["--span-secs", str(count * 15 // 10_000)] if kind == "metrics" else ["--count", str(count)]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=open(f"{home}/{kind}", "w"))
        started.append(process)
        return process

    for kind in target:
        generate(kind, 100_000, 4, 1).wait()
    server.settle()
    urls = queries(at, int(time.time()))
    ask(urls, 1)
    idle, _ = ask(urls, 5)
    rest = server.memory()

    peaks, done = [], threading.Event()

    def watch():
        while not done.wait(0.1):
            if server.is_alive():
                peaks.append(server.memory())

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    counts = [int(float(n) * 1e6) for n in args.items.split(",")]
    flood = [generate(kind, count, args.conns, 2) for kind, count in zip(target, counts)]
    # They encode everything first: wait until requests come in.
    accepted = lambda: sum(float(l.split()[-1]) for l in urllib.request.urlopen(f"http://{at['braid']}/metrics").read().decode()
                           .splitlines() if l.startswith("braid_receiver_accepted_items_total"))
    before, began = accepted(), time.monotonic()
    while accepted() < before + 10_000 and time.monotonic() - began < 90:
        time.sleep(0.2)
    before, began = accepted(), time.monotonic()
    under, codes = ask(urls, args.seconds, flood)
    loaded = time.monotonic() - began
    ended = [kind for kind, process in zip(target, flood) if process.poll() not in (None, 0)]
    if ended:
        raise SystemExit(f"the generators of {ended} failed: {open(f'{home}/{ended[0]}').read()}")
    rate = (accepted() - before) / loaded
    for process in flood:
        end(process)
    stopped = time.monotonic()
    push = json.dumps({"streams": [{"stream": {"a": "b"}, "values": [[str(time.time_ns()), "after"]]}]}).encode()
    while True:
        request = urllib.request.Request(target["logs"], data=push, headers={"Content-Type": "application/json"}, method="POST")
        try:
            urllib.request.urlopen(request, timeout=10)
            break
        except urllib.error.HTTPError:
            time.sleep(0.02)
    recovered = time.monotonic() - stopped
    after, _ = ask(urls, 3)
    done.set()
    watcher.join()
    text = urllib.request.urlopen(f"http://{at['braid']}/metrics").read().decode()
    refused = [l for l in text.splitlines() if l.startswith("braid_receiver_refused_requests_total")]
    show = lambda p95: " / ".join(f"{v:.1f}" for v in p95)
    print(f"seconds under load                 {loaded:.0f}, {sum(codes.values())} queries")
    print(f"items taken a second under load    {rate:,.0f}")
    print(f"memory, MiB (idle, peak)           {rest:.0f}, {max(peaks):.0f} of {args.memory}")
    print(f"query p95, ms, PromQL/LogQL/TraceQL  idle {show(idle)}; under load {show(under)}; after {show(after)}")
    print(f"answers under load by status       {codes}")
    print(f"a push is taken again after        {recovered:.2f} s")
    print("refused requests:", *(refused or ["none"]), sep="\n  ")


if __name__ == "__main__":
    main()
