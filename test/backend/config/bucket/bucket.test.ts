import test, { type ExecutionContext } from 'ava';
import fc from 'fast-check';
import {
  azblobKeys,
  type BucketKeys,
  joinedPath,
  manifestKey,
  s3Keys,
} from '../../../../src/backend/config/bucket/bucket-keys.js';
import { findObjects } from '../../../../src/backend/config/bucket/bucket-presence.js';
import { bucketSource } from '../../../../src/backend/config/bucket/bucket-source.js';
import { BucketTarget } from '../../../../src/backend/config/bucket/bucket-target.js';
import { wholeListing } from '../../../../src/backend/config/bucket/listing.js';
import type { Cache } from '../../../../src/backend/backend.js';
import { loadBare } from '../../../../src/graph/bare.js';
import { blobsOf, type Graph } from '../../../../src/graph/graph.js';
import { merge } from '../../../../src/graph/merge.js';
import { contentOf, readWhole } from '../../../../src/oci/content.js';
import { UNCOMPRESSED } from '../../../../src/oci/descriptor.js';
import { sha256 } from '../../../../src/oci/digest.js';
import { fixture, loadFixture } from '../../../support/fixtures.js';
import type { Answer, StoredObject } from '../../../../src/backend/config/bucket/object-store.js';
import { MemoryStore } from '../../../support/object-store.js';

const HOUR = 3_600_000;
const keysOf = (attributes: Readonly<Record<string, string>> = {}) => s3Keys({ type: 's3', attributes });
const azureKeysOf = (attributes: Readonly<Record<string, string>> = {}) => azblobKeys({ type: 'azblob', attributes });
const TINY = keysOf({ name: 'tiny' });

function targetOf(t: ExecutionContext, store: MemoryStore, keys: BucketKeys): BucketTarget {
  const target = new BucketTarget(store, keys, { name: 'target', uploads: 4, touchRefresh: 24 * HOUR });
  t.teardown(() => target[Symbol.asyncDispose]());
  return target;
}

/** Writes a cache as a copy does. */
async function write(target: BucketTarget, cache: Cache, graph: Graph = cache.graph): Promise<void> {
  const blobs = blobsOf(graph);
  const present = await target.present(blobs);
  for (const blob of blobs) if (!present.has(blob.digest)) await target.write(cache.blob(blob), blob);
  await target.publish({ graph, shape: undefined, saved: graph === cache.graph ? cache.saved : undefined });
}

test('keys are plain concatenation, and an empty prefix is not the default', (t) => {
  t.deepEqual(keysOf(), { names: ['buildkit'], reads: 'first', blobs: 'blobs/', manifests: 'manifests/' });
  t.deepEqual(keysOf({ prefix: 'foo', blobs_prefix: '', manifests_prefix: 'm', name: 'a;b/c' }), {
    names: ['a', 'b/c'],
    reads: 'first',
    blobs: 'foo',
    manifests: 'foom',
  });
});

test('keys of Azure are joined as paths, and a key that is none is refused', (t) => {
  const rows: [Readonly<Record<string, string>>, string, string][] = [
    [{}, 'blobs/sha256:x', 'manifests/buildkit'],
    [{ prefix: 'pre//x/' }, 'pre/x/blobs/sha256:x', 'pre/x/manifests/buildkit'],
    [{ prefix: 'a/../b', blobs_prefix: '', manifests_prefix: '/m/' }, 'b/sha256:x', 'b/m/buildkit'],
    [{ prefix: '/', blobs_prefix: '' }, '/sha256:x', '/manifests/buildkit'],
    [{ prefix: '.', blobs_prefix: '', manifests_prefix: '' }, 'sha256:x', 'buildkit'],
    [{ prefix: '..', name: 'a/./b/' }, '../blobs/sha256:x', '../manifests/a/b'],
    [{ name: '../up' }, 'blobs/sha256:x', 'up'],
    [{ name: '' }, 'blobs/sha256:x', 'manifests'],
    [{ name: 'a+b &;c' }, 'blobs/sha256:x', 'manifests/a+b &'],
  ];
  for (const [attributes, blob, manifest] of rows) {
    const keys = azureKeysOf(attributes);
    t.is(`${keys.blobs}sha256:x`, blob);
    t.is(manifestKey(keys, keys.names[0] ?? ''), manifest);
  }
  for (const attributes of [{ name: '..' }, { name: 'a;..' }, { name: '', manifests_prefix: '' }]) {
    t.throws(() => azureKeysOf(attributes), { code: 'USAGE', message: /names no blob/ });
  }
});

