import { collect } from '../../bytes/collect.js';
import { limited } from '../../bytes/limited.js';
import { CacheError } from '../../errors.js';
import type { Content } from '../../oci/content.js';
import { sha256 } from '../../oci/digest.js';
import { int, list, parseGo, present, string, stringMap, struct } from '../../oci/go-types.js';
import { JSON_LIMIT } from '../../oci/json.js';
import { tarEntries } from '../../tar/entries.js';
import { gunzip } from '../gunzip.js';
import { TOC_NAME, type TocEntry } from './toc.js';

type Mutable<T> = { -readonly [K in keyof T]: T[K] };

const entryType = struct<Mutable<TocEntry>>(() => ({ name: '', type: '' }), {
  name: ['name', string],
  type: ['type', string],
  size: ['size', present(int)],
  modtime: ['modtime', present(string)],
  linkName: ['linkName', present(string)],
  mode: ['mode', present(int)],
  uid: ['uid', present(int)],
  gid: ['gid', present(int)],
  userName: ['userName', present(string)],
  groupName: ['groupName', present(string)],
  offset: ['offset', present(int)],
  devMajor: ['devMajor', present(int)],
  devMinor: ['devMinor', present(int)],
  xattrs: ['xattrs', stringMap],
  digest: ['digest', present(string)],
  chunkOffset: ['chunkOffset', present(int)],
  chunkSize: ['chunkSize', present(int)],
  chunkDigest: ['chunkDigest', present(string)],
});
const tableType = struct<{ entries: readonly TocEntry[] }>(() => ({ entries: [] }), {
  entries: ['entries', list(entryType)],
});

/** Where a table of contents is in a blob. */
interface TablePlace {
  /** In bytes. */
  readonly start: number;
  readonly end: number;
  /** The digest of the table in the descriptor. */
  readonly expected: string | undefined;
  /** The layer, for messages. */
  readonly where: string;
}

/**
 * Reads the table of contents of an eStargz blob by one range, without the layer before it
 * (stargz-snapshotter, docs/estargz.md, "TOC").
 *
 * @throws CacheError CORRUPT for a table that is none, or has another digest than the descriptor says
 */
export async function readTable(
  content: Content,
  { start, end, expected, where }: TablePlace,
  signal: AbortSignal | undefined,
): Promise<readonly TocEntry[]> {
  const damaged = (cause: Error) =>
    new CacheError('CORRUPT', `${where}: its table of contents is damaged: ${cause.message}`, { cause, wrong: 'toc' });
  const tooLarge = () => new CacheError('FAILED', `${where}: its table of contents has over ${JSON_LIMIT} bytes`);
  const tar = tarEntries(gunzip(content.open({ start, end }, signal), damaged), where);
  for await (const { header, data } of tar) {
    if (header.name !== TOC_NAME) break;
    const json = await collect(limited(data, JSON_LIMIT, tooLarge));
    const found = sha256(json);
    if (expected !== undefined && expected !== found) {
      throw new CacheError('CORRUPT', `${where}: its table of contents has another digest than its descriptor says`, {
        wrong: 'toc',
        expected,
        found,
      });
    }
    return parseGo(tableType, json, `${where}: table of contents`).entries;
  }
  throw damaged(new Error(`it is not ${TOC_NAME}`));
}
