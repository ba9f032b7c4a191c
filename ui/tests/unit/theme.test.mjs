// The themes' colours by WCAG 2.2's contrast: text (1.4.3; 1.4.6 in high contrast), edges of controls, focus and what charts draw (1.4.11).
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { after, test } from "node:test";
import { close, load } from "./load.mjs";

after(close);
const { FILL, OVER } = await load("/src/draw/flame.ts");
const css = readFileSync(new URL("../../src/app.css", import.meta.url), "utf8");
const names = { ":root": "dark", '[data-theme="light"]': "light", '[data-theme="contrast"]': "contrast" };
const themes = Object.fromEntries(
  [...css.matchAll(/^(:root|\[data-theme="\w+"\]) \{([^}]*)\}/gm)].map(([, selector, body]) => [names[selector], Object.fromEntries([...body.matchAll(/--([\w-]+): ([^;]+);/g)].map((m) => [m[1], m[2]]))]),
);

const rgb = (hex) => {
  const full = hex.length === 4 ? [...hex.slice(1)].map((c) => c + c).join("") : hex.slice(1);
  assert.match(full, /^[0-9a-f]{6}$/, hex);
  return [0, 2, 4].map((i) => parseInt(full.slice(i, i + 2), 16));
};
/** https://www.w3.org/TR/WCAG22/#dfn-relative-luminance */
const luminance = (colour) => {
  const [r, g, b] = colour.map((v) => v / 255).map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
const ratio = (a, b) => {
  const [dark, bright] = [luminance(a), luminance(b)].sort((x, y) => x - y);
  return (bright + 0.05) / (dark + 0.05);
};
const over = (a, b, opacity) => a.map((v, i) => v * opacity + b[i] * (1 - opacity));
const PALETTE = Array.from({ length: 10 }, (_, i) => `c${i}`);
const GROUNDS = ["bg", "surface", "raised"];

test("the contrast of two colours is what WCAG says", () => {
  assert.equal(ratio(rgb("#fff"), rgb("#000")).toFixed(2), "21.00");
  assert.equal(ratio(rgb("#777777"), rgb("#ffffff")).toFixed(2), "4.48");
});

for (const [name, theme] of Object.entries(themes)) {
  const text = name === "contrast" ? 7 : 4.5;
  const of = (token) => rgb(theme[token]);
  const at_least = (least, what, a, b) => assert.ok(ratio(a, b) >= least, `${name}: ${what}: ${ratio(a, b).toFixed(2)}, ${least} asked`);

  test(`${name}: text can be read on every ground, ${text} to 1`, () => {
    for (const ground of GROUNDS) for (const token of ["text", "muted", "accent", "error", "warn", "ok"]) at_least(text, `${token} on ${ground}`, of(token), of(ground));
    at_least(text, "on-accent on accent", of("on-accent"), of("accent"));
    for (const c of PALETTE) {
      at_least(text, `a time on a span's bar, ${c}`, of("surface"), of(c));
      for (const opacity of [FILL, OVER]) at_least(text, `words in a box of the flame graph, ${c}, ${opacity}`, of("text"), over(of(c), of("surface"), opacity));
    }
  });

  test(`${name}: edges of controls, focus and the lines of charts stand out, 3 to 1`, () => {
    for (const ground of GROUNDS) for (const token of ["edge", "accent", "error", "warn", "ok", ...PALETTE]) at_least(3, `${token} on ${ground}`, of(token), of(ground));
    // Heat maps are excepted (their scale is what they say); in high contrast their least is seen, too.
    if (name === "contrast") at_least(3, "the least of a heat map", over(of("accent"), of("surface"), Number(theme.faint)), of("surface"));
  });
}

test("three themes were read", () => assert.deepEqual(Object.keys(themes), ["dark", "light", "contrast"]));
