import { randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { CreateBucketCommand, ListMultipartUploadsCommand, S3Client } from '@aws-sdk/client-s3';
import test, { type ExecutionContext } from 'ava';
import { startRadosgw } from '../support/radosgw.js';
import { startS3rver } from '../support/s3rver.js';
import { s3Store } from '../../src/backend/config/bucket/s3.js';
import { S3Connection } from '../../src/backend/config/bucket/s3-connection.js';
import type { ObjectStore } from '../../src/backend/config/bucket/object-store.js';
import { collect } from '../../src/bytes/collect.js';
import { CacheError } from '../../src/errors.js';
import { HttpClient } from '../../src/net/http/http.js';
import { copyCache, type ExportResult } from '../../src/operations/copy/copy.js';
import { inspectCache } from '../../src/operations/inspect.js';
import { resolveCache } from '../../src/operations/resolve.js';
import { contentOf } from '../../src/oci/content.js';
import { FIXTURES, fixture, importOf, temporary } from '../support/fixtures.js';
import { MemoryStore } from '../support/object-store.js';
import { HASTY } from '../support/servers.js';
import { assertSound } from '../support/sound.js';

/** A bucket for one test. */
interface Bucket {
  /** The attributes that lead to it. */
  readonly at: string;
  readonly store: ObjectStore;
  readonly client: S3Client;
  readonly name: string;
}

/**
 * What the tests run against. Over its SQLite store, Ceph's gateway gives wrong bytes for parts of objects and for objects
 * that were sent in parts, to every client; s3rver tells no wrong key from a right one, and lists no uploads.
 */
const SERVICES = [
  { service: 'RADOS gateway', start: startRadosgw, hasParts: false, isStrict: true },
  { service: 's3rver', start: startS3rver, hasParts: true, isStrict: false },
] as const;

if (process.env['BKCACHE_TEST_OBJECTS'] === undefined) {
  test.skip('these need an S3 service: npm run test:objects', (t) => t.pass());
} else
  for (const { service, start, hasParts, isStrict } of SERVICES) {
    const folder = mkdtempSync(join(tmpdir(), 'bkcache-objects-'));
    // What layers became in buckets is remembered there.
    process.env['XDG_CACHE_HOME'] = join(folder, 'cache');
    let server: Awaited<ReturnType<typeof start>>;
    test.before(async () => {
      server = await start(join(folder, 'data'), AbortSignal.timeout(600_000));
    });
    test.after.always(async () => {
      await server.stop();
      rmSync(folder, { recursive: true, force: true });
    });

    const bucket = async (t: ExecutionContext): Promise<Bucket> => {
      const name = `bucket-${randomBytes(6).toString('hex')}`;
      const endpoint = `http://${server.host}`;
      const keys = { accessKeyId: server.accessKey, secretAccessKey: server.secretKey };
      const client = new S3Client({ region: 'us-east-1', endpoint, forcePathStyle: true, credentials: keys });
      await client.send(new CreateBucketCommand({ Bucket: name }));
      const http = new HttpClient({ verify: true });
      t.teardown(async () => {
        await http[Symbol.asyncDispose]();
        client.destroy();
      });
      const settings = { bucket: name, region: 'us-east-1', endpoint, pathStyle: true, keys, attempts: undefined };
      const where = `endpoint_url=${endpoint},use_path_style=true`;
      return {
        name,
        client,
        store: s3Store(new S3Connection({ ...settings, adaptive: false }, http, 'import', HASTY)),
        at: `type=s3,bucket=${name},region=us-east-1,${where},access_key_id=${server.accessKey},secret_access_key=${server.secretKey}`,
      };
    };
    const copy = async (from: string, to: string): Promise<ExportResult> => {
      const { exports } = await copyCache({ imports: [from], exports: [to] });
      return exports[0] as ExportResult;
    };
    const bytesAt = async ({ store }: Bucket) => {
      const found = new Map<string, Buffer>();
      for await (const page of store.list('')) {
        for (const { key, size } of page) found.set(key, await collect(store.content(key, size).open()));
      }
      return found;
    };

    test(`${service}: BuildKit's own bucket is read, and written again object by object as it was`, async (t) => {
      const [from, to] = [await bucket(t), await bucket(t)];
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

    test(`${service}: every cache goes into a bucket and comes out with the same graph`, async (t) => {
      const to = await bucket(t);
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
      const to = await bucket(t);
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
      const to = await bucket(t);
      const keys = ['blobs/sha256:x', 'a b+c&d', 'é/%2F', 'x/y', 'large', 'in parts', 'in more parts'];
      const sizes = [
        0,
        1,
        100_000,
        5000,
        16 * 1024 ** 2 - 1,
        ...(hasParts ? [16 * 1024 ** 2, 33 * 1024 ** 2 + 1] : []),
      ];
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

    if (isStrict)
      test(`${service}: an upload that fails leaves no object and no parts`, async (t) => {
        const { store, client, name } = await bucket(t);
        const failing = async function* () {
          yield randomBytes(20 * 1024 ** 2);
          throw new CacheError('CORRUPT', 'cut');
        };
        await t.throwsAsync(store.put('key', failing(), 40 * 1024 ** 2), { message: 'cut' });
        t.deepEqual(await store.head('key'), { state: 'missing' });
        const { Uploads = [] } = await client.send(new ListMultipartUploadsCommand({ Bucket: name }));
        t.is(Uploads.length, 0);
      });

    test(`${service}: a blob older than touch_refresh is young after an export, by a touch or anew`, async (t) => {
      const to = await bucket(t);
      const ages = async () => {
        const found = new Map<string, number>();
        for await (const page of to.store.list('blobs/'))
          for (const { key, modified } of page) found.set(key, modified);
        return found;
      };
      await copy(importOf('max-gzip'), to.at);
      const before = await ages();
      await new Promise((resolve) => setTimeout(resolve, 2100));
      const kept = await copy(importOf('max-gzip'), to.at);
      t.like(kept, { actions: { present: 6, copied: 0 } });
      t.deepEqual(await ages(), before);
      await copy(importOf('max-gzip'), `${to.at},touch_refresh=1s`);
      for (const [key, modified] of await ages()) t.true(modified > (before.get(key) ?? Infinity), key);
    });

    if (isStrict)
      test(`${service}: a wrong key, bucket, name or region has a reason`, async (t) => {
        const { at, name } = await bucket(t);
        const failure = (text: string) => t.throwsAsync<CacheError>(resolveCache(text));
        const missing = await failure(at);
        t.is(missing.code, 'NOT_FOUND');
        t.regex(missing.hint ?? '', /check prefix=/);
        t.regex((await failure(at.replace(name, 'no-such-bucket'))).hint ?? '', /has to be made/);
        t.regex((await failure(at.replace('=testkey', '=other'))).hint ?? '', /access_key_id/);
        const wrong = await failure(at.replace('=a secret', '=another secret'));
        t.regex(wrong.hint ?? '', /secret_access_key=/);
        t.notRegex(JSON.stringify(wrong), /another secret/);
      });

    test(`${service}: 60 layers at once need no more connections than transfers`, async (t) => {
      const to = await bucket(t);
      await Promise.all(
        Array.from({ length: 60 }, (_, index) =>
          to.store.put(`${index}`, contentOf(randomBytes(50_000)).open(), 50_000),
        ),
      );
      t.is((await bytesAt(to)).size, 60);
    });
  }
