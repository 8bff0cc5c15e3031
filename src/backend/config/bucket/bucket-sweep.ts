import { parallel } from '../../../bytes/parallel.js';
import type { Amount } from '../../cache-store.js';
import { DELETED_AT_ONCE } from './counted-store.js';
import type { Inventory } from './bucket-inventory.js';
import { type BucketKeys } from './bucket-keys.js';
import { Marks, writeMarks } from './bucket-marks.js';
import { CONCURRENCY } from './bucket-source.js';
import type { NeededBlobs } from './needed-blobs.js';
import type { Refused } from './object-cleaning.js';
import type { ObjectStore, StoredObject } from './object-store.js';

const SECOND = 1000;
/** A gc looks at the time within this, in milliseconds. */
const CLOCK_USE = 3_600_000;

/** How a gc of a bucket goes about it. */
export interface SweepOptions {
  /** Blobs that were written or touched before this stay no longer, in milliseconds since 1970; `Infinity` for all. */
  readonly cutoff: number;
  /** Whether blobs are deleted at once, without quarantine. */
  readonly atOnce: boolean;
  /** Whether a mark, rather than a copy, tells the next gc of a blob that nothing needs. */
  readonly marks: boolean;
  readonly dryRun: boolean;
  readonly signal: AbortSignal | undefined;
}

/** What a gc of a bucket deleted, moved or left alone. */
export interface Swept {
  readonly removed: Amount;
  readonly quarantined: Amount;
  readonly restored: Amount;
  readonly young: Amount;
  readonly live: Amount;
  readonly paths: readonly string[];
  readonly refused: readonly Refused[];
}

class Tally implements Amount {
  count = 0;
  bytes = 0;

  add(size: number): void {
    this.count++;
    this.bytes += size;
  }

  remove(size: number): void {
    this.count--;
    this.bytes -= size;
  }
}

/** Goes through the blobs of a bucket: see `gcBucket` for the rules. */
export class Sweep {
  readonly #store: ObjectStore;
  readonly #keys: BucketKeys;
  readonly #inventory: Inventory;
  readonly #needed: NeededBlobs;
  readonly #options: SweepOptions;
  readonly #removed = new Tally();
  readonly #quarantined = new Tally();
  readonly #restored = new Tally();
  readonly #young = new Tally();
  readonly #live = new Tally();
  readonly #gone = new Set<string>();
  readonly #refused: Refused[] = [];

  constructor(store: ObjectStore, keys: BucketKeys, inventory: Inventory, needed: NeededBlobs, options: SweepOptions) {
    this.#store = store;
    this.#keys = keys;
    this.#inventory = inventory;
    this.#needed = needed;
    this.#options = options;
  }

  async run(): Promise<Swept> {
    const { table, blobs, copies } = this.#inventory;
    const { cutoff, dryRun, marks, signal } = this.#options;
    const [garbage, wanted, trash]: number[][] = [[], [], []];
    for (let row = 0; row < table.size; row++) {
      const isNeeded = this.#needed.has(row);
      if (copies.has(row)) {
        if (isNeeded) wanted?.push(row);
        else if (copies.dateAt(row) < cutoff) trash?.push(row);
      }
      if (!blobs.has(row)) continue;
      if (isNeeded) this.#live.add(blobs.sizeAt(row));
      else if (blobs.dateAt(row) < cutoff) garbage?.push(row);
      else this.#young.add(blobs.sizeAt(row));
    }
    await this.#inBatches(wanted ?? [], (some) => this.#restoreAll(some));
    await this.#inBatches(trash ?? [], (some) => this.#freeCopies(some));
    if (marks) await this.#sweepMarked(garbage ?? []);
    else {
      await this.#inBatches(garbage ?? [], (some) => this.#sweepBlobs(some));
      await this.#restoreNeeded(garbage ?? []);
    }
    if (!dryRun) await this.#dropOwn(marks, signal);
    return {
      removed: this.#removed,
      quarantined: this.#quarantined,
      restored: this.#restored,
      young: this.#young,
      live: this.#live,
      paths: Array.from(this.#gone, (key) => this.#store.nameOf(key)),
      refused: this.#refused,
    };
  }

  /** Names are read again before each batch. */
  async #inBatches(rows: readonly number[], task: (some: readonly number[]) => Promise<void>): Promise<void> {
    for (let start = 0; start < rows.length; start += DELETED_AT_ONCE) {
      await this.#needed.read();
      await task(rows.slice(start, start + DELETED_AT_ONCE));
    }
  }

  #each(rows: readonly number[], task: (row: number) => Promise<void>): Promise<void> {
    return parallel(rows, CONCURRENCY, this.#options.signal, (row) => task(row));
  }

