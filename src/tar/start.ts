import { CHECKSUM, isZero, sumsOf, TAR_BLOCK } from './block.js';

/** Whether bytes can begin a tar: a header whose checksum is right, or the zeros of an empty one. */
export function startsTar(block: Uint8Array): boolean {
  if (isZero(block)) return true;
  if (block.length < TAR_BLOCK) return false;
  const checksum = Buffer.from(block.subarray(CHECKSUM.start, CHECKSUM.end)).toString('latin1');
  return Number.parseInt(checksum, 8) === sumsOf(block).unsigned;
}
