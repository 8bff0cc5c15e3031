import { pack } from 'tar-stream';
import { collect } from '../../src/bytes/collect.js';

/** An entry of a tar to make. */
export interface TestEntry {
  readonly name: string;
  readonly type?: 'file' | 'directory' | 'symlink' | 'link';
  readonly bytes?: Uint8Array;
  /** In seconds. */
  readonly mtime?: number;
  readonly linkname?: string;
  readonly pax?: Readonly<Record<string, string>>;
}

/** A tar of entries; names over 100 bytes get pax records. */
export async function tarOf(entries: readonly TestEntry[]): Promise<Buffer> {
  const tar = pack();
  for (const { name, type = 'file', bytes = Buffer.alloc(0), mtime = 1_700_000_000, linkname, pax } of entries) {
    const header = { name, type, mtime: new Date(mtime * 1000), ...(linkname === undefined ? {} : { linkname }) };
    tar.entry({ ...header, ...(pax === undefined ? {} : { pax: { ...pax } }) }, Buffer.from(bytes));
  }
  tar.finalize();
  return collect(tar as AsyncIterable<Buffer>);
}

/** Bytes that do not compress, the same for the same seed. */
export function noise(seed: number, size: number): Buffer {
  const bytes = Buffer.alloc(size);
  let state = Math.imul(seed + 1, 0x9e3779b1) | 1;
  for (let at = 0; at < size; at++) {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    bytes[at] = state;
  }
  return bytes;
}
