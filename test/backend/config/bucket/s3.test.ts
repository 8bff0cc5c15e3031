import { createHash, randomBytes } from 'node:crypto';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { ServerResponse } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { s3Keys } from '../../../../src/backend/config/bucket/bucket-keys.js';
import { s3Store } from '../../../../src/backend/config/bucket/s3.js';
import { S3Connection } from '../../../../src/backend/config/bucket/s3-connection.js';
import { BucketTarget } from '../../../../src/backend/config/bucket/bucket-target.js';
import { partSize } from '../../../../src/backend/config/parts.js';
import { collect } from '../../../../src/bytes/collect.js';
import { CacheError } from '../../../../src/errors.js';
import { contentOf } from '../../../../src/oci/content.js';
import { sha256 } from '../../../../src/oci/digest.js';
import { RoutedHttp } from '../../../support/credential-sources.js';
import { FakeS3, refuse, type S3Fault } from '../../../support/fake-s3.js';
import { temporary } from '../../../support/fixtures.js';
import { killUpload, runUpload } from '../../../support/killed-upload.js';
import { HASTY } from '../../../support/servers.js';

const MEBIBYTE = 1024 ** 2;
// Uploads that have not ended are written down there.
const notes = mkdtempSync(join(tmpdir(), 'bkcache-s3-'));
process.env['XDG_CACHE_HOME'] = notes;
test.after.always(() => rmSync(notes, { recursive: true, force: true }));

const md5 = (bytes: Uint8Array) => createHash('md5').update(bytes).digest('hex');
/** An answer that nobody gets. */
const refusing = ({ req }: ServerResponse) => new ServerResponse(req);

async function* inChunks(bytes: Uint8Array): AsyncGenerator<Uint8Array, void, undefined> {
  for (let at = 0; at < bytes.length; at += 65_536) yield bytes.subarray(at, at + 65_536);
}

const put = (store: ReturnType<FakeS3['open']>, key: string, bytes: Uint8Array) =>
  store.put(key, inChunks(bytes), bytes.length);

/** Fails the first requests of a kind. */
const first =
  (times: number, method: string, fail: S3Fault): S3Fault =>
  (seen, answer, fake) =>
    seen.method === method && seen.before < times && fail(seen, answer, fake);

const refusal =
  (status: number, code: string, more: Parameters<typeof refuse>[3] = {}): S3Fault =>
  (_, answer) => {
    refuse(answer, status, code, more);
    return true;
  };

test('keys go over the wire as they are, and bodies have no frames', async (t) => {
  const fake = await FakeS3.start(t);
  const store = fake.open(t);
  for (const key of ['blobs/a b+c&d', 'blobs/../..//x']) {
    await put(store, key, Buffer.from(key));
    t.is(String(fake.objects.get(key)), key);
  }
  for (const key of ['blobs/a b+c&d', 'blobs/../..//x']) {
    t.true(await store.copy({ key, size: key.length, modified: 0 }, `copy of ${key}`));
    t.deepEqual(fake.objects.get(`copy of ${key}`), fake.objects.get(key));
    await store.remove(`copy of ${key}`);
  }
  t.false(await store.copy({ key: 'missing', size: 100, modified: 0 }, 'x'));
  for (const key of ['blobs/a b+c&d', 'blobs/../..//x', 'missing']) await store.remove(key);
  t.deepEqual([...fake.objects.keys()], []);
  // Checksums in the frames of a body break other services than AWS.
  t.true(fake.all.every(({ headers }) => !/chunked|crc32/i.test(JSON.stringify(headers))));
});

