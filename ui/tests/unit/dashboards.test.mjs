// The dashboards that ship, held against Grafana's own types (@grafana/schema) and what its importer asks of a file. Grafana itself is not
// at hand here; that each query parses is checked in crates/api, what its client libraries read of the queries in tests/clients.
import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import ts from "typescript";

const ui = new URL("../..", import.meta.url).pathname;
const directory = join(ui, "public/dashboards");
const index = JSON.parse(readFileSync(join(directory, "index.json"), "utf8"));
const files = readdirSync(directory).filter((f) => f.endsWith(".json") && f !== "index.json");
const dashboards = files.map((file) => ({ file, text: readFileSync(join(directory, file), "utf8") })).map((f) => ({ ...f, json: JSON.parse(f.text) }));
const provisioning = readFileSync(join(ui, "../docs/grafana/datasources.yaml"), "utf8");

/** What the package calls the panels whose options it has, by Grafana's ids of them. */
const TYPED = { timeseries: "TimeSeries", stat: "Stat", gauge: "Gauge", bargauge: "BarGauge", table: "Table", logs: "Logs", nodeGraph: "NodeGraph", text: "Text" };
/** Panels that every Grafana has: https://grafana.com/docs/grafana/latest/panels-visualizations/visualizations/ */
const CORE = ["alertlist", "annolist", "barchart", "bargauge", "candlestick", "canvas", "dashlist", "datagrid", "flamegraph", "gauge", "geomap", "heatmap", "histogram", "logs", "news", "nodeGraph", "piechart", "row", "stat", "state-timeline", "status-history", "table", "text", "timeseries", "traces", "trend", "xychart"];
const panelsOf = (json) => json.panels.flatMap((p) => [p, ...(p.panels ?? [])]);

/** The dashboard as TypeScript: object literals, of which the compiler refuses members that a type does not have. */
function source(json) {
  const types = [...new Set(panelsOf(json).map((p) => p.type))].filter((type) => type in TYPED);
  const { panels: _, ...rest } = json;
  const lines = [
    'import type * as g from "@grafana/schema";',
    ...types.map((type) => `import type * as ${type} from "@grafana/schema/dist/esm/raw/composable/${type.toLowerCase()}/panelcfg/x/${TYPED[type]}PanelCfg_types.gen";`),
    // What is an enumeration there is its text here.
    "type Plain<T> = T extends string ? `${T}` : T extends (infer I)[] ? Plain<I>[] : T extends object ? { [K in keyof T]: Plain<T[K]> } : T;",
    'type Panel<O, C> = Omit<g.Panel, "options" | "fieldConfig" | "targets"> & { id: number; gridPos: g.GridPos; options: Partial<O>; fieldConfig: { defaults: Omit<g.FieldConfig, "custom"> & { custom?: Partial<C> }; overrides: g.FieldConfigSource["overrides"] }; targets?: (g.DataQuery & Record<string, unknown>)[] };',
    `export const dashboard: Plain<Omit<g.Dashboard, "panels" | "description">> & { description: string } = ${JSON.stringify(rest)};`,
  ];
  panelsOf(json).forEach((panel, i) => {
    const typed = panel.type in TYPED;
    const config = ["timeseries", "table"].includes(panel.type) ? `${panel.type}.FieldConfig` : "Record<string, never>";
    const type = panel.type === "row" ? "Plain<g.RowPanel>" : typed ? `Plain<Panel<${panel.type}.Options, ${config}>>` : "Plain<g.Panel>";
    lines.push(`export const panel_${i}: ${type} = ${JSON.stringify(panel)};`);
  });
  return lines.join("\n");
}

/** What the compiler says of several sources. */
function complaints(sources) {
  const names = sources.map((_, i) => join(ui, "tests/unit", `dashboard_${i}.ts`));
  const texts = new Map(names.map((name, i) => [name, sources[i]]));
  const options = { strict: true, noEmit: true, skipLibCheck: true, module: ts.ModuleKind.ESNext, moduleResolution: ts.ModuleResolutionKind.Bundler, target: ts.ScriptTarget.ES2022, types: [] };
  const host = ts.createCompilerHost(options);
  const { getSourceFile, fileExists, readFile } = host;
  host.getSourceFile = (name, version) => (texts.has(name) ? ts.createSourceFile(name, texts.get(name), version) : getSourceFile.call(host, name, version));
  host.fileExists = (name) => texts.has(name) || fileExists.call(host, name);
  host.readFile = (name) => texts.get(name) ?? readFile.call(host, name);
  const program = ts.createProgram(names, options, host);
  return names.map((name) => ts.getPreEmitDiagnostics(program, program.getSourceFile(name)).map((d) => ts.flattenDiagnosticMessageText(d.messageText, "\n")));
}

