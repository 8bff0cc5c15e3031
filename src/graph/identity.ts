import { createHash } from 'node:crypto';
import type { CacheRecord } from '../buildkit/cache-config.js';
import { links } from './check.js';
import { dependenciesFirst } from './order.js';

/**
 * A name for each record, made of its digest and the names of its inputs: records of the same step on other inputs
 * have the same digest.
 *
 * @returns by the records' places; those on a loop have none
 */
export function recordIds(records: readonly CacheRecord[]): readonly (string | undefined)[] {
  const ids: (string | undefined)[] = records.map(() => undefined);
  const { order } = dependenciesFirst(records.length, (index) => links(records[index]));
  for (const index of order) {
    const record = records[index];
    if (record === undefined) continue;
    const inputs = record.inputs.map((alternatives) =>
      alternatives.map(({ selector, link }) => [selector, ids[link]] as const),
    );
    ids[index] = createHash('sha256')
      .update(JSON.stringify([record.digest, inputs]))
      .digest('hex');
  }
  return ids;
}
