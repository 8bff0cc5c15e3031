import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'ava';
import { decodeCacheConfig, encodeCacheConfig } from '../../src/buildkit/cache-config.js';
import { fixture } from '../support/fixtures.js';

test('the config of a bucket, whose layers have annotations, encodes to the bytes that it was', (t) => {
  const bytes = readFileSync(join(fixture('s3-bucket'), 'manifests', 'tiny'));
  const config = decodeCacheConfig(bytes, 'tiny');
  t.true(config.layers.every(({ annotations }) => annotations !== undefined && annotations.diffID !== ''));
  t.is(encodeCacheConfig(config).toString(), bytes.toString());
});

test('the digest of a record is any text: BuildKit 0.13 in Docker writes a random one for an image', (t) => {
  const text = '{"records":[{"digest":"g6mnnc84c8pqmo30bonulnadf"}]}';
  t.is(encodeCacheConfig(decodeCacheConfig(Buffer.from(text), 'test')).toString(), text);
});
