import { setTimeout as sleep } from 'node:timers/promises';

const OPEN = 0;
const BUSY = 1;
const CLOSED = 2;

/**
 * What a thread passes for each touch of a file that another thread has opened, and may want to close: once the gate is
 * closed, the thread touches none any more, though it may be in the middle of something that nobody can stop.
 */
export class Gate {
  /** To be handed to the other thread. */
  readonly shared: SharedArrayBuffer;
  readonly #state: Int32Array;

  constructor(shared = new SharedArrayBuffer(Int32Array.BYTES_PER_ELEMENT)) {
    this.shared = shared;
    this.#state = new Int32Array(shared);
  }

  /** Does something with a file, in milliseconds. @throws Error once the gate is closed */
  pass<T>(touch: () => T): T {
    if (Atomics.compareExchange(this.#state, 0, OPEN, BUSY) !== OPEN) throw new Error('the work was stopped');
    try {
      return touch();
    } finally {
      Atomics.store(this.#state, 0, OPEN);
    }
  }

  /** Closes it, once nobody is passing. */
  async close(): Promise<void> {
    while (Atomics.compareExchange(this.#state, 0, OPEN, CLOSED) === BUSY) await sleep(1);
  }
}
