// Numbers as people read them.
import { duration } from "../trace/model.ts";

/** `1.2k`, `3.4M`, `0.056`. */
export function short(n: number): string {
  // JSON has no NaN: what is not known comes as null.
  if (n === null) return "–";
  if (!Number.isFinite(n)) return Number.isNaN(n) ? "–" : n > 0 ? "∞" : "-∞";
  const a = Math.abs(n);
  if (a === 0) return "0";
  if (a >= 1e12) return `${trim(n / 1e12)}T`;
  if (a >= 1e9) return `${trim(n / 1e9)}G`;
  if (a >= 1e6) return `${trim(n / 1e6)}M`;
  if (a >= 1e4) return `${trim(n / 1e3)}k`;
  if (a >= 100) return String(Math.round(n * 10) / 10);
  if (a >= 0.001) return String(Number(n.toPrecision(3)));
  return n.toExponential(1);
}
const trim = (n: number) => String(Number(n.toPrecision(3)));

/** Bytes in powers of 1024. */
export function bytes(n: number): string {
  const a = Math.abs(n);
  const at = a < 1024 ? 0 : Math.min(Math.floor(Math.log2(a) / 10), 5);
  return `${trim(n / 1024 ** at)} ${["B", "KiB", "MiB", "GiB", "TiB", "PiB"][at] ?? ""}`;
}

/** A value in one of Grafana's units. */
export function format(n: number, unit = "", decimals?: number): string {
  if (!Number.isFinite(n)) return short(n);
  const fixed = (x: number) => (decimals === undefined ? short(x) : x.toFixed(decimals));
  switch (unit) {
    case "s": return duration(n * 1e3);
    case "ms": return duration(n);
    case "µs": return duration(n / 1e3);
    case "ns": return duration(n / 1e6);
    case "bytes": case "decbytes": case "By": return bytes(n);
    case "Bps": case "binBps": return `${bytes(n)}/s`;
    case "mbytes": case "decmbytes": return bytes(n * 1048576);
    case "percent": return `${fixed(n)} %`;
    case "percentunit": return `${fixed(n * 100)} %`;
    case "reqps": case "ops": return `${fixed(n)} /s`;
    case "currencyUSD": return `$${fixed(n)}`;
    case "celsius": return `${fixed(n)} °C`;
    case "short": case "none": case "": return fixed(n);
    default: return `${fixed(n)} ${unit}`;
  }
}
