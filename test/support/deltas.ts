import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { extract } from 'tar-stream';
import { compress } from 'zstd-napi';
import { collect } from '../../src/bytes/collect.js';
import { bytesReader, type RandomReader } from '../../src/delta/random-reader.js';
import { applyDelta } from '../../src/delta/read/apply-delta.js';
import { sha256 } from '../../src/oci/digest.js';

const DELTAS = fileURLToPath(new URL('../../../fixtures/deltas/', import.meta.url));

/** The pairs of old and new tars with deltas between them that containers/tar-diff made. */
export const PAIRS: readonly string[] = readdirSync(DELTAS).filter((name) => name !== 'hostile');

/** The path of a fixture, which no test changes. */
export function deltaFixture(...names: readonly string[]): string {
  return join(DELTAS, ...names);
}

/** The old tars of a pair, in the order in which they are laid over each other. */
export function oldTars(pair: string): Buffer[] {
  return readdirSync(deltaFixture(pair))
    .filter((name) => /^old.*\.tar$/.test(name))
    .toSorted()
    .map((name) => readFileSync(deltaFixture(pair, name)));
}

/** The new tar of a pair; undefined where its delta alone is stored. */
export function newTar(pair: string): Buffer | undefined {
  const path = deltaFixture(pair, 'new.tar');
  return existsSync(path) ? readFileSync(path) : undefined;
}

/** The regular files of tars that are laid over each other, by their paths: the sources of containers/tar-diff. */
export async function treeOf(tars: readonly Buffer[]): Promise<Map<string, RandomReader>> {
  const tree = new Map<string, Buffer>();
  for (const tar of tars) {
    const layer = new Map<string, Buffer | undefined>();
    const entries = extract();
    entries.end(tar);
    for await (const entry of entries) {
      const { name, type, linkname } = entry.header;
      const bytes = await collect(entry as AsyncIterable<Buffer>);
      const path = name.replace(/^\.\//, '');
      const whiteout = /^(.*\/)?\.wh\.(.*)$/.exec(path);
      if (whiteout !== null) tree.delete(`${whiteout[1] ?? ''}${whiteout[2]}`);
      else layer.set(path, type === 'file' ? bytes : type === 'link' ? layer.get(linkname ?? '') : undefined);
    }
    for (const [path, bytes] of layer) {
      tree.delete(path);
      if (bytes !== undefined) tree.set(path, bytes);
    }
  }
  return new Map(Array.from(tree, ([path, bytes]) => [path, bytesReader(bytes)]));
}

/** Operations by hand: their numbers are those of the format. */
export const op = {
  data: (bytes: Uint8Array) => operation(0, bytes.length, bytes),
  open: (name: string) => operation(1, Buffer.byteLength(name), Buffer.from(name)),
  copy: (size: number) => operation(2, size),
  addData: (bytes: Uint8Array) => operation(3, bytes.length, bytes),
  seek: (position: number) => operation(4, position),
  zstdDictionary: (frame: Uint8Array) => operation(5, frame.length, frame),
};

export function operation(kind: number, size: number, data: Uint8Array = Buffer.alloc(0)): Buffer {
  const bytes = [kind];
  for (let rest = BigInt(size); ; rest >>= 7n) {
    if (rest < 128n) {
      bytes.push(Number(rest));
      return Buffer.concat([Buffer.from(bytes), data]);
    }
    bytes.push(Number(rest & 127n) | 128);
  }
}

/** A tar-diff of operations. */
export function tarDiff(version: 1 | 2, ...operations: readonly Uint8Array[]): Buffer {
  const stream = compress(Buffer.concat(operations), { checksumFlag: true });
  return Buffer.concat([Buffer.from(`tardf${version}\n\0`), stream]);
}

/** A stream that gives bytes in chunks of a size. */
export async function* inChunks(bytes: Uint8Array, size = 7): AsyncGenerator<Uint8Array, void, undefined> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}

/** Applies a delta that promises these bytes. */
export async function applied(
  delta: Uint8Array,
  sources: ReadonlyMap<string, RandomReader>,
  promised: Uint8Array,
): Promise<Buffer> {
  return collect(applyDelta(inChunks(delta, 1000), sources, { size: promised.length, diffID: sha256(promised) }));
}
