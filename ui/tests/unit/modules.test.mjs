import assert from "node:assert/strict";
import { after, test } from "node:test";
import { close, load } from "./load.mjs";

globalThis.location = { origin: "http://braid", hash: "" };
after(close);
const { build, childrenOf, duration, flatten } = await load("/src/trace/model.ts");
const { frames } = await load("/src/draw/flame.ts");
const { cells } = await load("/src/draw/heatmap.ts");
const { message } = await load("/src/draw/loglist.ts");
const { near, unhealthy } = await load("/src/draw/map.ts");
const { metricQueries } = await load("/src/draw/metric.ts");
const { format, short } = await load("/src/draw/units.ts");
const { parseTime, parseDuration, stepFor } = await load("/src/state/time.ts");
const { narrowed, selection, simple } = await load("/src/state/selector.ts");
const { services, changes } = await load("/src/state/red.ts");
const { levelOf, toLines } = await load("/src/api/loki.ts");
const { parse } = await load("/src/api/metrics_text.ts");
const { selector, seriesName } = await load("/src/api/prometheus.ts");
const { curl } = await load("/src/api/http.ts");
const { brokenDown, filtered, named } = await load("/src/state/compare.ts");
const { inOrder, lineAt, lineName } = await load("/src/state/lines.ts");
const { took } = await load("/src/api/tempo.ts");
const { fresh } = await load("/src/state/feed.svelte.ts");
const dashboard = await load("/src/dashboard/model.ts");

const span = (id, parent, start, end, more = {}) => ({ id, parent, name: id, service: "s", kind: "", start, end, error: false, message: "", attributes: [], resource: [], scope: "", events: [], links: [], ...more });

test("a trace is a tree: parents first, siblings by time, orphans and cycles are roots", () => {
  const tree = build([span("c", "a", 5, 9), span("a", "", 0, 10), span("b", "a", 1, 4), span("o", "gone", 2, 3), span("x", "y", 3, 4), span("y", "x", 3, 4)]);
  assert.deepEqual(tree.rows.map((r) => [r.span.id, r.depth]), [["a", 0], ["b", 1], ["c", 1], ["o", 0], ["x", 0], ["y", 1]]);
  assert.deepEqual([...childrenOf(tree.rows, 0)], [1, 2]);
  assert.deepEqual(build([]).rows, []);
});

test("a line is named by its time and its place among those of that time", () => {
  const lines = ["9", "7", "7", "7", "1"].map((ns) => ({ ns }));
  assert.deepEqual(lines.map((_, i) => lineName(lines, i)), ["9", "7", "7.1", "7.2", "1"]);
  assert.deepEqual(lines.map((_, i) => lineAt(lines, lineName(lines, i))), [0, 1, 2, 3, 4]);
  assert.deepEqual([lineName(lines, -1), lineAt(lines, ""), lineAt(lines, undefined), lineAt(lines, "7.3"), lineAt(lines, "8")], ["", -1, -1, -1, -1]);
});

test("lines of a live tail are in the order of time, also where one stream comes after another", () => {
  const of = (...all) => all.map((ns) => ({ ns: String(ns) }));
  assert.deepEqual(inOrder(of(1, 5, 9), of(3, 9, 12)), of(1, 3, 5, 9, 9, 12));
  assert.deepEqual(inOrder(of(1), of(1, 2)), of(1, 1, 2));
  assert.deepEqual(inOrder([], of(2)), of(2));
  assert.deepEqual(inOrder(of(2), []), of(2));
});

test("a trace's length is told as exactly as a search knows it, and what is not known as such", () => {
  assert.deepEqual([undefined, 0, 7, 999, 1500].map((durationMs) => took({ durationMs })), ["< 1 ms", "< 1 ms", "7 ms", "999 ms", "1.50 s"]);
  assert.equal(format(null, "s"), "–");
});

test("what began a minute ago is not averaged over the hour before", () => {
  const of = (values) => [{ labels: { "resource.service.name": "new" }, points: values.map((v, i) => [i * 1000, v]) }];
  const [row] = services(of([0, 0, 0, 4, 6]), of([0, 0, 0, 1, 0]), of([0, 0, 0, 2, 2]));
  assert.deepEqual([row.rate, row.share, row.p95, row.rates.length], [5, 0.1, 2, 5]);
});

