const MAGIC = 0xfd2fb528;
/** The longest header of a frame, with its content size: magic number, descriptor, dictionary, size; in bytes. */
export const HEADER_SIZE = 4 + 1 + 4 + 8;

/**
 * The window that a zstd frame asks for: RFC 8878, 3.1.1.1.
 *
 * @param header - the first bytes of a frame
 * @returns the window in bytes; 0 for a skippable frame or no frame; undefined when more of the header is needed
 */
export function windowOf(header: Buffer): number | undefined {
  if (header.length < 4) return undefined;
  if (header.readUInt32LE(0) !== MAGIC) return 0;
  if (header.length < 6) return undefined;
  const descriptor = header.readUInt8(4);
  const isSingleSegment = (descriptor & 0x20) !== 0;
  if (!isSingleSegment) {
    const window = header.readUInt8(5);
    const base = 2 ** (10 + (window >> 3));
    return base + (base / 8) * (window & 7);
  }
  // The window is the whole content, whose size follows the dictionary ID.
  const at = 5 + ([0, 1, 2, 4][descriptor & 3] ?? 0);
  const length = 1 << (descriptor >> 6);
  if (header.length < at + length) return undefined;
  if (length === 8) return Number(header.readBigUInt64LE(at));
  return header.readUIntLE(at, length) + (length === 2 ? 256 : 0);
}
