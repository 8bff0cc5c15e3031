import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'ava';
import { backends } from '../../src/backend/backends.js';
import { loadBare } from '../../src/graph/bare.js';
import { documentOf } from '../../src/oci/document.js';
import { CACHE_CONFIG } from '../../src/oci/media-types.js';
import { copyCache } from '../../src/operations/copy/copy.js';
import { inspectCache } from '../../src/operations/inspect.js';
import { verifyFolder } from '../../src/operations/verify/verify.js';
import { BareBackend } from '../support/bare-backend.js';
import { fixture, importOf, temporary } from '../support/fixtures.js';

const buckets = new BareBackend();
backends.set('azblob', buckets);

/** The bucket that BuildKit wrote, in memory. */
function bucketOf(name: string) {
  const manifest = readFileSync(join(fixture('s3-bucket'), 'manifests', 'tiny'));
  const option = (cache: string) => `type=azblob,account_url=https://a.example.com,container=${name},name=${cache}`;
  const document = documentOf(CACHE_CONFIG, manifest);
  const { digest } = document.descriptor;
  const blobs = [...loadBare(manifest, 'tiny').descriptors.keys()].map(
    (blob) => [blob, readFileSync(join(fixture('s3-bucket'), 'blobs', blob))] as const,
  );
  const bucket = {
    blobs: new Map(blobs),
    documents: new Map([[digest, manifest]]),
    names: new Map([['tiny', document.descriptor]]),
    isBare: true,
  };
  buckets.buckets.set(name, bucket);
  const textOf = (cache: string) => bucket.documents.get(bucket.names.get(cache)?.digest ?? digest)?.toString();
  return { bucket, option, textOf, original: manifest.toString() };
}

test('a copy that changes nothing writes the bytes that are there', async (t) => {
  const { bucket, option, textOf, original } = bucketOf('same');
  const { exports } = await copyCache({ imports: [option('tiny')], exports: [option('other')] });
  t.is(exports[0]?.shape, undefined);
  t.true(bucket.names.has('other'));
  t.is(textOf('other'), original);
  t.is((await inspectCache(option('other'))).shape, undefined);
});

test('a cache without a manifest gets one in a folder, and loses it again on the way back', async (t) => {
  const { bucket, option, textOf, original } = bucketOf('back');
  const folder = temporary(t);
  const { exports } = await copyCache({ imports: [option('tiny')], exports: [`type=local,dest=${folder}`] });
  t.is(exports[0]?.shape, 'image-manifest');
  t.like(await verifyFolder(folder), { sound: true, findings: { length: 0 } });
  for (const part of [bucket.blobs, bucket.documents, bucket.names]) part.clear();
  await copyCache({ imports: [`type=local,src=${folder}`], exports: [option('tiny')] });
  t.is(textOf('tiny'), original);
  t.is(bucket.blobs.size, loadBare(Buffer.from(original), 'tiny').descriptors.size);
});

test('the same cache under two names counts once', async (t) => {
  const { bucket, option, textOf, original } = bucketOf('twice');
  const [tiny] = bucket.names.values();
  if (tiny === undefined) return t.fail();
  bucket.names.set('same', tiny);
  await copyCache({ imports: [option('tiny'), option('same')], exports: [option('merged')] });
  t.is(bucket.names.get('merged')?.digest, tiny.digest);
  t.is(textOf('merged'), original);
});

test('a cache without a manifest is merged with a cache that has a manifest', async (t) => {
  const { bucket, option, textOf, original } = bucketOf('merged');
  const folder = temporary(t);
  const imports = [option('tiny'), importOf('max-gzip-docker-list')];
  await copyCache({ imports, exports: [option('merged'), `type=local,dest=${folder}`] });
  await copyCache({ imports: [`type=local,src=${folder}`], exports: [option('again')] });
  t.not(textOf('merged'), original);
  t.is(bucket.names.get('again')?.digest, bucket.names.get('merged')?.digest);
  t.true((await verifyFolder(folder)).sound);
});
