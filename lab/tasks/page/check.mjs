// Drives the task page in a real browser: adds, ticks off and deletes a task, presses every button, and checks what a person
// would see. Takes a screenshot.
//
//   node check.mjs [page URL] [screenshot.png]        CHROMIUM names another browser than Debian's
import assert from "node:assert/strict";
import { chromium } from "playwright-core";

const url = process.argv[2] ?? "http://localhost:8081/";
const screenshot = process.argv[3] ?? "task-page.png";
const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  args: ["--no-sandbox"],
});

try {
  const page = await browser.newPage({ viewport: { width: 1100, height: 900 } });
  const problems = [];
  page.on("pageerror", (error) => problems.push(error.message));
  const sent = [];
  page.on("request", (request) => sent.push({ url: request.url(), method: request.method(), headers: request.headers() }));
  const exported = [];
  page.on("requestfinished", async (request) => {
    if (request.url().endsWith("/v1/traces") && request.method() === "POST") exported.push((await request.response()).status());
  });

  await page.goto(url);
  assert.equal(await page.title(), "Task Manager");
  await page.waitForSelector("#tasks");
  const counter = (id) => page.locator(`#${id}`).textContent().then(Number);
  const toast = (text) => page.locator(".toast", { hasText: text }).first().waitFor();

  // Markup in a title stays text.
  const title = `<img src=x onerror="document.title='hacked'"> ${Date.now()}`;
  await page.fill("#title", title);
  await page.fill("#description", "First line\n<b>not bold</b>");
  await page.click("text=Add Task");
  await toast("Task created");
  const card = page.locator("article", { hasText: title });
  await card.waitFor();
  assert.equal(await card.locator("img, b").count(), 0);
  assert.equal(await page.locator("article h3").first().textContent(), title, "the newest task comes first");

  await card.locator("text=Mark Complete").click();
  await page.locator("article.completed", { hasText: title }).waitFor();
  assert.ok((await counter("completed")) >= 1);
  assert.equal(await counter("total"), (await counter("completed")) + (await counter("pending")));
  await card.locator("text=Mark Incomplete").click();
  await page.locator("article:not(.completed)", { hasText: title }).waitFor();

  await page.click("#bulk-create");
  await toast("5 tasks created");
  await page.click("#simulate-error");
  await toast("This is a simulated error");
  await page.click("#smoke-db");
  await toast("300 operations");
  await page.click("#simulate-slow");
  await toast("Delayed response after 2.0 seconds");
  await page.screenshot({ path: screenshot });

  page.once("dialog", (dialog) => dialog.dismiss());
  await card.locator("text=Delete").click();
  assert.equal(await card.count(), 1, "a dismissed dialog deletes nothing");
  page.once("dialog", (dialog) => dialog.accept());
  await card.locator("text=Delete").click();
  await card.waitFor({ state: "detached" });

  const api = sent.filter((request) => request.url.includes("/api/"));
  const operations = new Set(api.map((request) => request.headers["x-operation"]).filter(Boolean));
  const expected = "load-tasks create-task toggle-task delete-task simulate-error simulate-slow bulk-create".split(" ");
  assert.deepEqual([...operations].sort(), expected.sort());
  for (const request of api) assert.match(request.headers.traceparent ?? "", /^00-[0-9a-f]{32}-[0-9a-f]{16}-01$/, request.url);
  assert.deepEqual(problems, []);

  // The last request's trace id, for whoever wants to look it up.
  await page.waitForTimeout(1000);
  const traces = api.filter((request) => request.headers["x-operation"] === "create-task").map((r) => r.headers.traceparent.split("-")[1]);
  console.log(JSON.stringify({ ok: true, screenshot, createTask: traces[0], exports: exported.length, refused: exported.filter((s) => s !== 200).length }));
} finally {
  await browser.close();
}
