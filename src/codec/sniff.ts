import { collect } from '../bytes/collect.js';
import type { Content } from '../oci/content.js';
import type { Compression } from './compression.js';

/** In bytes; stargz-snapshotter, estargz/types.go (FooterSize). */
const FOOTER_SIZE = 51;

const GZIP_MAGIC = [0x1f, 0x8b, 0x08];
const ZSTD_MAGIC = [0x28, 0xb5, 0x2f, 0xfd];
// A zstd file may begin with a skippable frame: 184D2A50 to 184D2A5F, little-endian (RFC 8878, 3.1.2).
const isSkippable = (head: Buffer) => head.length >= 4 && (head.readUInt32LE(0) & 0xfffffff0) >>> 0 === 0x184d2a50;

/** The real compression of a blob, and for eStargz the offset of its table of contents. */
interface Sniffed {
  readonly compression: Compression;
  readonly tocOffset?: number;
}

/**
 * Finds the compression in the first bytes of a blob, since its media type may be wrong, and for gzip in its last bytes. An
 * empty blob is an empty layer.
 *
 * @param size - the size of the blob, in bytes
 */
export async function sniff(content: Content, size: number, signal?: AbortSignal): Promise<Sniffed> {
  const compression = compressionOf(await read(content, 0, Math.min(size, 4), signal));
  if (compression !== 'gzip') return { compression };
  if (size < FOOTER_SIZE) return { compression: 'gzip' };
  const tocOffset = parseFooter(await read(content, size - FOOTER_SIZE, size, signal));
  return tocOffset === undefined || tocOffset > size - FOOTER_SIZE
    ? { compression: 'gzip' }
    : { compression: 'estargz', tocOffset };
}

/** The compression in the first four bytes of a layer; eStargz begins like gzip. */
export function compressionOf(head: Buffer): 'uncompressed' | 'gzip' | 'zstd' {
  if (startsWith(head, ZSTD_MAGIC) || isSkippable(head)) return 'zstd';
  return startsWith(head, GZIP_MAGIC) ? 'gzip' : 'uncompressed';
}

/**
 * The offset of the table of contents that an eStargz footer names: an empty gzip member whose extra field has a
 * subfield SG of 16 hex digits and `STARGZ` (stargz-snapshotter, docs/estargz.md, "Footer").
 */
function parseFooter(footer: Buffer): number | undefined {
  // A blob that was cut short has no footer at this offset.
  if (footer.length !== FOOTER_SIZE) return undefined;
  const extraLength = 2 + 2 + 16 + 'STARGZ'.length;
  const hasExtra = startsWith(footer, GZIP_MAGIC) && footer[3] === 4;
  if (!hasExtra || footer.readUInt16LE(10) !== extraLength || footer.toString('latin1', 12, 14) !== 'SG') {
    return undefined;
  }
  const match = /^([0-9a-f]{16})STARGZ$/.exec(footer.toString('latin1', 16, 16 + 22));
  const offset = match?.[1] === undefined ? Number.NaN : Number.parseInt(match[1], 16);
  return Number.isSafeInteger(offset) ? offset : undefined;
}

function startsWith(bytes: Buffer, magic: readonly number[]): boolean {
  return magic.every((byte, index) => bytes[index] === byte);
}

async function read(content: Content, start: number, end: number, signal?: AbortSignal): Promise<Buffer> {
  return start < end ? collect(content.open({ start, end }, signal)) : Buffer.alloc(0);
}
