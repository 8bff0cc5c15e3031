import { randomBytes } from 'node:crypto';
import { CacheError } from '../../../errors.js';
import { type BucketKeys, privateKeys } from './bucket-keys.js';
import type { ObjectStore } from './object-store.js';

/** How far the clock of the service may be off, in milliseconds. */
const TOLERANCE = 5 * 60_000;

/**
 * The time by the clock of the service, in milliseconds since 1970: the date of an object that is written now.
 *
 * @throws CacheError FAILED where it differs from that of this machine
 */
export async function serviceTime(store: ObjectStore, keys: BucketKeys, signal?: AbortSignal): Promise<number> {
  // Another gc may look at the time, too.
  const key = `${privateKeys(keys).clock}-${randomBytes(6).toString('hex')}`;
  const bytes = Buffer.from('the time of a gc\n');
  const here = Date.now();
  await store.put(key, one(bytes), bytes.length, signal);
  const answer = await store.head(key, signal);
  await store.remove(key, signal);
  if (answer.state === 'unknown') throw answer.problem;
  const there = answer.state === 'there' ? answer.value.modified : Number.NaN;
  if (Math.abs(there - here) <= TOLERANCE) return there;
  throw new CacheError('FAILED', `${store.name}: nothing was deleted, since two clocks differ`, {
    hint: 'set the clock of this machine: ages of blobs count from the dates of the service',
    expected: new Date(here).toISOString(),
    found: Number.isNaN(there) ? undefined : new Date(there).toISOString(),
  });
}

async function* one(bytes: Uint8Array): AsyncGenerator<Uint8Array, void, undefined> {
  yield Promise.resolve(bytes);
}
