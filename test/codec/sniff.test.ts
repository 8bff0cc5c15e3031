import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'ava';
import { sniff } from '../../src/codec/sniff.js';
import { contentOf } from '../../src/oci/content.js';
import { fixture } from '../support/fixtures.js';

function layersOf(name: string): Buffer[] {
  const folder = join(fixture(name), 'blobs', 'sha256');
  return readdirSync(folder)
    .map((blob) => readFileSync(join(folder, blob)))
    .filter((bytes) => bytes[0] !== '{'.charCodeAt(0));
}

const KINDS = {
  'max-gzip': 'gzip',
  'max-zstd': 'zstd',
  'max-uncompressed': 'uncompressed',
  'max-estargz': 'estargz',
} as const;

test('what a layer is shows in its bytes, also when it was cut short anywhere', async (t) => {
  for (const [name, compression] of Object.entries(KINDS)) {
    for (const layer of layersOf(name)) {
      t.is((await sniff(contentOf(layer), layer.length)).compression, compression);
      for (let left = 0; left < layer.length; left++) {
        const cut = await sniff(contentOf(layer.subarray(0, left)), layer.length);
        const without = compression === 'estargz' ? 'gzip' : compression;
        if (left >= 4) t.is(cut.compression, without, `${left} of ${layer.length} bytes of ${name}`);
      }
    }
  }
});
