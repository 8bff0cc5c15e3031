import { gunzip, gzip } from 'node:zlib';
import { promisify } from 'node:util';
import { CacheError } from '../../errors.js';
import type { Descriptor } from '../../oci/descriptor.js';
import { UNCOMPRESSED } from '../../oci/descriptor.js';
import { type Digest, isDigest } from '../../oci/digest.js';

/** The layers that a place has. */
export interface HaveList {
  readonly blobs: ReadonlySet<Digest>;
  /** The digests of the uncompressed layers. */
  readonly diffIDs: ReadonlySet<Digest>;
}

const MAGIC = 'bkcache-have 1';
const SHA256 = 'sha256:';
const HASH = 32;
/** The most that a list may decompress to, in bytes: that of ten million layers. */
const LIMIT = 1024 * 1024 * 1024;

/**
 * The bytes of a list: gzip of a line of text with the numbers, and the sorted hashes behind it. Digests of other
 * algorithms than sha256, which are rare, are in the line.
 */
export async function encodeHaveList({ blobs, diffIDs }: HaveList): Promise<Buffer> {
  const lists = [blobs, diffIDs].map((digests) => [...digests].toSorted());
  const [short, long] = [true, false].map((isShort) =>
    lists.map((list) => list.filter((digest) => digest.startsWith(SHA256) === isShort)),
  );
  const [hashes = [], others = []] = [short, long];
  const line = `${MAGIC} ${JSON.stringify([hashes.map(({ length }) => length), others])}\n`;
  const raw = hashes.flat().map((digest) => Buffer.from(digest.slice(SHA256.length), 'hex'));
  return promisify(gzip)(Buffer.concat([Buffer.from(line), ...raw]));
}

/**
 * @param where - the file, for messages
 * @throws CacheError CORRUPT
 */
export async function decodeHaveList(bytes: Uint8Array, where: string): Promise<HaveList> {
  const wrong = (what: string, cause?: unknown) =>
    new CacheError('CORRUPT', `${where} is no list of what a place has: ${what}`, {
      hint: '"bkcache have -o FILE" writes such a list',
      wrong: 'format',
      cause,
    });
  let plain: Buffer;
  try {
    plain = await promisify(gunzip)(bytes, { maxOutputLength: LIMIT });
  } catch (cause) {
    throw wrong('it is damaged, or another file', cause);
  }
  const end = plain.indexOf(0x0a);
  const line = plain.toString('utf8', 0, end);
  if (!line.startsWith(`${MAGIC} `)) throw wrong('it is another file, or of a newer bkcache');
  const [lengths, others] = parsed(line.slice(MAGIC.length + 1)) ?? [];
  const [blobCount = -1, diffIDCount = -1] = lengths ?? [];
  const first = end + 1;
  if (blobCount < 0 || plain.length !== first + (blobCount + diffIDCount) * HASH) throw wrong('its length is wrong');
  const digestsAt = (from: number, count: number) =>
    Array.from({ length: count }, (_, index) => {
      const at = first + (from + index) * HASH;
      return `${SHA256}${plain.toString('hex', at, at + HASH)}` as Digest;
    });
  const [blobs = [], diffIDs = []] = others ?? [];
  return {
    blobs: new Set([...digestsAt(0, blobCount), ...blobs]),
    diffIDs: new Set([...digestsAt(blobCount, diffIDCount), ...diffIDs]),
  };
}

type Line = readonly [lengths: readonly number[], others: readonly (readonly Digest[])[]];

function parsed(text: string): Line | undefined {
  try {
    const [lengths, others] = JSON.parse(text) as [unknown, unknown];
    const isCount = (value: unknown) => Number.isSafeInteger(value) && Number(value) >= 0;
    const isList = (value: unknown) => Array.isArray(value) && value.every((digest) => isDigest(digest));
    if (!Array.isArray(lengths) || lengths.length !== 2 || !lengths.every(isCount)) return undefined;
    if (!Array.isArray(others) || others.length !== 2 || !others.every(isList)) return undefined;
    return [lengths as number[], others];
  } catch {
    return undefined;
  }
}

/** What all of several places have. */
export function inCommon(lists: readonly HaveList[]): HaveList {
  const common = (of: (list: HaveList) => ReadonlySet<Digest>) => {
    const [first = new Set<Digest>(), ...others] = lists.map(of);
    return new Set([...first].filter((digest) => others.every((other) => other.has(digest))));
  };
  // A layer is in common also where one has it as a blob, and another in another compression.
  return { blobs: common(({ blobs }) => blobs), diffIDs: common(({ diffIDs }) => diffIDs) };
}

/** Whether a place has a layer, in whatever compression. Only the descriptor of a layer of a cache names its diffID. */
export function hasLayer(
  { blobs, diffIDs }: HaveList,
  blob: Pick<Descriptor, 'digest'> & Partial<Descriptor>,
): boolean {
  const diffID = blob.annotations?.[UNCOMPRESSED];
  return blobs.has(blob.digest) || (isDigest(diffID) && diffIDs.has(diffID));
}
