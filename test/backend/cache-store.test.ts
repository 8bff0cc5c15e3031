import { rmSync } from 'node:fs';
import test from 'ava';
import { backends } from '../../src/backend/backends.js';
import { sha256 } from '../../src/oci/digest.js';
import { CACHE_CONFIG } from '../../src/oci/media-types.js';
import { copyCache } from '../../src/operations/copy/copy.js';
import { listCaches } from '../../src/operations/list.js';
import { verifyFolder } from '../../src/operations/verify/verify.js';
import { BareBackend } from '../support/bare-backend.js';
import { startBentRegistry } from '../support/bent-registry.js';
import { importOf, temporary } from '../support/fixtures.js';
import { blobPath } from '../support/folders.js';
import { MemoryBackend } from '../support/memory-backend.js';
import { storeConformance } from './store-conformance.js';

storeConformance('a folder', async (t) => {
  const folder = temporary(t);
  return Promise.resolve({
    place: folder,
    imports: (tag) => `type=local,src=${folder},tag=${tag}`,
    exports: (tag) => `type=local,dest=${folder},tag=${tag}`,
    lose: (digest) => rmSync(blobPath(folder, digest)),
  });
});

storeConformance('a repository of a registry', async (t) => {
  const { ref, blobs } = await startBentRegistry(t);
  return {
    place: ref,
    imports: (tag) => `${ref}:${tag}`,
    exports: (tag) => `${ref}:${tag}`,
    lose: (digest) => blobs.delete(digest),
  };
});

// Types without a backend stand for backends that only this file knows.
const memory = new MemoryBackend();
const bare = new BareBackend();
backends.set('s3', memory);
backends.set('azblob', bare);
let count = 0;

const named = (name: string | undefined) => (name === undefined ? '' : `,name=${name}`);
const s3 = (bucket: string, name?: string) => `type=s3,bucket=${bucket},region=here${named(name)}`;
const azblob = (bucket: string, name?: string) =>
  `type=azblob,account_url=https://a.example.com,account_name=a,container=${bucket}${named(name)}`;

for (const [name, backend, option] of [
  ['a place in memory', memory, s3],
  ['a place in memory whose caches have no manifest', bare, azblob],
] as const) {
  storeConformance(name, () => {
    const bucket = `bucket-${count++}`;
    return Promise.resolve({
      place: option(bucket),
      imports: (tag) => option(bucket, tag),
      exports: (tag) => option(bucket, tag),
      lose: (digest) => backend.buckets.get(bucket)?.blobs.delete(digest),
    });
  });
}

test('a cacheconfig without a manifest that BuildKit refuses is found, and the others are read', async (t) => {
  for (const tag of ['good', 'bad']) {
    await copyCache({ imports: [importOf('max-gzip')], exports: [azblob('faults', tag)] });
  }
  const bucket = bare.buckets.get('faults');
  const bytes = Buffer.from('{"layers":[{"blob":"sha256:00"}],"records":null}');
  const digest = sha256(bytes);
  bucket?.documents.set(digest, bytes);
  bucket?.names.set('bad', { mediaType: CACHE_CONFIG, digest, size: bytes.length });
  const { sound, findings } = await verifyFolder(azblob('faults'));
  t.false(sound);
  t.like(findings, { length: 1, 0: { kind: 'document', effect: 'import-refused', tags: ['bad'], digest } });
  const rows = await listCaches(azblob('faults'));
  t.deepEqual(
    rows.map(({ tag, cache, problem }) => [tag, cache?.layers, problem !== undefined]),
    [
      ['good', 7, false],
      ['bad', undefined, true],
    ],
  );
});

test('what is wrong with the records of a cache without a manifest is found, and joined ends are not', async (t) => {
  await copyCache({
    imports: [importOf('max-gzip'), importOf('buildkit-0.25-two-ends')],
    exports: [azblob('ends', 'joined')],
  });
  const kinds = async () => (await verifyFolder(azblob('ends'))).findings.map(({ kind }) => kind);
  t.deepEqual(await kinds(), []);
  const bucket = bare.buckets.get('ends');
  const replace = (document: object) => {
    const bytes = Buffer.from(JSON.stringify(document));
    const digest = sha256(bytes);
    bucket?.documents.set(digest, bytes);
    bucket?.names.set('joined', { mediaType: CACHE_CONFIG, digest, size: bytes.length });
  };
  const records = [{ digest: sha256('one') }, { digest: sha256('two') }];
  replace({ records });
  t.deepEqual(await kinds(), ['ends', 'unused']);
  replace({ records: [{ ...records[0], inputs: [[{ link: 7 }], [{ link: 8 }]] }] });
  t.deepEqual(await kinds(), ['graph', 'graph', 'unused']);
});
