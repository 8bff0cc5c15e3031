import { Operation } from '../format.js';
import { type RandomReader, readFully } from '../random-reader.js';
import type { Skeleton } from './skeleton.js';
import type { SourceSpace } from './source-space.js';

const CHUNK = 256 * 1024;

/** The stream of operations of a delta, with their data. */
export async function* streamOf(
  operations: Skeleton,
  space: SourceSpace,
  tar: RandomReader,
): AsyncGenerator<Uint8Array, void, undefined> {
  // In the new tar, and in the source that is open.
  let at = 0;
  let source = -1;
  let position = 0;
  let output = Buffer.allocUnsafeSlow(CHUNK);
  let filled = 0;
  const theirs = Buffer.allocUnsafeSlow(CHUNK);
  for (const heads of operations.chunks) {
    for (let next = 0; next < heads.length;) {
      const start = next;
      const operation = heads[next++];
      let size = 0;
      for (let factor = 1; ; factor *= 128) {
        const byte = heads[next++] ?? 0;
        size += (byte & 127) * factor;
        if (byte < 128) break;
      }
      if (operation === Operation.open) {
        const name = heads.toString('utf8', next, next + size);
        next += size;
        source = space.sources.findIndex((one) => one.name === name);
        position = space.startOf(source);
      }
      if (filled + next - start > CHUNK) {
        yield output.subarray(0, filled);
        output = Buffer.allocUnsafeSlow(CHUNK);
        filled = 0;
      }
      filled += heads.copy(output, filled, start, next);
      if (operation === Operation.seek) position = space.startOf(source) + size;
      if (operation === Operation.copy) {
        position += size;
        at += size;
      }
      if (operation !== Operation.data && operation !== Operation.addData) continue;
      for (let left = size; left > 0;) {
        if (filled === CHUNK) {
          yield output;
          output = Buffer.allocUnsafeSlow(CHUNK);
          filled = 0;
        }
        const part = output.subarray(filled, filled + Math.min(left, CHUNK - filled));
        readFully(tar, part, at);
        if (operation === Operation.addData) {
          const other = theirs.subarray(0, part.length);
          space.read(source, other, position);
          for (let byte = 0; byte < part.length; byte++) part[byte] = (part[byte] ?? 0) - (other[byte] ?? 0);
          position += part.length;
        }
        at += part.length;
        left -= part.length;
        filled += part.length;
      }
    }
  }
  if (filled > 0) yield output.subarray(0, filled);
}
