import prettyBytes from 'pretty-bytes';
import type { CacheDescription, RecordDescription } from '../../operations/inspect.js';
import { escapedLines } from './control-characters.js';
import { shapeText, shortDigest } from './phrases.js';
import { table } from './table.js';

/** A cache as text: a table of its layers, the reasons why layers cannot be read, and a tree of its records. */
export function inspectText(cache: CacheDescription): string {
  const platforms = cache.platforms === undefined ? '' : ` in the image of ${cache.platforms.join(', ')}`;
  const head = [
    `${cache.source}: ${cache.descriptor.digest}`,
    `${shapeText(cache)}${platforms}, mode=${cache.mode}, ${cache.layers.length} blobs of ${prettyBytes(cache.size)}, ` +
      `${cache.records.length} records, ${cache.results} with results`,
  ];
  const layers = table(
    ['LAYER', 'COMPRESSION', 'SIZE', 'DIFFID', 'CREATED', 'STEP'],
    cache.layers.map(({ digest, compression, size, diffID, createdAt, description }) => [
      shortDigest(digest),
      compression ?? 'unreadable',
      prettyBytes(size),
      diffID === undefined ? '-' : shortText(diffID),
      createdAt?.replace(/\.\d+Z$/, 'Z') ?? '-',
      description ?? '',
    ]),
  );
  const problems = cache.layers.flatMap(({ digest, problem }) =>
    problem === undefined ? [] : [`${shortDigest(digest)}: ${problem}`],
  );
  return `${escapedLines(head)}
${layers}${escapedLines(problems)}
${escapedLines([...recordTree(cache)])}`;
}

/** The deepest indentation of a record, in steps: chains can be long. */
const DEEPEST = 100;

/** The records that no record links to, and under each its inputs. A record that was shown before is only named. */
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
  return `${shortText(digest)}${layers.length === 0 ? '' : ` = layer ${layers.map(shortDigest).join(', ')}`}`;
}

function shortText(text: string): string {
  return text.replace(/^sha256:([0-9a-f]{12})[0-9a-f]{52}$/, '$1');
}