test('paths are joined as Go joins them, and joining again changes nothing', (t) => {
  const part = fc.stringMatching(/^[ab./]{0,6}$/);
  fc.assert(
    fc.property(fc.array(part, { maxLength: 4 }), (parts) => {
      const path = joinedPath(...parts);
      t.is(joinedPath(path), path);
      t.is(
        path === '',
        parts.every((one) => one === ''),
      );
      t.notRegex(path, /\/\/|.\/$|(?:^|\/)\.\/|[^./]\/\.\.(?:\/|$)/);
      t.is(joinedPath('', ...parts), path);
    }),
  );
  t.pass();
});

test('several names of Azure become one cache, and those that are missing count as empty', async (t) => {
  const caches = await Promise.all([loadFixture('grown', 'main'), loadFixture('grown', 'feature')]);
  const store = new MemoryStore();
  for (const [index, { saved: _, ...cache }] of caches.entries())
    await write(targetOf(t, store, azureKeysOf({ name: `${index}` })), cache);
  const notes: string[] = [];
  const source = bucketSource(store, azureKeysOf({ name: '0;1;2;0' }), (text) => notes.push(text));
  const whole = await source.load();
  const one = await bucketSource(store, azureKeysOf({ name: '1' })).load();
  t.deepEqual(
    whole.graph.records,
    merge(
      await Promise.all(
        ['0', '1'].map(async (name) => (await bucketSource(store, azureKeysOf({ name })).load()).graph),
      ),
    ).records,
  );
  t.true(whole.graph.records.length > one.graph.records.length);
  t.deepEqual(notes, ['there is no cache at memory://bucket/manifests/2: only the others are read']);
  for (const blob of blobsOf(whole.graph))
    await t.notThrowsAsync(readWhole(whole.blob(blob), blob, 'x', { limit: 1e6 }));
  const [only] = [bucketSource(store, azureKeysOf({ name: '2;1' }))];
  t.is((await only?.resolve())?.digest, sha256(store.objects.get('manifests/1')?.bytes ?? ''));
  await write(targetOf(t, store, azureKeysOf({ name: 'both' })), { ...whole });
  t.is((await source.resolve()).digest, sha256(store.objects.get('manifests/both')?.bytes ?? ''));
  await t.throwsAsync(bucketSource(store, azureKeysOf({ name: '7;8' })).load(), {
    code: 'NOT_FOUND',
    message: 'there is no cache at memory://bucket/manifests/7 and memory://bucket/manifests/8',
  });
  store.set('manifests/2', Buffer.from('{'));
  await t.throwsAsync(bucketSource(store, azureKeysOf({ name: '0;2' })).load(), { code: 'CORRUPT' });
});

/** A store of which one object is in an archive. */
class ArchivingStore extends MemoryStore {
  archived = '';
  readonly created: string[] = [];

  override async head(key: string): Promise<Answer<StoredObject>> {
    return key === this.archived ? { state: 'missing' } : super.head(key);
  }

  override async *list(prefix: string): AsyncGenerator<readonly StoredObject[], void, undefined> {
    for await (const page of super.list(prefix))
      yield page.map((object) => (object.key === this.archived ? { ...object, isArchived: true } : object));
  }

  async create(key: string): Promise<void> {
    await Promise.resolve(this.created.push(key));
  }
}

test('an object in an archive is looked for by itself', async (t) => {
  const store = new ArchivingStore();
  const keys = Array.from({ length: 30 }, (_, index) => `blobs/${sha256(`${index}`)}`);
  for (const key of keys) store.set(key, Buffer.from('x'));
  store.archived = keys[7] ?? '';
  const found = await findObjects(store, 'blobs/', keys, undefined);
  t.is(found.size, 29);
  t.false(found.has(store.archived));
});

test('blobs are created, and names are replaced, where the service tells the two apart', async (t) => {
  const store = new ArchivingStore();
  const cache = await loadFixture('max-gzip');
  await write(targetOf(t, store, TINY), cache);
  t.deepEqual(
    store.created.toSorted(),
    blobsOf(cache.graph)
      .map(({ digest }) => `blobs/${digest}`)
      .toSorted(),
  );
  t.deepEqual([...store.objects.keys()], ['manifests/tiny']);
});

