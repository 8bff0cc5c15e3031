import prettyBytes from 'pretty-bytes';
import type { Digest } from '../../oci/digest.js';
import { splitDigest } from '../../oci/digest.js';
import type { CacheDescription, RecordDescription } from '../../operations/inspect.js';
import type { ListEntry } from '../../operations/list.js';
import { table } from './table.js';
import { printed } from './control-characters.js';

/** A listing for people: a row per tag, and below the table why some cannot be read. */
export function listTable(entries: readonly ListEntry[]): string {
  const rows = entries.map(({ tag = '-', digest, cache }) =>
    cache === undefined
      ? [tag, shortOf(digest), '-', '', '', '', '']
      : [
          tag,
          shortOf(digest),
          form(cache),
          cache.mode,
          `${cache.layers}`,
          `${cache.results} of ${cache.records}`,
          prettyBytes(cache.size),
        ],
  );
  const problems = entries.flatMap(({ tag, digest, problem }) =>
    problem === undefined ? [] : [`${tag ?? shortOf(digest)}: ${problem}`],
  );
  return table(['TAG', 'DIGEST', 'SHAPE', 'MODE', 'LAYERS', 'RESULTS', 'SIZE'], rows) + printed(problems);
}

/** How a cache is kept. */
function form({ shape, platforms }: Pick<CacheDescription, 'shape' | 'platforms'>): string {
  return shape ?? (platforms === undefined ? 'no manifest' : 'inline');
}

/** A cache for people: its layers as a table, below it why some cannot be read, and its records as a tree. */
export function inspectText(cache: CacheDescription): string {
  const platforms = cache.platforms === undefined ? '' : ` in the image of ${cache.platforms.join(', ')}`;
  const head = [
    `${cache.source}: ${cache.descriptor.digest}`,
    `${form(cache)}${platforms}, mode=${cache.mode}, ${cache.layers.length} blobs of ${prettyBytes(cache.size)}, ` +
      `${cache.records.length} records, ${cache.results} with results`,
  ];
  const layers = table(
    ['LAYER', 'COMPRESSION', 'SIZE', 'DIFFID', 'CREATED', 'STEP'],
    cache.layers.map(({ digest, compression, size, diffID, createdAt, description }) => [
      short(digest),
      compression ?? 'unreadable',
      prettyBytes(size),
      diffID === undefined ? '-' : shortText(diffID),
      createdAt?.replace(/\.\d+Z$/, 'Z') ?? '-',
      description ?? '',
    ]),
  );
  const problems = cache.layers.flatMap(({ digest, problem }) =>
    problem === undefined ? [] : [`${short(digest)}: ${problem}`],
  );
  return `${printed(head)}
${layers}${printed(problems)}
${printed([...recordTree(cache)])}`;
}

/** How far a record is moved to the right at most, in steps: chains can be long. */
const DEEPEST = 100;

/** The records that nothing links to, and under each its inputs. One that was shown before is only named again. */
function* recordTree({ records }: CacheDescription): Generator<string> {
  const linked = new Set(records.flatMap(({ inputs }) => inputs.flat().map(({ id }) => id)));
  const byId = new Map(records.map((record) => [record.id, record]));
  const shown = new Set<string>();
  const stack = records
    .filter(({ id }) => !linked.has(id))
    .map(({ id }) => ({ id, depth: 0, note: '' }))
    .toReversed();
  for (let next = stack.pop(); next !== undefined; next = stack.pop()) {
    const { id, depth, note } = next;
    const record = byId.get(id);
    if (record === undefined) continue;
    const again = shown.has(id) && record.inputs.length > 0;
    yield `${'  '.repeat(Math.min(depth, DEEPEST))}${note}${label(record)}${again ? ' (see above)' : ''}`;
    if (again) continue;
    shown.add(id);
    const below = record.inputs.flatMap((alternatives, input) =>
      alternatives.map(({ id: of, selector }) => ({
        id: of,
        depth: depth + 1,
        note: `input ${input}${selector === '' ? '' : ` [${shortText(selector)}]`}: `,
      })),
    );
    for (const row of below.toReversed()) stack.push(row);
  }
}

function label({ digest, results, chains }: RecordDescription): string {
  const layers = [...results.map(({ layer }) => layer), ...chains.flatMap(({ layers: all }) => all)];
  return `${shortText(digest)}${layers.length === 0 ? '' : ` = layer ${layers.map(short).join(', ')}`}`;
}

function shortOf(digest: Digest | undefined): string {
  return digest === undefined ? '-' : short(digest);
}

function short(digest: Digest): string {
  return splitDigest(digest)[1].slice(0, 12);
}

function shortText(text: string): string {
  return text.replace(/^sha256:([0-9a-f]{12})[0-9a-f]{52}$/, '$1');
}
