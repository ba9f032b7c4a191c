"""Generated PromQL over the same data in Braid and in Debian's Prometheus: equal answers, to 1e-9.

Both take the same generated samples by remote write; Prometheus scrapes itself too, and its own remote write hands that to
Braid. The samples of the generated series lie four seconds past a quarter of a minute and queries look seven seconds past it, and every length
in a query is a multiple of fifteen seconds: windows are closed on the left in this Prometheus (2.42) and open since 3.0,
which shows only where a sample lies on the edge. Nothing is asked that 2.42 does not know, nor what has changed since and is
tested against the current reference's own cases: `rate` and `increase` of what comes near zero (a counter's zero bounds the
stretch after the other bound, no longer before), `atan2` (drops the metric's name), `stddev` and `stdvar` of one NaN (NaN, no
longer 0).
"""

import json
import math
import os
import random
import struct
import time
import urllib.error
import urllib.parse
import urllib.request

import pytest

from conftest import eventually, free_address, prometheus_at, prometheus_binary

pytestmark = pytest.mark.skipif(not prometheus_binary, reason="no prometheus binary on this machine (apt install prometheus)")

QUERIES = int(os.environ.get("DIFFERENTIAL_QUERIES", "500"))
STEP = 15
STEPS = 360  # an hour and a half
STALE = struct.unpack("<d", struct.pack("<Q", 0x7FF0000000000002))[0]


def varint(n):
    out = bytearray()
    while True:
        out.append((n & 0x7F) | (0x80 if n > 0x7F else 0))
        n >>= 7
        if not n:
            return bytes(out)


def field(number, payload):
    return varint(number << 3 | 2) + varint(len(payload)) + payload


def write_request(series, first, last):
    """`prometheus.WriteRequest` of these samples, in a snappy block of literals only."""
    body = b""
    for labels, values in series:
        pairs = b"".join(field(1, field(1, n.encode()) + field(2, v.encode())) for n, v in sorted(labels.items()))
        samples = b"".join(
            field(2, b"\x09" + struct.pack("<d", value) + b"\x10" + varint(at))
            for at, value in values
            if first <= at < last
        )
        if samples:
            body += field(1, pairs + samples)
    block = varint(len(body))
    for i in range(0, len(body), 65536):
        chunk = body[i : i + 65536]
        block += bytes([61 << 2]) + struct.pack("<H", len(chunk) - 1) + chunk
    return block


def series_of(seed, begin):
    """Counters that start over, gauges of any sign, classic histograms, an info metric, gaps and staleness markers."""
    rng = random.Random(seed)
    at = [(begin + i * STEP) * 1000 for i in range(STEPS)]
    out = []
    for job in ("api", "web"):
        for instance in ("a", "b", "c"):
            labels = {"job": job, "instance": instance}
            out.append(({"__name__": "build_info", "version": rng.choice(["1", "2"]), **labels}, [(t, 1.0) for t in at]))
            for code in ("200", "404", "500"):
                total, values = float(rng.randrange(10_000, 90_000)), []
                for i, t in enumerate(at):
                    total += rng.choice([0, 0.25, 1, 3, 17])
                    if rng.random() < 0.01 and i > 20:
                        total = 5000.0 + rng.random()
                    values.append((t, total))
                out.append(({"__name__": "requests_total", "code": code, **labels}, values))
            level, values = rng.uniform(-5, 50), []
            for t in at:
                level += rng.gauss(0, 1.5)
                values.append((t, level))
            gap = rng.randrange(40, 200)
            # Ends in the middle and comes back.
            values = values[:gap] + [(at[gap], STALE)] + values[gap + rng.randrange(10, 60) :]
            out.append(({"__name__": "level", **labels}, values))
            out.append(({"__name__": "sparse", **labels}, [(t, rng.uniform(0, 9)) for i, t in enumerate(at) if i % 9 == 4]))
            counts = [rng.randrange(1000, 2000) for _ in range(6)]
            buckets = {le: [] for le in ("0.1", "0.5", "1", "2.5", "10", "+Inf")}
            sums, total = [], 900.0
            for t in at:
                counts = [c + rng.randrange(0, 6) for c in counts]
                running = 0
                for le, count in zip(buckets, counts):
                    running += count
                    buckets[le].append((t, float(running)))
                total += rng.uniform(0, 20)
                sums.append((t, total))
            for le, values in buckets.items():
                out.append(({"__name__": "latency_bucket", "le": le, **labels}, values))
            out.append(({"__name__": "latency_count", **labels}, buckets["+Inf"]))
            out.append(({"__name__": "latency_sum", **labels}, sums))
    return out


