import { randomBytes } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import test, { type ExecutionContext } from 'ava';
import type { ObjectStore } from '../../src/backend/config/bucket/object-store.js';
import { collect } from '../../src/bytes/collect.js';
import { CacheError } from '../../src/errors.js';
import { contentOf } from '../../src/oci/content.js';
import { copyCache, type ExportResult } from '../../src/operations/copy/copy.js';
import { inspectCache } from '../../src/operations/inspect.js';
import { resolveCache } from '../../src/operations/resolve.js';
import { storeConformance } from '../backend/store-conformance.js';
import { FIXTURES, fixture, importOf, temporary } from '../support/fixtures.js';
import { killUpload, runUpload } from '../support/killed-upload.js';
import { MemoryStore } from '../support/object-store.js';
import { assertSound } from '../support/sound.js';

/** A bucket for one test. */
export interface Bucket {
  /** The attributes that lead to it. */
  readonly at: string;
  readonly store: ObjectStore;
  /** As the connection of its driver takes them. */
  readonly settings: object;
}

/** Copies one cache to one place. */
export async function copy(from: string, to: string): Promise<ExportResult> {
  const { exports } = await copyCache({ imports: [from], exports: [to] });
  return exports[0] as ExportResult;
}

async function bytesAt({ store }: Bucket): Promise<Map<string, Buffer>> {
  const found = new Map<string, Buffer>();
  for await (const page of store.list('')) {
    for (const { key, size } of page) found.set(key, await collect(store.content(key, size).open()));
  }
  return found;
}

/**
 * What holds in every service of buckets.
 *
 * @param hasParts - whether it gives right bytes for parts of objects, and for objects that were sent in parts
 * @param hasCopies - whether its copies of objects exist
 */
