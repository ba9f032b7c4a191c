/** Something that is asked for: its data, that it is under way, or why there is none. A newer question ends an older one. */
export class Loaded<T> {
  data = $state.raw<T | undefined>(undefined);
  error = $state.raw<Error | undefined>(undefined);
  loading = $state(false);
  #last: AbortController | undefined;

  /** Asks; call it inside an effect, and read what it depends on before the first `await`. */
  run(ask: (signal: AbortSignal) => Promise<T>) {
    this.#last?.abort();
    const mine = new AbortController();
    this.#last = mine;
    this.loading = true;
    ask(mine.signal).then(
      (data) => {
        if (this.#last !== mine) return;
        this.data = data;
        this.error = undefined;
        this.loading = false;
      },
      (error: unknown) => {
        if (this.#last !== mine) return;
        this.error = error instanceof Error ? error : new Error(String(error));
        this.loading = false;
      },
    );
  }

  /** Forgets it. */
  clear() {
    this.#last?.abort();
    this.#last = undefined;
    this.data = undefined;
    this.error = undefined;
    this.loading = false;
  }
}