class Grammar:
    """Expressions of the language that both know."""

    def __init__(self, seed):
        self.rng = random.Random(seed)

    def pick(self, *options):
        return self.rng.choice(options)

    def length(self):
        return self.pick("45s", "1m", "2m", "5m", "10m30s")

    def shift(self):
        return self.pick("", "", "", "", " offset 1m", " offset 7m30s", " offset -1m30s")

    def matchers(self):
        return self.pick("", "", '{job="api"}', '{job!="web"}', '{instance=~"a|b"}', '{instance!~"c.*"}', '{job=~".+",instance="b"}')

    def counter(self):
        return self.pick("requests_total", "requests_total", "latency_count", "latency_sum") + self.matchers()

    def gauge(self):
        return self.pick("level", "sparse", "level", "build_info") + self.matchers()

    def name(self):
        return self.pick(self.counter(), self.gauge(), "up", "prometheus_tsdb_head_series")

    def ranged(self):
        if self.rng.random() < 0.15:
            return f"{self.pick(self.gauge(), f'rate({self.counter()}[2m])')}[{self.pick('5m', '10m')}:{self.pick('30s', '1m')}]" + self.shift()
        return f"{self.name()}[{self.length()}]" + self.shift()

    def window(self):
        f = self.pick(
            "rate", "increase", "irate", "delta", "idelta", "deriv", "changes", "resets", "avg_over_time", "min_over_time",
            "max_over_time", "sum_over_time", "count_over_time", "last_over_time", "present_over_time", "stddev_over_time",
            "stdvar_over_time", "quantile_over_time", "predict_linear", "absent_over_time",
        )  # fmt: skip
        if f in ("rate", "increase", "irate"):
            return f"{f}({self.counter()}[{self.length()}]{self.shift()})"
        if f == "quantile_over_time":
            return f"{f}({self.pick('0', '0.25', '0.9', '1', '1.5')}, {self.ranged()})"
        if f == "predict_linear":
            return f"{f}({self.ranged()}, {self.pick('60', '3600', '-30')})"
        return f"{f}({self.ranged()})"

    def math(self, depth):
        f = self.pick(
            "abs", "ceil", "floor", "exp", "ln", "log2", "log10", "sqrt", "sgn", "round", "clamp", "clamp_min", "clamp_max", "sin",
            "cos", "atan", "tanh", "deg", "rad", "timestamp", "absent", "sort", "hour", "day_of_week", "minute", "days_in_month",
        )  # fmt: skip
        inner = self.vector(depth - 1)
        if f == "timestamp":
            return f"timestamp({self.name()})"
        if f in ("hour", "day_of_week", "minute", "days_in_month"):
            # Of no NaN: Go makes a date of it that differs by the machine.
            return f"{f}(avg_over_time(sparse[{self.length()}]) * 1e8)"
        if f == "clamp":
            return f"clamp({inner}, {self.pick('-2', '0')}, {self.pick('5', '100')})"
        if f in ("clamp_min", "clamp_max"):
            return f"{f}({inner}, {self.pick('0', '3.5', '-1')})"
        if f == "round":
            return f"round({inner}{self.pick('', ', 0.5', ', 10')})"
        return f"{f}({inner})"

    def by(self):
        return self.pick("", " by (job)", " by (instance, job)", " without (instance)", " without (code, le)", " by (nothing)")

    def aggregate(self, depth):
        op = self.pick("sum", "sum", "avg", "min", "max", "count", "stddev", "stdvar", "group", "quantile", "topk", "bottomk", "count_values")
        inner = self.vector(depth - 1)
        if op == "quantile":
            return f"quantile{self.by()} ({self.pick('0.5', '0.99', '0')}, {inner})"
        if op in ("stddev", "stdvar"):
            # Nothing that is NaN or infinite.
            return f"{op}{self.by()} ({self.pick('avg', 'max')}_over_time({self.pick('level', 'sparse')}[{self.length()}]))"
        if op in ("topk", "bottomk"):
            # Nothing that has ties.
            return f"{op}{self.pick('', ' by (job)')} ({self.pick('1', '3')}, avg_over_time(level[{self.length()}]))"
        if op == "count_values":
            return f'count_values{self.pick("", " by (job)")} ("value", {self.pick("build_info", "round(level)", "floor(sparse)")})'
        return f"{op}{self.by()} ({inner})"

    def binary(self, depth):
        op = self.pick("+", "-", "*", "/", "%", "^", "==", "!=", ">", "<", ">=", "<=", "and", "or", "unless")
        if op in ("and", "or", "unless"):
            return f"{self.vector(depth - 1)} {op}{self.pick('', ' on (job, instance)', ' ignoring (code, version)')} {self.vector(depth - 1)}"
        flag = " bool" if op in ("==", "!=", ">", "<", ">=", "<=") and self.rng.random() < 0.5 else ""
        number = self.pick("2", "0.5", "-3", "100")
        shape = self.rng.randrange(5)
        if shape == 0:
            return f"{self.vector(depth - 1)} {op}{flag} {number}"
        if shape == 1:
            return f"{number} {op}{flag} {self.vector(depth - 1)}"
        if shape == 2:
            return f"rate(requests_total[2m]) {op}{flag} on (job, instance) group_left{self.pick('', ' (version)')} build_info"
        if shape == 3:
            return f"level {op}{flag} ignoring (version) {self.pick('build_info', 'sparse')}"
        return f"sum by (job) ({self.vector(depth - 1)}) {op}{flag} sum by (job) ({self.vector(depth - 1)})"

    def special(self):
        return self.pick(
            f"histogram_quantile({self.pick('0.5', '0.9', '0.99', '0', '1')}, rate(latency_bucket[{self.length()}]))",
            f"histogram_quantile(0.9, sum{self.pick(' by (le)', ' by (job, le)')} (rate(latency_bucket[{self.length()}])))",
            f'label_replace({self.name()}, "to", "${{1}}-x", "instance", "({self.pick(".", "a|b")})")',
            f'label_join({self.name()}, "to", "{self.pick("-", "")}", "job", "instance")',
            "scalar(sum(build_info)) + vector(time())",
            f"{self.name()} @ end(){self.shift()}",
            f"sum by (job) (rate({self.counter()}[{self.length()}] @ start()))",
            f"-{self.name()}",
            f"max_over_time(sum by (job) (rate({self.counter()}[1m]))[{self.pick('5m', '10m')}:30s])",
        )

    def vector(self, depth):
        if depth <= 0:
            return self.pick(self.name() + self.shift(), self.window(), self.window())
        kinds = [self.window, self.special, lambda: self.math(depth), lambda: self.aggregate(depth), lambda: self.binary(depth)]
        return self.rng.choices(kinds, weights=[3, 2, 3, 4, 4])[0]()


