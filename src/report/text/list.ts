import prettyBytes from 'pretty-bytes';
import type { Digest } from '../../oci/digest.js';
import type { ListEntry } from '../../operations/list.js';
import { escapedLines } from './control-characters.js';
import { shapeText, shortDigest } from './phrases.js';
import { table } from './table.js';

/** A listing as text: a table with a row for each tag, and the reasons why caches cannot be read. */
export function listText(entries: readonly ListEntry[]): string {
  const rows = entries.map(({ tag = '-', digest, cache }) =>
    cache === undefined
      ? [tag, shortOrDash(digest), '-', '', '', '', '']
      : [
          tag,
          shortOrDash(digest),
          shapeText(cache),
          cache.mode,
          `${cache.layers}`,
          `${cache.results} of ${cache.records}`,
          prettyBytes(cache.size),
        ],
  );
  const problems = entries.flatMap(({ tag, digest, problem }) =>
    problem === undefined ? [] : [`${tag ?? shortOrDash(digest)}: ${problem}`],
  );
  return table(['TAG', 'DIGEST', 'SHAPE', 'MODE', 'LAYERS', 'RESULTS', 'SIZE'], rows) + escapedLines(problems);
}

function shortOrDash(digest: Digest | undefined): string {
  return digest === undefined ? '-' : shortDigest(digest);
}