test('a service that is busy is asked again, and so is one that breaks off an answer', async (t) => {
  const bytes = randomBytes(300_000);
  const faults: [string, S3Fault][] = [
    ['SlowDown', first(2, 'GET', refusal(503, 'SlowDown'))],
    ['429', first(2, 'GET', refusal(429, 'TooManyRequests'))],
    ['InternalError', first(2, 'PUT', refusal(500, 'InternalError'))],
    ['RequestTimeout', first(2, 'PUT', refusal(400, 'RequestTimeout'))],
    ['200 with an error', first(1, 'PUT', refusal(200, 'InternalError'))],
    ['200 with an error and a line break', first(1, 'PUT', refusal(200, 'SlowDown', { more: '\n' }))],
    ['no XML', first(1, 'PUT', (_, answer) => Boolean(answer.writeHead(502).end('<html>Bad Gateway')))],
    [
      'a cut',
      first(1, 'GET', (_, answer) => {
        answer.writeHead(200, { 'content-length': bytes.length });
        answer.write(bytes.subarray(0, 100_000), () => answer.destroy());
        return true;
      }),
    ],
    ['no answer', first(1, 'PUT', (_, answer) => Boolean(answer.destroy()))],
  ];
  for (const [name, fault] of faults) {
    const store = (await FakeS3.start(t, fault)).open(t);
    await put(store, 'key', bytes);
    t.deepEqual(await collect(store.content('key', bytes.length).open()), bytes, name);
  }
});

test('a service that stays busy is an error after the attempts that were asked for', async (t) => {
  const fake = await FakeS3.start(t, refusal(503, 'SlowDown', { message: 'Please reduce your request rate.' }));
  const error = await t.throwsAsync<CacheError>(put(fake.open(t, { attempts: 2 }), 'key', Buffer.from('x')));
  t.is(error.code, 'UNREACHABLE');
  t.is(
    error.message,
    's3://bucket: cannot write key: Please reduce your request rate (SlowDown, HTTP 503); tried 2 times',
  );
  t.is(fake.seen.length, 2);
});

test('a large object goes in parts of one size, and a part that failed is sent again alone', async (t) => {
  const bytes = randomBytes(33 * MEBIBYTE + 5);
  const fake = await FakeS3.start(t, ({ method, query, before }, answer) => {
    if (method !== 'PUT' || query.get('partNumber') !== '3' || before > 4) return false;
    answer.destroy();
    return true;
  });
  await put(fake.open(t), 'key', bytes);
  t.true(fake.objects.get('key')?.equals(bytes));
  const sizes = fake.all.filter(({ query }) => query.has('partNumber')).map(({ body }) => body.length);
  t.deepEqual(new Set(sizes), new Set([8 * MEBIBYTE, MEBIBYTE + 5]));
  t.true(sizes.length < 10);
  t.is(fake.uploads.size, 0);
});

test('an upload that fails is aborted: its parts would be charged for', async (t) => {
  const bytes = randomBytes(20 * MEBIBYTE);
  const denied = await FakeS3.start(t, ({ query }, answer) => {
    if (query.get('partNumber') !== '2') return false;
    refuse(answer, 403, 'AccessDenied');
    return true;
  });
  await t.throwsAsync(put(denied.open(t), 'key', bytes), { code: 'DENIED' });
  t.is(denied.uploads.size, 0);
  const damaged = await FakeS3.start(t);
  const broken = async function* () {
    yield bytes;
    throw new CacheError('CORRUPT', 'the import is damaged');
  };
  await t.throwsAsync(damaged.open(t).put('key', broken(), bytes.length), { message: 'the import is damaged' });
  t.is(damaged.uploads.size, 0);
  t.is(damaged.objects.size, 0);
});

test('an upload whose end fails may be stored all the same', async (t) => {
  const bytes = randomBytes(20 * MEBIBYTE);
  const isEnd = (method: string, query: URLSearchParams) => method === 'POST' && query.has('uploadId');
  const stored = await FakeS3.start(t, (seen, answer, fake) => {
    if (!isEnd(seen.method, seen.query) || fake.objects.has('key')) return false;
    fake.objects.set('key', bytes);
    fake.uploads.clear();
    answer.destroy();
    return true;
  });
  await put(stored.open(t), 'key', bytes);
  const refused = await FakeS3.start(t, ({ method, query }, answer) => {
    if (!isEnd(method, query)) return false;
    refuse(answer, 200, 'InvalidPart', { message: 'One or more parts could not be found.' });
    return true;
  });
  await t.throwsAsync(put(refused.open(t), 'key', bytes), { message: /One or more parts could not be found/ });
  t.is(refused.uploads.size, 0);
});

