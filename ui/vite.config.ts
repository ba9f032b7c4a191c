import { svelte } from "@sveltejs/vite-plugin-svelte";
import { defineConfig } from "vite";

// A running Braid that `npm run dev` asks; the built page asks the server that it came from.
const braid = process.env.BRAID ?? "http://127.0.0.1:3000";

export default defineConfig({
  base: "./",
  plugins: [svelte()],
  build: {
    target: "es2022",
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    // Stable names: the committed build changes where its source does; ETags take care of caches.
    rolldownOptions: {
      output: {
        entryFileNames: "assets/[name].js",
        chunkFileNames: "assets/[name].js",
        assetFileNames: "assets/[name][extname]",
      },
    },
  },
  server: {
    proxy: Object.fromEntries(["/api", "/loki", "/metrics", "/health", "/v1"].map((path) => [path, { target: braid, ws: true }])),
  },
});
