/** In bytes: POSIX pax, "ustar Interchange Format". */
export const TAR_BLOCK = 512;

const CHECKSUM = { start: 148, end: 156 };

/** Whether bytes can begin a tar: a header whose checksum is right, or the zeros of an empty one. */
export function startsTar(block: Uint8Array): boolean {
  if (block.every((byte) => byte === 0)) return true;
  if (block.length < TAR_BLOCK) return false;
  const text = Buffer.from(block.subarray(CHECKSUM.start, CHECKSUM.end)).toString('latin1');
  // The sum takes its own field for spaces.
  const isOwn = (at: number) => at >= CHECKSUM.start && at < CHECKSUM.end;
  const sum = block.subarray(0, TAR_BLOCK).reduce((total, byte, at) => total + (isOwn(at) ? 0x20 : byte), 0);
  return Number.parseInt(text, 8) === sum;
}
