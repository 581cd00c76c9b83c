// Requests at an interval, in place of a WebSocket that cannot be opened.

import { signal } from "@preact/signals";

const INTERVAL_MS = 5000;

export class Polling {
  /** Whether requests succeed, so that the page shows what they answer. */
  readonly isActive = signal(false);
  #timer: ReturnType<typeof setTimeout> | undefined;
  /** Number of the newest loop; older ones end. */
  #loop = 0;

  constructor(
    readonly run: () => Promise<void>,
    readonly failed: () => void,
  ) {}

  /** Runs now, and again at the interval until it fails or is stopped. */
  async start(): Promise<void> {
    clearTimeout(this.#timer);
    this.#loop += 1;
    const loop = this.#loop;
    try {
      await this.run();
    } catch {
      if (loop === this.#loop) {
        this.isActive.value = false;
        this.failed();
      }
      return;
    }
    if (loop === this.#loop) {
      this.isActive.value = true;
      this.#timer = setTimeout(() => void this.start(), INTERVAL_MS);
    }
  }

  /** Ends the requests. */
  stop(): void {
    clearTimeout(this.#timer);
    this.#loop += 1;
    this.isActive.value = false;
  }
}