test("what a comparison found becomes a query in the language of what was compared", () => {
  const a = (scope, key, numeric = false) => ({ scope, key, numeric });
  const spans = { of: "{ resource.service.name = `cart` }" };
  assert.equal(filtered("traces", spans, a("span", "region"), 'e"u', "=", 5), '{ resource.service.name = `cart` && span.region = "e\\"u" }');
  assert.equal(filtered("traces", { of: "{ true }" }, a("intrinsic", "status"), "error", "!=", 5), "{ status != error }");
  assert.equal(filtered("traces", undefined, a("intrinsic", "name"), "GET /", "=", 5), '{ name = "GET /" }');
  assert.equal(filtered("traces", undefined, a("span", "code", true), "500", "=", 5), "{ span.code = 500 }");
  assert.equal(named("traces", a("span", "odd key")), 'span."odd key"');
  const lines = { of: '{app="shop"} | logfmt' };
  assert.equal(filtered("logs", lines, a("parsed", "code"), "500", "!=", 5), '{app="shop"} | logfmt | code != "500"');
  assert.equal(brokenDown("logs", lines, a("parsed", "code"), 5), 'sum by (code) (count_over_time({app="shop"} | logfmt [5s]))');
  const growth = { of: '{__name__="hits_total"}', measure: "increase" };
  assert.equal(filtered("metrics", growth, a("label", "http.route"), "/a", "=", 30), 'sum(rate({__name__="hits_total","http.route"="/a"}[120s]))');
  assert.equal(brokenDown("metrics", growth, a("label", "route"), 5), 'sum by (route) (rate({__name__="hits_total"}[60s]))');
  const mean = { of: "{}", measure: "avg_over_time" };
  assert.equal(filtered("metrics", mean, a("label", "route"), "/a", "!=", 5), '{route!="/a"}');
  assert.equal(brokenDown("metrics", mean, a("label", "route"), 5), "avg by (route) ({})");
});

test("lines that are read on join where two pages meet, equal ones as often as there are", () => {
  const line = (ns, text, stream = { a: "1" }) => ({ ns, text, stream });
  const known = [line("9", "x"), line("5", "a"), line("5", "b")];
  const page = [line("5", "a"), line("5", "b"), line("5", "b"), line("5", "a", { a: "2" }), line("4", "a")];
  assert.deepEqual(fresh(known, page), [line("5", "b"), line("5", "a", { a: "2" }), line("4", "a")]);
  assert.deepEqual(fresh(known, [line("5", "b")]), []);
  assert.deepEqual(fresh([], [line("1", "x")]), [line("1", "x")]);
});

test("a query's metrics are told from its functions, labels and words", () => {
  const { metricNames } = dashboard;
  assert.deepEqual(metricNames('sum by (job, status) (rate(hits_total{job=~"a|b"}[5m])) / on(x) group_left(y) sum(up offset 5m) * 100'), ["hits_total", "up"]);
  assert.deepEqual(metricNames("auth:error_budget:burn_rate_1h > bool 1e3 or topk(5, up)"), ["auth:error_budget:burn_rate_1h", "up"]);
  assert.deepEqual(metricNames('count_values("version", build_info)'), ["build_info"]);
});

test("self time is what no child covers, children beside each other counted once", () => {
  const tree = build([span("a", "", 0, 10), span("b", "a", 1, 4), span("c", "a", 3, 6), span("d", "a", 9, 15)]);
  assert.equal(tree.rows[0].self, 4);
});

test("the critical path goes back from the end, into the child that ended last", () => {
  const tree = build([span("a", "", 0, 10), span("early", "a", 1, 3), span("beside", "a", 3, 6), span("late", "a", 4, 9), span("sent", "a", 5, 20)]);
  assert.deepEqual(tree.rows.filter((r) => r.critical).map((r) => r.span.id), ["a", "early", "late"]);
});

test("a deep trace needs no deep stack", () => {
  const spans = Array.from({ length: 100_000 }, (_, i) => span(String(i), i ? String(i - 1) : "", i, 200_000 - i));
  const tree = build(spans);
  assert.equal(tree.rows.at(-1).depth, 99_999);
  assert.equal(frames(tree).length, 100_000);
});

test("Tempo's JSON becomes spans: base64 ids, nested values, nanoseconds", () => {
  const [s] = flatten({ resourceSpans: [{ resource: { attributes: [{ key: "service.name", value: { stringValue: "shop" } }] }, scopeSpans: [{ spans: [{ spanId: "AQIDBAUGBwg=", name: "n", kind: "SPAN_KIND_SERVER", startTimeUnixNano: "1700000000000500000", endTimeUnixNano: "1700000000002000000", status: { code: "STATUS_CODE_ERROR" }, attributes: [{ key: "list", value: { arrayValue: { values: [{ intValue: "1" }, { boolValue: true }] } } }] }] }] }] });
  assert.deepEqual([s.id, s.service, s.kind, s.error, s.attributes], ["0102030405060708", "shop", "server", true, [["list", "[1, true]"]]]);
  assert.ok(Math.abs(s.end - s.start - 1.5) < 0.001);
});

