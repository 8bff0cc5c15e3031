import { CacheError } from '../errors.js';

/** What a tar consists of, in bytes: POSIX pax, "ustar Interchange Format". */
export const TAR_BLOCK = 512;

/** The field of the checksum in a header block. */
export const CHECKSUM = { start: 148, end: 156 };

/** Whether a block is one of the zero blocks at the end of a tar. */
export function isZero(block: Uint8Array): boolean {
  return block.every((byte) => byte === 0);
}

/**
 * The sum of a header block's bytes, in which the field of the checksum counts as spaces. The standard has it of unsigned
 * bytes; old tars have it of signed ones.
 */
export function sumsOf(block: Uint8Array): { readonly unsigned: number; readonly signed: number } {
  let unsigned = (CHECKSUM.end - CHECKSUM.start) * 0x20;
  let negative = 0;
  // A plain loop: a layer has a hundred thousand headers.
  for (let at = 0; at < TAR_BLOCK; at++) {
    const byte = at >= CHECKSUM.start && at < CHECKSUM.end ? 0 : (block[at] ?? 0);
    unsigned += byte;
    if (byte > 0x7f) negative++;
  }
  return { unsigned, signed: unsigned - 0x100 * negative };
}

/** Octal digits, or GNU's binary numbers where the first bit is set. */
export function numeric(block: Buffer, at: number, length: number, where: string): number {
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

/** The bytes of a field up to its first zero. */
export function textField(block: Buffer, at: number, length: number): Buffer {
  return untilNul(block.subarray(at, at + length));
}

export function untilNul(bytes: Buffer): Buffer {
  const end = bytes.indexOf(0);
  return end === -1 ? bytes : bytes.subarray(0, end);
}

/** The error for a layer that cannot be read as a tar. */
export function damaged(where: string, what: string): CacheError {
  return new CacheError('CORRUPT', `${where}: its tar is damaged: ${what}`, {
    hint: 'copies as gzip and zstd take its bytes as they are; estargz and lists of files have to read it',
  });
}
