import { mount } from "svelte";
// First of all: it takes a login link out of the address before the page reads that.
import { begin } from "./state/session.svelte.ts";
import App from "./App.svelte";
import "./app.css";
import { applyTheme } from "./state/theme.svelte.ts";

applyTheme();
void begin();
const target = document.getElementById("app");
if (target) mount(App, { target });
