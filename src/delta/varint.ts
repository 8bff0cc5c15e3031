/** The most bytes of a varint that is a safe integer. */
export const MAX_VARINT = 8;

/** Writes unsigned LEB128, as sizes are in tar-diffs. @returns how many bytes were written */
export function writeVarint(into: Uint8Array, at: number, value: number): number {
  let end = at;
  let rest = value;
  for (; rest >= 128; rest = Math.floor(rest / 128)) into[end++] = (rest % 128) | 128;
  into[end++] = rest;
  return end - at;
}

/** Numbers as varints, one after the other. */
export function encodeVarints(values: ArrayLike<number>): Buffer {
  const bytes = Buffer.allocUnsafe(values.length * MAX_VARINT);
  let filled = 0;
  for (let index = 0; index < values.length; index++) filled += writeVarint(bytes, filled, values[index] ?? 0);
  return bytes.subarray(0, filled);
}

/** The numbers of varints; undefined where one is cut short or no safe integer. */
export function decodeVarints(bytes: Uint8Array): number[] | undefined {
  const values: number[] = [];
  let value = 0;
  let factor = 1;
  for (const byte of bytes) {
    value += (byte & 127) * factor;
    factor *= 128;
    if (value > Number.MAX_SAFE_INTEGER || factor > 128 ** MAX_VARINT) return undefined;
    if (byte >= 128) continue;
    values.push(value);
    value = 0;
    factor = 1;
  }
  return factor === 1 ? values : undefined;
}
