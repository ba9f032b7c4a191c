#!/usr/bin/env python3
"""An hour of many small tenants, sent faster than it passed: how many files, how much memory, and whether each finds its own.

    bench/tenants.py --braid PATH [--tenants 1000] [--minutes 60] [--memory 512MiB] [--senders 2]

Each tenant has one line, one span and one sample a second, sent once a minute of its time in three requests. The items' times are those
of a whole hour that is over; the server's own clock is not touched, so that what it does by age (heads are written after five minutes) it
does as often as the run is long, and what it does by size as often as in the hour. The server is started here, and ended by its process id.
"""

import argparse
import http.client
import json
import os
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from multiprocessing import Process, Queue

from server import Braid

MINUTE = 60


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--braid", required=True)
    parser.add_argument("--tenants", type=int, default=1000)
    parser.add_argument("--minutes", type=int, default=60)
    parser.add_argument("--memory", default="512MiB")
    parser.add_argument("--senders", type=int, default=2, help="processes that send")
    return parser.parse_args()


def bodies(tenant, first):
    """A minute of a tenant that begins at `first` (seconds since 1970): face, path and body of each request."""
    seconds = range(first, first + MINUTE)
    lines = [[f"{s}000000000", f'{{"level":"info","msg":"request {s - first} of tenant {tenant} took {s * 7 % 50} ms"}}'] for s in seconds]
    yield "loki", "/loki/api/v1/push", {"streams": [{"stream": {"app": f"shop-{tenant}", "env": "prod"}, "values": lines}]}
    service = {"attributes": [{"key": "service.name", "value": {"stringValue": f"shop-{tenant}"}}]}
    ids = [tenant * 10_000_000 + s % 10_000_000 + 1 for s in seconds]
    spans = [{"traceId": f"{n * 0x9E3779B97F4A7C15 % 2**128:032x}", "spanId": f"{n:016x}", "name": "GET /", "kind": 2,
              "startTimeUnixNano": f"{s}000000000", "endTimeUnixNano": f"{s}005000000"} for s, n in zip(seconds, ids)]
    yield "otlp_http", "/v1/traces", {"resourceSpans": [{"resource": service, "scopeSpans": [{"spans": spans}]}]}
    points = [{"timeUnixNano": f"{s}000000000", "asDouble": s % 97} for s in seconds]
    gauge = {"name": "queue_length", "gauge": {"dataPoints": points}}
    yield "otlp_http", "/v1/metrics", {"resourceMetrics": [{"resource": service, "scopeMetrics": [{"metrics": [gauge]}]}]}


def send(at, tenants, start, minutes, told):
    """Sends the minutes of some tenants, one after the other; tells each minute, or what was refused."""
    open_ = {face: http.client.HTTPConnection(at[face], timeout=60) for face in ("loki", "otlp_http")}
    for minute in range(minutes):
        for tenant in tenants:
            for face, path, body in bodies(tenant, start + minute * MINUTE):
                body = json.dumps(body)
                for _ in range(100):
                    open_[face].request("POST", path, body, {"Content-Type": "application/json", "X-Scope-OrgID": f"team-{tenant}"})
                    answer = open_[face].getresponse()
                    text = answer.read()
                    if answer.status != 503:
                        break
                    time.sleep(0.1)
                if answer.status >= 300:
                    told.put(f"{path}: {answer.status} {text!r}")
                    return
        told.put(minute)
    told.put(None)


def ask(address, path, tenant):
    request = urllib.request.Request(f"http://{address}{path}", headers={"X-Scope-OrgID": f"team-{tenant}"})
    return json.load(urllib.request.urlopen(request, timeout=60))


def found(at, tenant, start, minutes):
    """How many lines, spans and samples a tenant has."""
    end = start + minutes * MINUTE
    text = lambda query: urllib.parse.quote(query)
    lines = ask(at["loki"], f"/loki/api/v1/query?query={text(f'sum(count_over_time({{app=~`.+`}}[{minutes}m]))')}&time={end - 1}", tenant)
    spans = ask(at["tempo"], f"/api/metrics/query?q={text('{} | count_over_time()')}&start={start}&end={end}", tenant)
    samples = ask(at["prometheus"], f"/api/v1/query?query={text(f'sum(count_over_time({{__name__=~`.+`,__name__!=`target_info`}}[{minutes}m]))')}"
                                    f"&time={end - 1}", tenant)
    value = lambda answer: sum(float(series["value"][1]) for series in answer["data"]["result"])
    return value(lines), sum(float(series.get("value", 0)) for series in spans.get("series", [])), value(samples)


def files(server):
    return sum(len(names) for _, _, names in os.walk(f"{server.home}/data/segments"))


def main():
    args = arguments()
    hour = int(time.time()) // 3600 * 3600
    # An hour that is over, the one before the last where less is asked for.
    start = hour - max(3600, args.minutes * MINUTE)
    with Braid(args.braid, "tenants", args.memory) as server:
        told, most = Queue(), {"files": 0}
        began, before = time.monotonic(), server.cpu()
        senders = [Process(target=send, args=(server.at, range(n, args.tenants, args.senders), start, args.minutes, told), daemon=True)
                   for n in range(args.senders)]
        for sender in senders:
            sender.start()
        done = threading.Event()

        def watch():
            while not done.wait(0.5):
                most["files"] = max(most["files"], files(server))

        watcher = threading.Thread(target=watch, daemon=True)
        watcher.start()
        left, minutes = args.senders, {}
        while left:
            said = told.get()
            if isinstance(said, str):
                raise SystemExit(f"refused: {said}")
            if said is None:
                left -= 1
                continue
            minutes[said] = minutes.get(said, 0) + 1
            if minutes[said] == args.senders and (said + 1) % 10 == 0:
                print(f"minute {said + 1:>3}: {files(server)} files of segments, resident {server.memory():.0f} MiB", flush=True)
        loaded = time.monotonic() - began
        items = args.tenants * args.minutes * MINUTE * 3
        print(f"{args.tenants:,} tenants, {args.minutes} minutes, {items:,} items in {loaded:.0f} s")
        unsettled = server.bytes()
        server.settle()
        done.set()
        watcher.join()
        print(f"files of segments, most / settled  {most['files']}, {files(server)}")
        print(f"memory, peak / settled, MiB        {server.memory('VmHWM'):.0f}, {server.memory():.0f} of {args.memory}")
        print(f"CPU s per million items            {(server.cpu() - before) / items * 1e6:.2f}")
        print(f"bytes an item, before / settled    {unsettled / items:.1f}, {server.bytes() / items:.1f}")
        wanted = (args.minutes * MINUTE,) * 3
        wrong = {}
        for tenant in sorted({*range(0, args.tenants, max(1, args.tenants // 20)), args.tenants - 1}):
            has = found(server.at, tenant, start, args.minutes)
            if has != wanted:
                wrong[tenant] = has
        if wrong:
            raise SystemExit(f"of lines, spans and samples each tenant should have {wanted}; these have others: {wrong}")
        print("each of twenty tenants has all of its own lines, spans and samples, and no other")


if __name__ == "__main__":
    main()
