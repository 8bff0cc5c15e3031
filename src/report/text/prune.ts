import prettyBytes from 'pretty-bytes';
import type { PruneResult } from '../../operations/prune/prune.js';
import { gcText } from './gc.js';
import { requestsText } from './phrases.js';
import { escapedLines } from './control-characters.js';

const SAID_BY: Readonly<Record<PruneResult['dropped'][number]['lastUsedBy'], string>> = {
  recorded: 'recorded in index.json',
  file: 'the time of its manifest',
  created: 'its newest result was made then',
};

/** The result of prune as text: what the policy did to each tag, and what was freed. */
export function pruneText(result: PruneResult, dryRun: boolean): string {
  const { dropped, shrunk, sizeBefore, size, unmet, collected, notFreed, requests } = result;
  const would = dryRun ? 'would be ' : '';
  const lines = [
    ...dropped.map(({ tag, reason, lastUsed, lastUsedBy }) => {
      return `${would}dropped: ${tag} (${reason}, last used ${lastUsed}: ${SAID_BY[lastUsedBy]})`;
    }),
    ...shrunk.map(({ tag = '-', reason, resultsBefore, results, to }) => {
      return `${would}shrunk: ${tag} (${reason}), results on ${results} of ${resultsBefore} records, now ${to}`;
    }),
    `size: ${prettyBytes(sizeBefore)} -> ${prettyBytes(size)}`,
    ...unmet.map((reason) => `note: not reached: ${reason}`),
    ...(notFreed === undefined ? [] : [`note: no blob was freed: ${notFreed}`]),
    ...(requests === undefined ? [] : [requestsText(requests)]),
  ];
  return `${escapedLines(lines)}${collected === undefined ? '' : gcText(collected, dryRun)}`;
}
