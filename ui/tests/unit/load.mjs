// Loads modules of the page into Node, through Vite, as the page itself would have them.
import { createServer } from "vite";

const server = await createServer({ root: new URL("../..", import.meta.url).pathname, server: { middlewareMode: true, hmr: false, ws: false }, appType: "custom", logLevel: "error", optimizeDeps: { noDiscovery: true } });
export const load = (path) => server.ssrLoadModule(path);
export const close = () => server.close();
