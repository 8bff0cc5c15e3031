import { randomUUID } from 'node:crypto';
import type { BlobUpload } from './registry/registry-store.js';

/** How many uploads may be open, and for how long without a request; in milliseconds. */
export interface UploadLimits {
  readonly maxUploads: number;
  readonly uploadExpiry: number;
}

/** From when on an idle upload makes room for another, when there are too many; in milliseconds. */
const IDLE = 60_000;

/** An upload in several requests. */
export interface OpenUpload {
  readonly id: string;
  readonly repository: string;
  readonly upload: BlobUpload;
}

interface Entry extends OpenUpload {
  /** The requests at it, one after the other. */
  turn: Promise<unknown>;
  running: number;
  /** When the last request ended; in milliseconds since 1970. */
  used: number;
}

/** The uploads that are open. They expire when no request comes. */
export class Uploads {
  readonly #limits: UploadLimits;
  readonly #entries = new Map<string, Entry>();
  #opening = 0;

  constructor(limits: UploadLimits) {
    this.#limits = limits;
  }

  get count(): number {
    return this.#entries.size + this.#opening;
  }

  /**
   * Begins an upload.
   *
   * @returns undefined when too many are open
   */
  async begin(repository: string, open: () => Promise<BlobUpload>): Promise<OpenUpload | undefined> {
    if (this.count >= this.#limits.maxUploads && !(await this.#dropIdlest(Date.now() - IDLE))) return undefined;
    this.#opening++;
    try {
      const upload = await open();
      const entry = { id: randomUUID(), repository, upload, turn: Promise.resolve(), running: 0, used: Date.now() };
      this.#entries.set(entry.id, entry);
      return entry;
    } finally {
      this.#opening--;
    }
  }

  /**
   * Runs a request at an upload, once the requests before it have ended.
   *
   * @returns undefined for an unknown upload
   */
  async use<T>(repository: string, id: string, run: (upload: OpenUpload) => Promise<T>): Promise<T | undefined> {
    const entry = this.#entries.get(id);
    if (entry === undefined || entry.repository !== repository) return undefined;
    entry.running++;
    const turn = entry.turn.then(() => (this.#entries.get(id) === entry ? run(entry) : undefined));
    entry.turn = turn.catch(() => undefined);
    try {
      return await turn;
    } finally {
      entry.running--;
      entry.used = Date.now();
    }
  }

  /** Ends an upload that is finished, or given up. */
  async end({ id, upload }: OpenUpload): Promise<void> {
    if (this.#entries.delete(id)) await upload[Symbol.asyncDispose]();
  }

  /** Gives up those that have expired. */
  async expire(now = Date.now()): Promise<void> {
    for (const entry of this.#entries.values()) {
      if (entry.running === 0 && entry.used < now - this.#limits.uploadExpiry) await this.end(entry);
    }
  }

  /** Gives up all. */
  async [Symbol.asyncDispose](): Promise<void> {
    for (const entry of this.#entries.values()) await this.end(entry);
  }

  async #dropIdlest(before: number): Promise<boolean> {
    let idlest: Entry | undefined;
    for (const entry of this.#entries.values()) {
      if (entry.running === 0 && entry.used < (idlest?.used ?? before)) idlest = entry;
    }
    if (idlest === undefined) return false;
    await this.end(idlest);
    return true;
  }
}
