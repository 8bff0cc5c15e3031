import prettyBytes from 'pretty-bytes';
import type { Digest } from '../../oci/digest.js';
import type { ListEntry, Listing } from '../../operations/list.js';
import { escapedLines } from './control-characters.js';
import { quantity, requestsText, shapeText, shortDigest } from './phrases.js';
import { table } from './table.js';

const COLUMNS = ['TAG', 'DIGEST', 'SHAPE', 'MODE', 'LAYERS', 'RESULTS', 'SIZE'];

/**
 * A listing as text: a table with a row for each tag, the reasons why caches cannot be read, and the size of all caches. Caches of a bucket have
 * an age, too.
 *
 * @param now - in milliseconds since 1970
 */
export function listText(
  entries: readonly ListEntry[],
  now = Date.now(),
  { total, requests }: Partial<Pick<Listing, 'total' | 'requests'>> = {},
): string {
  const isDated = entries.some(({ lastModified }) => lastModified !== undefined);
  const rows = entries.map(({ tag = '-', digest, cache, lastModified }) => [
    tag,
    shortOrDash(digest),
    ...(cache === undefined
      ? ['-', '', '', '', '']
      : [
          shapeText(cache),
          cache.mode,
          `${cache.layers}`,
          `${cache.results} of ${cache.records}`,
          prettyBytes(cache.size),
        ]),
    ...(isDated ? (lastModified === undefined ? ['', ''] : dateCells(lastModified, now)) : []),
  ]);
  const problems = entries.flatMap(({ tag, digest, problem }) =>
    problem === undefined ? [] : [`${tag ?? shortOrDash(digest)}: ${problem}`],
  );
  const isSum = entries.filter(({ cache }) => cache !== undefined).length > 1;
  const sums = [
    ...(isSum && total !== undefined
      ? [`total: ${prettyBytes(total.bytes)} in ${quantity(total.count, 'blob')}, each counted once`]
      : []),
    ...(requests === undefined ? [] : [requestsText(requests)]),
  ];
  return table(isDated ? [...COLUMNS, 'AGE', 'LAST MODIFIED'] : COLUMNS, rows) + escapedLines([...problems, ...sums]);
}

const UNITS = [
  ['d', 86_400_000],
  ['h', 3_600_000],
  ['min', 60_000],
] as const;

/** The age in its largest unit, and the date to the second. The clock of the service may be ahead of this one. */
function dateCells(lastModified: string, now: number): [string, string] {
  const age = Math.max(0, now - Date.parse(lastModified));
  const [unit, length] = UNITS.find(([, of]) => age >= of) ?? ['s', 1000];
  return [`${Math.floor(age / length)}${unit}`, lastModified.replace(/\.\d+Z$/, 'Z')];
}

function shortOrDash(digest: Digest | undefined): string {
  return digest === undefined ? '-' : shortDigest(digest);
}
