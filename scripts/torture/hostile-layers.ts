import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { gunzipSync, gzipSync } from 'node:zlib';
import { compress, decompress } from 'zstd-napi';
import type { Compression } from '../../src/codec/compression.js';
import { recompress } from '../../src/codec/recompress.js';
import { contentOf } from '../../src/oci/content.js';
import { sha256 } from '../../src/oci/digest.js';
import { fixture } from '../../test/support/fixtures.js';
import { expectCacheError } from './folder.js';
import type { Random } from './random.js';

/** The most that any of these layers may unpack to, in bytes. */
const MAX_SIZE = 16 * 1024 * 1024;

const COMPRESSIONS: readonly Compression[] = ['uncompressed', 'gzip', 'estargz', 'zstd'];

const PACK: Readonly<Record<string, (tar: Uint8Array) => Uint8Array>> = {
  gzip: (tar) => gzipSync(tar),
  zstd: (tar) => compress(Buffer.from(tar)),
  uncompressed: (tar) => tar,
};

/**
 * Layers that somebody made up: archives with wrong fields, compressed streams with wrong bytes, each under its right
 * digest. Packing one anew works or is an error that is meant for people, in bounded time.
 */
export async function hostileLayers(random: Random): Promise<Record<string, number>> {
  const layers = ['max-gzip', 'max-zstd', 'max-uncompressed', 'max-estargz'].flatMap(layersOf);
  let count = 0;
  for (let round = 0; round < 8; round++) {
    const layer = random.pick(layers);
    const tar = unpack(layer);
    const name = random.pick(Object.keys(PACK));
    const pack = PACK[name] ?? ((bytes: Uint8Array) => bytes);
    // Half of them are wrong inside of a sound stream.
    const [bytes, what] =
      round % 2 === 0
        ? [pack(wrongTar(random, tar)), `${name} of a wrong tar`]
        : [mutate(random, layer), 'wrong bytes'];
    for (const compression of COMPRESSIONS) {
      const blob = { digest: sha256(bytes), size: bytes.length };
      const where = `${what} to ${compression}: ${Buffer.from(bytes).toString('base64')}`;
      await expectCacheError(async () => {
        const options = { blob, diffID: undefined, encoding: { compression }, where: 'hostile', maxSize: MAX_SIZE };
        for await (const _ of recompress(contentOf(bytes), options).content.open()) continue;
      }, where);
      count++;
    }
  }
  return { 'hostile layers': count };
}

function layersOf(name: string): Buffer[] {
  const folder = join(fixture(name), 'blobs', 'sha256');
  const blobs = readdirSync(folder).map((blob) => readFileSync(join(folder, blob)));
  return blobs.filter((bytes) => bytes[0] !== '{'.charCodeAt(0));
}

function unpack(layer: Buffer): Buffer {
  if (layer[0] === 0x1f) return gunzipSync(layer);
  return layer.readUInt32LE(0) === 0xfd2fb528 ? decompress(layer) : layer;
}

const FIELDS = [
  '99999999999',
  '-0000000001',
  '\u0080\u0000\u0000\u0000\u00ff\u00ff\u00ff\u00ff',
  'x',
  '\u0000',
  '777777777777',
];

/** Something else in a field of a header, such as its size; its checksum is made to fit, or not. */
function wrongTar(random: Random, tar: Buffer): Buffer {
  const changed = Buffer.from(tar);
  for (let times = 1 + random.below(3); times > 0; times--) {
    const header = 512 * random.below(Math.max(1, changed.length / 512));
    const at = header + random.pick([0, 100, 108, 124, 136, 156, 157, 257, 329, 345]);
    Buffer.from(random.pick(FIELDS), 'latin1').copy(changed, at);
    if (random.below(3) > 0 && header + 512 <= changed.length) sum(changed.subarray(header, header + 512));
  }
  return random.below(4) === 0 ? changed.subarray(0, random.below(changed.length)) : changed;
}

/** Writes a header's checksum: POSIX pax, "ustar Interchange Format". */
function sum(header: Buffer): void {
  header.fill(' ', 148, 156);
  const total = header.reduce((all, byte) => all + byte, 0);
  header.write(`${total.toString(8).padStart(6, '0')}\0 `, 148, 'latin1');
}

function mutate(random: Random, bytes: Buffer): Buffer {
  const changed = Buffer.from(bytes);
  for (let times = 1 + random.below(4); times > 0; times--) changed[random.below(changed.length)] = random.below(256);
  return random.below(4) === 0 ? changed.subarray(0, random.below(changed.length)) : changed;
}