test("boxes of a flame graph that hold nothing of what is looked for are not bright", () => {
  const all = frames(build([span("a", "", 0, 10), span("b", "a", 0, 8, { error: true })]), (row) => row.span.error);
  assert.deepEqual(all.map((f) => [f.name, f.bright]), [["a", false], ["b", true]]);
  assert.ok(frames(build([span("a", "", 0, 10)])).every((f) => f.bright));
});

test("a flame graph joins spans of one path and never draws children wider than their parent", () => {
  const all = frames(build([span("a", "", 0, 10), span("1", "a", 0, 8, { name: "b" }), span("2", "a", 1, 9, { name: "b", error: true })]));
  assert.deepEqual(all.map((f) => [f.name, f.count, f.errors, f.total]), [["a", 1, 0, 10], ["b", 2, 1, 16]]);
  assert.ok(all[1].left >= all[0].left && all[1].right <= all[0].right);
});

test("a heatmap has every bucket between its lowest and its highest", () => {
  const series = [{ labels: { __bucket: "0.001" }, points: [[1000, 2], [2000, 0]] }, { labels: { __bucket: "0.008" }, points: [[2000, 5]] }, { labels: { __bucket: "8" }, points: [[1000, 0]] }];
  const map = cells(series, 1);
  assert.deepEqual([map.bounds, map.times], [[1, 2, 4, 8], [1000, 2000]]);
  assert.deepEqual(map.counts, [[2, 0], [0, 0], [0, 0], [0, 5]]);
  assert.deepEqual(cells([], 1).counts, []);
});

test("times are read as they are written", () => {
  assert.deepEqual([parseTime("now-2h", 1e13, 0), parseTime("now", 5, 0), parseTime("1700000000000", 0, 0), parseTime("nonsense", 0, 7)], [1e13 - 7200e3, 5, 1700000000000, 7]);
  assert.deepEqual([parseDuration("1h30m"), parseDuration("250ms"), parseDuration("5")], [5400e3, 250, NaN]);
  assert.equal(stepFor({ from: 0, to: 3600e3 }, 120), 30);
});

test("numbers are short and durations have their unit", () => {
  assert.deepEqual([short(12345), short(0.05678), short(NaN), short(1.5e9)], ["12.3k", "0.0568", "–", "1.5G"]);
  assert.deepEqual([duration(0.0005), duration(1.234), duration(90e3), format(0.25, "percentunit"), format(2048, "bytes")], ["500 ns", "1.23 ms", "1 m 30 s", "25 %", "2 KiB"]);
});

test("what is picked becomes TraceQL, with hostile names quoted", () => {
  assert.equal(selection({}), "{}");
  assert.equal(selection({ service: 'a"} | drop', min: "5ms" }), '{ resource.service.name = "a\\"} | drop" && duration >= 5ms }');
  assert.equal(selection({ min: "5ms; drop" }), "{}");
  assert.equal(narrowed('{ name = "x" || kind = server }', "status = error"), '{ (name = "x" || kind = server) && status = error }');
  assert.equal(narrowed("{} | rate()", "a = 1"), "{} | rate() && { a = 1 }");
  assert.deepEqual(["{}", '{ name = "}|{" || kind = server }', "{} | rate()", "{} >> {}"].map(simple), [true, true, false, false]);
});

test("services have rate, errors and latency; what changed is named", () => {
  const t = Array.from({ length: 10 }, (_, i) => i);
  const of = (value) => [{ labels: { "resource.service.name": "shop" }, points: t.map((i) => [i, value(i)]) }];
  const rows = services(of(() => 10), of((i) => (i > 7 ? 5 : 0)), of((i) => (i > 7 ? 0.5 : 0.1)));
  assert.equal(rows[0].share, 0.1);
  const said = changes(rows).map((c) => c.what).join("; ");
  assert.match(said, /times as slow/);
  assert.match(said, /fails more/);
  // One in ten failed before and fails now: the calm before the first request is no part of the share.
  const late = services(of((i) => (i < 6 ? 0 : 10)), of((i) => (i < 6 ? 0 : 1)), of((i) => (i < 6 ? 0 : 0.1)));
  assert.deepEqual(changes(late), []);
  const fresh = services(of((i) => (i < 9 ? 0 : 10)), of((i) => (i < 9 ? 0 : 5)), of((i) => (i < 9 ? 0 : 3)));
  assert.deepEqual(changes(fresh).map((c) => [c.what, c.bad]), [["is new", false]]);
  assert.deepEqual(services([{ labels: { "resource.service.name": "quiet" }, points: [[0, 0]] }], [], []), []);
});

test("levels are five, whatever they are called", () => {
  assert.deepEqual(["ERROR", "Fatal", "warning", "INFO2", "trace", "", undefined].map(levelOf), ["error", "error", "warn", "info", "debug", "unknown", "unknown"]);
  const [line] = toLines({ result: [{ stream: { a: "b" }, values: [["1700000000123456789", "x", { structuredMetadata: { severity_text: "WARN" } }]] }] });
  assert.deepEqual([line.ms, line.level, line.fields], [1700000000123, "warn", { severity_text: "WARN" }]);
});

