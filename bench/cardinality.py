#!/usr/bin/env python3
"""A label with very many values: taken in, found by one value and by a regex, listed, and named as the one that costs most.

    bench/cardinality.py --braid PATH [--values 1000000] [--memory 512MiB]

Every line is a stream of its own (`{app, trace_id}`, as in a Promtail configuration that made the trace id a label), pushed as JSON over four
connections. The server is started here, and ended by its process id.
"""

import argparse
import hashlib
import http.client
import json
import threading
import time
import urllib.error
import urllib.parse
import urllib.request

from server import Braid

BATCH = 1000


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--braid", required=True)
    parser.add_argument("--values", type=int, default=1_000_000)
    parser.add_argument("--memory", default="512MiB")
    return parser.parse_args()


def trace_id(n):
    return hashlib.md5(str(n).encode()).hexdigest()


def push(address, start_ns, numbers, step_ns, failures):
    connection = http.client.HTTPConnection(address, timeout=60)
    for first in range(numbers.start, numbers.stop, BATCH):
        streams = [{"stream": {"app": f"app-{n % 20}", "trace_id": trace_id(n)},
                    "values": [[str(start_ns + n * step_ns), f"GET /api/v1/items/{n} 200 {n % 97}ms"]]}
                   for n in range(first, min(first + BATCH, numbers.stop))]
        body = json.dumps({"streams": streams})
        for _ in range(100):
            connection.request("POST", "/loki/api/v1/push", body, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            text = answer.read()
            if answer.status == 204:
                break
            time.sleep(0.1)
        else:
            failures.append(text)
            return


def main():
    args = arguments()
    with Braid(args.braid, "cardinality", args.memory) as server:
        at = server.at
        start_ns, span_ns = time.time_ns() - 3_600_000_000_000, 3_590_000_000_000
        failures, began = [], time.monotonic()
        share = -(-args.values // 4)
        pushers = [threading.Thread(target=push, args=(at["loki"], start_ns, range(n * share, min((n + 1) * share, args.values)),
                                                       span_ns // args.values, failures)) for n in range(4)]
        for pusher in pushers:
            pusher.start()
        for pusher in pushers:
            pusher.join()
        if failures:
            raise SystemExit(f"a push was refused: {failures[0]!r}")
        print(f"taken in: {args.values:,} streams in {time.monotonic() - began:.0f} s, "
              f"memory {server.memory():.0f} MiB, peak {server.memory('VmHWM'):.0f} MiB of {args.memory}", flush=True)
        wrong = []

        def ask(name, path, check, **params):
            params = {"start": start_ns, "end": start_ns + 3_600_000_000_000, **params}
            took = []
            for _ in range(4):
                before = time.monotonic()
                try:
                    with urllib.request.urlopen(f"http://{at['loki']}{path}?{urllib.parse.urlencode(params)}", timeout=300) as answer:
                        body = answer.read()
                except urllib.error.HTTPError as error:
                    print(f"| {name} | WRONG: {error.code} {error.read()[:200]!r} | | |", flush=True)
                    wrong.append(name)
                    return
                took.append((time.monotonic() - before) * 1e3)
            said, right = check(json.loads(body))
            if not right:
                wrong.append(name)
            print(f"| {name} | {'' if right else 'WRONG: '}{said} | {took[0]:.1f}, {min(took[1:]):.1f} | {len(body):,} | "
                  f"{server.memory():.0f}, {server.memory('VmHWM'):.0f} |", flush=True)

        def lines(expected):
            def check(answer):
                found = sum(len(stream["values"]) for stream in answer["data"]["result"])
                return f"{found} lines", found == expected
            return check

        def questions(title):
            print(f"\n{title}\n| question | answer | ms: first, best of three | bytes | memory now, peak, MiB |\n|---|---|---|---|---|", flush=True)
            some = trace_id(args.values // 3)
            ask("one value", "/loki/api/v1/query_range", lines(1), query=f'{{trace_id="{some}"}}')
            ask("a value that is not there", "/loki/api/v1/query_range", lines(0), query='{trace_id="nothing"}')
            prefix = some[:3]
            starting = sum(1 for n in range(args.values) if trace_id(n).startswith(prefix))
            ask(f"a regex, {starting} values", "/loki/api/v1/query_range", lines(min(starting, 5000)),
                query=f'{{trace_id=~"{prefix}.+"}}', limit=5000)
            ask("newest 100 of an app", "/loki/api/v1/query_range", lines(100), query='{app="app-7"}', limit=100)
            def counted(answer):
                n = sum(int(float(series["value"][1])) for series in answer["data"]["result"])
                return f"{n} lines", n == args.values

            ask("count by app", "/loki/api/v1/query", counted,
                query='sum by (app)(count_over_time({app=~".+"}[2h]))', time=start_ns + 3_600_000_000_000)
            ask("/labels", "/loki/api/v1/labels", lambda a: (a["data"], "trace_id" in a["data"]))
            ask("/label/trace_id/values", "/loki/api/v1/label/trace_id/values",
                lambda a: (f"{len(a['data']):,} values", len(a["data"]) == args.values))
            ask("/index/stats", "/loki/api/v1/index/stats",
                lambda a: (f"{a['streams']:,} streams", a["streams"] == args.values), query='{app=~".+"}')
            ask("/series of a regex", "/loki/api/v1/series", lambda a: (f"{len(a['data'])} series", len(a["data"]) == starting),
                **{"match[]": f'{{trace_id=~"{prefix}.+"}}'})
            ask("/detected_labels", "/loki/api/v1/detected_labels",
                lambda a: (str(a["detectedLabels"])[:60], bool(a["detectedLabels"])), query='{app=~".+"}')
            ask("which label costs most", "/loki/api/v1/status/labels",
                lambda a: (str(a)[:90], "trace_id" in str(a)[:400]))

        questions("as it came in")
        before = time.monotonic()
        server.settle()
        print(f"\nsettled in {time.monotonic() - before:.0f} s, {server.bytes() / args.values:.1f} bytes a line, "
              f"memory {server.memory():.0f} MiB, peak {server.memory('VmHWM'):.0f} MiB", flush=True)
        questions("settled")
        if wrong:
            raise SystemExit(f"wrong: {wrong}")


if __name__ == "__main__":
    main()