def ask(address, path, **query):
    """Status, and the answer's data where there is one."""
    body = urllib.parse.urlencode(query).encode()
    try:
        with urllib.request.urlopen(urllib.request.Request(f"http://{address}{path}", data=body), timeout=60) as response:
            return response.status, json.load(response)["data"]
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def values(data):
    """Label sets to (time, value) pairs."""
    if data["resultType"] in ("scalar", "string"):
        return {(): [data["result"]]}
    rows = {}
    for row in data["result"]:
        key = tuple(sorted(row["metric"].items()))
        assert key not in rows, f"two rows of {key}"
        rows[key] = row["values"] if "values" in row else [row["value"]]
    return rows


def equal(a, b):
    a, b = float(a), float(b)
    return a == b or (math.isnan(a) and math.isnan(b)) or abs(a - b) <= 1e-9 * max(abs(a), abs(b))


def difference(ours, theirs):
    """What is different, or nothing."""
    if ours.keys() != theirs.keys():
        return f"only Braid: {sorted(ours.keys() - theirs.keys())[:3]}, only Prometheus: {sorted(theirs.keys() - ours.keys())[:3]}"
    for key, mine in ours.items():
        other = theirs[key]
        if [t for t, _ in mine] != [t for t, _ in other]:
            return f"{key}: other times: {[t for t, _ in mine][:5]} and {[t for t, _ in other][:5]}"
        for (t, a), (_, b) in zip(mine, other):
            if not equal(a, b):
                return f"{key} at {t}: {a} and {b}"
    return None


