import { setImmediate as nextTurn } from 'node:timers/promises';
import { goJson } from '../../oci/json.js';
import { TAR_BLOCK } from '../../tar/block.js';
import type { TarHeader } from '../../tar/header.js';

/** The name of the table of contents in the blob (stargz-snapshotter, estargz/types.go). */
export const TOC_NAME = 'stargz.index.json';

/** An entry of the table of contents, its fields in the order of Go's JTOC (estargz/types.go); zeros are left out. */
export interface TocEntry {
  readonly name: string;
  readonly type: string;
  readonly size?: number | undefined;
  readonly modtime?: string | undefined;
  readonly linkName?: string | undefined;
  readonly mode?: number | undefined;
  readonly uid?: number | undefined;
  readonly gid?: number | undefined;
  readonly userName?: string | undefined;
  readonly groupName?: string | undefined;
  /** The offset of the data's gzip member in the blob. */
  offset?: number | undefined;
  readonly devMajor?: number | undefined;
  readonly devMinor?: number | undefined;
  readonly xattrs?: Readonly<Record<string, string>> | undefined;
  digest?: string | undefined;
  readonly chunkOffset?: number | undefined;
  readonly chunkSize?: number | undefined;
  chunkDigest?: string | undefined;
}

/** How many entries are encoded before other tasks get their turn. */
const AT_ONCE = 2000;

const TYPES: Readonly<Record<string, string>> = {
  '0': 'reg',
  '1': 'hardlink',
  '2': 'symlink',
  '3': 'char',
  '4': 'block',
  '5': 'dir',
  '6': 'fifo',
};

/** Makes the entries of a table. The name of a user or group is written only when it changes (estargz.go, nameIfChanged). */
export class TocEntries {
  readonly #users = new Map<number, string>();
  readonly #groups = new Map<number, string>();

  /** @returns undefined for a type that a table does not have */
  entry(header: TarHeader, chunkSize: number | undefined): TocEntry | undefined {
    const type = TYPES[header.type];
    if (type === undefined) return undefined;
    const isLink = type === 'hardlink' || type === 'symlink';
    const isDevice = type === 'char' || type === 'block';
    return {
      name: header.name,
      type,
      size: type === 'reg' ? some(header.size) : undefined,
      modtime: modtime(header.mtime),
      linkName: isLink ? header.linkName || undefined : undefined,
      mode: some(header.mode),
      uid: some(header.uid),
      gid: some(header.gid),
      userName: ifChanged(this.#users, header.uid, header.userName),
      groupName: ifChanged(this.#groups, header.gid, header.groupName),
      offset: undefined,
      devMajor: isDevice ? some(header.devMajor) : undefined,
      devMinor: isDevice ? some(header.devMinor) : undefined,
      xattrs: xattrs(header),
      digest: undefined,
      chunkOffset: undefined,
      chunkSize,
      chunkDigest: undefined,
    };
  }
}

/** The entry of a file's second and later chunks. */
export function chunkEntry(name: string, chunkOffset: number, chunkSize: number | undefined): TocEntry {
  return { name, type: 'chunk', offset: undefined, chunkOffset, chunkSize, chunkDigest: undefined };
}

/** The table as Go's MarshalIndent writes it; encoded in parts, since it may have a hundred thousand entries. */
export async function tocJson(entries: readonly TocEntry[]): Promise<Buffer> {
  const [begin, end] = ['{\n\t"entries": [', '\n\t]\n}'];
  const parts: Buffer[] = [];
  for (let at = 0; at < entries.length; at += AT_ONCE) {
    const part = goJson({ entries: entries.slice(at, at + AT_ONCE) }, '\t');
    parts.push(Buffer.from(at === 0 ? '' : ','), part.subarray(begin.length, -end.length));
    await nextTurn();
  }
  if (parts.length === 0) return goJson({ version: 1, entries: null }, '\t');
  return Buffer.concat([Buffer.from(`{\n\t"version": 1,${begin.slice(1)}`), ...parts, Buffer.from(end)]);
}

/** The tar of a table, as Go's archive/tar writes it: one file, without owner and time. */
export function tocTar(json: Buffer): Buffer {
  const header = Buffer.alloc(TAR_BLOCK);
  header.write(TOC_NAME, 0);
  for (const at of [100, 108, 116]) header.write('0000000\0', at);
  header.write(`${json.length.toString(8).padStart(11, '0')}\0`, 124);
  header.write('00000000000\0', 136);
  header.write('        ', 148);
  header.write('0', 156);
  header.write('ustar\u000000', 257);
  for (const at of [329, 337]) header.write('0000000\0', at);
  const sum = header.reduce((total, byte) => total + byte, 0);
  header.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148);
  const padding = Buffer.alloc((TAR_BLOCK - (json.length % TAR_BLOCK)) % TAR_BLOCK);
  return Buffer.concat([header, json, padding, Buffer.alloc(2 * TAR_BLOCK)]);
}

function some(value: number): number | undefined {
  return value === 0 ? undefined : value;
}

/** A time as RFC 3339, rounded to seconds; undefined for the start of 1970 (estargz.go, formatModtime). */
function modtime(seconds: number): string | undefined {
  if (Math.floor(seconds) === 0) return undefined;
  const date = new Date(Math.round(seconds) * 1000);
  return Number.isNaN(date.getTime()) ? undefined : date.toISOString().replace('.000Z', 'Z');
}

function ifChanged(names: Map<number, string>, id: number, name: string): string | undefined {
  if (name === '' || names.get(id) === name) return undefined;
  names.set(id, name);
  return name;
}

function xattrs({ xattrs: values }: TarHeader): Record<string, string> | undefined {
  if (values.size === 0) return undefined;
  const sorted = [...values].toSorted(([a], [b]) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
  return Object.fromEntries(sorted.map(([name, value]) => [name, value.toString('base64')]));
}
