// The API as the page uses it. Each request says in X-Operation what the person did.

export interface Task {
  id: number;
  title: string;
  description: string | null;
  completed: boolean;
  created_at: string;
}

async function call(operation: string | null, path: string, init: RequestInit = {}): Promise<any> {
  const headers = new Headers(init.headers);
  if (operation) headers.set("X-Operation", operation);
  if (init.body) headers.set("Content-Type", "application/json");
  const response = await fetch(path, { ...init, headers });
  const body = await response.json().catch(() => ({}));
  if (!response.ok) throw new Error(body.error ?? `HTTP ${response.status}`);
  return body;
}

const json = (method: string, body: unknown): RequestInit => ({ method, body: JSON.stringify(body) });

export async function load(): Promise<Task[]> {
  return (await call("load-tasks", "/api/tasks")).tasks;
}

export const create = (title: string, description: string, operation = "create-task"): Promise<Task> =>
  call(operation, "/api/tasks", json("POST", { title, description, completed: false }));

export const toggle = (task: Task): Promise<Task> =>
  call("toggle-task", `/api/tasks/${task.id}`, json("PUT", { completed: !task.completed }));

export const remove = (task: Task): Promise<unknown> =>
  call("delete-task", `/api/tasks/${task.id}`, { method: "DELETE" });

export const simulateError = (): Promise<unknown> => call("simulate-error", "/api/simulate-error");

export const simulateSlow = (): Promise<{ message: string }> => call("simulate-slow", "/api/simulate-slow?delay=2");

export const createBulk = (): Promise<Task[]> =>
  Promise.all([1, 2, 3, 4, 5].map((i) => create(`Bulk Task ${i}`, "", "bulk-create")));

export const smoke = (): Promise<{ requested_ops: number }> =>
  call(null, "/api/smoke/db?ops=300&type=rw", { method: "POST" });
