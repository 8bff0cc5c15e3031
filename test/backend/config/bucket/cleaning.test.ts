import test from 'ava';
import { serviceTime } from '../../../../src/backend/config/bucket/bucket-clock.js';
import { gcBucket } from '../../../../src/backend/config/bucket/bucket-gc.js';
import { azblobKeys, s3Keys } from '../../../../src/backend/config/bucket/bucket-keys.js';
import type { ObjectStore, StoredObject } from '../../../../src/backend/config/bucket/object-store.js';
import type { OpenUpload } from '../../../../src/backend/config/bucket/object-cleaning.js';
import { sha256 } from '../../../../src/oci/digest.js';
import { FakeAzblob } from '../../../support/fake-azblob.js';
import { FakeS3, refuse, type S3Fault } from '../../../support/fake-s3.js';

async function headOf(store: ObjectStore, key: string): Promise<StoredObject> {
  const answer = await store.head(key);
  if (answer.state !== 'there') throw new Error(`${key} is not there`);
  return answer.value;
}

test('several objects are deleted with one request, which has the checksum that every service knows', async (t) => {
  const fake = await FakeS3.start(t);
  const keys = Array.from({ length: 1500 }, (_, index) => `blobs/${index}`);
  for (const key of keys) fake.objects.set(key, Buffer.from('x'));
  fake.locked.add('blobs/7');
  t.deepEqual(await fake.open(t).cleaning.removeAll(keys), [{ key: 'blobs/7', reason: 'AccessDenied: It is locked.' }]);
  t.deepEqual([...fake.objects.keys()], ['blobs/7']);
  t.is(fake.all.length, 2);
  for (const { headers } of fake.all) {
    t.regex(headers['content-md5'] as string, /^[\w+/]{22}==$/);
    t.false(Object.keys(headers).some((name) => name.startsWith('x-amz-checksum')));
  }
});

test('an answer that names nothing has deleted nothing', async (t) => {
  const fault: S3Fault = ({ query }, answer) => {
    if (!query.has('delete')) return false;
    answer.writeHead(200, { 'content-type': 'application/xml' }).end('<DeleteResult></DeleteResult>');
    return true;
  };
  const fake = await FakeS3.start(t, fault);
  const refused = await fake.open(t).cleaning.removeAll(['a', 'b']);
  t.deepEqual(
    refused.map(({ key }) => key),
    ['a', 'b'],
  );
});

test('a service without that request gets one for each object', async (t) => {
  const fault: S3Fault = ({ query, method, key }, answer) => {
    if (query.has('delete')) return (refuse(answer, 501, 'NotImplemented'), true);
    if (method === 'DELETE' && key === 'b') return (refuse(answer, 403, 'AccessDenied'), true);
    return false;
  };
  const fake = await FakeS3.start(t, fault);
  for (const key of ['a', 'b', 'c']) fake.objects.set(key, Buffer.from('x'));
  const { cleaning } = fake.open(t);
  t.deepEqual(await cleaning.removeAll(['a', 'b']), [{ key: 'b', reason: 'AccessDenied: No.' }]);
  t.deepEqual(await cleaning.removeAll(['c']), []);
  t.is(fake.all.filter(({ query }) => query.has('delete')).length, 1, 'it is learnt once');
});

test('an object that was written or touched since stays, where the service knows the condition', async (t) => {
  let isCompared = true;
  const fault: S3Fault = ({ method, key, headers }, answer, { objects, written }) => {
    const wanted = headers['x-amz-if-match-last-modified-time'];
    if (method !== 'DELETE' || typeof wanted !== 'string' || !isCompared) return false;
    const date = written.get(objects.get(key) ?? Buffer.of());
    if (date === Date.parse(wanted)) return false;
    refuse(answer, 412, 'PreconditionFailed');
    return true;
  };
  const fake = await FakeS3.start(t, fault);
  const store = fake.open(t);
  const put = (key: string) => store.put(key, one(Buffer.from('x')), 1);
  await put('a');
  const before = await headOf(store, 'a');
  fake.written.set(fake.objects.get('a') ?? Buffer.of(), before.modified + 5000);
  t.false(await store.cleaning.removeUnchanged(before));
  t.true(fake.objects.has('a'));
  t.true(await store.cleaning.removeUnchanged(await headOf(store, 'a')));
  t.false(fake.objects.has('a'));
  isCompared = false;
  await put('b');
  t.true(await store.cleaning.removeUnchanged(await headOf(store, 'b')), 'a service that does not know it');
});

