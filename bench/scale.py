#!/usr/bin/env python3
"""Loads Braid with several slices of a workload, lets it settle, and asks: warm, with eight clients at once, and cold.

    bench/scale.py logs --braid PATH --bench PATH --generator PATH [--slices 10] [--count 2000000]
    bench/scale.py traces --braid PATH --bench PATH --generator PATH --slices 50 --count 1000000

Each slice has a seed and an hour of its own; the last one ends now. `--bench` is `braid-bench`, whose queries are asked over
all of the data (spans: by id over all of the data, the others over the middle slice, unless `--everything`); answers are checked against what
the generator expects. Cold is a fresh process with the page cache dropped, which needs root. The server is started here, and ended by
its process id. Ten times two million lines take 1.3 GB of disk, fifty million spans 1.8 GB.
"""

import argparse
import json
import os
import subprocess
import time

from server import Braid

# Of each hour: questions about one slice are rounded to minutes, and must not reach into the next.
SPAN_S = 3300


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=["logs", "traces"])
    parser.add_argument("--braid", required=True)
    parser.add_argument("--bench", required=True)
    parser.add_argument("--generator", required=True)
    parser.add_argument("--slices", type=int, default=10)
    parser.add_argument("--count", type=int, help="items of a slice")
    parser.add_argument("--memory", default="512MiB")
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--everything", action="store_true", help="ask all queries of spans over all of the data")
    parser.add_argument("--dir", help="where data is kept while this runs (default: a temporary folder)")
    return parser.parse_args()


def together(slices):
    """What is expected of all slices as one: counts add up, ids and needles come from all of them."""
    out = dict(slices[0])
    for key in out:
        values = [s[key] for s in slices]
        if key == "start_ms":
            out[key] = min(values, key=int)
        elif key == "end_ms":
            out[key] = max(values, key=int)
        elif key in ("needles", "trace_ids"):
            # Of each slice as many as make about a hundred.
            each = max(1, 100 // len(slices))
            out[key] = ",".join(id for v in values for id in v.split(",")[:each])
        elif all(v.isdigit() for v in values):
            out[key] = str(sum(map(int, values)))
    return out


def main():
    args = arguments()
    count = args.count or {"logs": 2_000_000, "traces": 1_000_000}[args.kind]
    with Braid(args.braid, "scale", args.memory, dir=args.dir) as server:
        port, path = ("loki", "/loki/api/v1/push") if args.kind == "logs" else ("otlp_http", "/v1/traces")
        now, slices, began = int(time.time()), [], time.monotonic()
        for n in range(args.slices):
            expect = f"{server.home}/expect-{n}.json"
            run = subprocess.run(
                [args.generator, args.kind, "--url", f"http://{server.at[port]}{path}", "--seed", str(42 + n), "--count", str(count),
                 "--span-secs", str(SPAN_S), "--end", str(now - 3600 * (args.slices - 1 - n)), "--expect", expect], capture_output=True, text=True)
            if run.returncode != 0:
                raise SystemExit(f"the generator failed: {run.stderr}")
            load = json.loads(run.stdout)
            if load["items_ok"] != load["items"]:
                raise SystemExit(f"{load['items_ok']} of {load['items']} items were taken: {load}")
            with open(expect) as text:
                slices.append(json.load(text))
        server.settle()
        total, home = count * args.slices, server.home
        print(f"{total:,} items in {args.slices} slices, {time.monotonic() - began:.0f} s with encoding and settling; "
              f"{server.cpu() / total * 1e6:.2f} CPU-s per million, {server.bytes() / total:.1f} bytes an item, "
              f"memory {server.memory():.0f} MiB, peak {server.memory('VmHWM'):.0f} MiB of {args.memory}", flush=True)
        for name, what in (("all", together(slices)), ("middle", slices[len(slices) // 2])):
            with open(f"{home}/{name}.json", "w") as text:
                json.dump(what, text)
        face = "loki" if args.kind == "logs" else "tempo"
        whole = args.kind == "logs" or args.everything
        asked = [("all", "")] if whole else [("all", "by id"), ("middle", "")]

        failed = False

        def ask(title, *more):
            nonlocal failed
            for name, only in asked:
                print(f"\n{title}; {'all of the data' if name == 'all' else 'one slice'}", flush=True)
                run = subprocess.run([args.bench, "queries", args.kind, "--url", f"http://{server.at[face]}", "--expect",
                                      f"{home}/{name}.json", "--only", only, *more])
                failed |= run.returncode != 0

        server.stop()
        server.start()
        ask("warm", "--runs", str(args.runs))
        ask(f"{args.clients} clients at once", "--clients", str(args.clients))
        print(f"\nmemory after the queries: {server.memory():.0f} MiB, "
              f"peak {server.memory('VmHWM'):.0f} MiB", flush=True)
        server.stop()
        server.start()
        if os.geteuid() == 0:
            ask("cold (first)", "--cold", "--runs", "1")
        if failed:
            raise SystemExit("some answers are wrong")


if __name__ == "__main__":
    main()
