import test from 'ava';
import { decodeCacheConfig } from '../../src/buildkit/cache-config.js';
import { CacheError } from '../../src/errors.js';
import { decodeManifest } from '../../src/oci/manifest.js';

const D = `sha256:${'d'.repeat(64)}`;

for (const [name, decode, document, message] of [
  [
    'a digest',
    decodeCacheConfig,
    { layers: [{ blob: '../../etc/passwd' }] },
    'layers.0.blob: "../../etc/passwd" is not a digest',
  ],
  ['no text', decodeCacheConfig, { layers: [{ blob: 7 }] }, 'layers.0.blob: expected a string but found 7'],
  [
    'one of two kinds',
    decodeCacheConfig,
    { layers: [{ blob: D, annotations: { diffID: 'x' } }] },
    'layers.0.annotations.diffID: "x" is not a digest',
  ],
  [
    'a time',
    decodeCacheConfig,
    { records: [{ digest: D, layers: [{ createdAt: 'today' }] }] },
    'records.0.layers.0.createdAt: "today" is not an RFC 3339 time',
  ],
  ['a list', decodeCacheConfig, { records: 'none' }, 'records: expected a list but found "none"'],
  [
    'in a manifest',
    decodeManifest,
    { config: { digest: '../../etc/passwd', size: 1 } },
    'config.digest: "../../etc/passwd" is not a digest',
  ],
  ['a size', decodeManifest, { config: { digest: D, size: -1 } }, 'config.size: -1 is not a size'],
  [
    'very long',
    decodeCacheConfig,
    { layers: [{ blob: 'x'.repeat(9000) }] },
    `layers.0.blob: "${'x'.repeat(199)}… is not a digest`,
  ],
] as const) {
  test(`a document that is wrong is told so: ${name}`, (t) => {
    const error = t.throws(() => decode(Buffer.from(JSON.stringify(document)), 'here'), { instanceOf: CacheError });
    t.is(error.code, 'CORRUPT');
    t.is(error.message, `here: ${message}`);
  });
}