test('an end whose answer got lost is compared with what is stored: another object is no success', async (t) => {
  const bytes = randomBytes(20 * MEBIBYTE);
  for (const isOurs of [true, false]) {
    const fake = await FakeS3.start(t, (seen, answer, service) => {
      if (seen.method === 'HEAD' && service.objects.has('key')) {
        const md5s = [0, 8, 16].map((at) => md5(bytes.subarray(at * MEBIBYTE, Math.min(at + 8, 20) * MEBIBYTE)));
        const whole = md5(Buffer.from(isOurs ? md5s.join('') : md5s.toReversed().join(''), 'hex'));
        answer.writeHead(200, { 'content-length': bytes.length, etag: `"${whole}-3"` }).end();
        return true;
      }
      if (seen.method !== 'POST' || !seen.query.has('uploadId')) return false;
      service.objects.set('key', bytes);
      refuse(answer, 404, 'NoSuchUpload');
      return true;
    });
    if (isOurs) await t.notThrowsAsync(put(fake.open(t), 'key', bytes));
    else await t.throwsAsync(put(fake.open(t), 'key', bytes), { message: /NoSuchUpload/ });
    t.is(fake.uploads.size, 0);
  }
});

test('an upload that somebody aborted is begun again, once', async (t) => {
  const bytes = randomBytes(20 * MEBIBYTE);
  const blob = { digest: sha256(bytes), size: bytes.length };
  let isAborted = false;
  const fake = await FakeS3.start(t, (seen, _, service) => {
    if (isAborted || seen.query.get('partNumber') !== '2') return false;
    isAborted = true;
    service.uploads.clear();
    return false;
  });
  const target = new BucketTarget(fake.open(t, {}, 'export'), s3Keys({ type: 's3', attributes: {} }), {
    name: 'x',
    uploads: 4,
    touchRefresh: undefined,
  });
  await target.write(contentOf(bytes), blob);
  t.true(fake.objects.get(`blobs/${blob.digest}`)?.equals(bytes));
  t.is(fake.uploads.size, 0);
});

test('an upload that a killed run has left goes on: whole parts with the same bytes are not sent again', async (t) => {
  const bytes = randomBytes(40 * MEBIBYTE);
  const fake = await FakeS3.start(t);
  const home = temporary(t);
  const upload = { service: 's3', settings: fake.settings, key: 'key', bytes, home } as const;
  const isEnough = () => Promise.resolve([...fake.uploads.values()].some(({ size }) => size === 3));
  await killUpload(upload, 25 * MEBIBYTE, isEnough);
  t.is(fake.uploads.size, 1);
  // A part that was damaged, or that is of other bytes.
  const [[id = '', parts] = ['', new Map<number, Buffer>()]] = fake.uploads;
  parts.set(2, randomBytes(8 * MEBIBYTE));
  fake.all.length = 0;
  t.is(await runUpload(upload), 0);
  t.true(fake.objects.get('key')?.equals(bytes));
  const sent = fake.all.filter(({ query }) => query.has('partNumber')).map(({ query }) => query.get('partNumber'));
  t.deepEqual(new Set(sent), new Set(['2', '4', '5']));
  t.is(sent.length, 3);
  t.true(fake.all.every(({ query }) => (query.get('uploadId') ?? id) === id));
  t.is(fake.uploads.size, 0);
  t.deepEqual(readdirSync(join(home, 'bkcache-uploads')), []);
});

