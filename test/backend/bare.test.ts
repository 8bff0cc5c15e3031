import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'ava';
import type { Backend, Cache } from '../../src/backend/backend.js';
import { backends } from '../../src/backend/backends.js';
import { CacheError } from '../../src/errors.js';
import { loadBare } from '../../src/graph/bare.js';
import { saveAs } from '../../src/graph/save.js';
import { contentOf } from '../../src/oci/content.js';
import type { BlobId } from '../../src/oci/descriptor.js';
import { type Digest, sha256 } from '../../src/oci/digest.js';
import { documentOf, topOf } from '../../src/oci/document.js';
import { CACHE_CONFIG } from '../../src/oci/media-types.js';
import { copyCache } from '../../src/operations/copy/copy.js';
import { inspectCache } from '../../src/operations/inspect.js';
import { verifyFolder } from '../../src/operations/verify/verify.js';
import { fixture, importOf, temporary } from '../support/fixtures.js';

/** A bucket in memory: a cacheconfig under each name, and blobs by their digests. */
interface Bucket {
  readonly names: Map<string, Uint8Array>;
  readonly blobs: Map<Digest, Uint8Array>;
}

const buckets = new Map<string, Bucket>();

/** The bucket that BuildKit wrote, in memory. */
function bucketOf(): { readonly bucket: Bucket; readonly options: string } {
  const manifest = readFileSync(join(fixture('s3-bucket'), 'manifests', 'tiny'));
  const blobs = [...loadBare(manifest, 'tiny').descriptors.keys()].map(
    (digest) => [digest, readFileSync(join(fixture('s3-bucket'), 'blobs', digest))] as const,
  );
  const bucket = { names: new Map([['tiny', manifest as Uint8Array]]), blobs: new Map<Digest, Uint8Array>(blobs) };
  const name = `bucket-${buckets.size}`;
  buckets.set(name, bucket);
  return { bucket, options: `type=s3,region=here,bucket=${name}` };
}

/** The least that a backend of caches without a manifest is. */
const memory: Backend = {
  locate: async (options) => {
    const { bucket = '', name = '' } = options.attributes;
    return { options, name: `${bucket}/${name}`, selection: name, key: `${bucket}/${name}` };
  },
  source: async ({ options, name, selection }) => {
    const bucket = buckets.get(options.attributes['bucket'] ?? '');
    const bytes = bucket?.names.get(selection);
    if (bucket === undefined || bytes === undefined) throw new CacheError('NOT_FOUND', `${name} is not there`);
    const document = documentOf(CACHE_CONFIG, bytes);
    return {
      name,
      resolve: async () => document.descriptor,
      load: async (): Promise<Cache> => ({
        name,
        graph: loadBare(bytes, name),
        saved: { documents: [document], shape: undefined },
        blob: ({ digest }: BlobId) => contentOf(bucket.blobs.get(digest) ?? Buffer.of()),
      }),
    };
  },
  target: async ({ options, name, selection }) => {
    const bucket = buckets.get(options.attributes['bucket'] ?? '');
    if (bucket === undefined) throw new CacheError('NOT_FOUND', `${name} is not there`);
    return {
      name,
      present: async (blobs) => new Set(blobs.map(({ digest }) => digest).filter((digest) => bucket.blobs.has(digest))),
      async write(content) {
        const chunks: Uint8Array[] = [];
        for await (const chunk of content.open()) chunks.push(chunk);
        const bytes = Buffer.concat(chunks);
        bucket.blobs.set(sha256(bytes), bytes);
        return { digest: sha256(bytes), size: bytes.length };
      },
      async publish({ graph, saved, shape }) {
        const document = topOf((saved ?? saveAs({ shape }, graph)).documents);
        bucket.names.set(selection, document.bytes);
        return document.descriptor;
      },
      async [Symbol.asyncDispose]() {},
    };
  },
};

test.before(() => void backends.set('s3', memory));

const textOf = (bytes: Uint8Array | undefined) => Buffer.from(bytes ?? []).toString();

test('a copy that changes nothing writes the bytes that are there', async (t) => {
  const { bucket, options } = bucketOf();
  const { exports } = await copyCache({ imports: [`${options},name=tiny`], exports: [`${options},name=other`] });
  t.is(exports[0]?.shape, undefined);
  t.is(textOf(bucket.names.get('other')), textOf(bucket.names.get('tiny')));
  t.is((await inspectCache(`${options},name=other`)).shape, undefined);
});

test('a cache without a manifest gets one in a folder, and loses it again on the way back', async (t) => {
  const { bucket, options } = bucketOf();
  const original = textOf(bucket.names.get('tiny'));
  const folder = temporary(t);
  const { exports } = await copyCache({ imports: [`${options},name=tiny`], exports: [`type=local,dest=${folder}`] });
  t.is(exports[0]?.shape, 'image-manifest');
  t.like(await verifyFolder(folder), { sound: true, findings: { length: 0 } });
  bucket.names.clear();
  bucket.blobs.clear();
  await copyCache({ imports: [`type=local,src=${folder}`], exports: [`${options},name=tiny`] });
  t.is(textOf(bucket.names.get('tiny')), original);
  t.is(bucket.blobs.size, loadBare(Buffer.from(original), 'tiny').descriptors.size);
});

test('the same cache under two names counts once', async (t) => {
  const { bucket, options } = bucketOf();
  bucket.names.set('same', bucket.names.get('tiny') ?? Buffer.of());
  const imports = ['tiny', 'same'].map((name) => `${options},name=${name}`);
  await copyCache({ imports, exports: [`${options},name=merged`] });
  t.is(textOf(bucket.names.get('merged')), textOf(bucket.names.get('tiny')));
});

test('a cache without a manifest is merged with a cache that has a manifest', async (t) => {
  const { bucket, options } = bucketOf();
  const folder = temporary(t);
  const imports = [`${options},name=tiny`, importOf('max-gzip-docker-list')];
  await copyCache({ imports, exports: [`${options},name=merged`, `type=local,dest=${folder}`] });
  const merged = textOf(bucket.names.get('merged'));
  await copyCache({ imports: [`type=local,src=${folder}`], exports: [`${options},name=again`] });
  t.is(textOf(bucket.names.get('again')), merged);
  t.true((await verifyFolder(folder)).sound);
});
