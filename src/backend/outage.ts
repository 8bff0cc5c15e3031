import { CacheError, isOutOfReach } from '../errors.js';

/** How often a registry may fail in a row, and answer nothing in between, before it is not asked any further. */
const FAILURES_IN_A_ROW = 8;

/** Tells what a registry refuses or cannot answer of many things from a registry that refuses or answers nothing. */
export class Outage {
  #inARow = 0;
  #hasAnswered = false;
  #first: CacheError | undefined;

  answered(): void {
    this.#inARow = 0;
    this.#hasAnswered = true;
  }

  /**
   * @returns why one thing cannot be had
   * @throws what is another kind of error, and the error of a registry that fails again and again
   */
  failed(error: unknown): CacheError {
    if (!(error instanceof CacheError) || !isOutOfReach(error)) throw error;
    this.#first ??= error;
    if (error.code === 'UNREACHABLE' && ++this.#inARow >= FAILURES_IN_A_ROW) throw error;
    return error;
  }

  /** @throws the first error where nothing at all was answered */
  end(): void {
    if (!this.#hasAnswered && this.#first !== undefined) throw this.#first;
  }
}