test("BuildKit's own bucket is read, and written again object by object as it was", async (t) => {
  const from = MemoryStore.of(fixture('s3-bucket'));
  const source = bucketSource(from, TINY);
  const cache = await source.load();
  t.is((await source.resolve()).digest, sha256(from.objects.get('manifests/tiny')?.bytes ?? ''));
  t.is(cache.graph.records.length, 12);
  const to = new MemoryStore();
  await write(targetOf(t, to, TINY), cache);
  const bytesIn = ({ objects }: MemoryStore) =>
    Object.fromEntries([...objects].map(([key, { bytes }]) => [key, bytes]));
  t.deepEqual(bytesIn(to), bytesIn(from));
  t.true(to.requests.at(-1)?.startsWith('put manifests/'), 'blobs come first');

  const again = targetOf(t, to, TINY);
  to.requests.length = 0;
  await write(again, cache);
  t.deepEqual(
    to.requests.filter((request) => !request.startsWith('head')),
    ['put manifests/tiny'],
    'blobs are not sent again, and the manifest is',
  );
});

test('a cache from a folder comes back from a bucket, with every name that it was given', async (t) => {
  const { saved: _, ...cache } = await loadFixture('max-gzip');
  const store = new MemoryStore();
  const keys = keysOf({ name: 'a;b/c +&', prefix: 'p q/' });
  await write(targetOf(t, store, keys), cache);
  for (const name of ['a', 'b/c +&']) {
    const back = await bucketSource(store, keysOf({ name, prefix: 'p q/' })).load();
    t.is(back.graph.layers.length, cache.graph.layers.length);
    t.deepEqual(back.graph.records, cache.graph.records);
    for (const blob of blobsOf(back.graph))
      await t.notThrowsAsync(readWhole(back.blob(blob), blob, 'x', { limit: 1e6 }));
  }
});

test('a manifest that is missing is exit 3 with the names there are', async (t) => {
  const store = MemoryStore.of(fixture('s3-bucket'));
  const missing = bucketSource(store, keysOf());
  await t.throwsAsync(missing.load(), {
    code: 'NOT_FOUND',
    message: 'there is no cache at memory://bucket/manifests/buildkit',
  });
  const error = await t.throwsAsync<Error & { hint?: string }>(missing.resolve());
  t.is(error.hint, 'the names there are: tiny');
  store.mayList = false;
  await t.throwsAsync(bucketSource(store, keysOf()).load(), { code: 'DENIED' });
});

test('one listing answers for many blobs, and a request for each of a few', async (t) => {
  const store = new MemoryStore();
  const keys = Array.from({ length: 300 }, (_, index) => `blobs/${sha256(`${index}`)}`);
  for (const key of keys.slice(0, 200)) store.set(key, Buffer.from('x'));
  const find = async (wanted: readonly string[]) => {
    store.requests.length = 0;
    return [...(await findObjects(store, 'blobs/', wanted, undefined)).keys()].toSorted();
  };
  const there = keys.slice(0, 200).toSorted();
  t.deepEqual(await find(keys), there);
  t.deepEqual(store.requests, ['list blobs/']);
  store.pageSize = 1;
  t.deepEqual(await find(keys), there, 'a bucket of which a few pages are a small part');
  t.is(store.requests.filter((request) => request.startsWith('list')).length, 25);
  store.mayList = false;
  t.deepEqual(await find(keys), there, 'without the right to list');
  store.mayList = true;
  t.is((await find(keys.slice(0, 5))).length, 5);
  t.true(store.requests.every((request) => request.startsWith('head')));
});

test('a listing that is not whole is no listing', async (t) => {
  const object = (key: string) => ({ key, size: 1, modified: 0 });
  const pages = async (...all: readonly { keys: string[]; token?: string; isTruncated?: boolean }[]) => {
    const queue = [...all];
    const ask = () => {
      const { keys = [], token, isTruncated = token !== undefined } = queue.shift() ?? {};
      return Promise.resolve({ objects: keys.map(object), isTruncated, token });
    };
    const found: string[] = [];
    for await (const page of wholeListing('bucket', ask)) found.push(...page.map(({ key }) => key));
    return found;
  };
  t.deepEqual(await pages({ keys: ['a'], token: '1' }, { keys: ['b'] }), ['a', 'b']);
  t.deepEqual(await pages({ keys: ['\uffff', '\u{10000}'] }), ['\uffff', '\u{10000}'], 'the order is that of bytes');
  await t.throwsAsync(pages({ keys: ['a'], isTruncated: true }), { message: /does not say which/ });
  await t.throwsAsync(pages({ keys: ['a'], token: '1' }, { keys: ['b'], token: '1' }), { message: /leads back/ });
  await t.throwsAsync(pages({ keys: ['b'], token: '1' }, { keys: ['a'] }), { message: /out of order/ });
});

