import prettyBytes from 'pretty-bytes';
import type { Amount, GcResult, RequestBudget } from '../../backend/cache-store.js';
import { table } from './table.js';
import { escapedLines } from './control-characters.js';
import { quantity, requestsText, shortDigest } from './phrases.js';

/** The result of gc as text: what was freed, and the size of each tag. */
export function gcText(result: GcResult, dryRun: boolean): string {
  const {
    removed,
    leftovers,
    putBack,
    young,
    live,
    tags,
    abortedUploads = 0,
    refused = [],
    notes = [],
    requests,
    uncertain,
    budget,
  } = result;
  const would = dryRun ? 'would be ' : '';
  const lines = [
    `${would}freed: ${prettyBytes(removed.bytes + leftovers.bytes)} (${blobs(removed)}${left(leftovers)})`,
    ...quarantined(result, would),
    ...(putBack.count === 0 ? [] : [`${would}restored: ${size(putBack)}, which a tag needs again`]),
    ...(young.count === 0 ? [] : [`left alone: ${size(young)} that no tag needs, younger than the grace period`]),
    ...(abortedUploads === 0 ? [] : [`${would}aborted: ${quantity(abortedUploads, 'unfinished upload')}`]),
    ...(uncertain === undefined || uncertain.count === 0
      ? []
      : [`left alone: ${size(uncertain)} that caches may need which this token does not read`]),
    `in use: ${size(live)}`,
    ...refused.map(({ path, reason }) => `not deleted: ${path}: ${reason}`),
    ...notes.map((note) => `note: ${note}`),
    ...(requests === undefined ? [] : [requestsText(requests)]),
    ...(budget === undefined ? [] : [budgetText(budget, dryRun)]),
  ];
  return `${escapedLines(lines)}${tags.length === 0 ? '' : `\n${usageTable(tags)}`}`;
}

function quarantined({ setAside, quarantine }: GcResult, would: string): string[] {
  if (setAside.count === 0) return [];
  if (quarantine === 'mark') {
    return [
      `${would}marked: ${size(setAside)}; a gc after the grace period deletes those that nothing has needed or touched`,
    ];
  }
  return [
    `${would}moved to quarantine: ${size(setAside)}, since an export may be under way; a gc after the grace period`,
    '  frees them, or restores what that export needs; --grace 0 frees them at once',
  ];
}

function budgetText({ deletions, left: rest, reset }: RequestBudget, dryRun: boolean): string {
  const what = `requests that ${dryRun ? 'would delete' : 'deleted'}: ${deletions}`;
  return rest === undefined ? what : `${what}; the service takes ${rest} more until ${reset ?? 'its limit is reset'}`;
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
