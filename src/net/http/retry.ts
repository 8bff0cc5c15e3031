import { setTimeout as sleep } from 'node:timers/promises';
import { CacheError, type CacheErrorOptions } from '../../errors.js';

/** A failure that may be over in a moment: a timeout, a reset connection, an overloaded server. */
export class TransientError extends CacheError {
  /** How long the server asks to wait, in milliseconds. */
  readonly retryAfter: number | undefined;
  /** How long nothing moved before this was given up, in milliseconds. */
  readonly stalled: number | undefined;
  /** How often this very failure may come in a row, where that is less than the policy has it. */
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

export interface TransientOptions extends CacheErrorOptions {
  readonly retryAfter?: number | undefined;
  readonly stalled?: number | undefined;
  readonly attempts?: number | undefined;
}

/** Whether a status may be another one in a moment. Proxies before a registry have numbers of their own, such as 520. */
export function isTransient(status: number): boolean {
  return status === 408 || status === 425 || status === 429 || (status >= 500 && status !== 501 && status !== 505);
}

export interface RetryPolicy {
  /** How often something may fail in a row before that is final. */
  readonly attempts: number;
  /** The first pause, in milliseconds; each further one is twice as long. */
  readonly pause: number;
  /** The longest pause of our own making, in milliseconds. */
  readonly longestPause: number;
  /** The longest pause that a server may ask for, in milliseconds. */
  readonly longestAsked: number;
  /** How long nothing at all may move, all attempts together, in milliseconds. */
  readonly longestStall: number;
}

/**
 * Half a minute of pauses: enough for a server that restarts, and little for a person that waits. Beside them, two
 * minutes for a server that takes requests and does not answer.
 */
const RETRY_POLICY: RetryPolicy = {
  attempts: 8,
  pause: 250,
  longestPause: 10_000,
  longestAsked: 120_000,
  longestStall: 120_000,
};

/** How often something failed in a row, and how long to wait because of that. */
export class Patience {
  readonly #policy: RetryPolicy;
  #failures = 0;
  #stalled = 0;
  #furthest = 0;

  constructor(policy: RetryPolicy = RETRY_POLICY) {
    this.#policy = policy;
  }

  /**
   * Says how far the work has come. Further than ever before is progress: the next failure is a first one. What has to
   * begin anew again and again makes none.
   */
  reached(position: number): void {
    if (position <= this.#furthest) return;
    this.#furthest = position;
    this.#failures = 0;
    this.#stalled = 0;
  }

  /**
   * Waits before the next attempt.
   *
   * @throws the error itself when it is not transient, one that is not when it came too often, and the reason of the
   *   signal
   */
  async wait(error: unknown, signal?: AbortSignal): Promise<void> {
    signal?.throwIfAborted();
    if (!(error instanceof TransientError)) throw error;
    const { retryAfter = 0, stalled = 0 } = error;
    this.#failures++;
    this.#stalled += stalled;
    const { pause, longestPause, longestAsked, longestStall } = this.#policy;
    const attempts = Math.min(this.#policy.attempts, error.attempts ?? Infinity);
    if (retryAfter > longestAsked) throw finalOf(error, this.#failures, retryAfter);
    if (this.#failures >= attempts || this.#stalled >= longestStall) throw finalOf(error, this.#failures);
    const own = Math.min(pause * 2 ** (this.#failures - 1), longestPause);
    // Spread, so that many that failed at once do not come back at once.
    const spread = own * (0.75 + Math.random() / 2);
    try {
      await sleep(Math.max(spread, retryAfter), undefined, { signal });
    } catch {
      // Only the signal ends it early, and its reason says more than an AbortError.
      signal?.throwIfAborted();
    }
  }
}

/** The same error, not to be waited for any more by whoever gets it. */
function finalOf(error: TransientError, attempts: number, asked?: number): CacheError {
  const tried = attempts === 1 ? '' : `; tried ${attempts} times`;
  const wait = asked === undefined ? '' : `; it asks to wait ${Math.ceil(asked / 1000)} s`;
  return new CacheError(error.code, `${error.message}${tried}${wait}`, error);
}

/** Does something until it succeeds, fails for good, or fails too often. */
export async function patiently<T>(
  attempt: () => Promise<T>,
  { policy, signal }: { readonly policy?: RetryPolicy | undefined; readonly signal?: AbortSignal | undefined } = {},
): Promise<T> {
  const patience = new Patience(policy);
  for (;;) {
    try {
      return await attempt();
    } catch (error) {
      await patience.wait(error, signal);
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
