import { CacheError } from '../errors.js';
import type { ByteQueue } from '../bytes/byte-queue.js';

/** In bytes: what a tar consists of. */
export const TAR_BLOCK = 512;
/** The most of a long name or of pax records, in bytes; that of Go's archive/tar. */
const MAX_SPECIAL = 1024 * 1024;
/** The most of all that is before an entry's own header, in bytes: long names and records, each of them once or twice. */
const MAX_SPECIALS = 8 * MAX_SPECIAL;

/** An entry of a tar, as Go's archive/tar reads it (reader.go), which is what BuildKit makes its tables with. */
export interface TarHeader {
  /** All of its header blocks, long names and pax records among them, to the byte. */
  readonly raw: Buffer;
  readonly type: string;
  readonly name: string;
  readonly linkName: string;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly userName: string;
  readonly groupName: string;
  /** In seconds since 1970, with a fraction. */
  readonly mtime: number;
  readonly devMajor: number;
  readonly devMinor: number;
  /** Of the data that follows, in bytes; what pads it to whole blocks is not counted. */
  readonly size: number;
  readonly xattrs: ReadonlyMap<string, Buffer>;
  readonly isSparse: boolean;
}

/** The end of a tar: its zero blocks, as far as they were read, or nothing. */
export interface TarEnd {
  readonly raw: Buffer;
  readonly type: 'end';
}

type Records = ReadonlyMap<string, Buffer>;

const HAS_NO_DATA = new Set(['1', '2', '3', '4', '5', '6']);
const XATTR = 'SCHILY.xattr.';

/**
 * Reads the next header.
 *
 * tar-stream is of no use here: it takes the values of extended attributes for text.
 *
 * @param where - the tar, for messages
 * @throws CacheError CORRUPT
 */
export async function readTarHeader(tar: ByteQueue, where: string): Promise<TarHeader | TarEnd> {
  const raw: Buffer[] = [];
  let pax: Records = new Map();
  let longName: Buffer | undefined;
  let longLink: Buffer | undefined;
  let specials = 0;
  for (;;) {
    const block = await tar.exactly(TAR_BLOCK);
    raw.push(block);
    if (isZero(block)) return { raw: Buffer.concat(raw), type: 'end' };
    if (block.length < TAR_BLOCK) throw damaged(where, 'a header is cut short');
    checkSum(block, where);
    const type = String.fromCharCode(block[156] ?? 0);
    if (type !== 'x' && type !== 'L' && type !== 'K') {
      return header(block, type, { raw: Buffer.concat(raw), pax, longName, longLink, where });
    }
    const size = numeric(block, 124, 12, where);
    specials += size;
    if (size > MAX_SPECIAL || specials > MAX_SPECIALS)
      throw damaged(where, `a header of ${specials} bytes is too long`);
    const padded = await tar.exactly(Math.ceil(size / TAR_BLOCK) * TAR_BLOCK);
    if (padded.length < size) throw damaged(where, 'a header is cut short');
    raw.push(padded);
    const content = padded.subarray(0, size);
    if (type === 'x') pax = parsePax(content, where);
    else if (type === 'L') longName = untilNul(content);
    else longLink = untilNul(content);
  }
}

interface Parts {
  readonly raw: Buffer;
  readonly pax: Records;
  readonly longName: Buffer | undefined;
  readonly longLink: Buffer | undefined;
  readonly where: string;
}