export function bucketTests(
  service: string,
  open: (t: ExecutionContext) => Promise<Bucket>,
  { hasParts, hasCopies }: { readonly hasParts: boolean; readonly hasCopies: boolean },
): void {
  test(`${service}: BuildKit's own bucket is read, and written again object by object as it was`, async (t) => {
    const [from, to] = [await open(t), await open(t)];
    const { objects } = MemoryStore.of(fixture('s3-bucket'));
    for (const [key, { bytes }] of objects) await from.store.put(key, contentOf(bytes).open(), bytes.length);
    t.is((await inspectCache(`${from.at},name=tiny`)).records.length, 12);
    await copy(`${from.at},name=tiny`, `${to.at},name=tiny`);
    const expected = Object.fromEntries([...objects].map(([key, { bytes }]) => [key, bytes]));
    t.deepEqual(Object.fromEntries(await bytesAt(to)), expected);
    const folder = temporary(t);
    await copy(`${to.at},name=tiny`, `type=local,dest=${folder}`);
    await assertSound(t, folder);
    const back = await copy(`type=local,src=${folder}`, `${to.at},name=back`);
    t.is(back.descriptor.digest, (await resolveCache(`${from.at},name=tiny`)).digest);
    t.is(back.actions.present, 6);
  });

  storeConformance(service, async (t) => {
    const { at, store } = await open(t);
    const named = (tag: string) => `${at},name=${tag}`;
    const gc = { manifestsPrefixes: ['manifests/'] };
    return { place: at, gc, imports: named, exports: named, lose: (digest) => store.remove(`blobs/${digest}`) };
  });

  test(`${service}: every cache goes into a bucket and comes out with the same graph`, async (t) => {
    const to = await open(t);
    for (const [folder, tag] of FIXTURES) {
      const name = `${folder}/${tag} +&`;
      await copy(importOf(folder, tag), `${to.at},name=${name},prefix=team a/`);
      const here = await inspectCache(importOf(folder, tag));
      const there = await inspectCache(`${to.at},name=${name},prefix=team a/`);
      t.deepEqual(there.records, here.records, name);
      const out = temporary(t);
      await copy(`${to.at},name=${name},prefix=team a/`, `type=local,dest=${out}`);
      await assertSound(t, out);
    }
  });

  test(`${service}: conversions, min and merging come to the same in a bucket as in a folder`, async (t) => {
    const to = await open(t);
    const cases = [
      { imports: [importOf('max-gzip')], options: 'compression=zstd,force-compression=true' },
      { imports: [importOf('max-gzip')], options: 'compression=estargz,force-compression=true,mode=min' },
      { imports: [importOf('grown', 'main'), importOf('grown', 'feature')], options: 'mode=max' },
    ];
    for (const [index, { imports, options }] of cases.entries()) {
      const exports = [`type=local,dest=${temporary(t)},${options}`, `${to.at},name=${index},${options}`];
      const [here, there] = (await copyCache({ imports, exports })).exports;
      t.deepEqual([there?.layers, there?.records, there?.mode], [here?.layers, here?.records, here?.mode]);
      const again = (await copyCache({ imports, exports: exports.slice(1) })).exports[0];
      t.is(again?.descriptor.digest, there?.descriptor.digest);
      t.like(again, { bytesWritten: 0, actions: { copied: 0, converted: 0 } });
      const out = temporary(t);
      await copy(`${to.at},name=${index}`, `type=local,dest=${out}`);
      await assertSound(t, out);
    }
  });

  test(`${service}: objects are stored, found, listed and read whatever their keys are`, async (t) => {
    const to = await open(t);
    const keys = ['blobs/sha256:x', 'a b+c&d', 'é/%2F', 'x/y', 'large', 'in parts', 'in more parts'];
    const sizes = [0, 1, 100_000, 5000, 16 * 1024 ** 2 - 1, ...(hasParts ? [16 * 1024 ** 2, 33 * 1024 ** 2 + 1] : [])];
    for (const [index, size] of sizes.entries()) {
      const key = keys[index] ?? '';
      const bytes = randomBytes(size);
      const content = to.store.content(key, size);
      t.deepEqual(await to.store.head(key), { state: 'missing' });
      await to.store.put(key, contentOf(bytes).open(), size);
      t.like(await to.store.head(key), { state: 'there', value: { key, size } });
      t.true(bytes.equals(await collect(content.open())), key);
      const part = { start: Math.floor(size / 3), end: Math.floor(size / 2) };
      if (hasParts) t.true(bytes.subarray(part.start, part.end).equals(await collect(content.open(part))), key);
    }
    t.deepEqual([...(await bytesAt(to)).keys()].toSorted(), keys.slice(0, sizes.length).toSorted());
  });

  test(`${service}: 60 layers at once need no more connections than transfers`, async (t) => {
    const to = await open(t);
    await Promise.all(
      Array.from({ length: 60 }, (_, index) => to.store.put(`${index}`, contentOf(randomBytes(50_000)).open(), 50_000)),
    );
    t.is((await bytesAt(to)).size, 60);
  });

  test(`${service}: an object is copied under another key, or the lack of a copy is noticed`, async (t) => {
    const { store } = await open(t);
    const bytes = randomBytes(1000);
    await store.put('blobs/a b', contentOf(bytes).open(), bytes.length);
    const object = { key: 'blobs/a b', size: bytes.length, modified: 0 };
    if (hasCopies) {
      t.true(await store.copy(object, 'blobs/.bkcache/é'));
      t.deepEqual(await store.read('blobs/.bkcache/é', 1000), { state: 'there', value: bytes });
      t.false(await store.copy({ ...object, key: 'missing' }, 'x'));
    } else {
      await t.throwsAsync(store.copy(object, 'blobs/.bkcache/é'), { message: /and did not/ });
    }
  });

  test(`${service}: between two buckets the service copies the blobs, or they are sent`, async (t) => {
    const [from, to] = [await open(t), await open(t)];
    await copy(importOf('max-gzip'), from.at);
    const { actions, bytesWritten, descriptor } = await copy(from.at, to.at);
    t.like(actions, hasCopies ? { mounted: 6, copied: 0 } : { mounted: 0, copied: 6 });
    if (hasCopies) t.is(bytesWritten, 0);
    t.is(descriptor.digest, (await resolveCache(from.at)).digest);
    const folder = temporary(t);
    await copy(to.at, `type=local,dest=${folder}`);
    await assertSound(t, folder);
    t.like((await copy(from.at, to.at)).actions, { present: 6 });
  });

  test(`${service}: a killed upload leaves no object, and the next run stores it whole`, async (t) => {
    const { store, settings } = await open(t);
    const bytes = randomBytes(40 * 1024 ** 2);
    const type = service === 'Azurite' ? 'azblob' : 's3';
    const upload = { service: type, settings, key: 'blobs/killed', bytes, home: temporary(t) } as const;
    await killUpload(upload, 30 * 1024 ** 2, async () => {
      await sleep(1500);
      return true;
    });
    t.deepEqual(await store.head('blobs/killed'), { state: 'missing' });
    t.is(await runUpload(upload), 0);
    t.like(await store.head('blobs/killed'), { state: 'there', value: { size: bytes.length } });
    if (hasParts) t.true(bytes.equals(await collect(store.content('blobs/killed', bytes.length).open())));
  });

  test(`${service}: objects are deleted together, whatever their keys are`, async (t) => {
    const to = await open(t);
    const keys = ['blobs/a b+c', 'blobs/&<"é', 'blobs/.bkcache/x/y', 'blobs/%2F'];
    for (const key of [...keys, 'stays']) await to.store.put(key, contentOf(Buffer.of(1)).open(), 1);
    t.deepEqual(await to.store.cleaning.removeAll([...keys, 'missing']), []);
    t.deepEqual([...(await bytesAt(to)).keys()], ['stays']);
    t.deepEqual(await to.store.cleaning.retention(), []);
    // A service that does not list uploads says so.
    const uploads = async () => {
      for await (const page of to.store.cleaning.uploads?.('blobs/') ?? []) t.deepEqual(page, []);
    };
    await uploads().catch((error: unknown) => t.true(error instanceof CacheError));
  });

  test(`${service}: an object is deleted unless it is younger than it was`, async (t) => {
    const { store } = await open(t);
    const key = 'blobs/a b';
    await store.put(key, contentOf(Buffer.of(1)).open(), 1);
    const answer = await store.head(key);
    if (answer.state !== 'there') return t.fail('it is not there');
    await sleep(1100);
    const isTouched = await store.cleaning.refresh(answer.value);
    const now = await store.head(key);
    if (now.state !== 'there') return t.fail('it is gone');
    t.is(now.value.modified > answer.value.modified, isTouched, 'what is said of a touch is so');
    t.true(await store.cleaning.removeUnchanged(now.value));
    t.deepEqual(await store.head(key), { state: 'missing' });
    return undefined;
  });

  test(`${service}: an object is deleted, and one that is missing may be`, async (t) => {
    const { store } = await open(t);
    await store.put('blobs/a b+c', contentOf(Buffer.of(1)).open(), 1);
    for (const key of ['blobs/a b+c', 'missing']) await store.remove(key);
    t.deepEqual(await store.head('blobs/a b+c'), { state: 'missing' });
  });
}
