// Pictures of pages, for people to look at: node tests/browser/shot.mjs URL OUT theme [hash…]
import { chromium } from "playwright-core";

const [base, out, theme, ...hashes] = process.argv.slice(2);
const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"] });
const page = await browser.newPage({ viewport: { width: 1440, height: 960 } });
page.on("console", (m) => ["error", "warning"].includes(m.type()) && console.log("console:", m.text().slice(0, 400)));
page.on("pageerror", (e) => console.log("pageerror:", e.message.slice(0, 600)));
await page.addInitScript((t) => localStorage.setItem("braid.theme", t), theme);
for (const hash of hashes) {
  const [name, path = name] = hash.split("=@");
  await page.goto(`${base}/${path}`);
  await page.reload();
  await page.waitForTimeout(Number(process.env.WAIT ?? 1800));
  await page.screenshot({ path: `${out}/${name.replace(/[^\w-]/g, "_")}-${theme}.png` });
}
await browser.close();