for (const [status, code] of [
  [501, 'NotImplemented'],
  [412, 'PreconditionFailed'],
] as const) {
  test(`a service that does not take the condition is asked without it: ${code}`, async (t) => {
    const fake = await FakeS3.start(t, ({ method, headers }, answer) => {
      if (method !== 'DELETE' || headers['x-amz-if-match-last-modified-time'] === undefined) return false;
      refuse(answer, status, code);
      return true;
    });
    const store = fake.open(t);
    for (const key of ['a', 'b']) {
      fake.objects.set(key, Buffer.from('x'));
      t.true(await store.cleaning.removeUnchanged(await headOf(store, key)));
    }
    t.is(fake.objects.size, 0);
    t.is(fake.seen.filter((line) => line.startsWith('DELETE')).length, 3);
  });
}

test('unfinished uploads are listed page by page, and aborted', async (t) => {
  const fake = await FakeS3.start(t);
  for (const id of ['1', '2', '3', '4', '5']) {
    fake.uploads.set(id, new Map());
    fake.uploadKeys.set(id, id === '3' ? 'other/x' : `blobs/${id}`);
  }
  const { cleaning } = fake.open(t);
  const found: OpenUpload[] = [];
  for await (const page of cleaning.uploads?.('blobs/') ?? []) found.push(...page);
  t.deepEqual(
    found.map(({ id }) => id),
    ['1', '2', '4', '5'],
  );
  t.is(found[0]?.begun, Date.UTC(2026, 10, 20));
  for (const upload of found) await cleaning.abort?.(upload);
  t.deepEqual([...fake.uploads.keys()], ['3']);
});

test('a bucket with versions is said, and a question that is refused is not', async (t) => {
  const fake = await FakeS3.start(t);
  fake.isVersioned = true;
  const store = fake.open(t);
  t.regex(
    (await store.cleaning.retention()).join('\n'),
    /^the bucket has versions .* hidden, and not freed.*Noncurrent/,
  );
  fake.fault = (_, answer) => (refuse(answer, 403, 'AccessDenied'), true);
  t.deepEqual(await store.cleaning.retention(), []);
});

test('gc goes on where the service does not list uploads, and says so', async (t) => {
  const fake = await FakeS3.start(t, ({ query, method }, answer) => {
    if (!query.has('uploads') || method !== 'GET') return false;
    refuse(answer, 501, 'NotImplemented');
    return true;
  });
  fake.objects.set('manifests/main', Buffer.from('{"layers":[],"records":[]}'));
  fake.objects.set(`blobs/${sha256('x')}`, Buffer.from('x'));
  const { setAside, notes } = await gcBucket(fake.open(t), s3Keys({ type: 's3', attributes: {} }), {
    manifests: ['manifests/'],
    grace: 25 * 3_600_000,
  });
  t.is(setAside.count, 0, 'the blob was written today');
  t.regex(notes?.join() ?? '', /unfinished uploads were not looked for: .*NotImplemented/);
});

test('Azure deletes on the condition that a blob is no younger, and makes it younger by new metadata', async (t) => {
  const fake = await FakeAzblob.start(t);
  const store = fake.open(t, {}, 'export');
  const keys = azblobKeys({ type: 'azblob', attributes: {} });
  t.true(Math.abs((await serviceTime(store, keys)) - Date.now()) < 5000);
  t.is(fake.blobs.size, 0, 'the object of the clock is gone');
  const old = Date.UTC(2026, 10, 20);
  fake.set('blobs/a', Buffer.from('x'), old, { by: 'buildkit' });
  const before = await headOf(store, 'blobs/a');
  t.true(await store.cleaning.refresh(before));
  const after = await headOf(store, 'blobs/a');
  t.true(after.modified > before.modified);
  t.like(fake.blobs.get('blobs/a')?.metadata, { by: 'buildkit' });
  t.true(fake.all.some(({ method, headers }) => method === 'GET' && headers['x-ms-range'] === 'bytes=0-0'));
  t.false(await store.cleaning.removeUnchanged(before));
  t.true(await store.cleaning.removeUnchanged(after));
  t.is(fake.blobs.size, 0);
  t.true(await store.cleaning.removeUnchanged(after), 'somebody else was faster');
  fake.set('blobs/b', Buffer.from('x'), old);
  fake.archived.add('blobs/b');
  t.false(await store.cleaning.refresh(before));
  t.false(await store.cleaning.refresh({ ...before, key: 'blobs/b' }));
  fake.fault = ({ method }, answer) => {
    if (method === 'DELETE') answer.writeHead(409, { 'x-ms-error-code': 'BlobImmutableDueToPolicy' }).end();
    return method === 'DELETE';
  };
  t.is((await store.cleaning.removeAll(['blobs/b'])).length, 1);
});

async function* one(bytes: Uint8Array): AsyncGenerator<Uint8Array, void, undefined> {
  yield Promise.resolve(bytes);
}