  /** Deletes copies that nothing has needed in the time of the grace: only gc touches them, so that they go together. */
  async #freeCopies(rows: readonly number[]): Promise<void> {
    const { copies } = this.#inventory;
    const still: StoredObject[] = [];
    await this.#each(rows, async (row) => {
      if (this.#needed.has(row)) return this.#restore(row);
      const object = copies.at(row);
      if (this.#options.dryRun || (await this.#isUnchanged(object))) still.push(object);
    });
    await this.#removeAll(still);
  }

  async #removeAll(objects: readonly StoredObject[]): Promise<void> {
    const { dryRun, signal } = this.#options;
    const keys = objects.map(({ key }) => key);
    const refused = dryRun || keys.length === 0 ? [] : await this.#store.cleaning.removeAll(keys, signal);
    this.#refused.push(...refused);
    const left = new Set(refused.map(({ key }) => key));
    for (const { key, size } of objects) {
      if (left.has(key)) continue;
      this.#removed.add(size);
      this.#gone.add(key);
    }
  }

  async #sweepBlobs(rows: readonly number[]): Promise<void> {
    const unneeded = rows.filter((row) => !this.#needed.has(row));
    const { blobs } = this.#inventory;
    if (this.#options.atOnce) {
      const still: StoredObject[] = [];
      await this.#each(unneeded, async (row) => {
        const object = blobs.at(row);
        if (this.#options.dryRun || (await this.#isUnchanged(object))) still.push(object);
      });
      return this.#removeAll(still);
    }
    await this.#each(unneeded, async (row) => {
      const object = blobs.at(row);
      if (!this.#options.dryRun) {
        // A copy is known to be there, with its size, before the blob goes.
        const isCopied = await this.#store.copy(object, this.#inventory.copies.at(row).key, this.#options.signal);
        if (!isCopied || !(await this.#removeBlob(object))) return;
      }
      this.#quarantined.add(object.size);
      this.#gone.add(object.key);
    });
  }

  /** Deletes blobs that have been marked for the grace, and marks others. */
  async #sweepMarked(garbage: readonly number[]): Promise<void> {
    const { cutoff, dryRun, signal } = this.#options;
    const { blobs } = this.#inventory;
    const marks = await Marks.read(this.#store, this.#inventory, signal);
    const fresh: number[] = [];
    const due: number[] = [];
    for (const row of garbage) {
      if (marks.since(row) < cutoff) due.push(row);
      else fresh.push(row);
    }
    await this.#inBatches(due, (some) =>
      this.#each(some, async (row) => {
        if (this.#needed.has(row)) return;
        const object = blobs.at(row);
        if (!dryRun && !(await this.#removeBlob(object))) return;
        this.#removed.add(object.size);
        this.#gone.add(object.key);
      }),
    );
    // A younger mark stays in the object that has it.
    const unmarked = fresh.filter((row) => Number.isNaN(marks.since(row)));
    for (const row of fresh) this.#quarantined.add(blobs.sizeAt(row));
    if (!dryRun) await writeMarks(this.#store, this.#keys, this.#inventory, unmarked, signal);
  }

  /** Deletes marks that were honoured, or that a gc with copies does not need, and what a killed gc has left. */
  async #dropOwn(marks: boolean, signal: AbortSignal | undefined): Promise<void> {
    const { cutoff } = this.#options;
    const { clocks, marks: known } = this.#inventory;
    const isLeft = ({ modified }: StoredObject) => modified < Math.min(cutoff, Date.now() - CLOCK_USE);
    const isDone = ({ modified }: StoredObject) => !marks || modified < cutoff;
    const done = [...known.filter(isDone), ...clocks.filter(isLeft)].map(({ key }) => key);
    if (done.length > 0) this.#refused.push(...(await this.#store.cleaning.removeAll(done, signal)));
  }

  /** Looks at a blob for the last time, and deletes it. @returns false for a blob that stays */
  async #removeBlob(object: StoredObject): Promise<boolean> {
    if (!(await this.#isUnchanged(object))) return false;
    return this.#store.cleaning.removeUnchanged(object, this.#options.signal);
  }

  /** Restores from quarantine what an export has come to need in the time of this gc. */
  async #restoreNeeded(rows: readonly number[]): Promise<void> {
    if (this.#quarantined.count === 0 || this.#options.dryRun) return;
    await this.#needed.read();
    const { blobs, copies } = this.#inventory;
    await this.#each(rows, async (row) => {
      const { key, size } = blobs.at(row);
      if (!this.#needed.has(row) || !this.#gone.has(key)) return;
      copies.set(row, { size, modified: blobs.dateAt(row) });
      await this.#restore(row);
      this.#gone.delete(key);
      this.#quarantined.remove(size);
    });
  }

  #restoreAll(rows: readonly number[]): Promise<void> {
    return this.#each(rows, (row) => this.#restore(row));
  }

  async #restore(row: number): Promise<void> {
    const { dryRun, signal } = this.#options;
    const { key } = this.#inventory.blobs.at(row);
    const copy = this.#inventory.copies.at(row);
    const answer = await this.#store.head(key, signal);
    if (answer.state === 'unknown') throw answer.problem;
    if (answer.state === 'missing') {
      if (!dryRun && !(await this.#store.copy(copy, key, signal))) return;
      this.#restored.add(copy.size);
    }
    if (!dryRun) await this.#store.remove(copy.key, signal);
  }

  async #isUnchanged({ key, modified, size }: StoredObject): Promise<boolean> {
    const answer = await this.#store.head(key, this.#options.signal);
    if (answer.state === 'unknown') throw answer.problem;
    if (answer.state === 'missing' || answer.value.size !== size) return false;
    // Listings of some services count in milliseconds, and the answers to HEAD in seconds. A touch is hours younger.
    return Math.abs(answer.value.modified - modified) < SECOND;
  }
}