test('an object over 5 GiB is touched and copied by parts of it', async (t) => {
  const size = 12 * 1024 ** 3 + 1;
  const fake = await FakeS3.start(t);
  fake.objects.set('blobs/x', Buffer.of());
  fake.sizes.set('blobs/x', size);
  const store = fake.open(t);
  t.true(await store.touch?.({ key: 'blobs/x', size, modified: 1 }));
  const ranges = () => fake.all.flatMap(({ headers }) => headers['x-amz-copy-source-range'] ?? []);
  const expected = ['bytes=0-5368709119', 'bytes=5368709120-10737418239', `bytes=10737418240-${size - 1}`];
  t.deepEqual(ranges(), expected);
  t.true(await store.copy({ key: 'blobs/x', size, modified: 1 }, 'y'));
  t.is(fake.sizes.get('y'), size);
  fake.fault = ({ query }, answer) => {
    if (query.get('partNumber') !== '3') return false;
    refuse(answer, 200, 'InternalError');
    return true;
  };
  t.false(await store.touch?.({ key: 'blobs/x', size, modified: 1 }), 'an error in a 200');
  fake.fault = (seen, answer, service) => {
    if (seen.method !== 'POST' || !seen.query.has('uploadId')) return false;
    service.serve(seen, refusing(answer));
    refuse(answer, 404, 'NoSuchUpload');
    return true;
  };
  t.true(await store.touch?.({ key: 'blobs/x', size, modified: 1 }), 'it was done, and the answer does not say so');
  t.is(fake.uploads.size, 0);
});

test('a blob is copied by the service from another bucket of it, and sent where that fails', async (t) => {
  const bytes = randomBytes(1000);
  const blob = { digest: sha256(bytes), size: 1000 };
  const fake = await FakeS3.start(t);
  fake.objects.set('/other/a b', bytes);
  const { object } = fake.open(t, { bucket: 'other' }).content('a b', 1000);
  if (object === undefined) return t.fail();
  const store = fake.open(t);
  t.true(await store.copyFrom?.(object, 'to', blob));
  t.true(fake.objects.get('to')?.equals(bytes));
  t.deepEqual(fake.seen, ['PUT to', 'HEAD to']);
  const own = store.content('to', 1000).object ?? object;
  t.false(await store.copyFrom?.(own, 'to', blob), 'a copy onto itself makes nothing young');
  t.is(fake.seen.length, 2);
  const missing = fake.open(t, { bucket: 'other' }).content('missing', 1).object;
  t.false(await store.copyFrom?.(missing ?? object, 'x', blob));
  t.false(await store.copyFrom?.(object, 'to', { ...blob, size: 999 }), 'another size');
  t.false(await store.copyFrom?.(object, 'to', blob), 'such a service is not asked again');
  const others = [{ endpoint: 'http://127.0.0.1:1' }, { keys: { accessKeyId: 'x', secretAccessKey: 'y' } }];
  for (const more of others) t.false(await fake.open(t, more).copyFrom?.(object, 'to', blob));
  for (const [status, code] of [
    [403, 'AccessDenied'],
    [501, 'NotImplemented'],
    [200, 'InternalError'],
  ] as const) {
    const refusing = await FakeS3.start(t, refusal(status, code));
    const from = refusing.open(t, { bucket: 'other' }).content('a b', 1000).object ?? object;
    t.false(await refusing.open(t).copyFrom?.(from, 'to', blob), code);
  }
});

test('no upload has more than 10000 parts', (t) => {
  t.is(partSize(16 * MEBIBYTE), 8 * MEBIBYTE);
  for (const size of [80 * 1024 ** 3, 1024 ** 4, 5 * 1024 ** 4 - 1]) {
    t.true(Math.ceil(size / partSize(size)) <= 10_000);
    t.is(partSize(size) % MEBIBYTE, 0);
  }
});

test('a missing right, a missing bucket and wrong keys have a reason, also where a HEAD was refused', async (t) => {
  const cases: [number, string, RegExp][] = [
    [403, 'InvalidAccessKeyId', /does not know access_key_id/],
    [403, 'SignatureDoesNotMatch', /check secret_access_key=/],
    [400, 'ExpiredToken', /have run out/],
    [403, 'RequestTimeTooSkewed', /set the clock; or the line is so slow/],
    [404, 'NoSuchBucket', /a bucket has to be made/],
  ];
  for (const [status, code, hint] of cases) {
    const fake = await FakeS3.start(t, ({ method }, answer) => {
      if (method === 'HEAD') answer.writeHead(status).end();
      else refuse(answer, status, code, { headers: { date: 'Thu, 26 Nov 2026 00:00:00 GMT' } });
      return true;
    });
    const error = await t.throwsAsync<CacheError>(fake.open(t).head('key'));
    t.regex(error.hint ?? '', hint);
    t.regex(error.message, new RegExp(code));
    t.is(error.code, code === 'NoSuchBucket' ? 'NOT_FOUND' : 'DENIED');
  }
  const denied = await FakeS3.start(t, ({ method }, answer) => {
    if (method === 'HEAD') answer.writeHead(403).end();
    else refuse(answer, 403, 'AccessDenied');
    return true;
  });
  const answer = await denied.open(t).head('key');
  t.is(answer.state, 'unknown');
  t.regex((answer.state === 'unknown' && answer.problem.hint) || '', /s3:GetObject.*s3:ListBucket/);
  await t.throwsAsync(collect(denied.open(t).content('key', 1).open()), { code: 'DENIED' });
});

