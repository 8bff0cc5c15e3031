import { randomUUID } from 'node:crypto';
import type { EntryId, GhaStore, PieceUpload, Rejection } from './gha-store.js';

/** How long an upload may stand still before its key is free again, in milliseconds. */
const EXPIRY = 10 * 60_000;

/** An entry that is being uploaded. Nobody else can upload one of the same key in its scope. */
export interface Reservation extends EntryId {
  readonly id: string;
  /** A number for version 1. */
  readonly number: number;
  readonly upload: PieceUpload;
  /** Where the chunks of version 1 begin. */
  readonly starts: Set<number>;
  used: number;
  /** The requests at it that run. */
  running: number;
}

/** The uploads of entries. */
export class Reservations {
  readonly #store: GhaStore;
  readonly #limit: number;
  readonly #byKey = new Map<string, Reservation>();
  readonly #byId = new Map<string, Reservation>();
  #next = 1;

  constructor(store: GhaStore, limit: number) {
    this.#store = store;
    this.#limit = limit;
  }

  get count(): number {
    return this.#byId.size;
  }

  /** Reserves a key; `taken` for an entry that is here or under way, `full` for too many uploads. */
  async reserve(entry: EntryId): Promise<Reservation | 'taken' | 'full'> {
    await this.expire();
    const key = textOf(entry);
    if (this.#byKey.has(key) || (await this.#store.has(entry))) return 'taken';
    if (this.count >= this.#limit) return 'full';
    const upload = await this.#store.begin();
    // Another request may have come first meanwhile.
    if (this.#byKey.has(key)) {
      await upload[Symbol.asyncDispose]();
      return 'taken';
    }
    const id = randomUUID();
    const more = { id, number: this.#next++, upload, starts: new Set<number>(), used: Date.now(), running: 0 };
    const reservation = { ...entry, ...more };
    this.#byKey.set(key, reservation);
    this.#byId.set(reservation.id, reservation);
    return reservation;
  }

  get(id: string): Reservation | undefined {
    return this.#byId.get(id);
  }

  ofKey(entry: EntryId): Reservation | undefined {
    return this.#byKey.get(textOf(entry));
  }

  ofNumber(number: number): Reservation | undefined {
    return [...this.#byId.values()].find((one) => one.number === number);
  }

  /** Runs a request at an upload, which does not expire meanwhile. */
  async use<T>(reservation: Reservation, run: () => Promise<T>): Promise<T> {
    reservation.running++;
    try {
      return await run();
    } finally {
      reservation.running--;
      reservation.used = Date.now();
    }
  }

  /** Stores an entry whose bytes are here, and ends its upload. */
  async commit(reservation: Reservation): Promise<Rejection | undefined> {
    try {
      return await this.use(reservation, () => this.#store.commit(reservation, reservation.upload));
    } finally {
      await this.end(reservation);
    }
  }

  async end(reservation: Reservation): Promise<void> {
    this.#byKey.delete(textOf(reservation));
    if (this.#byId.delete(reservation.id)) await reservation.upload[Symbol.asyncDispose]();
  }

  async expire(now = Date.now()): Promise<void> {
    for (const reservation of this.#byId.values()) {
      if (reservation.running === 0 && reservation.used < now - EXPIRY) await this.end(reservation);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const reservation of this.#byId.values()) await this.end(reservation);
  }
}

function textOf({ key, version, ref }: EntryId): string {
  return JSON.stringify([ref, version, key]);
}
