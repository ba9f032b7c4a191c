// Which query shows a metric best.
import { type Metadata, selector } from "../api/prometheus.ts";

export interface Family {
  name: string;
  meta: Metadata | undefined;
  parts: string[];
}

/** Counters as a rate, histograms as percentiles, gauges as their mean; by `labels`. `window` is that of rates, seconds. */
export function metricQueries(family: Family, labels: string[], window: number): { name: string; query: string }[] {
  const { name, parts } = family;
  const by = labels.map((l) => (/^[a-zA-Z_]\w*$/.test(l) ? l : JSON.stringify(l)));
  const grouped = (...more: string[]) => {
    const all = [...by, ...more];
    return all.length ? ` by (${all.join(", ")})` : "";
  };
  const w = `[${window}s]`;
  if (parts.includes(`${name}_bucket`)) {
    const bucket = selector(`${name}_bucket`);
    const quantiles = by.length ? [0.95] : [0.5, 0.95, 0.99];
    return quantiles.map((q) => ({ name: by.length ? "" : `p${q * 100}`, query: `histogram_quantile(${q}, sum${grouped("le")} (rate(${bucket}${w})))` }));
  }
  if (parts.includes(`${name}_sum`) && parts.includes(`${name}_count`)) {
    const rate = (part: string) => `sum${grouped()} (rate(${selector(`${name}_${part}`)}${w}))`;
    return [{ name: by.length ? "" : "mean", query: `${rate("sum")} / ${rate("count")}` }];
  }
  const type = family.meta?.type;
  if (type === "histogram") {
    const quantiles = by.length ? [0.95] : [0.5, 0.95, 0.99];
    return quantiles.map((q) => ({ name: by.length ? "" : `p${q * 100}`, query: `histogram_quantile(${q}, sum${grouped()} (rate(${selector(name)}${w})))` }));
  }
  if (type === "counter" || /(_total|_bucket|_sum|_count)$/.test(name)) return [{ name: by.length ? "" : "per second", query: `sum${grouped()} (rate(${selector(name)}${w}))` }];
  return [{ name: "", query: by.length ? `avg${grouped()} (${selector(name)})` : selector(name) }];
}

/** The unit of a metric, as Grafana calls it, by what is said of it or by its name. */
export function unitOf(name: string, said = ""): string {
  if (said === "seconds" || /_seconds(_total)?$/.test(name)) return /_total$/.test(name) ? "" : "s";
  if (said === "milliseconds" || /_milliseconds$/.test(name)) return "ms";
  if (said === "bytes" || /_bytes$/.test(name)) return "bytes";
  if (/_bytes_total$/.test(name)) return "Bps";
  if (/_ratio$/.test(name)) return "percentunit";
  return "";
}