test("a JSON line shows its message first; any other line stays as it is", () => {
  assert.equal(message('{"message":"hi","level":"INFO","code":5}'), "hi   code=5");
  for (const line of ["plain", "{broken", '{"a":1}']) assert.equal(message(line), line);
});

test("Braid's metrics page is read, escapes too", () => {
  assert.deepEqual(parse('# HELP x y\nx{a="q\\"\\\\"} 1.5\ny 2\nbroken{\n'), [{ name: "x", labels: { a: 'q"\\' }, value: 1.5 }, { name: "y", labels: {}, value: 2 }]);
});

test("a metric is asked for as its type wants", () => {
  const one = (name, type, parts) => metricQueries({ name, meta: { type, help: "", unit: "" }, parts }, [], 60).map((q) => q.query);
  assert.deepEqual(one("hits_total", "counter", ["hits_total"]), ["sum (rate(hits_total[60s]))"]);
  assert.equal(one("d", "histogram", ["d_bucket", "d_sum", "d_count"]).length, 3);
  assert.deepEqual(one("heat", "gauge", ["heat"]), ["heat"]);
  assert.equal(selector("http.requests", { "a.b": 'x"y' }), '{"http.requests", "a.b"="x\\"y"}');
  assert.equal(seriesName({ __name__: "up", job: "a" }, "{{job}} is {{gone}}"), "a is ");
});

test("a command line cannot be broken out of", () => {
  assert.equal(curl("/x", { q: "it's $(rm)" }), `curl -sG 'http://braid/x' --data-urlencode 'q=it'\\''s $(rm)'`);
});

test("the map narrows to neighbours and to what fails", () => {
  const node = (id, error_ratio = 0) => ({ id, error_ratio });
  const edge = (source, target, error_ratio = 0) => ({ id: source + target, source, target, error_ratio });
  const graph = { width: 1, height: 1, nodes: ["a", "b", "c", "d"].map((n) => node(n)), edges: [edge("a", "b"), edge("b", "c", 0.5), edge("c", "d")] };
  assert.deepEqual(near(graph, "a", 1).nodes.map((n) => n.id), ["a", "b"]);
  assert.deepEqual(near(graph, "d", 2).nodes.map((n) => n.id), ["b", "c", "d"]);
  assert.deepEqual(unhealthy(graph).nodes.map((n) => n.id), ["b", "c"]);
});

test("Grafana's files are read, in the API's shape as well, and say what is wrong with them", () => {
  const file = { title: "T", panels: [{ type: "graph", title: "P", targets: [{ expr: "up{job=\"$job\"}" }], gridPos: { x: 0, y: 0, w: 12, h: 8 } }, { type: "row", panels: [{ type: "stat" }] }], templating: { list: [{ name: "job", type: "query", query: "label_values(up, job)", includeAll: true, multi: true, current: { value: ["a", "b.c"] } }] } };
  for (const source of [file, { dashboard: file }]) {
    const d = dashboard.read(JSON.stringify(source));
    assert.deepEqual(d.panels.map((p) => p.type), ["timeseries", "row", "stat"]);
    assert.equal(dashboard.fill(d.panels[0].targets[0].expr, {}, d.variables, { step: 15, range: 60 }), 'up{job="(a|b\\.c)"}');
    assert.equal(dashboard.fill("rate(x[$__rate_interval]) $other ${job:raw}", { job: "$__all" }, d.variables, { step: 30, range: 60 }), "rate(x[120s]) $other .*");
  }
  const loki = dashboard.read(JSON.stringify({ panels: [], templating: { list: [{ name: "app", type: "query", datasource: { type: "loki" }, query: { label: "app", stream: '{job="$job"}', type: 1 } }, { name: "job", type: "query", datasource: { type: "loki" }, query: { label: "job", stream: "", type: 1 } }] } })).variables;
  assert.deepEqual(loki.map((v) => [v.language, dashboard.asks(v.query)]), [["logql", { label: "app", matcher: '{job="$job"}' }], ["logql", { label: "job", matcher: "" }]]);
  assert.deepEqual(dashboard.asks('label_values(up{a="b"}, job)'), { label: "job", matcher: 'up{a="b"}' });
  assert.throws(() => dashboard.read("{"), /not JSON/);
  assert.throws(() => dashboard.read("{}"), /no panels/);
  for (const hostile of ['{"panels":[null,1,"x",{"targets":[null],"gridPos":7}]}', '{"panels":[{"fieldConfig":{"defaults":{"thresholds":{"steps":[null]}}}}],"templating":{"list":[null]}}']) dashboard.read(hostile);
});
