import { randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import type { BucketKeys } from '../../../../src/backend/config/bucket/bucket-keys.js';
import { azblobKeys, s3Keys } from '../../../../src/backend/config/bucket/bucket-keys.js';
import { bucketSource } from '../../../../src/backend/config/bucket/bucket-source.js';
import { BucketTarget } from '../../../../src/backend/config/bucket/bucket-target.js';
import type { ObjectStore } from '../../../../src/backend/config/bucket/object-store.js';
import { collect } from '../../../../src/bytes/collect.js';
import { parallel } from '../../../../src/bytes/parallel.js';
import { CacheError, type Side } from '../../../../src/errors.js';
import { blobsOf } from '../../../../src/graph/graph.js';
import { sha256 } from '../../../../src/oci/digest.js';
import { contentOf } from '../../../../src/oci/content.js';
import { FakeAzblob } from '../../../support/fake-azblob.js';
import { FakeS3 } from '../../../support/fake-s3.js';
import { fixture } from '../../../support/fixtures.js';
import { MemoryStore } from '../../../support/object-store.js';

// Uploads that have not ended are written down there.
const notes = mkdtempSync(join(tmpdir(), 'bkcache-drivers-'));
process.env['XDG_CACHE_HOME'] = notes;
test.after.always(() => rmSync(notes, { recursive: true, force: true }));

/** What both fake services tell of a request. */
interface Seen {
  readonly method: string;
  readonly key: string;
  readonly headers: IncomingMessage['headers'];
}

type Fault = (seen: Seen, answer: ServerResponse) => boolean;

/** A service with its driver. */
interface Service {
  open(t: ExecutionContext, side?: Side): ObjectStore;
  readonly bytes: () => ReadonlyMap<string, Buffer>;
  readonly seen: readonly string[];
  readonly connections: () => number;
}

const SERVICES: readonly {
  readonly name: string;
  readonly start: (t: ExecutionContext, fault?: Fault) => Promise<Service>;
  readonly keys: BucketKeys;
}[] = [
  {
    name: 'S3',
    keys: s3Keys({ type: 's3', attributes: { name: 'tiny' } }),
    async start(t, fault) {
      const fake = await FakeS3.start(t, fault);
      return {
        open: (test, side) => fake.open(test, {}, side),
        bytes: () => fake.objects,
        seen: fake.seen,
        connections: () => fake.connections,
      };
    },
  },
  {
    name: 'Azure',
    keys: azblobKeys({ type: 'azblob', attributes: { name: 'tiny' } }),
    async start(t, fault) {
      const fake = await FakeAzblob.start(t, fault);
      return {
        open: (test, side) => fake.open(test, {}, side),
        bytes: () => new Map([...fake.blobs].map(([key, { bytes }]) => [key, bytes])),
        seen: fake.seen,
        connections: () => fake.connections,
      };
    },
  },
];

const put = (store: ObjectStore, key: string, bytes: Uint8Array) =>
  store.put(key, contentOf(bytes).open(), bytes.length);

for (const { name, start, keys } of SERVICES) {
  test(`${name}: what is written can be read, whole and in parts, and is listed`, async (t) => {
    const service = await start(t);
    const store = service.open(t);
    for (const key of ['blobs/sha256:x', 'blobs/a b+c&d', 'blobs/é', '../blobs//x', 'empty']) {
      const bytes = key === 'empty' ? Buffer.of() : randomBytes(100);
      const content = store.content(key, bytes.length);
      const parts = { start: 10, end: 20 };
      await put(store, key, bytes);
      t.deepEqual(service.bytes().get(key), bytes, key);
      t.deepEqual(await collect(content.open()), bytes);
      t.deepEqual(await collect(content.open(parts)), bytes.subarray(10, 20));
      t.like(await store.head(key), { state: 'there', value: { key, size: bytes.length } });
      t.deepEqual(await store.read(key, 100), { state: 'there', value: bytes });
    }
    t.deepEqual(await store.head('missing'), { state: 'missing' });
    t.deepEqual(await store.read('missing', 10), { state: 'missing' });
    await t.throwsAsync(collect(store.content('missing', 1).open()), {
      code: 'CORRUPT',
      message: /missing is missing/,
    });
    await t.throwsAsync(store.read('blobs/é', 10), { code: 'FAILED', message: /over 10 bytes/ });
    const listed: string[] = [];
    for await (const page of store.list('blobs/')) listed.push(...page.map(({ key }) => key));
    t.deepEqual(listed, [...service.bytes().keys()].filter((key) => key.startsWith('blobs/')).toSorted());
  });

  test(`${name}: BuildKit's own bucket is read, and written again object by object as it was`, async (t) => {
    const [from, to] = [await start(t), await start(t)];
    const { objects } = MemoryStore.of(fixture('s3-bucket'));
    for (const [key, { bytes }] of objects) await put(from.open(t), key, bytes);
    const cache = await bucketSource(from.open(t), keys).load();
    const write = async () => {
      const target = new BucketTarget(to.open(t, 'export'), keys, { name: 'x', uploads: 4, touchRefresh: undefined });
      const blobs = blobsOf(cache.graph);
      const present = await target.present(blobs);
      for (const blob of blobs) if (!present.has(blob.digest)) await target.write(cache.blob(blob), blob);
      await target.publish({ graph: cache.graph, shape: undefined, saved: cache.saved });
      await target[Symbol.asyncDispose]();
    };
    await write();
    t.deepEqual(to.bytes(), new Map([...objects].map(([key, { bytes }]) => [key, bytes] as const)));
    t.is(to.seen.at(-1), 'PUT manifests/tiny', 'blobs come first');
    const before = to.seen.length;
    await write();
    t.deepEqual(
      to.seen.slice(before).filter((line) => !line.startsWith('HEAD')),
      ['PUT manifests/tiny'],
    );
  });

  test(`${name}: 60 blobs take as many connections as go at once`, async (t) => {
    const service = await start(t);
    const store = service.open(t);
    const bytes = randomBytes(50_000);
    const all = Array.from({ length: 60 }, (_, index) => `${index}`);
    await parallel(all, 4, undefined, async (key) => {
      t.deepEqual(await store.head(key), { state: 'missing' });
      await put(store, key, bytes);
      t.is((await store.head(key)).state, 'there');
      for await (const _ of store.content(key, bytes.length).open()) continue;
    });
    t.true(service.connections() <= 4, `${service.connections()}`);
  });

  test(`${name}: a cut answer goes on where it broke, and not from its beginning`, async (t) => {
    const bytes = randomBytes(1_000_000);
    const service = await start(t, ({ method, headers }, answer) => {
      if (method !== 'GET') return false;
      const first = Number(/\d+/.exec(String(headers['x-ms-range'] ?? headers.range ?? '0'))?.[0]);
      if (first >= 800_000) return false;
      const range = first === 0 ? {} : { 'content-range': `bytes ${first}-999999/1000000` };
      answer.writeHead(first === 0 ? 200 : 206, { 'content-length': bytes.length - first, etag: '"x"', ...range });
      answer.write(bytes.subarray(first, first + 100_000), () => answer.destroy());
      return true;
    });
    const store = service.open(t);
    await put(store, 'key', bytes);
    t.deepEqual(await collect(store.content('key', bytes.length).open()), bytes);
    t.true(service.seen.length > 5);
  });

  test(`${name}: wrong bytes and bytes of an import that is damaged store nothing`, async (t) => {
    const service = await start(t);
    const target = new BucketTarget(service.open(t, 'export'), keys, {
      name: 'x',
      uploads: 4,
      touchRefresh: undefined,
    });
    for (const size of [100, 20 * 1024 ** 2]) {
      const blob = { digest: sha256('other bytes'), size };
      await t.throwsAsync(target.write(contentOf(randomBytes(size)), blob), { code: 'CORRUPT' });
      const broken = async function* () {
        yield randomBytes(size / 2);
        throw new CacheError('CORRUPT', 'cut');
      };
      await t.throwsAsync(service.open(t).put('key', broken(), size), { message: 'cut' });
    }
    t.is(service.bytes().size, 0);
  });

  test(`${name}: an abort ends a request at once, and one that was aborted sends nothing`, async (t) => {
    const abort = new AbortController();
    const service = await start(t, () => {
      abort.abort(new Error('enough'));
      return true;
    });
    await t.throwsAsync(service.open(t).read('key', 10, abort.signal), { message: 'enough' });
    await t.throwsAsync(service.open(t).head('key', abort.signal), { message: 'enough' });
    t.is(service.seen.length, 1);
  });
}
