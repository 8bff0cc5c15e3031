import { Decompressor } from 'zstd-napi';

// A second reader of tar-diffs: all in memory, and written after the format alone. It shares no code with src/, so that a
// mistake there cannot hide itself.

/** What a tar-diff has in it. */
export interface ReadDelta {
  readonly tar: Buffer;
  readonly operations: readonly { readonly name: string; readonly size: number }[];
  /** What the zstd frame says of itself. */
  readonly frame: { readonly contentSize: number; readonly hasChecksum: boolean };
}

const NAMES = ['DATA', 'OPEN', 'COPY', 'ADD_DATA', 'SEEK'];

/** Applies a tar-diff of version 1. */
export function readDelta(delta: Buffer, sources: Readonly<Record<string, Buffer>>): ReadDelta {
  if (delta.toString('latin1', 0, 8) !== 'tardf1\n\0') throw new Error('no tar-diff of version 1');
  const frame = delta.subarray(8);
  const stream = new Decompressor().decompress(frame);
  const tar: Buffer[] = [];
  const operations: { name: string; size: number }[] = [];
  let source: Buffer | undefined;
  let position = 0;
  let at = 0;
  const take = (size: number) => {
    if (source === undefined || position + size > source.length) throw new Error('reads behind the end');
    position += size;
    return source.subarray(position - size, position);
  };
  const data = (size: number) => {
    if (at + size > stream.length) throw new Error('cut short');
    at += size;
    return stream.subarray(at - size, at);
  };
  while (at < stream.length) {
    const name = NAMES[data(1).readUInt8()];
    if (name === undefined) throw new Error('unknown operation');
    let size = 0n;
    for (let shift = 0n, byte = 128; byte >= 128; shift += 7n) {
      byte = data(1).readUInt8();
      size |= BigInt(byte & 127) << shift;
    }
    const length = Number(size);
    operations.push({ name, size: length });
    if (name === 'DATA') tar.push(data(length));
    if (name === 'COPY') tar.push(take(length));
    if (name === 'ADD_DATA') {
      const added = data(length);
      tar.push(Buffer.from(take(length).map((byte, index) => byte + (added[index] ?? 0))));
    }
    if (name === 'SEEK') position = length;
    if (name === 'OPEN') {
      if (length > 4096) throw new Error('a long name');
      source = sources[data(length).toString()];
      if (source === undefined) throw new Error('an unknown source');
      position = 0;
    }
  }
  return { tar: Buffer.concat(tar), operations, frame: frameOf(frame, stream.length) };
}

/** RFC 8878, 3.1.1.1: the frame header. */
function frameOf(frame: Buffer, size: number): ReadDelta['frame'] {
  const descriptor = frame.readUInt8(4);
  const isSingle = (descriptor & 0x20) !== 0;
  const width = [isSingle ? 1 : 0, 2, 4, 8][descriptor >> 6] ?? 0;
  const at = isSingle ? 5 : 6;
  if (!isSingle && frame.readUInt8(5) >> 3 > 17) throw new Error('a window of more than 2^27');
  const contentSize = [
    () => -1,
    () => frame.readUInt8(at),
    () => frame.readUInt16LE(at) + 256,
    () => 0,
    () => frame.readUInt32LE(at),
  ][width];
  return {
    contentSize: width === 8 ? Number(frame.readBigUInt64LE(at)) : (contentSize?.() ?? size),
    hasChecksum: (descriptor & 4) !== 0,
  };
}