test('the region that an answer names is followed', async (t) => {
  const regionOf = (headers: { authorization?: string | undefined }) => headers.authorization?.split('/')[2];
  for (const more of [{ headers: { 'x-amz-bucket-region': 'eu-west-3' } }, { more: '<Region>eu-west-3</Region>' }]) {
    const fake = await FakeS3.start(t, ({ headers }, answer) => {
      if (regionOf(headers) === 'eu-west-3') return false;
      refuse(answer, 400, 'AuthorizationHeaderMalformed', more);
      return true;
    });
    await put(fake.open(t), 'key', Buffer.from('x'));
    t.is(fake.seen.length, 2);
  }
  const lost = await FakeS3.start(
    t,
    refusal(301, 'PermanentRedirect', { headers: { 'x-amz-bucket-region': 'us-east-1' } }),
  );
  const error = await t.throwsAsync<CacheError>(put(lost.open(t), 'key', Buffer.from('x')));
  t.regex(error.hint ?? '', /region/);
});

test('an archived object is in its place and cannot be read: a miss with that reason', async (t) => {
  const fake = await FakeS3.start(t, ({ method }, answer) => {
    if (method === 'HEAD') answer.writeHead(200, { 'x-amz-storage-class': 'DEEP_ARCHIVE', 'content-length': 5 }).end();
    else refuse(answer, 403, 'InvalidObjectState');
    return true;
  });
  t.deepEqual(await fake.open(t).head('key'), { state: 'missing' });
  await t.throwsAsync(collect(fake.open(t).content('key', 5).open()), { code: 'CORRUPT', message: /archived/ });
});

test('a listing that is cut off or no listing is an error', async (t) => {
  const page =
    (body: string): S3Fault =>
    (_, answer) =>
      Boolean(answer.writeHead(200).end(body));
  const list = async (fault: S3Fault) => {
    const pages = (await FakeS3.start(t, fault)).open(t).list('blobs/');
    for await (const _ of pages) continue;
  };
  const truncated = '<ListBucketResult><IsTruncated>true</IsTruncated></ListBucketResult>';
  await t.throwsAsync(list(page(truncated)), { message: /does not say which/ });
  await t.throwsAsync(list(page('<html><body>Login</body></html>')), { code: 'UNREACHABLE' });
  await t.throwsAsync(list(page('<Error><Code>SlowDown</Code></Error>')), { code: 'UNREACHABLE' });
});

test('a touch that the service refuses or that changes nothing is none', async (t) => {
  const object = { key: 'a/b c', size: 1, modified: 0 };
  const fake = await FakeS3.start(t, ({ method, headers }, answer) => {
    if (method !== 'PUT' || headers['x-amz-copy-source'] === undefined) return false;
    refuse(answer, 200, 'InternalError');
    return true;
  });
  fake.objects.set('a/b c', Buffer.from('x'));
  t.false(await fake.open(t).touch?.(object));
  const copy = fake.all.find(({ headers }) => headers['x-amz-copy-source'] !== undefined);
  t.is(copy?.headers['x-amz-copy-source'], 'bucket/a/b%20c');
  t.is(copy?.headers['x-amz-metadata-directive'], 'REPLACE');
  const same = await FakeS3.start(t, ({ method }, answer) => {
    if (method !== 'PUT') return false;
    answer.end('<CopyObjectResult><ETag>"x"</ETag></CopyObjectResult>');
    return true;
  });
  same.objects.set('a/b c', Buffer.from('x'));
  t.true(await same.open(t).touch?.(object));
  t.false(await same.open(t).touch?.({ ...object, modified: Date.now() + 10_000 }));
});

