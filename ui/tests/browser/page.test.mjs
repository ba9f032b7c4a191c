// The page in a real browser against a running Braid: the whole story, each page, the keyboard, hostile content, axe.
//   BRAID_BIN=target/debug/braid node --test tests/browser/     CHROMIUM names another browser, SHOTS where pictures go
import assert from "node:assert/strict";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import axe from "axe-core";
import { HOSTILE, SLOW, start, tell } from "./braid.mjs";
import { calm, launch, opener, SHOTS } from "./browser.mjs";

const shots = SHOTS;
let braid;
let browser;
let open;
let dir;

before(async () => {
  await mkdir(shots, { recursive: true });
  dir = await mkdtemp(join(tmpdir(), "braid-ui-config-"));
  await mkdir(join(dir, "boards", "team"), { recursive: true });
  await writeFile(join(dir, "braid.yaml"), "dashboards: {directory: boards}\n");
  await writeFile(join(dir, "boards", "team", "carts.json"), JSON.stringify({ uid: "carts", title: `Carts ${HOSTILE}`, panels: [{ id: 1, type: "stat", title: "Open", gridPos: { x: 0, y: 0, w: 6, h: 6 }, targets: [{ expr: "carts_open" }] }] }));
  await writeFile(join(dir, "boards", "broken.json"), "{");
  braid = await start(["--config", join(dir, "braid.yaml")]);
  await tell(braid);
  browser = await launch();
  open = opener(browser, braid.url);
  // The correlation window (2 s here) closes, and the graph is drawn.
  await new Promise((resolve) => setTimeout(resolve, 4000));
});
after(async () => {
  await browser?.close();
  await braid?.stop();
  if (dir) await rm(dir, { recursive: true, force: true });
});

test("the story: from a chart to its trace to its log lines to its correlation, without a query", async () => {
  const { page, problems, close } = await open("#/?from=now-15m");
  const begun = Date.now();
  await page.getByRole("link", { name: "cart", exact: true }).first().click();
  await page.getByRole("heading", { level: 1, name: "cart" }).waitFor();
  // Of the dots on the chart of durations, that of a slow request.
  const dot = page.getByRole("button", { name: /^Trace .* (9\d\d ms|1\.\d+ s)/ }).last();
  await dot.waitFor();
  await dot.dispatchEvent("click");
  await page.getByRole("heading", { name: "Logs of the trace" }).waitFor();
  await page.getByRole("option", { name: /slow query: SELECT items took too long/ }).waitFor();
  await page.getByRole("option", { name: /checkout begins for user/ }).waitFor();
  // Its spans, its critical path.
  await page.getByRole("tab", { name: "Table" }).click();
  await page.getByRole("button", { name: "SELECT items" }).click();
  await page.getByRole("complementary", { name: "Span" }).getByText("postgresql").waitFor();
  const correlation = page.locator("section", { has: page.getByRole("heading", { name: "Correlation", exact: true }) });
  await calm(page);
  const said = await correlation.innerText();
  if (/does not answer/.test(said)) console.log("# left out: this Braid has no /api/correlations");
  else assert.match(said, /CIRCUIT-|No event yet/);
  console.log(`# the story took ${((Date.now() - begun) / 1000).toFixed(1)} s`);
  await page.screenshot({ path: join(shots, "story.png"), fullPage: true });
  assert.deepEqual(problems, []);
  await close();
});

test("what is slow is compared with the rest, and the difference named first", async () => {
  const { page, problems, close } = await open("#/traces?from=now-15m&service=cart");
  await calm(page);
  await page.keyboard.press("c");
  const panel = page.locator("section", { has: page.getByRole("heading", { name: "The box against the rest" }) });
  await panel.getByText(/spans inside/).waitFor();
  assert.match(await panel.locator(".one").first().innerText(), /span\.region|eu/);
  await panel.getByRole("button", { name: "Filter to region eu" }).click();
  await page.waitForFunction(() => decodeURIComponent(location.hash).includes('span.region+=+"eu"'));
  await calm(page);
  assert.match(page.url(), /from=now-15m/);
  // Back is back.
  await page.goBack();
  await page.waitForFunction(() => !decodeURIComponent(location.hash).includes("region"));
  assert.deepEqual(problems, []);
  await close();
});

