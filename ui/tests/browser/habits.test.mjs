// Habits that hold on every page: what is copied of a panel, tables beside charts, keys, time that travels along, states without data, and
// the system's own colours.
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { after, before, test } from "node:test";
import { promisify } from "node:util";
import { SLOW, start, tell } from "./braid.mjs";
import { calm, launch, opener, SHOTS } from "./browser.mjs";

const PAGES = ["#/?from=now-15m", "#/service/cart?from=now-15m", "#/map?from=now-15m", "#/traces?from=now-15m&by=span.region", `#/trace/${SLOW}`, "#/logs?from=now-15m", "#/logs?from=now-15m&view=patterns", "#/logs?from=now-15m&q=sum(count_over_time(%7Bservice_name%3D%22cart%22%7D%5B1m%5D))", "#/metrics?from=now-15m&metric=checkout_duration_seconds", "#/metrics?from=now-15m&q=carts_open", "#/correlations?from=now-15m", "#/dashboards", "#/dashboards/end-to-end-tracing?from=now-15m", "#/dashboards/correlation-overview?from=now-15m", "#/ingest?from=now-15m", "#/system?from=now-15m"];
/** Panels behind which is no query in a language, but an API. */
const NO_QUERY = ["What arrives", "Time by service", "Correlation", "Correlation events", "Dependencies", "Service map", "Service Dependency Map", "Service Map", "Dashboards", "Refused, with reasons", "Receivers, since the start", "Scraped targets", "Costly keys", "Braid", "Storage", "Listens at", "Configuration in force", "Own metrics, now"];

let braid, empty, browser, open;
before(async () => {
  braid = await start();
  empty = await start();
  await tell(braid);
  browser = await launch();
  open = opener(browser, braid.url);
  await new Promise((resolve) => setTimeout(resolve, 4000));
});
after(async () => {
  await browser?.close();
  await braid?.stop();
  await empty?.stop();
});