test('a blob of another size is sent again, and an old one is touched, or sent where that changes nothing', async (t) => {
  const store = MemoryStore.of(fixture('s3-bucket'));
  const cache = await bucketSource(store, TINY).load();
  const [short, old, ...young] = blobsOf(cache.graph).map(({ digest }) => `blobs/${digest}`);
  if (short === undefined || old === undefined) return t.fail();
  const whole = new Map(store.objects);
  store.set(short, Buffer.from('x'));
  store.set(old, whole.get(old)?.bytes ?? Buffer.of(), Date.now() - 25 * HOUR);
  const from = {
    ...cache,
    blob: ({ digest }: { digest: string }) => contentOf(whole.get(`blobs/${digest}`)?.bytes ?? Buffer.of()),
  };
  const sent = async () => {
    store.requests.length = 0;
    await write(targetOf(t, store, TINY), from);
    return store.requests.filter((request) => /^(?:put|touch) blobs/.test(request)).toSorted();
  };
  t.deepEqual(await sent(), [`put ${short}`, `touch ${old}`]);
  t.deepEqual(await sent(), []);
  store.touches = false;
  store.set(old, whole.get(old)?.bytes ?? Buffer.of(), Date.now() - 25 * HOUR);
  t.deepEqual(await sent(), [`put ${old}`, `touch ${old}`]);
  t.true(young.every((key) => store.objects.get(key)?.modified === whole.get(key)?.modified));
});

test('a layer without a diffID gets it from its bytes', async (t) => {
  const cache = await loadFixture('max-zstd');
  const [first] = blobsOf(cache.graph);
  if (first === undefined) return t.fail();
  const graph = {
    ...cache.graph,
    descriptors: new Map(cache.graph.descriptors).set(first.digest, { ...first, annotations: {} }),
  };
  const store = new MemoryStore();
  await write(targetOf(t, store, TINY), cache, graph);
  const back = loadBare(store.objects.get('manifests/tiny')?.bytes ?? Buffer.of(), 'x');
  t.is(back.descriptors.get(first.digest)?.annotations?.[UNCOMPRESSED], first.annotations?.[UNCOMPRESSED]);
  t.is(back.layers.length, graph.layers.length);
});

test('results with layers that the bucket does not have stay out, since no URL of them can be written', async (t) => {
  const cache = await loadFixture('max-gzip');
  const [gone, ...blobs] = blobsOf(cache.graph);
  const store = new MemoryStore();
  const target = targetOf(t, store, TINY);
  for (const blob of blobs) await target.write(cache.blob(blob), blob);
  await target.publish({ graph: cache.graph, shape: undefined, saved: undefined });
  const back = loadBare(store.objects.get('manifests/tiny')?.bytes ?? Buffer.of(), 'x');
  t.true(back.layers.length > 0);
  t.false(back.layers.some(({ blob }) => blob === gone?.digest));
  t.is(back.records.length, cache.graph.records.length, 'every key stays');
});

test('bytes that are made while they are read have their digest as their name', async (t) => {
  const store = new MemoryStore();
  const target = targetOf(t, store, TINY);
  const made = {
    async *open() {
      yield Buffer.from('made ');
      yield Buffer.from('here');
    },
  };
  const blob = await target.write(made, undefined);
  t.deepEqual(blob, { digest: sha256('made here'), size: 9 });
  t.is(store.objects.get(`blobs/${blob.digest}`)?.bytes.toString(), 'made here');
});

test('damaged bytes of an import store nothing', async (t) => {
  const store = new MemoryStore();
  const wrong = { digest: sha256('right'), size: 5 };
  await t.throwsAsync(targetOf(t, store, TINY).write(contentOf(Buffer.from('wrong')), wrong), { code: 'CORRUPT' });
  t.is(store.objects.size, 0);
});