test("each shipped dashboard has the types of Grafana's schema, and what it does not know is noticed", () => {
  const wrong = (change) => {
    const copy = structuredClone(dashboards.find((d) => d.json.panels.some((p) => p.type === "stat")).json);
    change(copy, copy.panels.find((p) => p.type === "stat"));
    return source(copy);
  };
  const mistakes = [
    wrong((d) => (d.refrsh = "5s")),
    wrong((d) => (d.schemaVersion = "39")),
    wrong((_, p) => (p.options.colourMode = "value")),
    wrong((_, p) => (p.options.colorMode = "blinking")),
    wrong((_, p) => (p.fieldConfig.defaults.units = "s")),
    wrong((_, p) => (p.gridPos.w = "8")),
  ];
  const said = complaints([...dashboards.map((d) => source(d.json)), ...mistakes]);
  dashboards.forEach((d, i) => assert.deepEqual(said[i], [], d.file));
  said.slice(dashboards.length).forEach((s, i) => assert.equal(s.length, 1, `mistake ${i}: ${s.join(" | ")}`));
});

test("data sources are variables or provisioned, of their own type", () => {
  const provisioned = new Map([...provisioning.matchAll(/uid: (\w+)\n\s+type: (\w+)/g)].map((m) => [m[1], m[2]]));
  assert.deepEqual([...provisioned.keys()].sort(), ["loki", "prometheus", "tempo"]);
  for (const { file, json } of dashboards) {
    const variables = new Set(json.templating.list.filter((v) => v.type === "datasource").map((v) => v.name));
    const found = [];
    JSON.stringify(json, (key, value) => (key === "datasource" ? (found.push(value), value) : value));
    assert.ok(found.length > 0, file);
    for (const { type, uid } of found) {
      const name = /^\$\{?(\w+)\}?$/.exec(uid)?.[1];
      assert.ok(type === "grafana" ? uid === "-- Grafana --" : name ? variables.has(name) : provisioned.get(uid) === type, `${file}: ${type} ${uid}`);
    }
    for (const panel of panelsOf(json)) for (const t of panel.targets ?? []) assert.deepEqual(t.datasource, panel.datasource, `${file}: ${panel.title}`);
  }
});

test("files, ids, places and panels are as Grafana takes them", () => {
  assert.deepEqual(index.map((e) => `${e.id}.json`).sort(), files.sort());
  assert.equal(new Set(dashboards.map((d) => d.json.uid)).size, files.length);
  for (const { file, json } of dashboards) {
    const entry = index.find((e) => `${e.id}.json` === file);
    assert.deepEqual([json.title, json.description, json.uid], [entry.title, entry.description, entry.id], file);
    // A file that provisioning takes: not wrapped as the API does, no id of a database, a uid of 40 characters at most.
    assert.ok(!("dashboard" in json) && json.id === null && /^[\w-]{1,40}$/.test(json.uid), file);
    // Grafana migrates older files; 39 is that of 10.4 and 11.
    assert.equal(json.schemaVersion, 39, file);
    assert.deepEqual(json.annotations.list.map((a) => [a.builtIn, a.type, a.datasource.uid]), [[1, "dashboard", "-- Grafana --"]], file);
    assert.match(json.refresh, /^\d+[sm]$/, file);
    const panels = panelsOf(json);
    assert.equal(new Set(panels.map((p) => p.id)).size, panels.length, file);
    const taken = new Map();
    for (const { id, type, title, gridPos: g, targets = [] } of panels) {
      const at = `${file}: ${title}`;
      assert.ok(CORE.includes(type) && title, at);
      assert.ok([g.x, g.y, g.w, g.h].every(Number.isInteger) && g.x >= 0 && g.y >= 0 && g.w >= 1 && g.h >= 1 && g.x + g.w <= 24, at);
      for (let x = g.x; x < g.x + g.w; x++) for (let y = g.y; y < g.y + g.h; y++) {
        assert.ok(!taken.has(`${x},${y}`), `${at} lies over ${taken.get(`${x},${y}`)}`);
        taken.set(`${x},${y}`, id);
      }
      assert.ok(type === "row" || targets.length > 0, at);
      assert.deepEqual(targets.map((t) => t.refId), [..."ABCDEFGH"].slice(0, targets.length), at);
      assert.equal(panels.find((p) => p.id === id).fieldConfig?.defaults.thresholds?.steps[0].value ?? null, null, `${at}: the first step has no bound`);
    }
    for (const v of json.templating.list) {
      assert.ok(v.name && v.current && Array.isArray(v.options), `${file}: ${v.name}`);
      if (v.type === "textbox") assert.deepEqual(v.options, [{ selected: true, text: v.query, value: v.query }], `${file}: ${v.name}`);
      if (v.type === "query") assert.ok([1, 2].includes(v.refresh) && typeof v.regex === "string", `${file}: ${v.name}`);
    }
  }
});
