import { mount } from "svelte";
import App from "./App.svelte";
import "./app.css";
import { applyTheme } from "./state/theme.svelte.ts";

applyTheme();
const target = document.getElementById("app");
if (target) mount(App, { target });