test('no secret reaches a message, also where the service repeats it', async (t) => {
  const fake = await FakeS3.start(
    t,
    refusal(403, 'SignatureDoesNotMatch', { message: 'you sent a secret of the tests' }),
  );
  const error = await t.throwsAsync<CacheError>(put(fake.open(t), 'key', Buffer.from('x')));
  t.notRegex(JSON.stringify(error), /a secret of/);
});

test.serial('without credentials a reader goes on without them, and a writer does not', async (t) => {
  const env = { ...process.env };
  t.teardown(() => (process.env = env));
  for (const name of Object.keys(process.env)) if (name.startsWith('AWS_')) delete process.env[name];
  process.env['AWS_EC2_METADATA_DISABLED'] = 'true';
  process.env['HOME'] = '/nonexistent';
  const fake = await FakeS3.start(t, ({ headers }, answer) => {
    if (headers.authorization === undefined) return false;
    refuse(answer, 403, 'InvalidAccessKeyId');
    return true;
  });
  fake.objects.set('key', Buffer.from('x'));
  t.is(String(await collect(fake.open(t, { keys: undefined }).content('key', 1).open())), 'x');
  const error = await t.throwsAsync<CacheError>(
    put(fake.open(t, { keys: undefined }, 'export'), 'key', Buffer.from('x')),
  );
  t.is(error.code, 'DENIED');
  t.regex(error.hint ?? '', /AWS_PROFILE/);
  process.env['AWS_ACCESS_KEY_ID'] = 'of the environment';
  process.env['AWS_SECRET_ACCESS_KEY'] = 'another secret';
  process.env['AWS_SESSION_TOKEN'] = 'a token';
  fake.fault = () => false;
  await put(fake.open(t, { keys: undefined }, 'export'), 'key', Buffer.from('y'));
  t.is(fake.all.at(-1)?.headers['x-amz-security-token'], 'a token');
});

