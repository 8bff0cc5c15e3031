import { posix } from 'node:path';
import { type Content, verified } from '../oci/content.js';
import { type Descriptor, ESTARGZ_TOC_DIGEST } from '../oci/descriptor.js';
import { tarEntries } from '../tar/entries.js';
import type { TarHeader } from '../tar/header.js';
import { decode } from './decode.js';
import { readTable } from './estargz/read-table.js';
import { TOC_NAME, type TocEntry } from './estargz/toc.js';
import { sniff } from './sniff.js';

/** What an entry of a layer is. `deleted` and `opaque` hide files of the layers below: image-spec layer.md, "Whiteouts". */
export type FileType =
  | 'file'
  | 'hardlink'
  | 'symlink'
  | 'character'
  | 'block'
  | 'directory'
  | 'fifo'
  | 'deleted'
  | 'opaque'
  | 'other';

/** A file that a layer adds, or deletes. */
export interface LayerFile {
  /** Without `/` or `./` at its start; of a whiteout, the path that it deletes or the directory that it empties. */
  readonly path: string;
  readonly type: FileType;
  /** Of its data, in bytes. */
  readonly size: number;
  /** The permission bits, setuid, setgid and sticky among them. */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly user?: string;
  readonly group?: string;
  /** RFC 3339, in whole seconds; left out for a time that no calendar has. */
  readonly modified?: string;
  /** The target of a link. */
  readonly link?: string;
  /** Major and minor number. */
  readonly device?: readonly [number, number];
  readonly xattrs?: readonly string[];
}

/** A file of a layer with its data. */
export interface OpenLayerFile {
  readonly file: LayerFile;
  /** To be read before the next file is taken. */
  readonly data: AsyncIterable<Uint8Array>;
  /** The extended attributes with their values. */
  readonly xattrs: ReadonlyMap<string, Buffer>;
}

/** A layer to read. */
export interface LayerBlob {
  readonly content: Content;
  readonly descriptor: Descriptor;
  /** The layer, for messages. */
  readonly where: string;
}

/**
 * The files of a layer, in their order. An eStargz layer is listed from its table of contents, without its data; another
 * layer is read to its end, and checked.
 *
 * @throws CacheError CORRUPT
 */
export async function* layerFiles(layer: LayerBlob, signal?: AbortSignal): AsyncGenerator<LayerFile, void, undefined> {
  const { content, descriptor } = layer;
  const { tocOffset } = await sniff(content, descriptor.size, signal);
  if (tocOffset === undefined) {
    for await (const { file } of openLayerFiles(layer, signal)) yield file;
    return;
  }
  const expected = descriptor.annotations?.[ESTARGZ_TOC_DIGEST];
  const table = await readTable(
    content,
    { start: tocOffset, end: descriptor.size, expected, where: layer.where },
    signal,
  );
  const names = { users: new Map<number, string>(), groups: new Map<number, string>() };
  for (const entry of table) {
    if (entry.type !== 'chunk') yield fileOfTable(entry, names);
  }
}

/**
 * The files of a layer with their data. The layer is read to its end, and its size and digest are checked.
 *
 * @throws CacheError CORRUPT
 */
export async function* openLayerFiles(
  { content, descriptor, where }: LayerBlob,
  signal?: AbortSignal,
): AsyncGenerator<OpenLayerFile, void, undefined> {
  const { compression, tocOffset } = await sniff(content, descriptor.size, signal);
  // No bytes are an empty layer.
  if (descriptor.size === 0) return;
  const blob = verified(content.open({}, signal), descriptor, where);
  const isTable = (path: string) => tocOffset !== undefined && path === TOC_NAME;
  for await (const { header, data } of tarEntries(decode(blob, compression, where, { signal }), where)) {
    // A global pax header describes no file.
    if (header.type === 'g') continue;
    const file = fileOfTar(header);
    if (!isTable(file.path)) yield { file, data, xattrs: header.xattrs };
  }
}

const TYPES: Readonly<Record<string, FileType>> = {
  '0': 'file',
  '1': 'hardlink',
  '2': 'symlink',
  '3': 'character',
  '4': 'block',
  '5': 'directory',
  '6': 'fifo',
  '7': 'file',
  S: 'file',
};
const TABLE_TYPES: Readonly<Record<string, FileType>> = {
  reg: 'file',
  hardlink: 'hardlink',
  symlink: 'symlink',
  char: 'character',
  block: 'block',
  dir: 'directory',
  fifo: 'fifo',
};
const PERMISSIONS = 0o7777;

function fileOfTar(header: TarHeader): LayerFile {
  const { name, type, mode, uid, gid, userName, groupName, mtime, linkName, devMajor, devMinor, xattrs } = header;
  const date = new Date(Math.floor(mtime) * 1000);
  return {
    ...meaningOf(name, TYPES[type] ?? 'other'),
    size: header.size,
    mode: mode & PERMISSIONS,
    uid,
    gid,
    ...(userName === '' ? {} : { user: userName }),
    ...(groupName === '' ? {} : { group: groupName }),
    ...(Number.isNaN(date.getTime()) ? {} : { modified: date.toISOString().replace('.000Z', 'Z') }),
    ...(type === '1' || type === '2' ? { link: linkName } : {}),
    ...(type === '3' || type === '4' ? { device: [devMajor, devMinor] as const } : {}),
    ...(xattrs.size === 0 ? {} : { xattrs: [...xattrs.keys()].toSorted() }),
  };
}

/** The names of users and groups, which a table gives once. */
interface Names {
  readonly users: Map<number, string>;
  readonly groups: Map<number, string>;
}

function fileOfTable(entry: TocEntry, { users, groups }: Names): LayerFile {
  const { name, type, size = 0, mode = 0, uid = 0, gid = 0, modtime, linkName, devMajor = 0, devMinor = 0 } = entry;
  if (entry.userName !== undefined) users.set(uid, entry.userName);
  if (entry.groupName !== undefined) groups.set(gid, entry.groupName);
  const [user, group] = [users.get(uid), groups.get(gid)];
  return {
    ...meaningOf(name, TABLE_TYPES[type] ?? 'other'),
    size,
    mode: mode & PERMISSIONS,
    uid,
    gid,
    ...(user === undefined ? {} : { user }),
    ...(group === undefined ? {} : { group }),
    modified: modtime ?? '1970-01-01T00:00:00Z',
    ...(linkName === undefined ? {} : { link: linkName }),
    ...(type === 'char' || type === 'block' ? { device: [devMajor, devMinor] as const } : {}),
    ...(entry.xattrs === undefined ? {} : { xattrs: Object.keys(entry.xattrs).toSorted() }),
  };
}

/** What a name of an entry means: image-spec layer.md, "Whiteouts". */
function meaningOf(name: string, type: FileType): Pick<LayerFile, 'path' | 'type'> {
  const path = posix.normalize(`/${name}`).replace(/^\/|\/$/g, '') || '.';
  const base = posix.basename(path);
  if (!base.startsWith('.wh.')) return { path, type };
  const folder = posix.dirname(path);
  if (base === '.wh..wh..opq') return { path: folder, type: 'opaque' };
  if (base.startsWith('.wh..wh.')) return { path, type };
  return { path: posix.join(folder, base.slice('.wh.'.length)), type: 'deleted' };
}