@pytest.fixture(scope="module")
def both(braid, tmp_path_factory):
    """Addresses of Braid and of Prometheus, with the same samples, and when these begin."""
    home = tmp_path_factory.mktemp("differential")
    address = free_address()
    config = f"""
global: {{scrape_interval: 1s}}
scrape_configs:
  - job_name: itself
    static_configs: [{{targets: ["{address}"]}}]
remote_write:
  - url: {braid.url("prometheus", "/api/v1/write")}
    queue_config: {{batch_send_deadline: 1s}}
"""
    with prometheus_at(address, home, config, "--web.enable-remote-write-receiver"):
        eventually(lambda: ask(address, "/api/v1/query", query="1")[0] == 200, 30)
        now = int(time.time())
        # All is in the past: nothing that is asked changes any more.
        begin = (now - (STEPS + 20) * STEP) // STEP * STEP + 4
        series, ours = series_of(7, begin), braid.addresses["prometheus"]
        for i in range(0, STEPS, 30):
            body = write_request(series, (begin + i * STEP) * 1000, (begin + (i + 30) * STEP) * 1000)
            headers = {"Content-Type": "application/x-protobuf", "Content-Encoding": "snappy", "X-Prometheus-Remote-Write-Version": "0.1.0"}
            for to in (address, ours):
                request = urllib.request.Request(f"http://{to}/api/v1/write", data=body, headers=headers)
                with urllib.request.urlopen(request, timeout=30) as response:
                    assert response.status == 204
        end = begin + (STEPS - 1) * STEP
        raw = lambda at: ask(at, "/api/v1/query", query='{job=~"api|web"}[2h]', time=end + 1)[1]["result"]
        total = lambda at: sum(len(row["values"]) for row in raw(at))
        eventually(lambda: total(ours) == total(address) > 0, 60)
        yield ours, address, begin


def test_generated_queries_have_the_same_answers(both):
    ours, theirs, begin = both
    grammar = Grammar(20261127)
    wrong, compared, empty, refused = [], 0, 0, 0
    at = begin + 3 + STEP * 200
    ranged = {"start": begin + 3 + STEP * 40, "end": begin + 3 + STEP * 320, "step": 105}
    for _ in range(QUERIES):
        query = grammar.vector(grammar.pick(1, 2, 2, 3))
        for path, when in (("/api/v1/query", {"time": at}), ("/api/v1/query_range", ranged)):
            (status, mine), (expected, other) = (ask(address, path, query=query, **when) for address in (ours, theirs))
            compared += 1
            if status != expected:
                wrong.append(f"{query}: {status} {mine} and {expected} {other}")
            elif status != 200:
                refused += 1
            else:
                empty += not other["result"]
                found = difference(values(mine), values(other))
                if found:
                    wrong.append(f"{path} {query}: {found}")
    print(f"{compared} answers compared, {empty} empty, {refused} refused by both, {len(wrong)} different")
    assert not wrong, f"{len(wrong)} of {compared} differ:\n" + "\n".join(wrong[:40])
    # The generator asks something.
    assert empty < compared / 2 and refused < compared / 4


def test_what_was_scraped_has_the_same_answers(both):
    """Scraped samples lie anywhere; they are compared once they are old enough to be in both."""
    ours, theirs, _ = both
    # Prometheus takes up to ten seconds to find its first target, and hands on what it has once a second.
    eventually(lambda: all(ask(address, "/api/v1/query", query="up", time=time.time())[1]["result"] for address in (ours, theirs)), 60)
    time.sleep(6)
    at = time.time() - 3
    for query in ("up", "prometheus_tsdb_head_series", "sum by (handler) (prometheus_http_requests_total)", "count by (job) (up)"):
        mine, other = (ask(address, "/api/v1/query", query=query, time=at)[1] for address in (ours, theirs))
        assert other["result"], query
        assert difference({k: v for k, v in values(mine).items()}, values(other)) is None
