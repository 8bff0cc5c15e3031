import Table from 'cli-table3';
import prettyBytes from 'pretty-bytes';
import type { CacheRecord } from '../buildkit/cache-config.js';
import type { Digest } from '../oci/digest.js';
import { splitDigest } from '../oci/digest.js';
import type { CacheDescription, ListEntry } from './describe.js';
import { printed, visible } from './visible.js';

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
function* recordTree({ records, layerOf }: CacheDescription): Generator<string> {
  const linked = new Set(records.flatMap(({ inputs }) => inputs.flat().map(({ link }) => link)));
  const shown = new Set<number>();
  const label = (index: number, record: CacheRecord) => {
    const layers = (layerOf[index] ?? []).map(short);
    return `${shortText(record.digest)}${layers.length === 0 ? '' : ` = layer ${layers.join(', ')}`}`;
  };
  const stack = [...records.keys()]
    .filter((index) => !linked.has(index))
    .map((index) => ({ index, depth: 0, note: '' }))
    .toReversed();
  for (let next = stack.pop(); next !== undefined; next = stack.pop()) {
    const { index, depth, note } = next;
    const record = records[index];
    if (record === undefined) continue;
    const again = shown.has(index) && record.inputs.length > 0;
    yield `${'  '.repeat(Math.min(depth, DEEPEST))}${note}${label(index, record)}${again ? ' (see above)' : ''}`;
    if (again) continue;
    shown.add(index);
    const below = record.inputs.flatMap((alternatives, input) =>
      alternatives.map(({ link, selector }) => ({
        index: link,
        depth: depth + 1,
        note: `input ${input}${selector === '' ? '' : ` [${shortText(selector)}]`}: `,
      })),
    );
    for (const row of below.toReversed()) stack.push(row);
  }
}

/** Rows under a head, aligned, without lines. */
export function table(head: string[], rows: string[][]): string {
  const none = { top: '', 'top-mid': '', 'top-left': '', 'top-right': '', bottom: '', 'bottom-mid': '' };
  const more = { 'bottom-left': '', 'bottom-right': '', left: '', 'left-mid': '', mid: '', 'mid-mid': '', right: '' };
  const made = new Table({
    head,
    chars: { ...none, ...more, 'right-mid': '', middle: '  ' },
    style: { head: [], border: [], 'padding-left': 0, 'padding-right': 0 },
  });
  for (const row of rows) made.push(row.map(visible));
  return `${made.toString().replace(/ +$/gm, '')}\n`;
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
