// The browser's part of each trace: fetch and XHR become client spans, sent as OTLP/HTTP JSON to the page's own host.
import { OTLPTraceExporter } from "@opentelemetry/exporter-trace-otlp-http";
import { registerInstrumentations } from "@opentelemetry/instrumentation";
import { FetchInstrumentation } from "@opentelemetry/instrumentation-fetch";
import { XMLHttpRequestInstrumentation } from "@opentelemetry/instrumentation-xml-http-request";
import { W3CTraceContextPropagator } from "@opentelemetry/core";
import { resourceFromAttributes } from "@opentelemetry/resources";
import { SimpleSpanProcessor } from "@opentelemetry/sdk-trace-base";
import { WebTracerProvider } from "@opentelemetry/sdk-trace-web";

// Where the parts listen: the customary ports, moved by as much as this page itself was moved.
const PAGE_PORT = 8081;
const own = Number(location.port);
const offset = own > PAGE_PORT ? own - PAGE_PORT : 0;
export const port = (customary: number): number => customary + offset;
export const on = (customary: number, path: string): string => `http://${location.hostname}:${port(customary)}${path}`;

export function startTelemetry(): void {
  const exporter = new OTLPTraceExporter({ url: on(4318, "/v1/traces") });
  const provider = new WebTracerProvider({
    resource: resourceFromAttributes({
      "service.name": "frontend-browser",
      "service.version": "1.0.0",
      "deployment.environment": "lab",
    }),
    // Simple on purpose: a person who clicks wants to see the trace at once.
    spanProcessors: [new SimpleSpanProcessor(exporter)],
  });
  provider.register({ propagator: new W3CTraceContextPropagator() });

  const options = {
    propagateTraceHeaderCorsUrls: [new RegExp(`:${port(5000)}/`)],
    ignoreUrls: [new RegExp(`:${port(4318)}/`)],
    clearTimingResources: true,
  };
  registerInstrumentations({
    instrumentations: [
      new FetchInstrumentation({
        ...options,
        applyCustomAttributesOnSpan: (span, request) => {
          const operation = new Headers(request.headers).get("X-Operation");
          if (operation) span.setAttribute("app.operation", operation);
        },
      }),
      new XMLHttpRequestInstrumentation(options),
    ],
  });
}