/** Draws a range on the first chart of a panel: `from` and `to` are shares of its width. */
async function draw(page, panel, from, to) {
  const over = page.locator("section", { has: page.getByRole("heading", { name: panel, exact: true }) }).locator(".u-over");
  // A chart is drawn anew when what it shows or the room for it changes: it is taken when it has come to rest.
  let [b, before] = [null, null];
  for (let tries = 0; tries < 100 && !(b && before && ["x", "y", "width", "height"].every((k) => b[k] === before[k])); tries++) {
    await page.waitForTimeout(100);
    [b, before] = [await over.boundingBox(), b];
  }
  await page.mouse.move(b.x + b.width * from, b.y + b.height / 2);
  await page.mouse.down();
  await page.mouse.move(b.x + b.width * to, b.y + b.height / 2, { steps: 4 });
  await page.mouse.up();
}

test("a range that is drawn on a chart is zoomed into, or compared with the rest: spans, lines, samples", async () => {
  const { page, problems, close } = await open("#/service/cart?from=now-15m");
  await calm(page);
  await draw(page, "Duration", 0.5, 0.8);
  await page.getByRole("button", { name: "Compare with the rest" }).click();
  const panel = page.getByRole("complementary", { name: "Comparison" });
  await panel.getByText(/spans inside/).waitFor();
  assert.match(page.url(), /mark=traces%3A\d+-\d+/);
  await panel.getByRole("button", { name: /^Filter to / }).first().click();
  await page.waitForFunction(() => location.hash.startsWith("#/traces") && decodeURIComponent(location.hash).includes('service.name+='));
  await page.goBack();
  await panel.waitFor();
  await page.keyboard.press("Escape");
  await panel.waitFor({ state: "detached" });
  await draw(page, "Requests a second", 0.5, 0.8);
  await page.getByRole("button", { name: "Zoom in" }).click();
  await page.waitForFunction(() => /from=\d+&to=\d+/.test(location.hash));

  await page.goto(`${braid.url}/#/logs?from=now-15m`);
  await page.locator(".loglist .line").first().waitFor();
  await draw(page, "Lines by level", 0.93, 0.99);
  await page.getByRole("button", { name: "Compare with the rest" }).click();
  await panel.getByText(/lines inside/).waitFor();
  await panel.getByRole("button", { name: /^Exclude / }).first().click();
  await page.waitForFunction(() => / != /.test(new URLSearchParams(location.hash.split("?")[1]).get("q") ?? ""));
  await calm(page);
  assert.equal(await page.getByText("No answer").count(), 0);

  await page.goto(`${braid.url}/#/metrics?from=now-15m&metric=checkout_duration_seconds`);
  await calm(page);
  const group = page.getByRole("group", { name: /^checkout_duration_seconds: / });
  await group.focus();
  for (const key of ["ArrowLeft", "Shift+ArrowRight", "Shift+ArrowRight", "c"]) await page.keyboard.press(key);
  await panel.getByText(/how much each label adds \(growth of/).waitFor();
  assert.equal(await page.getByText("No answer").count(), 0);
  assert.deepEqual(problems, []);
  await close();
});

test("a trace's lines have those among them that only a business key joins, with the evidence", async () => {
  const { page, problems, close } = await open(`#/trace/${SLOW}`);
  const line = page.getByRole("option", { name: /circuit_id.*signal degraded on circuit_id=CIRCUIT-777/ });
  await line.waitFor();
  const texts = await page.locator(".loglist .line:not([hidden]) .body").allInnerTexts();
  assert.ok(texts.findIndex((t) => /signal degraded/.test(t)) > texts.findIndex((t) => /checkout begins/.test(t)), "in time order");
  await line.click();
  await page.getByRole("complementary", { name: "Log line" }).getByText("Joined by a business key").waitFor();
  assert.deepEqual(problems, []);
  await close();
});

test("a chosen line, a table twin and what is searched for are in the address: a link shows them again", async () => {
  const { page, problems, close } = await open("#/logs?from=now-15m");
  await page.locator(".loglist .line").nth(3).click();
  const drawer = page.getByRole("complementary", { name: "Log line" });
  await drawer.waitFor();
  const said = await drawer.locator("pre").innerText();
  await page.getByRole("button", { name: "Table", exact: true }).click();
  await page.getByRole("columnheader", { name: "Least" }).waitFor();
  assert.match(page.url(), /line=\d+.*table=levels/);
  const again = await open(new URL(page.url()).hash);
  const shown = again.page.getByRole("complementary", { name: "Log line" });
  await shown.waitFor();
  assert.equal(await shown.locator("pre").innerText(), said);
  await again.page.getByRole("columnheader", { name: "Least" }).waitFor();
  assert.deepEqual(again.problems, []);
  await again.close();
  await page.keyboard.press("Escape");
  await drawer.waitFor({ state: "detached" });
  await page.goto(`${braid.url}/#/trace/${SLOW}?find=SELECT`);
  await page.getByRole("group", { name: "Waterfall of 1 spans", exact: false }).waitFor();
  await page.locator(".loglist .line").first().click();
  await page.waitForFunction(() => /line=\d+/.test(location.hash));
  assert.deepEqual(problems, []);
  await close();
});

test("a folded span and a hidden series are in the address: a link shows them so again", async () => {
  const { page, problems, close } = await open(`#/trace/${SLOW}`);
  const fall = page.locator('[aria-label^="Waterfall of"]');
  await fall.waitFor();
  const whole = await fall.getAttribute("aria-label");
  await page.keyboard.press("j");
  await page.keyboard.press("Enter");
  await page.waitForFunction(() => /fold=[0-9a-f]{16}/.test(location.hash));
  assert.match(await fall.getAttribute("aria-label"), /^Waterfall of 1 spans/);
  const again = await open(new URL(page.url()).hash);
  await again.page.locator('[aria-label^="Waterfall of 1 spans"]').waitFor();
  await again.close();
  await page.keyboard.press("Enter");
  await page.waitForFunction(() => !/fold=/.test(location.hash));
  assert.equal(await fall.getAttribute("aria-label"), whole);
  await page.goto(`${braid.url}/#/logs?from=now-15m`);
  const series = page.locator('.legend button[aria-pressed="true"]');
  await series.first().waitFor();
  const before = await series.count();
  const name = await series.first().innerText();
  await series.first().click();
  await page.waitForFunction(() => /hide=\w+/.test(location.hash));
  const other = await open(new URL(page.url()).hash);
  const off = other.page.locator('.legend button[aria-pressed="false"]');
  await off.waitFor();
  assert.equal(await off.innerText(), name);
  assert.equal(await other.page.locator('.legend button[aria-pressed="true"]').count(), before - 1);
  assert.deepEqual(other.problems, []);
  await other.close();
  assert.deepEqual(problems, []);
  await close();
});

test("older lines are read on as one scrolls", async () => {
  const now = Date.now() - 1800e3;
  const logRecords = Array.from({ length: 4500 }, (_, i) => ({ timeUnixNano: `${now + Math.floor(i / 3)}000000`, body: { stringValue: `chatter ${i}` } }));
  await braid.post("/v1/logs", { resourceLogs: [{ resource: { attributes: [{ key: "service.name", value: { stringValue: "chatty" } }] }, scopeLogs: [{ logRecords }] }] });
  const { page, problems, close } = await open("#/logs?from=now-1h&q=%7Bservice_name%3D%22chatty%22%7D");
  await page.getByText(/1,000 of about/).waitFor();
  const list = page.locator(".loglist");
  const all = page.getByText("4,500 lines", { exact: true });
  for (let i = 0; i < 80 && !(await all.count()); i++) {
    await list.evaluate((e) => (e.scrollTop = e.scrollHeight));
    await page.waitForTimeout(250);
  }
  await all.waitFor();
  await list.evaluate((e) => (e.scrollTop = e.scrollHeight));
  await page.getByRole("option", { name: "chatter 0", exact: false }).last().waitFor();
  assert.deepEqual(problems, []);
  await close();
});

const PAGES = {
  home: ["#/?from=now-15m", /gateway/],
  service: ["#/service/cart?from=now-15m", /GET \/cart/],
  compared: [`#/service/cart?from=now-15m&mark=traces:${Date.now() - 300e3}-${Date.now() - 120e3}&markq=${encodeURIComponent('{ resource.service.name = "cart" }')}`, /spans inside/],
  map: ["#/map?from=now-15m", /Service map/],
  traces: ["#/traces?from=now-15m&by=span.region", /GET \/checkout/],
  trace: [`#/trace/${SLOW}`, /slow query/],
  flame: [`#/trace/${SLOW}?view=flame&critical=1`, /Flame graph/],
  logs: ["#/logs?from=now-15m", /checkout begins/],
  patterns: ["#/logs?from=now-15m&view=patterns", /Patterns/],
  metrics: ["#/metrics?from=now-15m&metric=checkout_duration_seconds", /How long a checkout took/],
  promql: ["#/metrics?from=now-15m&q=carts_open", /Result/],
  correlations: ["#/correlations?from=now-15m", /Correlation events/],
  dashboards: ["#/dashboards", /SLI\/SLO Dashboard/],
  dashboard: ["#/dashboards/end-to-end-tracing?from=now-15m", /Trace Search/],
  ingest: ["#/ingest?from=now-15m", /otlp_http/],
  system: ["#/system?from=now-15m", /storage\.retention\.logs/],
};

for (const [name, [hash, text]] of Object.entries(PAGES)) {
  test(`${name}: shows what is there, in every theme, without a violation that axe finds`, async () => {
    const { page, problems, close } = await open(hash);
    await calm(page);
    assert.match(await page.locator("body").innerText(), text);
    await page.evaluate(axe.source);
    for (const theme of ["dark", "light", "contrast"]) {
      await page.getByLabel("Theme").selectOption(theme);
      await page.waitForTimeout(100);
      await page.screenshot({ path: join(shots, `${name}-${theme}.png`), fullPage: false });
      const { violations } = await page.evaluate(() => window.axe.run(document, { runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"] }));
      assert.deepEqual(violations.map((v) => `${theme}: ${v.id}: ${v.nodes.slice(0, 3).map((n) => `${n.target} ${n.failureSummary}`).join(" | ")}`), []);
      assert.deepEqual(problems, [], theme);
    }
    await close();
  });
}

test("the keyboard alone is enough", async () => {
  const { page, problems, close } = await open("#/?from=now-15m");
  await calm(page);
  const key = (...keys) => keys.reduce((last, k) => last.then(() => page.keyboard.press(k)), Promise.resolve());
  await key("j", "j", "Enter");
  await page.waitForFunction(() => location.hash.startsWith("#/service/"));
  await key("g", "t");
  await page.waitForFunction(() => location.hash.startsWith("#/traces"));
  await calm(page);
  await key("/");
  await page.waitForTimeout(1500);
  await page.keyboard.type('{ name = "GET /cart');
  await key("Escape", "/", "Enter");
  await page.keyboard.press("Escape");
  await key("g", "l");
  await page.waitForFunction(() => location.hash.startsWith("#/logs"));
  await page.locator(".loglist .line").first().waitFor();
  await key("j", "j");
  await page.getByRole("complementary", { name: "Log line" }).waitFor();
  await key("Enter");
  await page.waitForFunction(() => location.hash.startsWith("#/trace/"));
  await page.getByRole("heading", { name: "Spans" }).waitFor();
  await calm(page);
  await key("j");
  await page.getByRole("complementary", { name: "Span" }).waitFor();
  await key("Escape");
  await page.getByRole("complementary", { name: "Span" }).waitFor({ state: "detached" });
  await key("z");
  await page.waitForFunction(() => /from=\d+/.test(location.hash));
  await key("[", "]");
  await key("?");
  await page.getByRole("dialog", { name: "Keys" }).waitFor();
  await key("Escape", "Control+k");
  await page.keyboard.type("gateway");
  await page.getByRole("option", { name: "gateway service", exact: true }).waitFor();
  await key("Enter");
  await page.waitForFunction(() => location.hash.startsWith("#/service/gateway"));
  assert.deepEqual(problems, []);
  await close();
});

test("a query is written with completion from Braid's own data", async () => {
  const { page, problems, close } = await open("#/metrics?from=now-15m");
  await calm(page);
  await page.getByRole("textbox", { name: "PromQL query" }).click();
  await page.waitForTimeout(1500);
  await page.keyboard.type("carts_o");
  await page.getByText("carts_open").first().waitFor();
  await page.keyboard.press("Control+a");
  await page.keyboard.type("carts_open ");
  await page.keyboard.press("Escape");
  await page.getByRole("button", { name: "Run" }).click();
  await page.getByRole("heading", { name: "Result" }).waitFor();
  assert.match(page.url(), /q=carts_open/);
  assert.deepEqual(problems, []);
  await close();
});

test("a query that is wrong says where, and the page goes on", async () => {
  const { page, problems, close } = await open("#/traces?from=now-15m&q=%7B%20name%20%3D%20");
  await page.getByRole("alert").first().waitFor();
  assert.match(await page.getByRole("alert").first().innerText(), /TraceQL/);
  assert.deepEqual(problems, []);
  await close();
});

test("hostile telemetry stays text, wherever it is shown", async () => {
  const enc = encodeURIComponent(HOSTILE);
  const hashes = ["#/?from=now-15m", `#/service/${enc}?from=now-15m`, "#/map?from=now-15m&view=table", `#/traces?from=now-15m&service=${enc}`, "#/logs?from=now-15m", "#/logs?from=now-15m&view=patterns", "#/metrics?from=now-15m&metric=carts_open&by=odd", "#/metrics?from=now-15m&q=carts_open", "#/correlations?from=now-15m", "#/ingest?from=now-15m", `#/dashboards/${enc}`, `#/${enc}`, `#/trace/${enc}`];
  for (const hash of hashes) {
    const { page, problems, close } = await open(hash);
    await calm(page);
    if (hash.startsWith("#/logs?from=now-15m") && !hash.includes("view")) {
      await page.locator(".loglist .line").first().click();
      await page.getByRole("complementary", { name: "Log line" }).waitFor();
    }
    if (hash.startsWith("#/traces")) {
      await page.locator("main table a").first().click();
      await page.getByRole("heading", { name: "Spans" }).waitFor();
      await calm(page);
      await page.keyboard.press("j");
      await page.getByRole("complementary", { name: "Span" }).waitFor();
    }
    assert.equal(await page.evaluate(() => window.hacked), undefined, hash);
    assert.equal(await page.locator("main img, main script, main iframe").count(), 0, hash);
    assert.equal(await page.locator('a[href^="javascript:"]').count(), 0, hash);
    assert.deepEqual(problems, [], hash);
    await close();
  }
});

test("a directory's dashboards are listed and shown, and its broken files named", async () => {
  const { page, problems, close } = await open("#/dashboards?from=now-15m");
  await page.getByRole("alert").getByText(/broken\.json is not shown/).waitFor();
  await page.getByRole("link", { name: /^Carts/ }).click();
  await page.getByRole("heading", { name: "Open", exact: true }).waitFor();
  await calm(page);
  assert.equal(await page.getByText("No answer").count() + (await page.getByText("Nothing here").count()), 0);
  assert.equal(await page.evaluate(() => window.hacked), undefined);
  assert.deepEqual(problems, []);
  await close();
});

test("a dashboard file of a person is opened, kept in the browser, and a wrong one refused", async () => {
  const { page, problems, close } = await open("#/dashboards");
  await calm(page);
  const input = page.locator('input[type="file"]');
  await input.setInputFiles({ name: "bad.json", mimeType: "application/json", buffer: Buffer.from("{}") });
  await page.getByText("it has no panels").waitFor();
  const panels = ["timeseries", "stat", "gauge", "bargauge", "table"].map((type, i) => ({ id: i, type, title: `${HOSTILE} ${type}`, gridPos: { x: (i % 3) * 8, y: Math.floor(i / 3) * 8, w: 8, h: 8 }, targets: [{ expr: 'carts_open{route="$route"}' }] }));
  panels.push({ id: 9, type: "text", title: "words", gridPos: { x: 16, y: 8, w: 8, h: 8 }, options: { content: HOSTILE } });
  const file = { title: "Mine", uid: "mine", panels, templating: { list: [{ name: "route", type: "query", query: "label_values(carts_open, route)", current: { value: "/checkout" } }] }, time: { from: "now-15m", to: "now" } };
  await input.setInputFiles({ name: "mine.json", mimeType: "application/json", buffer: Buffer.from(JSON.stringify(file)) });
  await page.getByRole("heading", { name: "Mine" }).waitFor();
  await calm(page);
  assert.equal(await page.getByText("No answer").count() + (await page.getByText("Nothing here").count()), 0);
  assert.equal(await page.evaluate(() => window.hacked), undefined);
  await page.screenshot({ path: join(shots, "mine.png") });
  assert.deepEqual(problems, []);
  await close();
});