test('a page of a proxy is no success, whatever was asked', async (t) => {
  const page: S3Fault = (_, answer) =>
    Boolean(answer.writeHead(200, { 'content-type': 'text/html' }).end('<html><body>Log in first</body></html>'));
  const fake = await FakeS3.start(t, page);
  const store = fake.open(t);
  await t.throwsAsync(put(store, 'key', Buffer.from('x')), { code: 'UNREACHABLE', message: /not S3's/ });
  await t.throwsAsync(put(store, 'key', randomBytes(16 * MEBIBYTE)), { code: 'UNREACHABLE' });
  await t.throwsAsync(store.read('key', 100), { code: 'UNREACHABLE', message: /not S3's/ });
  await t.throwsAsync(collect(store.content('key', 100).open()), { code: 'UNREACHABLE' });
  await t.throwsAsync(store.copy({ key: 'a', size: 1, modified: 0 }, 'b'));
  t.false(await store.touch?.({ key: 'a', size: 1, modified: 0 }));
});

test('an error in a 200 counts, also behind the spaces of a service that took its time', async (t) => {
  const bytes = randomBytes(20 * MEBIBYTE);
  const body = `<?xml version="1.0" encoding="UTF-8"?>${' \n'.repeat(2000)}<Error><Code>InternalError</Code><Message>No.</Message></Error>`;
  const fake = await FakeS3.start(t, ({ method, query, headers, before }, answer) => {
    const isCopy = headers['x-amz-copy-source'] !== undefined;
    const isEnd = method === 'POST' && query.has('uploadId');
    if (!isCopy && !(isEnd && before < 2)) return false;
    answer.writeHead(200).end(body);
    return true;
  });
  await put(fake.open(t), 'key', bytes);
  t.true(fake.objects.get('key')?.equals(bytes), 'the end is asked for again');
  await t.throwsAsync(fake.open(t).copy({ key: 'key', size: bytes.length, modified: 0 }, 'b'), {
    message: /InternalError/,
  });
  t.false(fake.objects.has('b'));
});

test('an upload of which the service lost a part is sent again, once (BuildKit issue 6357)', async (t) => {
  const bytes = randomBytes(20 * MEBIBYTE);
  const blob = { digest: sha256(bytes), size: bytes.length };
  for (const times of [1, 5]) {
    let left = times;
    const fake = await FakeS3.start(t, ({ method, query }, answer) => {
      if (method !== 'POST' || !query.has('uploadId') || left === 0) return false;
      left--;
      refuse(answer, 400, 'InvalidPart', { message: 'One or more of the specified parts could not be found.' });
      return true;
    });
    const settings = { name: 'x', uploads: 4, touchRefresh: undefined };
    const target = new BucketTarget(fake.open(t, {}, 'export'), s3Keys({ type: 's3', attributes: {} }), settings);
    if (times === 1) await target.write(contentOf(bytes), blob);
    else await t.throwsAsync(target.write(contentOf(bytes), blob), { code: 'FAILED', message: /InvalidPart/ });
    t.is(fake.objects.size, times === 1 ? 1 : 0);
    t.is(fake.uploads.size, 0, 'none is left');
  }
});

test('what is signed suits services that change headers on the way, and bodies have a length', async (t) => {
  const fake = await FakeS3.start(t);
  const store = fake.open(t);
  await put(store, 'small', Buffer.from('x'));
  await put(store, 'large', randomBytes(20 * MEBIBYTE));
  await store.read('small', 10);
  await store.head('small');
  for await (const _ of store.list('')) continue;
  for (const { method, headers } of fake.all) {
    const signed = /SignedHeaders=([^,]*)/.exec(headers.authorization ?? '')?.[1]?.split(';') ?? [];
    // Google's door adds to it, so that a signed one is another (BuildKit issue 3749).
    t.false(signed.includes('accept-encoding'));
    t.is(headers['accept-encoding'], 'identity');
    // MinIO refuses headers of its protocol that are not signed (5468).
    for (const name of Object.keys(headers)) if (name.startsWith('x-amz-')) t.true(signed.includes(name), name);
    // Oracle, R2, B2 and Google refuse, or store, the frames and checksums of newer clients (6193, 6969).
    t.is(headers['content-encoding'], undefined);
    t.is(headers['transfer-encoding'], undefined);
    t.is(headers['x-amz-trailer'], undefined);
    t.false(Object.keys(headers).some((name) => /^x-amz-(?:sdk-)?checksum/.test(name)));
    if (method === 'PUT') t.regex(headers['content-length'] ?? '', /^[1-9]/);
  }
});

test('a part of an object that is another than was asked for is not taken', async (t) => {
  const bytes = randomBytes(1000);
  const wrong = await FakeS3.start(t, ({ method }, answer) => {
    if (method !== 'GET') return false;
    const known = { 'content-range': 'bytes 500-999/1000', etag: '"x"', 'content-length': 500 };
    answer.writeHead(206, known).end(bytes.subarray(500));
    return true;
  });
  await t.throwsAsync(collect(wrong.open(t).content('key', 1000).open({ start: 100, end: 200 })), {
    code: 'UNREACHABLE',
    message: /other bytes/,
  });
  // Without the header, a part is the one that was asked for.
  const plain = await FakeS3.start(t, ({ method }, answer) => {
    if (method !== 'GET') return false;
    answer.writeHead(206, { etag: '"x"', 'content-length': 100 }).end(bytes.subarray(100, 200));
    return true;
  });
  const part = await collect(plain.open(t).content('key', 1000).open({ start: 100, end: 200 }));
  t.deepEqual(part, bytes.subarray(100, 200));
  // A service without parts sends all.
  const whole = await FakeS3.start(t, ({ method }, answer) => {
    if (method !== 'GET') return false;
    answer.writeHead(200, { etag: '"x"', 'content-length': 1000 }).end(bytes);
    return true;
  });
  const cut = await collect(whole.open(t).content('key', 1000).open({ start: 100, end: 200 }));
  t.deepEqual(cut, bytes.subarray(100, 200));
});

test('a name whose object is archived is a miss with that reason', async (t) => {
  const fake = await FakeS3.start(t, refusal(403, 'InvalidObjectState'));
  const error = await t.throwsAsync<CacheError>(fake.open(t).read('manifests/x', 100));
  t.is(error.code, 'NOT_FOUND');
  t.regex(error.message, /archived/);
  const tiered = await FakeS3.start(t, (_, answer) =>
    Boolean(
      answer.writeHead(200, { 'x-amz-archive-status': 'ARCHIVE_ACCESS', 'content-length': 5, etag: '"x"' }).end(),
    ),
  );
  t.deepEqual(await tiered.open(t).head('key'), { state: 'missing' });
});

test('a clock that is off is set by the answer once, and a line that is too slow has its name', async (t) => {
  const fake = await FakeS3.start(t, ({ before }, answer) => {
    if (before > 0) return false;
    refuse(answer, 403, 'RequestTimeTooSkewed', { headers: { date: 'Thu, 26 Nov 2026 00:00:00 GMT' } });
    return true;
  });
  await put(fake.open(t), 'key', Buffer.from('x'));
  t.is(fake.seen.length, 2);
  t.regex(fake.all[1]?.headers['x-amz-date']?.toString() ?? '', /^20261126T0000/);
});

test('with retry_mode=adaptive a throttled request slows all others down, and attempts are as many as asked for', async (t) => {
  const times: number[] = [];
  const fake = await FakeS3.start(t, ({ key, before }, answer) => {
    times.push(Date.now());
    if (key !== 'first' || before > 0) return false;
    refuse(answer, 503, 'SlowDown', { headers: { 'retry-after': '1' } });
    return true;
  });
  const store = fake.open(t, { adaptive: true });
  const throttled = store.remove('first');
  while (times.length === 0) await new Promise((resolve) => setTimeout(resolve, 10));
  await new Promise((resolve) => setTimeout(resolve, 400));
  await Promise.all([throttled, store.remove('second')]);
  t.true((times[1] ?? 0) - (times[0] ?? 0) >= 900, 'nothing is sent meanwhile');
  fake.fault = refusal(503, 'SlowDown');
  fake.all.length = 0;
  await t.throwsAsync(fake.open(t, { attempts: 1 }).remove('x'), { code: 'UNREACHABLE' });
  t.is(fake.all.length, 1);
});

test('AWS tells the SHA-256 of a copy, which has to be the digest: a copy of a damaged blob is taken away', async (t) => {
  const bytes = randomBytes(1000);
  const fake = await FakeS3.start(t, ({ method, headers }, answer, service) => {
    if (method !== 'PUT' || headers['x-amz-copy-source'] === undefined) return false;
    service.objects.set('to', bytes);
    const sha256OfCopy = createHash('sha256').update(bytes).digest('base64');
    const sum =
      headers['x-amz-checksum-algorithm'] === 'SHA256' ? `<ChecksumSHA256>${sha256OfCopy}</ChecksumSHA256>` : '';
    answer.end(`<CopyObjectResult><ETag>"x"</ETag>${sum}</CopyObjectResult>`);
    return true;
  });
  const http = new RoutedHttp(`${fake.host}/bucket`);
  t.teardown(() => http[Symbol.asyncDispose]());
  const settings = { ...fake.settings, endpoint: undefined, pathStyle: false };
  const store = s3Store(new S3Connection(settings, http, 'export', HASTY));
  const { object } = s3Store(new S3Connection({ ...settings, bucket: 'other' }, http, 'import', HASTY)).content(
    'a',
    1000,
  );
  if (object === undefined) return t.fail();
  t.true(await store.copyFrom?.(object, 'to', { digest: sha256(bytes), size: 1000 }));
  t.is(fake.all[0]?.headers['x-amz-checksum-algorithm'], 'SHA256');
  t.false(await store.copyFrom?.(object, 'to', { digest: sha256('other bytes'), size: 1000 }));
  t.false(fake.objects.has('to'));
});
