import { setTimeout as sleep } from 'node:timers/promises';
import { CacheError, type CacheErrorOptions } from '../../errors.js';

/** A failure that a retry may overcome: a timeout, a reset connection, an overloaded server. */
export class TransientError extends CacheError {
  /** How long the server asks to wait, in milliseconds. */
  readonly retryAfter: number | undefined;
  /** How long no byte moved before the attempt was given up, in milliseconds. */
  readonly stalled: number | undefined;
  /** After how many limited failures in a row to give up, where that is fewer than the policy's attempts. */
  readonly attempts: number | undefined;

  constructor(message: string, { retryAfter, stalled, attempts, ...options }: TransientOptions = {}) {
    super('UNREACHABLE', message, options);
    this.retryAfter = retryAfter;
    this.stalled = stalled;
    this.attempts = attempts;
  }

  protected override get options(): TransientOptions {
    const { retryAfter, stalled, attempts } = this;
    return { ...super.options, retryAfter, stalled, attempts };
  }

  protected override remade(message: string, options: TransientOptions): TransientError {
    return new TransientError(message, options);
  }
}

interface TransientOptions extends CacheErrorOptions {
  readonly retryAfter?: number | undefined;
  readonly stalled?: number | undefined;
  readonly attempts?: number | undefined;
}

/** Whether a retry may get another status. Proxies send statuses beyond HTTP's own, such as 520. */
export function isTransient(status: number): boolean {
  return status === 408 || status === 425 || status === 429 || (status >= 500 && status !== 501 && status !== 505);
}

export interface RetryPolicy {
  /** How many failures in a row are final. */
  readonly attempts: number;
  /** The first pause, in milliseconds; each further pause is twice as long. */
  readonly pause: number;
  /** The longest pause that grows in this way, in milliseconds. */
  readonly longestPause: number;
  /** The longest pause that a server may ask for, in milliseconds. */
  readonly longestAsked: number;
  /** How long no byte may move, all attempts together, in milliseconds. */
  readonly longestStall: number;
}

/**
 * Half a minute of pauses: long enough for a server that restarts, short enough for a person who waits. Two more minutes
 * for a server that accepts requests and does not answer.
 */
export const RETRY_POLICY: RetryPolicy = {
  attempts: 8,
  pause: 250,
  longestPause: 10_000,
  longestAsked: 120_000,
  longestStall: 120_000,
};

/** Counts the failures in a row of one piece of work, and waits before each retry. */
export class Backoff {
  readonly #policy: RetryPolicy;
  #failures = 0;
  /** The failures in a row that have a limit of their own. */
  #limited = 0;
  #stalled = 0;
  #furthest = 0;

  constructor(policy: RetryPolicy = RETRY_POLICY) {
    this.#policy = policy;
  }

  /**
   * Records how far the work is. A position beyond all earlier positions is progress, and resets the counts. Work that
   * restarts from the beginning makes no progress until it is beyond its furthest position.
   */
  reached(position: number): void {
    if (position <= this.#furthest) return;
    this.#furthest = position;
    this.#failures = 0;
    this.#limited = 0;
    this.#stalled = 0;
  }

  /**
   * Waits before the next attempt.
   *
   * @throws the error itself when it is not transient; a CacheError that is not transient after too many failures; the
   *   reason of the signal
   */
  async wait(error: unknown, signal?: AbortSignal): Promise<void> {
    signal?.throwIfAborted();
    if (!(error instanceof TransientError)) throw error;
    const { retryAfter = 0, stalled = 0 } = error;
    this.#failures++;
    this.#stalled += stalled;
    const { pause, longestPause, longestAsked, longestStall } = this.#policy;
    this.#limited = error.attempts === undefined ? 0 : this.#limited + 1;
    const isLast = this.#failures >= this.#policy.attempts || this.#limited >= (error.attempts ?? Infinity);
    if (retryAfter > longestAsked) throw finalOf(error, this.#failures, retryAfter);
    if (isLast || this.#stalled >= longestStall) throw finalOf(error, this.#failures);
    const own = Math.min(pause * 2 ** (this.#failures - 1), longestPause);
    // Jitter, so that requests that failed together do not return together.
    const spread = own * (0.75 + Math.random() / 2);
    try {
      await sleep(Math.max(spread, retryAfter), undefined, { signal });
    } catch {
      // Only the signal ends the pause early. Its reason says more than an AbortError.
      signal?.throwIfAborted();
    }
  }
}

/** The same error as a final failure, which no caller retries. */
function finalOf(error: TransientError, attempts: number, asked?: number): CacheError {
  const tried = attempts === 1 ? '' : `; tried ${attempts} times`;
  const wait = asked === undefined ? '' : `; it asks to wait ${Math.ceil(asked / 1000)} s`;
  return new CacheError(error.code, `${error.message}${tried}${wait}`, error);
}

/** Repeats an attempt until it succeeds, fails with an error that is not transient, or fails too often. */
export async function withRetries<T>(
  attempt: () => Promise<T>,
  { policy, signal }: { readonly policy?: RetryPolicy | undefined; readonly signal?: AbortSignal | undefined } = {},
): Promise<T> {
  const backoff = new Backoff(policy);
  for (;;) {
    try {
      return await attempt();
    } catch (error) {
      await backoff.wait(error, signal);
    }
  }
}

/** The pause that a Retry-After header names, in milliseconds: RFC 9110, 10.2.3. */
export function retryAfterOf(header: string | undefined, now = Date.now()): number | undefined {
  if (header === undefined) return undefined;
  if (/^\d+$/.test(header)) return Number(header) * 1000;
  const date = Date.parse(header);
  return Number.isNaN(date) ? undefined : Math.max(0, date - now);
}