function header(block: Buffer, flag: string, { raw, pax, longName, longLink, where }: Parts): TarHeader {
  const magic = block.toString('latin1', 257, 265);
  const isUstar = magic.startsWith('ustar\0');
  const isKnown = isUstar || magic === 'ustar  \0';
  // Schily's star has a shorter prefix, with two times behind it.
  const isStar = isUstar && block.toString('latin1', 508, 512) === 'tar\0';
  const prefix = isUstar ? text(block, 345, isStar ? 131 : 155) : Buffer.alloc(0);
  const short = text(block, 0, 100);
  const joined = prefix.length > 0 ? Buffer.concat([prefix, Buffer.from('/'), short]) : short;
  const number = (key: string, at: number, length: number) =>
    decimal(pax, key, where) ?? numeric(block, at, length, where);
  const words = (key: string, field: Buffer) => (pax.get(key) ?? field).toString();

  const name = (longName ?? pax.get('path') ?? joined).toString();
  const type = flag === '\0' ? (name.endsWith('/') ? '5' : '0') : flag;
  const size = number('size', 124, 12);
  if (!Number.isSafeInteger(size) || size < 0) throw damaged(where, `${name} has a size of ${size} bytes`);
  return {
    raw,
    type,
    name,
    linkName: (longLink ?? pax.get('linkpath') ?? text(block, 157, 100)).toString(),
    mode: numeric(block, 100, 8, where),
    uid: Math.trunc(number('uid', 108, 8)),
    gid: Math.trunc(number('gid', 116, 8)),
    userName: words('uname', isKnown ? text(block, 265, 32) : Buffer.alloc(0)),
    groupName: words('gname', isKnown ? text(block, 297, 32) : Buffer.alloc(0)),
    mtime: number('mtime', 136, 12),
    devMajor: isKnown ? numeric(block, 329, 8, where) : 0,
    devMinor: isKnown ? numeric(block, 337, 8, where) : 0,
    size: HAS_NO_DATA.has(type) ? 0 : size,
    xattrs: new Map(
      [...pax].flatMap(([key, value]) => (key.startsWith(XATTR) ? [[key.slice(XATTR.length), value] as const] : [])),
    ),
    isSparse: type === 'S' || [...pax.keys()].some((key) => key.startsWith('GNU.sparse.')),
  };
}

/** Records of the form `LENGTH KEY=VALUE\n` (POSIX pax, "Extended Header"); values may be any bytes. */
function parsePax(content: Buffer, where: string): Records {
  const records = new Map<string, Buffer>();
  for (let at = 0; at < content.length;) {
    const space = content.indexOf(0x20, at);
    const length = space === -1 ? Number.NaN : Number(content.toString('latin1', at, space));
    const end = at + length;
    const equals = content.indexOf(0x3d, space);
    if (!(end <= content.length && length > 0 && equals > space && equals < end) || content[end - 1] !== 0x0a) {
      throw damaged(where, 'a pax record has a wrong length');
    }
    const key = content.toString('utf8', space + 1, equals);
    const value = content.subarray(equals + 1, end - 1);
    // Where a record stands for a field of the header, an empty value takes it back.
    if (value.length === 0 && !key.startsWith(XATTR)) records.delete(key);
    else records.set(key, value);
    at = end;
  }
  return records;
}

function decimal(pax: Records, key: string, where: string): number | undefined {
  const value = pax.get(key)?.toString();
  if (value === undefined) return undefined;
  if (!/^-?\d+(?:\.\d*)?$/.test(value)) throw damaged(where, `${key} is no number`);
  return Number(value);
}

/** Octal digits, or GNU's binary numbers where the first bit is set. */
function numeric(block: Buffer, at: number, length: number, where: string): number {
  const first = block[at] ?? 0;
  if ((first & 0x80) !== 0) {
    let value = first & 0x40 ? -1n : 0n;
    value = (value << 6n) | BigInt(first & 0x3f);
    for (const byte of block.subarray(at + 1, at + length)) value = (value << 8n) | BigInt(byte);
    return Number(value);
  }
  const digits = block.toString('latin1', at, at + length).replace(/^[ \0]+|[ \0].*$/gs, '');
  if (digits === '') return 0;
  if (!/^[0-7]+$/.test(digits)) throw damaged(where, 'a header has a number that is none');
  return Number.parseInt(digits, 8);
}

function checkSum(block: Buffer, where: string): void {
  let unsigned = 8 * 0x20;
  let signed = unsigned;
  for (const [at, byte] of block.entries()) {
    if (at >= 148 && at < 156) continue;
    unsigned += byte;
    signed += (byte << 24) >> 24;
  }
  const expected = numeric(block, 148, 8, where);
  if (expected !== unsigned && expected !== signed) throw damaged(where, 'a header has a wrong checksum');
}

function text(block: Buffer, at: number, length: number): Buffer {
  return untilNul(block.subarray(at, at + length));
}

function untilNul(bytes: Buffer): Buffer {
  const end = bytes.indexOf(0);
  return end === -1 ? bytes : bytes.subarray(0, end);
}

function isZero(block: Buffer): boolean {
  return block.every((byte) => byte === 0);
}

/** The error for a layer that cannot be read as a tar. */
export function damaged(where: string, what: string): CacheError {
  return new CacheError('CORRUPT', `${where}: its tar is damaged: ${what}`, {
    hint: 'gzip and zstd take it as it is; estargz has to read it',
  });
}
