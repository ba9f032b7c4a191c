import * as api from "./tasks";
import { on, startTelemetry } from "./telemetry";

startTelemetry();

const find = <T extends HTMLElement>(id: string): T => document.getElementById(id) as T;

// Text only ever enters the page as text, so nothing in a task can be markup.
function element<K extends keyof HTMLElementTagNameMap>(name: K, text = "", className = ""): HTMLElementTagNameMap[K] {
  const made = document.createElement(name);
  made.textContent = text;
  if (className) made.className = className;
  return made;
}

function toast(text: string, error = false): void {
  const shown = element("div", text, error ? "toast error" : "toast");
  find("toasts").append(shown);
  setTimeout(() => shown.remove(), 3000);
}

function button(text: string, className: string, click: () => Promise<void>): HTMLButtonElement {
  const made = element("button", text, className);
  made.type = "button";
  bind(made, click);
  return made;
}

// A button is disabled while its work runs, and a failure is told, never swallowed.
function bind(target: HTMLButtonElement, click: () => Promise<void>): void {
  target.addEventListener("click", async () => {
    target.disabled = true;
    try {
      await click();
    } catch (error) {
      toast((error as Error).message, true);
    } finally {
      target.disabled = false;
    }
  });
}

function card(task: api.Task): HTMLElement {
  const made = element("article", "", task.completed ? "completed" : "");
  made.dataset.id = String(task.id);
  made.append(element("h3", task.title));
  if (task.description) made.append(element("p", task.description));
  // The API's times are UTC without saying so.
  const at = element("time", new Date(`${task.created_at}Z`).toLocaleString());
  at.dateTime = `${task.created_at}Z`;
  const actions = element("div");
  actions.append(
    button(task.completed ? "Mark Incomplete" : "Mark Complete", "", async () => {
      await api.toggle(task);
      toast("Task updated");
      await refresh();
    }),
    button("Delete", "danger", async () => {
      if (!confirm(`Delete "${task.title}"?`)) return;
      await api.remove(task);
      toast("Task deleted");
      await refresh();
    }),
  );
  made.append(at, actions);
  return made;
}

async function refresh(): Promise<void> {
  const tasks = await api.load();
  tasks.sort((a, b) => b.created_at.localeCompare(a.created_at) || b.id - a.id);
  const completed = tasks.filter((task) => task.completed).length;
  find("total").textContent = String(tasks.length);
  find("completed").textContent = String(completed);
  find("pending").textContent = String(tasks.length - completed);
  find("tasks").replaceChildren(...tasks.map(card));
}

find<HTMLFormElement>("add-task").addEventListener("submit", async (event) => {
  event.preventDefault();
  const form = event.target as HTMLFormElement;
  const fields = new FormData(form);
  try {
    await api.create(String(fields.get("title")), String(fields.get("description")));
    form.reset();
    toast("Task created");
    await refresh();
  } catch (error) {
    toast((error as Error).message, true);
  }
});

bind(find("simulate-error"), async () => {
  await api.simulateError();
});
bind(find("simulate-slow"), async () => {
  toast("Asked for a slow answer ...");
  toast((await api.simulateSlow()).message);
});
bind(find("bulk-create"), async () => {
  toast(`${(await api.createBulk()).length} tasks created`);
  await refresh();
});
bind(find("smoke-db"), async () => {
  toast(`Database smoke test: ${(await api.smoke()).requested_ops} operations`);
});

for (const [text, customary, path] of [
  ["Braid", 3000, "/"],
  ["Prometheus API", 9090, "/api/v1/targets"],
  ["Tempo API", 3200, "/api/search"],
  ["Braid's own metrics", 3000, "/metrics"],
] as const) {
  const link = element("a", text);
  link.href = on(customary, path);
  find("links").append(link);
}

refresh().catch((error) => toast(error.message, true));
