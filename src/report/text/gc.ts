import prettyBytes from 'pretty-bytes';
import type { Amount, GcResult } from '../../backend/cache-store.js';
import { table } from './table.js';
import { escapedLines } from './control-characters.js';
import { quantity, shortDigest } from './phrases.js';

/** The result of gc as text: what was freed, and the size of each tag. */
export function gcText(result: GcResult, dryRun: boolean): string {
  const { removed, leftovers, setAside, putBack, young, live, tags } = result;
  const would = dryRun ? 'would be ' : '';
  const lines = [
    `${would}freed: ${prettyBytes(removed.bytes + leftovers.bytes)} (${blobs(removed)}${left(leftovers)})`,
    ...(setAside.count === 0
      ? []
      : [
          `${would}moved to quarantine: ${size(setAside)}, since an export may be under way; a gc after the grace period`,
          '  frees them, or restores what that export needs; --grace 0 frees them at once',
        ]),
    ...(putBack.count === 0 ? [] : [`${would}restored: ${size(putBack)}, which a tag needs again`]),
    ...(young.count === 0 ? [] : [`left alone: ${size(young)} that no tag needs, younger than the grace period`]),
    `in use: ${size(live)}`,
  ];
  return `${escapedLines(lines)}${tags.length === 0 ? '' : `\n${usageTable(tags)}`}`;
}

function left({ count, bytes }: Amount): string {
  return count === 0 ? '' : `, and ${prettyBytes(bytes)} that ${count} dead or idle writers have left`;
}

function usageTable(tags: GcResult['tags']): string {
  return table(
    ['TAG', 'DIGEST', 'TOTAL', 'SHARED', 'EXCLUSIVE'],
    tags.map(({ tag = '-', digest, total, shared, exclusive }) => [
      tag,
      shortDigest(digest),
      prettyBytes(total),
      prettyBytes(shared),
      prettyBytes(exclusive),
    ]),
  );
}

function size(amount: Amount): string {
  return `${prettyBytes(amount.bytes)} in ${blobs(amount)}`;
}

function blobs({ count }: Amount): string {
  return quantity(count, 'blob');
}