test("of each panel on each page the link, the query and the request as curl can be copied, and they work", { timeout: 300_000 }, async () => {
  const ran = new Set();
  for (const hash of PAGES) {
    const { page, problems, close } = await open(hash, "dark", { permissions: ["clipboard-read", "clipboard-write"] });
    await calm(page);
    const panels = page.locator("main section.panel");
    const copied = () => page.evaluate(() => navigator.clipboard.readText());
    for (let i = 0; i < (await panels.count()); i++) {
      const panel = panels.nth(i);
      const title = await panel.locator("h2").first().innerText();
      const at = `${hash}: ${title}`;
      const take = async (what) => {
        await panel.getByRole("button", { name: /^Copy from / }).click();
        await panel.getByRole("button", { name: what, exact: true }).click();
        return copied();
      };
      const link = new URLSearchParams((await take("Copy link")).split("?")[1]);
      assert.ok(/^\d+$/.test(link.get("from")) && /^\d+$/.test(link.get("to")) && link.get("panel"), `${at}: ${link}`);
      const offered = async (what) => {
        await panel.getByRole("button", { name: /^Copy from / }).click();
        const found = await panel.getByRole("button", { name: what, exact: true }).count();
        await panel.getByRole("button", { name: /^Copy from / }).click();
        return found > 0;
      };
      assert.equal(await offered("Copy query"), !NO_QUERY.includes(title), at);
      if (await offered("Copy query")) assert.ok((await take("Copy query")).length > 1, at);
      const command = await take("Copy as curl");
      assert.match(command, /^curl -sG '/, at);
      if (!ran.has(command)) {
        ran.add(command);
        // While one works on the page: the sources' server stands before Braid's.
        await promisify(execFile)("sh", ["-c", `${command} --fail-with-body`], { maxBuffer: 1 << 26 }).catch((e) => assert.fail(`${at}: ${command}: ${e.stdout || e.message}`));
      }
    }
    assert.deepEqual(problems, [], hash);
    await close();
  }
  assert.ok(ran.size > 30, `${ran.size} commands`);
});

test("a panel's own link opens the page at the panel", async () => {
  const { page, problems, close } = await open("#/system?from=now-15m&panel=own-metrics-now");
  await calm(page);
  const panel = page.locator("section.linked");
  await panel.getByRole("heading", { name: "Own metrics, now" }).waitFor();
  await page.waitForFunction(() => document.querySelector("section.linked").getBoundingClientRect().top < 500);
  assert.deepEqual(problems, []);
  await close();
});

test("each chart has a table twin, and back", { timeout: 120_000 }, async () => {
  let twins = 0;
  for (const hash of PAGES) {
    const { page, problems, close } = await open(hash);
    await calm(page);
    for (const panel of await page.locator("main section.panel", { has: page.locator(".u-over") }).all()) {
      const title = await panel.locator("h2").first().innerText();
      const named = page.locator("main section.panel", { has: page.getByRole("heading", { name: title, exact: true }) });
      await named.getByRole("button", { name: "Table", exact: true }).click();
      await named.locator(".twin table tbody tr").first().waitFor();
      assert.equal(await named.locator(".u-over").count(), 0, `${hash}: ${title}`);
      await named.getByRole("button", { name: "Chart", exact: true }).click();
      await named.locator(".u-over").waitFor();
      twins++;
    }
    assert.deepEqual(problems, [], hash);
    await close();
  }
  assert.ok(twins >= 8, `${twins} charts`);
});

test("every key that the help names does what it says", async () => {
  const { page, problems, close } = await open("#/?from=now-15m");
  await calm(page);
  for (const [key, hash] of [["a", "#/map"], ["t", "#/traces"], ["l", "#/logs"], ["m", "#/metrics"], ["c", "#/correlations"], ["d", "#/dashboards"], ["i", "#/ingest"], ["s", "#/system"], ["h", "#/?"]]) {
    await page.keyboard.press("g");
    await page.keyboard.press(key);
    await page.waitForFunction((h) => location.hash.startsWith(h), hash).catch(() => assert.fail(`g ${key}: ${page.url()}, ${hash} expected`));
    // The range of time travels along.
    assert.match(page.url(), /from=now-15m/);
  }
  await page.goto(`${braid.url}/#/traces?from=now-15m`);
  await calm(page);
  const params = () => new URLSearchParams(page.url().split("?")[1]);
  await page.keyboard.press("[");
  await page.waitForFunction(() => /from=\d+/.test(location.hash));
  const earlier = Number(params().get("from"));
  await page.keyboard.press("]");
  await page.waitForFunction((t) => Number(new URLSearchParams(location.hash.split("?")[1]).get("from")) > t, earlier);
  const before = Number(params().get("to")) - Number(params().get("from"));
  await page.keyboard.press("z");
  await page.waitForFunction((w) => { const p = new URLSearchParams(location.hash.split("?")[1]); return Number(p.get("to")) - Number(p.get("from")) > 1.9 * w; }, before);
  await calm(page);
  await page.keyboard.press("j");
  await page.keyboard.press("j");
  await page.locator('tr[data-on="true"]').waitFor();
  const asked = page.waitForRequest(/\/api\/search\?/);
  await page.keyboard.press("r");
  await asked;
  await calm(page);
  await page.keyboard.press("c");
  await page.getByRole("heading", { name: "The box against the rest" }).waitFor();
  await page.keyboard.press("Escape");
  await page.getByRole("heading", { name: "The box against the rest" }).waitFor({ state: "detached" });
  await page.keyboard.press("/");
  await page.waitForFunction(() => document.activeElement?.closest(".query") !== null);
  await page.keyboard.press("Escape");
  await page.goto(`${braid.url}/#/trace/${SLOW}`);
  await calm(page);
  await page.keyboard.press("e");
  await page.waitForFunction(() => /errors=1/.test(location.hash));
  await page.keyboard.press("p");
  await page.waitForFunction(() => /critical=1/.test(location.hash));
  await page.keyboard.press("?");
  await page.getByRole("dialog", { name: "Keys" }).waitFor();
  await page.keyboard.press("Escape");
  await page.keyboard.press("Control+k");
  await page.getByRole("dialog", { name: "Go to" }).waitFor();
  assert.deepEqual(problems, []);
  await close();
});

test("details of a span and of a line stand beside the trace, and its lines stay where they are", async () => {
  const { page, problems, close } = await open(`#/trace/${SLOW}`);
  await calm(page);
  const lines = page.locator("section.panel", { has: page.getByRole("heading", { name: "Logs of the trace" }) });
  const top = (await lines.boundingBox()).y;
  await page.keyboard.press("j");
  const span = page.getByRole("complementary", { name: "Span" });
  await span.waitFor();
  assert.ok(Math.abs((await lines.boundingBox()).y - top) < 20, "the lines have not moved down");
  await page.locator(".loglist .line").first().click();
  await page.getByRole("complementary", { name: "Log line" }).waitFor();
  assert.ok((await span.boundingBox()).x > (await lines.boundingBox()).x + 300);
  assert.deepEqual(problems, []);
  await close();
});

test("the flame graph dims what the critical path and the search leave out", async () => {
  const { page, problems, close } = await open(`#/trace/${SLOW}?view=flame`);
  await calm(page);
  const picture = () => page.evaluate(() => document.querySelector('[aria-label^="Flame graph"] canvas').toDataURL());
  await page.waitForTimeout(300);
  const whole = await picture();
  await page.getByLabel("Find in the trace").fill("SELECT");
  await page.waitForTimeout(300);
  assert.notEqual(await picture(), whole);
  assert.deepEqual(problems, []);
  await close();
});

test("the live tail shows lines in the order of time while they come, and holds them while it pauses", async () => {
  const { page, problems, close } = await open('#/logs?live=1&q=%7Bservice_name%3D~%22tail.*%22%7D');
  await page.getByText("Live", { exact: false }).first().waitFor();
  await page.waitForTimeout(1000);
  const now = Date.now();
  const send = (service, ms, text) => braid.post("/v1/logs", { resourceLogs: [{ resource: { attributes: [{ key: "service.name", value: { stringValue: service } }] }, scopeLogs: [{ logRecords: [{ timeUnixNano: `${ms}000000`, body: { stringValue: text } }] }] }] });
  await send("tail-a", now, "first");
  await send("tail-a", now + 2, "third");
  await send("tail-b", now + 1, "second");
  await page.getByRole("option", { name: /second/ }).waitFor();
  assert.deepEqual(await page.locator(".loglist .line:not([hidden]) .body").allInnerTexts(), ["first", "second", "third"]);
  await page.keyboard.press("p");
  await page.getByText(/paused/).waitFor();
  await send("tail-a", now + 3, "fourth");
  await page.getByText("paused (1 waiting)").waitFor();
  assert.equal(await page.getByRole("option", { name: /fourth/ }).count(), 0);
  await page.keyboard.press("p");
  await page.getByRole("option", { name: /fourth/ }).waitFor();
  assert.deepEqual(problems, []);
  await close();
});

test("without data each page says what to do, and Home what to paste", async () => {
  const bare = opener(browser, empty.url);
  for (const hash of ["#/", "#/service/none", "#/map", "#/traces", "#/trace/0123456789abcdef0123456789abcdef", "#/logs", "#/logs?view=patterns", "#/metrics?q=nothing", "#/correlations", "#/dashboards/sli-slo-dashboard"]) {
    const { page, problems, close } = await bare(hash);
    await calm(page);
    const notes = await page.locator("main .note").allInnerTexts();
    assert.ok(notes.length > 0, hash);
    for (const note of notes) assert.match(note, /^(Nothing here|Choose a metric|No answer)\n.{15,}/, `${hash}: ${note}`);
    if (hash === "#/") {
      await page.getByRole("heading", { name: "Nothing has arrived yet" }).waitFor();
      for (const [tab, says] of [["SDK", /OTEL_EXPORTER_OTLP_ENDPOINT=http/], ["curl", /\/v1\/traces/], ["Collector", /exporters:/], ["Prometheus", /remote_write/], ["Loki", /loki\/api\/v1\/push/], ["Grafana", /uid: tempo/]]) {
        await page.getByRole("tab", { name: tab, exact: true }).click();
        assert.match(await page.getByRole("region", { name: "What to paste" }).innerText(), says, tab);
      }
    }
    assert.deepEqual(problems, [], hash);
    await close();
  }
});

test("where there is no answer the page says why and what to do", async () => {
  const { page, problems, close } = await open("#/metrics?from=now-15m&q=sum(");
  const alert = page.getByRole("alert").first();
  await alert.waitFor();
  assert.match(await alert.innerText(), /No answer\s*Correct the query.*\n.*unclosed/s);
  await page.goto(`${braid.url}/#/logs?from=now-15m&q=%7Bfoo`);
  await page.getByRole("alert").first().waitFor();
  await calm(page);
  assert.equal(await page.getByRole("alert").count(), 1, "one mistake is named once");
  await page.goto(`${braid.url}/#/traces?from=now-15m`);
  await calm(page);
  await page.route("**/api/**", (route) => route.abort());
  await page.keyboard.press("r");
  await page.getByText("Braid does not answer. Is it running?").first().waitFor();
  await page.unroute("**/api/**");
  await page.keyboard.press("r");
  await page.getByText("Braid does not answer. Is it running?").first().waitFor({ state: "detached" });
  assert.deepEqual(problems.filter((p) => !/net::ERR/.test(p)), []);
  await close();
});

for (const scheme of ["dark", "light"]) {
  test(`the system's ${scheme} colours, where it forces them, leave nothing unseen`, async () => {
    const { page, problems, close } = await open(`#/trace/${SLOW}`, scheme === "dark" ? "light" : "dark", { forcedColors: "active", colorScheme: scheme });
    await calm(page);
    await page.keyboard.press("j");
    await page.getByRole("complementary", { name: "Span" }).waitFor();
    const seen = await page.evaluate(() => {
      const style = (selector) => getComputedStyle(document.querySelector(selector));
      const canvas = document.querySelector(".canvas-scroll canvas");
      const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
      let [darkest, brightest] = [255, 0];
      for (let i = 0; i < data.length; i += 4) {
        if (data[i + 3] < 255) continue;
        const grey = (data[i] + data[i + 1] + data[i + 2]) / 3;
        [darkest, brightest] = [Math.min(darkest, grey), Math.max(brightest, grey)];
      }
      return { theme: document.documentElement.dataset.theme, page: style("body").backgroundColor, tab: style('[role="tab"][aria-selected="true"]').backgroundColor, other: style('[role="tab"][aria-selected="false"]').backgroundColor, dot: style(".dot").backgroundColor, darkest, brightest };
    });
    assert.equal(seen.theme, scheme === "dark" ? "contrast" : "light", "a palette that suits the background, whatever was chosen");
    assert.equal(seen.page, scheme === "dark" ? "rgb(0, 0, 0)" : "rgb(255, 255, 255)");
    assert.notEqual(seen.tab, seen.other, "what is selected is told apart");
    assert.notEqual(seen.dot, seen.page, "a service keeps its colour");
    assert.ok(seen.brightest > 230 && seen.darkest < 25, `what is drawn has the page's extremes: ${seen.darkest} to ${seen.brightest}`);
    await page.screenshot({ path: `${SHOTS}/forced-${scheme}.png` });
    assert.deepEqual(problems, []);
    await close();
  });
}
