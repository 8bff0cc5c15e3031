import type { ByteQueue } from '../bytes/byte-queue.js';
import { CHECKSUM, damaged, isZero, numeric, sumsOf, TAR_BLOCK, textField, untilNul } from './block.js';
import { decimal, parsePax, type PaxRecords, XATTR } from './pax.js';

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
interface TarEnd {
  readonly raw: Buffer;
  readonly type: 'end';
}

const HAS_NO_DATA = new Set(['1', '2', '3', '4', '5', '6']);

/**
 * Reads the next header.
 *
 * tar-stream is of no use here: it takes the values of extended attributes for text.
 *
 * @param where - the tar, for messages
 * @throws CacheError CORRUPT
 */
export async function readTarHeader(tar: Pick<ByteQueue, 'exactly'>, where: string): Promise<TarHeader | TarEnd> {
  const raw: Buffer[] = [];
  let pax: PaxRecords = new Map();
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
  readonly pax: PaxRecords;
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
  const prefix = isUstar ? textField(block, 345, isStar ? 131 : 155) : Buffer.alloc(0);
  const short = textField(block, 0, 100);
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
    linkName: (longLink ?? pax.get('linkpath') ?? textField(block, 157, 100)).toString(),
    mode: numeric(block, 100, 8, where),
    uid: Math.trunc(number('uid', 108, 8)),
    gid: Math.trunc(number('gid', 116, 8)),
    userName: words('uname', isKnown ? textField(block, 265, 32) : Buffer.alloc(0)),
    groupName: words('gname', isKnown ? textField(block, 297, 32) : Buffer.alloc(0)),
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

function checkSum(block: Buffer, where: string): void {
  const expected = numeric(block, CHECKSUM.start, CHECKSUM.end - CHECKSUM.start, where);
  const { unsigned, signed } = sumsOf(block);
  if (expected !== unsigned && expected !== signed) throw damaged(where, 'a header has a wrong checksum');
}
