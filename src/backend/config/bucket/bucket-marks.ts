import { randomBytes } from 'node:crypto';
import { CacheError } from '../../../errors.js';
import { contentOf } from '../../../oci/content.js';
import { isDigest } from '../../../oci/digest.js';
import { Column } from '../../../oci/digest-table.js';
import { JSON_LIMIT } from '../../../oci/json.js';
import type { Inventory } from './bucket-inventory.js';
import { type BucketKeys, privateKeys } from './bucket-keys.js';
import type { ObjectStore } from './object-store.js';

/** How many blobs one object lists: 20 MB. */
const LISTED_AT_ONCE = 200_000;
const SECOND = 1000;

/**
 * The blobs that an earlier gc has found unneeded and left in their places: a list of digests and of the dates that the blobs
 * had then. A blob with another date has been touched or written since.
 */
export class Marks {
  readonly #dates = new Column();
  /** When the mark was made. */
  readonly #since = new Column();
  readonly #inventory: Inventory;

  private constructor(inventory: Inventory) {
    this.#inventory = inventory;
  }

  static async read(store: ObjectStore, inventory: Inventory, signal: AbortSignal | undefined): Promise<Marks> {
    const marks = new Marks(inventory);
    for (const { key, modified } of inventory.marks) {
      const answer = await store.read(key, JSON_LIMIT, signal);
      if (answer.state === 'unknown') throw answer.problem;
      // Another gc has removed it.
      if (answer.state === 'missing') continue;
      for (const line of answer.value.toString().split('\n')) marks.#add(line, modified, store.nameOf(key));
    }
    return marks;
  }

  /** Since when a blob is marked that has not changed, in milliseconds since 1970; NaN for other blobs. */
  since(row: number): number {
    const isSame = Math.abs(this.#dates.at(row) - this.#inventory.blobs.dateAt(row)) < SECOND;
    return isSame ? this.#since.at(row) : Number.NaN;
  }

  #add(line: string, since: number, where: string): void {
    if (line === '') return;
    const [digest = '', date = ''] = line.split(' ');
    if (!isDigest(digest) || !/^\d+$/.test(date)) {
      throw new CacheError('CORRUPT', `${where} is no list of marked blobs`, { hint: 'delete it, and run gc again' });
    }
    const row = this.#inventory.table.find(digest);
    // The blob is gone; or the same blob was marked earlier.
    if (row < 0 || this.since(row) <= since) return;
    this.#dates.set(row, Number(date));
    this.#since.set(row, since);
  }
}

/** Marks blobs: a line for each in a few objects. */
export async function writeMarks(
  store: ObjectStore,
  keys: BucketKeys,
  { table, blobs }: Inventory,
  rows: readonly number[],
  signal: AbortSignal | undefined,
): Promise<void> {
  for (let start = 0; start < rows.length; start += LISTED_AT_ONCE) {
    const lines = rows.slice(start, start + LISTED_AT_ONCE).map((row) => `${table.at(row)} ${blobs.dateAt(row)}\n`);
    const bytes = Buffer.from(lines.join(''));
    const key = `${privateKeys(keys).marks}${randomBytes(6).toString('hex')}`;
    await store.put(key, contentOf(bytes).open({}, signal), bytes.length, signal);
  }
}
