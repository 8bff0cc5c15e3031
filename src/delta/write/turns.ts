import { setImmediate as nextTurn } from 'node:timers/promises';

/** After so many small steps other work of the thread gets its turn. */
const STEPS = 200;

/** Shares the thread with other work, and ends when a signal aborts. */
export class Turns {
  readonly #signal: AbortSignal | undefined;
  #steps = 0;

  constructor(signal: AbortSignal | undefined) {
    this.#signal = signal;
  }

  /** To be awaited after each small step. @throws the signal's reason */
  next(): Promise<void> | undefined {
    return ++this.#steps % STEPS === 0 ? this.pause() : undefined;
  }

  /** To be awaited after each long step, of some milliseconds. @throws the signal's reason */
  async pause(): Promise<void> {
    await nextTurn();
    this.#signal?.throwIfAborted();
  }
}
