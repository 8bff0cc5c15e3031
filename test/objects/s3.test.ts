import { randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { CreateBucketCommand, CreateMultipartUploadCommand, ListPartsCommand, S3Client } from '@aws-sdk/client-s3';
import test, { type ExecutionContext } from 'ava';
import { startRadosgw } from '../support/radosgw.js';
import { startS3rver } from '../support/s3rver.js';
import { s3Store } from '../../src/backend/config/bucket/s3.js';
import { S3Connection } from '../../src/backend/config/bucket/s3-connection.js';
import { CacheError } from '../../src/errors.js';
import { HttpClient } from '../../src/net/http/http.js';
import { resolveCache } from '../../src/operations/resolve.js';
import { importOf, temporary } from '../support/fixtures.js';
import { idsIn, killUpload, runUpload } from '../support/killed-upload.js';
import { HASTY } from '../support/servers.js';
import { type Bucket, bucketTests, copy } from './bucket-tests.js';

/** A bucket for one test. */
interface S3Bucket extends Bucket {
  readonly client: S3Client;
  readonly name: string;
}

/**
 * What the tests run against. Over its SQLite store, Ceph's gateway gives wrong bytes for parts of objects and for objects
 * that were sent in parts, to every client; s3rver tells no wrong key from a right one, and lists no uploads.
 */
const SERVICES = [
  { service: 'RADOS gateway', start: startRadosgw, hasParts: false, hasCopies: false, isStrict: true },
  { service: 's3rver', start: startS3rver, hasParts: true, hasCopies: true, isStrict: false },
] as const;

if (process.env['BKCACHE_TEST_OBJECTS'] === undefined) {
  test.skip('these need an S3 service: npm run test:objects', (t) => t.pass());
} else
  for (const { service, start, hasParts, hasCopies, isStrict } of SERVICES) {
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

    const bucket = async (t: ExecutionContext): Promise<S3Bucket> => {
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
        settings: { ...settings, adaptive: false },
        store: s3Store(new S3Connection({ ...settings, adaptive: false }, http, 'import', HASTY)),
        at: `type=s3,bucket=${name},region=us-east-1,${where},access_key_id=${server.accessKey},secret_access_key=${server.secretKey}`,
      };
    };

    bucketTests(service, bucket, { hasParts, hasCopies });

    if (isStrict)
      test(`${service}: an upload that fails leaves no object`, async (t) => {
        const { store } = await bucket(t);
        const failing = async function* () {
          yield randomBytes(20 * 1024 ** 2);
          throw new CacheError('CORRUPT', 'cut');
        };
        await t.throwsAsync(store.put('key', failing(), 40 * 1024 ** 2), { message: 'cut' });
        t.deepEqual(await store.head('key'), { state: 'missing' });
      });

    if (isStrict)
      test(`${service}: the parts of a killed upload are used by the next run, and none is left`, async (t) => {
        const { store, client, name, settings } = await bucket(t);
        const bytes = randomBytes(40 * 1024 ** 2);
        const upload = { service: 's3', settings, key: 'key', bytes, home: temporary(t) } as const;
        // By its id, which the process writes down: this gateway lists no uploads.
        const parts = async (UploadId: string) => {
          const { Parts = [] } = await client.send(new ListPartsCommand({ Bucket: name, Key: 'key', UploadId }));
          return Parts;
        };
        await killUpload(upload, 30 * 1024 ** 2, async () => {
          const [id] = idsIn(upload.home);
          return id !== undefined && (await parts(id)).length >= 2;
        });
        const [left = '', ...more] = idsIn(upload.home);
        t.deepEqual(more, []);
        // Somebody else's, which is not touched.
        const other = await client.send(new CreateMultipartUploadCommand({ Bucket: name, Key: 'key' }));
        t.is(await runUpload(upload), 0);
        // The gateway says NoSuchKey.
        const ended = await t.throwsAsync(parts(left));
        t.regex(ended.name, /^NoSuch(?:Upload|Key)$/);
        t.deepEqual(await parts(other.UploadId ?? ''), []);
        t.deepEqual(idsIn(upload.home), []);
        t.like(await store.head('key'), { state: 'there', value: { size: bytes.length } });
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
  }
