import { CacheError, isOutOfReach } from '../errors.js';

/** How many failures in a row, without any answer, end the work with a registry. */
const FAILURES_IN_A_ROW = 8;

/** Distinguishes single failures among many requests from a registry that answers nothing. */
export class Outage {
  #inARow = 0;
  #hasAnswered = false;
  #first: CacheError | undefined;

  answered(): void {
    this.#inARow = 0;
    this.#hasAnswered = true;
  }

  /**
   * @returns the reason for a single failure
   * @throws errors of another kind, and the error of a registry that fails again and again
   */
  failed(error: unknown): CacheError {
    if (!(error instanceof CacheError) || !isOutOfReach(error)) throw error;
    this.#first ??= error;
    if (error.code === 'UNREACHABLE' && ++this.#inARow >= FAILURES_IN_A_ROW) throw error;
    return error;
  }

  /** @throws the first error if the registry has answered nothing */
  end(): void {
    if (!this.#hasAnswered && this.#first !== undefined) throw this.#first;
  }
}
