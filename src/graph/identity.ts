import { createHash } from 'node:crypto';
import type { CacheRecord } from '../buildkit/cache-config.js';
import { links } from './check.js';
import { dependenciesFirst } from './order.js';

/**
 * The ids of records, each made of the record's digest and the ids of its inputs. The digest is no id: records of the same
 * step on other inputs have the same digest.
 *
 * @returns the id for each index; undefined for records in a loop
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
