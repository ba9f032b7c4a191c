#!/usr/bin/env python3
"""Sends Braid more than it can take, on three receivers at once, and says what becomes of memory, refusals and queries.

    bench/overload.py --braid PATH --generator PATH [--memory 512MiB] [--seconds 30] [--floods 5] [--conns 20] [--items 4,1,0.6]

Each kind is sent by several generators at once, which wait for an answer on each of their connections only; 300 connections in all are
many times more than the server can answer. They encode everything first, which is waited for, and run at the lowest priority: they stand
for other machines. Beside them a prober sends small requests of its own and says what they were answered: whatever
is not taken must be refused as retryable, with a Retry-After.

The generator is the reference load generator (or `braid-bench load`). Everything runs on loopback; the server and the
generators are started here and ended by their process ids. Under load ends when the first of them has sent all its items (millions of
samples, lines and spans), so that what is measured is the load of all three.
"""

import argparse
import json
import multiprocessing
import os
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
    parser.add_argument("--floods", type=int, default=5, help="generators of each kind")
    parser.add_argument("--items", default="4,1,0.6", help="millions of samples, lines and spans of each generator")
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


def probes(at):
    """Small requests, new ones each time, by protocol."""
    now = time.time_ns()
    line = {"streams": [{"stream": {"probe": "x"}, "values": [[str(now), "a line"]]}]}
    span = {"traceId": f"{now:032x}", "spanId": f"{now & (2**64 - 1):016x}", "name": "probe", "startTimeUnixNano": str(now), "endTimeUnixNano": str(now + 5)}
    point = {"timeUnixNano": str(now), "asDouble": 1.0}
    yield "loki", f"http://{at['loki']}/loki/api/v1/push", line
    yield "traces", f"http://{at['otlp_http']}/v1/traces", {"resourceSpans": [{"scopeSpans": [{"spans": [span]}]}]}
    yield "metrics", f"http://{at['otlp_http']}/v1/metrics", {
        "resourceMetrics": [{"scopeMetrics": [{"metrics": [{"name": "probe", "gauge": {"dataPoints": [point]}}]}]}]}


def probe(at, done, answers):
    """Sends them until `done`; counts the answers, and whether a refusal says when to come again. In a process of its own: what queries
    take would be measured with its turns at the interpreter's lock, which are there under load only."""
    told = {}
    while not done.wait(0.1):
        for kind, url, body in probes(at):
            request = urllib.request.Request(url, data=json.dumps(body).encode(), headers={"Content-Type": "application/json"})
            try:
                with urllib.request.urlopen(request, timeout=30) as answer:
                    key = (kind, answer.status)
            except urllib.error.HTTPError as error:
                retryable = error.code == 503 and error.headers.get("Retry-After")
                key = (kind, f"{error.code}, Retry-After {error.headers['Retry-After']}" if retryable else f"{error.code} NOT RETRYABLE")
            except OSError as error:
                key = (kind, f"{type(error).__name__}")
            told[key] = told.get(key, 0) + 1
    answers.put(told)


def is_sending(pid):
    """Whether a generator has connections."""
    try:
        return any(os.readlink(f"/proc/{pid}/fd/{fd}").startswith("socket:") for fd in os.listdir(f"/proc/{pid}/fd"))
    except OSError:
        return False


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
        # Others' series are others: the first keeps to the tenant that is asked.
        command += ["--header", f"X-Scope-OrgID: flood-{seed}"] if seed > 2 else []
        command += ["--span-secs", str(count * 15 // 10_000)] if kind == "metrics" else ["--count", str(count)]
        process = subprocess.Popen(["nice", "-n", "19", *command], stdout=subprocess.DEVNULL, stderr=open(f"{home}/{kind}-{seed}", "w"))
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
    flood = [generate(kind, count, args.conns, 2 + n) for n in range(args.floods) for kind, count in zip(target, counts)]
    accepted = lambda: sum(float(l.split()[-1]) for l in urllib.request.urlopen(f"http://{at['braid']}/metrics").read().decode()
                           .splitlines() if l.startswith("braid_receiver_accepted_items_total"))
    began = time.monotonic()
    while not all(is_sending(process.pid) for process in flood):
        if time.monotonic() - began > 240:
            raise SystemExit("the generators do not begin to send")
        time.sleep(0.2)
    calm, answers = multiprocessing.Event(), multiprocessing.Queue()
    prober = multiprocessing.Process(target=probe, args=(at, calm, answers), daemon=True)
    prober.start()
    before, began = accepted(), time.monotonic()
    under, codes = ask(urls, args.seconds, flood)
    loaded = time.monotonic() - began
    calm.set()
    told = answers.get(timeout=60)
    ended = [process.args for process in flood if process.poll() not in (None, 0)]
    if ended:
        raise SystemExit(f"generators failed: {ended}")
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
    after, _ = ask(urls, 5)
    done.set()
    watcher.join()
    text = urllib.request.urlopen(f"http://{at['braid']}/metrics").read().decode()
    refused = [l for l in text.splitlines() if l.startswith("braid_receiver_refused_requests_total")]
    show = lambda p95: " / ".join(f"{v:.1f}" for v in p95)
    print(f"seconds under load                 {loaded:.0f}, {sum(codes.values())} queries")
    print(f"items taken a second under load    {rate:,.0f}")
    print(f"memory, MiB (idle, peak)           {rest:.0f}, {max(peaks):.0f} of {args.memory}")
    short = [l.split()[-1] for l in text.splitlines() if l.startswith("braid_memory_short")]
    print(f"memory was short (times, seconds)  {', '.join(short)}")
    print("answers to small requests under load:", *(f"{kind} {code}: {n}" for (kind, code), n in sorted(told.items(), key=str)), sep="\n  ")
    worst = lambda rest: max(u / i for u, i in zip(under, rest))
    # Idle with a tenth of the data before, and with what was sent after: only the second is the load alone.
    print(f"query p95 under load : idle        {worst(idle):.1f} of before, {worst(after):.1f} of after, at worst")
    print(f"query p95, ms, PromQL/LogQL/TraceQL  idle {show(idle)}; under load {show(under)}; after {show(after)}")
    print(f"answers under load by status       {codes}")
    print(f"a push is taken again after        {recovered:.2f} s")
    print("refused requests:", *(refused or ["none"]), sep="\n  ")


if __name__ == "__main__":
    main()
