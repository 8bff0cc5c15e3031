import { setTimeout as sleep } from 'node:timers/promises';
import { CacheError, type Side } from '../../../errors.js';

/** How many new entries a service takes. */
export interface EntryLimit {
  readonly entries: number;
  /** In milliseconds. */
  readonly within: number;
}

/** GitHub's limit of a repository since January 2026. */
const GITHUB_LIMIT: EntryLimit = { entries: 200, within: 60_000 };
const GITHUB_HOST = /(?:^|\.)(?:github\.com|githubusercontent\.com|ghe\.com)$/;

/** The pauses for a service that does not say how long to wait: go-actions-cache, retry.go. In milliseconds. */
const FIRST_PAUSE = 1000;
const LONGEST_PAUSE = 90_000;
/** From how long on a wait is shown. */
const SHOWN_WAIT = 900;

export interface PaceSettings {
  /** The host, for messages. */
  readonly name: string;
  readonly limit: EntryLimit | undefined;
  readonly note: (text: string) => void;
}

/** A request that waits. */
export interface Waiting {
  /** When its work began, in milliseconds since 1970. */
  readonly since: number;
  /** How long it may wait, in milliseconds. */
  readonly timeout: number;
  readonly side: Side;
}

/** The limit of a service; undefined for one that is not GitHub's. */
export function entryLimit({ hostname }: URL): EntryLimit | undefined {
  return GITHUB_HOST.test(hostname) ? GITHUB_LIMIT : undefined;
}

/** The one clock for all requests to a service: after it has said that it takes no more for a time, none goes out. */
export class Pace implements AsyncDisposable {
  readonly #settings: PaceSettings;
  /** Until when no request goes out. */
  #until = 0;
  #noted = 0;
  #pause = FIRST_PAUSE;
  /** When the latest entries were asked for. */
  readonly #entries: number[] = [];

  constructor(settings: PaceSettings) {
    this.#settings = settings;
  }

  /**
   * Waits until a request may go out.
   *
   * @throws CacheError UNREACHABLE where that would take longer than the limit
   */
  async turn({ since, timeout, side }: Waiting, signal: AbortSignal | undefined): Promise<void> {
    for (let wait = this.#until - Date.now(); wait > 0; wait = this.#until - Date.now()) {
      const { name } = this.#settings;
      if (this.#until - since > timeout) {
        const seconds = Math.ceil(wait / 1000);
        throw new CacheError('UNREACHABLE', `${name} takes no more requests, and asks to wait ${seconds} s`, {
          hint: `one request waits no longer than timeout=, here ${Math.round(timeout / 1000)} s`,
          side,
        });
      }
      await pause(wait, signal);
    }
  }

  /** As `turn`, for a request that makes an entry. */
  async entry(waiting: Waiting, signal: AbortSignal | undefined): Promise<void> {
    const { limit, name } = this.#settings;
    for (;;) {
      await this.turn(waiting, signal);
      if (limit === undefined) return;
      const now = Date.now();
      while ((this.#entries[0] ?? now) <= now - limit.within) this.#entries.shift();
      if (this.#entries.length < limit.entries) {
        this.#entries.push(now);
        return;
      }
      const wait = (this.#entries[0] ?? now) + limit.within - now;
      this.#note(now + wait, `${name} takes ${limit.entries} new entries in ${limit.within / 1000} s`);
      await pause(wait, signal);
    }
  }

  /** The service has refused a request since there were too many. @param asked - how long it asks to wait, in milliseconds */
  refused(asked: number | undefined): void {
    const now = Date.now();
    // Requests that were under way together are refused together.
    if (asked === undefined && this.#until > now) return;
    const until = now + Math.max(asked ?? this.#pause, 1);
    if (asked === undefined) this.#pause = Math.min(this.#pause * 2, LONGEST_PAUSE);
    if (until <= this.#until) return;
    this.#until = until;
    this.#note(until, `${this.#settings.name} takes no more requests at present`);
  }

  answered(): void {
    this.#pause = FIRST_PAUSE;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    // Nothing is open; a session makes one for each service.
  }

  /** Shows a wait once, however many requests wait. */
  #note(until: number, why: string): void {
    const now = Date.now();
    if (until - Math.max(this.#noted, now) < SHOWN_WAIT) return;
    this.#noted = until;
    this.#settings.note(`${why}: waiting ${Math.ceil((until - now) / 1000)} s`);
  }
}

async function pause(wait: number, signal: AbortSignal | undefined): Promise<void> {
  try {
    await sleep(wait, undefined, { signal });
  } catch {
    // Only the signal ends the pause early. Its reason says more than an AbortError.
    signal?.throwIfAborted();
  }
}
