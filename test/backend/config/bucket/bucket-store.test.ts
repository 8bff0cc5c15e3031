import test from 'ava';
import { backends } from '../../../../src/backend/backends.js';
import { allRead } from '../../../../src/backend/cache-store.js';
import { s3Keys } from '../../../../src/backend/config/bucket/bucket-keys.js';
import { bucketStore } from '../../../../src/backend/config/bucket/bucket-store.js';
import { DocumentSpool } from '../../../../src/backend/config/document-spool.js';
import { CacheError } from '../../../../src/errors.js';
import { readWhole } from '../../../../src/oci/content.js';
import { sha256 } from '../../../../src/oci/digest.js';
import { documentOf } from '../../../../src/oci/document.js';
import { CACHE_CONFIG } from '../../../../src/oci/media-types.js';
import { copyCache } from '../../../../src/operations/copy/copy.js';
import { listCaches } from '../../../../src/operations/list.js';
import { prune } from '../../../../src/operations/prune/prune.js';
import { repairFolder } from '../../../../src/operations/repair/repair.js';
import { touchCaches } from '../../../../src/operations/touch.js';
import { verifyCache, verifyFolder } from '../../../../src/operations/verify/verify.js';
import { touchText } from '../../../../src/report/text/touch.js';
import { listText } from '../../../../src/report/text/list.js';
import { BucketBackend } from '../../../support/bucket-backend.js';
import { fixture, importOf, temporary } from '../../../support/fixtures.js';
import { MemoryStore } from '../../../support/object-store.js';
import { storeConformance } from '../../store-conformance.js';

const backend = new BucketBackend();
backends.set('s3', backend);
let count = 0;

/** A bucket with what BuildKit has exported. */
function buildkits(): { readonly bucket: MemoryStore; readonly place: string } {
  const name = `fixture-${count++}`;
  const bucket = MemoryStore.of(fixture('s3-bucket'));
  backend.buckets.set(name, bucket);
  return { bucket, place: `type=s3,bucket=${name},region=here` };
}

const blobsIn = ({ objects }: MemoryStore) => [...objects.keys()].filter((key) => key.startsWith('blobs/')).toSorted();

/** How often each kind of request was sent. */
function counted({ requests }: MemoryStore): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const request of requests) {
    const kind = request.replace(/sha256:.*/, '');
    counts[kind] = (counts[kind] ?? 0) + 1;
  }
  return counts;
}

for (const [what, more] of [
  ['a bucket', ''],
  ['a bucket with one prefix for names and blobs', ',blobs_prefix=x/,manifests_prefix=x/'],
  ['a bucket without prefixes', ',blobs_prefix=,manifests_prefix='],
  ['a bucket with blobs below the names', ',prefix=a b+c&d/,blobs_prefix=m/b/,manifests_prefix=m/'],
  ['a bucket with names below the blobs', ',blobs_prefix=,manifests_prefix=m/'],
] as const) {
  storeConformance(what, () => {
    const name = `bucket-${count++}`;
    const place = `type=s3,bucket=${name},region=here${more}`;
    const { blobs } = s3Keys({ type: 's3', attributes: Object.fromEntries(attributesOf(more)) });
    return Promise.resolve({
      place,
      gc: { manifestsPrefixes: ['elsewhere/'] },
      imports: (tag) => `${place},name=${tag}`,
      exports: (tag) => `${place},name=${tag}`,
      lose: (digest) => backend.bucket(name).objects.delete(`${blobs}${digest}`),
    });
  });
}

function attributesOf(more: string): [string, string][] {
  return more
    .split(',')
    .filter((field) => field !== '')
    .map((field) => field.split('='))
    .map(([name = '', value = '']) => [name, value]);
}

test("BuildKit's own bucket is listed with sizes and ages, and each name is read once", async (t) => {
  const { bucket, place } = buildkits();
  bucket.set('manifests/pr/7 +&', bucket.objects.get('manifests/tiny')?.bytes ?? Buffer.of(), Date.UTC(2026, 0, 2));
  bucket.set('manifests/', Buffer.of());
  const rows = await listCaches(place);
  t.deepEqual(counted(bucket), { 'list manifests/': 1, 'get manifests/tiny': 1, 'get manifests/pr/7 +&': 1 });
  t.like(rows, {
    length: 2,
    0: { tag: 'pr/7 +&', lastModified: '2026-01-02T00:00:00.000Z', cache: { layers: 7, records: 12 } },
    1: { tag: 'tiny', mediaType: CACHE_CONFIG },
  });
  const text = listText(rows, Date.UTC(2026, 0, 5, 1));
  t.regex(text, /SIZE +AGE +LAST MODIFIED/);
  t.regex(text, /^pr\/7 \+& .* 3d +2026-01-02T00:00:00Z$/m);
});

test('verify takes presence and sizes from a listing, and downloads on request', async (t) => {
  const { bucket, place } = buildkits();
  t.like(await verifyFolder(place), { sound: true, findings: [], tags: 1, read: 1, blobs: 7 });
  t.deepEqual(counted(bucket), { 'list manifests/': 1, 'get manifests/tiny': 1, 'list blobs/': 1 });
  bucket.requests.length = 0;
  t.like(await verifyFolder(place, { deep: true }), { sound: true, read: 7 });
  const downloaded = bucket.requests.filter((request) => request.startsWith('get blobs/'));
  t.deepEqual(
    [...new Set(downloaded)].toSorted(),
    blobsIn(bucket).map((key) => `get ${key}`),
  );
  bucket.requests.length = 0;
  t.like(await verifyFolder(place, { sample: { share: 0.5 } }), { sound: true, read: 4 });
  t.is(counted(bucket)['get blobs/'], 3);
});

test('verify of one name asks for its blobs alone', async (t) => {
  const { bucket, place } = buildkits();
  const one = `${place},name=tiny,access_key_id=id,secret_access_key=hush`;
  const result = await verifyCache(one);
  t.like(result, { sound: true, tags: 1, read: 1, blobs: 7 });
  t.notRegex(JSON.stringify(result), /hush/);
  t.regex(result.target, /secret_access_key=\*\*\*/);
  t.deepEqual(counted(bucket), { 'get manifests/tiny': 1, 'head blobs/': 6 });
  const [lost = ''] = blobsIn(bucket);
  bucket.objects.delete(lost);
  const { findings } = await verifyCache(one);
  t.like(findings, { length: 1, 0: { kind: 'missing', effect: 'build-fails', tags: ['tiny'] } });
  t.regex(findings[0]?.repair ?? '', /^bkcache repair --from OPTS .*secret_access_key=\*\*\*/);
  await t.throwsAsync(verifyCache(`${place},name=nobody`), { code: 'NOT_FOUND' });
});

test('a blob of another size is read, and so is a statement that is wrong found', async (t) => {
  const { bucket, place } = buildkits();
  const [short = ''] = blobsIn(bucket);
  bucket.set(short, bucket.objects.get(short)?.bytes.subarray(1) ?? Buffer.of());
  const { findings, read } = await verifyFolder(place);
  t.is(read, 2);
  t.like(findings, { length: 1, 0: { kind: 'damaged', wrong: 'size', tags: ['tiny'] } });
  t.regex(findings[0]?.repair ?? '', /^bkcache repair --from OPTS /);
});

test('a deep verify finds what is damaged, and repair writes over it or deletes it', async (t) => {
  const { bucket, place } = buildkits();
  const [bad = ''] = blobsIn(bucket);
  const bytes = Buffer.from(bucket.objects.get(bad)?.bytes ?? Buffer.of());
  bytes[bytes.length - 1] = (bytes.at(-1) ?? 0) ^ 1;
  bucket.set(bad, bytes);
  t.true((await verifyFolder(place)).sound, 'presence and size say nothing of the bytes');
  const { findings } = await verifyFolder(place, { deep: true });
  t.like(findings, { length: 1, 0: { kind: 'damaged', wrong: 'digest' } });
  t.regex(findings[0]?.repair ?? '', /^bkcache repair --from OPTS /);
  t.like(await repairFolder(place, { deep: true, from: [fixture('max-gzip'), buildkits().place] }), { sound: true });
  t.deepEqual(bucket.objects.get(bad)?.bytes, MemoryStore.of(fixture('s3-bucket')).objects.get(bad)?.bytes);
  bucket.set(bad, bytes);
  const { actions, sound } = await repairFolder(place, { deep: true });
  t.deepEqual(
    actions.map(({ type }) => type),
    ['cut', 'set-aside'],
  );
  t.true(sound);
  t.false(bucket.objects.has(bad), 'the next export sends it');
});

test('a blob that a listing does not show is asked for before it is called missing', async (t) => {
  const { bucket, place } = buildkits();
  const [lagging = '', lost = ''] = blobsIn(bucket);
  bucket.objects.delete(lost);
  bucket.unlisted.add(lagging);
  const { findings } = await verifyFolder(place);
  t.deepEqual(
    findings.map(({ kind, digest }) => [kind, digest]),
    [['missing', lost.slice('blobs/'.length)]],
  );
  t.deepEqual(
    bucket.requests.filter((request) => request.startsWith('head')).toSorted(),
    [`head ${lagging}`, `head ${lost}`].toSorted(),
  );
  bucket.refused.add(lost);
  await t.throwsAsync(verifyFolder(place), { code: 'DENIED' }, 'it is not known whether the blob is there');
});

test('nothing is reported of a bucket whose listing is not whole', async (t) => {
  for (const prefix of ['manifests/', 'blobs/']) {
    const { bucket, place } = buildkits();
    for (const key of blobsIn(bucket).slice(3)) bucket.objects.delete(key);
    bucket.pageSize = 1;
    bucket.set('manifests/other', bucket.objects.get('manifests/tiny')?.bytes ?? Buffer.of());
    bucket.cutListing = prefix;
    const error = await t.throwsAsync(verifyFolder(place), { instanceOf: CacheError });
    t.is(error.code, 'UNREACHABLE');
    t.regex(error.message, /its listing is not whole/);
  }
});

test('a name that is no cache, and one that is refused, do not hide the others', async (t) => {
  const { bucket, place } = buildkits();
  bucket.set('manifests/note', Buffer.from('no cache'));
  bucket.set('manifests/secret', Buffer.from('{}'));
  bucket.refused.add('manifests/secret');
  const rows = await listCaches(place);
  t.deepEqual(
    rows.map(({ tag, cache, problem }) => [tag, cache?.layers, problem !== undefined]),
    [
      ['note', undefined, true],
      ['secret', undefined, true],
      ['tiny', 7, false],
    ],
  );
  await t.throwsAsync(verifyFolder(place), { code: 'DENIED' });
  bucket.objects.delete('manifests/secret');
  const { findings } = await verifyFolder(place);
  t.like(findings, { length: 1, 0: { kind: 'document', effect: 'import-refused', tags: ['note'] } });
});

test('what is no blob is noted, and what belongs to others is left alone', async (t) => {
  const { bucket, place } = buildkits();
  for (const key of ['blobs/readme', 'blobs/', 'blobs/team/', 'blobs/team/x', 'other']) {
    bucket.set(key, Buffer.from(key.endsWith('/') ? '' : 'x'));
  }
  bucket.set(`blobs/${sha256('unused')}`, Buffer.from('unused'));
  const { sound, findings } = await verifyFolder(place);
  t.true(sound);
  t.deepEqual(
    findings.map(({ kind, file, message }) => file ?? `${kind}: ${message}`),
    ['memory://bucket/blobs/readme', 'unused: 1 blobs that nothing refers to, 6 bytes'],
  );
});

test('only what was written again is read again', async (t) => {
  const { bucket } = buildkits();
  const bytes = bucket.objects.get('manifests/tiny')?.bytes ?? Buffer.of();
  for (const name of ['a', 'b', 'c']) bucket.set(`manifests/${name}`, bytes, 1000);
  await using store = bucketStore(bucket, s3Keys, { type: 's3', attributes: {} });
  t.is((await store.entries()).length, 4);
  bucket.requests.length = 0;
  // As many bytes, in the same second.
  bucket.set('manifests/b', Buffer.from(bytes.toString().replace('sha256:0', 'sha256:1')), 1000);
  bucket.objects.delete('manifests/c');
  const names = (await store.entries()).map(({ names: [name] }) => name);
  t.deepEqual(names, ['a', 'b', 'tiny']);
  t.deepEqual(bucket.requests, ['list manifests/', 'get manifests/b']);
});

test('documents beyond the memory for them are in a folder until the end', async (t) => {
  const documents = ['one', 'two', 'three'].map((text) => documentOf(CACHE_CONFIG, Buffer.from(text)));
  await using spool = new DocumentSpool(4);
  for (const document of [...documents, ...documents]) await spool.add(document);
  for (const { descriptor, bytes } of documents) {
    const content = spool.get(descriptor.digest);
    if (content === undefined) return t.fail();
    t.deepEqual(await readWhole(content, descriptor, 'x', { limit: 100 }), Buffer.from(bytes));
  }
  t.is(spool.get(sha256('other')), undefined);
  return undefined;
});

test('prune makes caches of a bucket smaller by name, age and size, and deletes no blob', async (t) => {
  const { bucket, place } = buildkits();
  await copyCache({ imports: [importOf('max-gzip')], exports: [`${place},name=main`] });
  const day = 86_400_000;
  const bytes = bucket.objects.get('manifests/tiny')?.bytes ?? Buffer.of();
  bucket.set('manifests/pr-7', bytes);
  // The newest of its results counts, too.
  const made = bytes.toString().replaceAll(/20\d\d(?=-\d\d-\d\dT)/g, '2020');
  bucket.set('manifests/old', Buffer.from(made), Date.now() - 40 * day);
  const blobs = blobsIn(bucket);
  bucket.requests.length = 0;
  const policy = { untag: ['pr-*'], maxAge: 30 * day, keep: ['main'], maxSize: 1 };
  const { requests: _, ...plan } = await prune(place, { ...policy, dryRun: true });
  t.false(bucket.requests.some((request) => /^(?:put|delete|touch)/.test(request)));
  const { requests, ...done } = await prune(place, policy);
  t.deepEqual(done, plan);
  t.like(requests, { put: 1, delete: 2 });
  const dropped = plan.dropped.map(({ tag, reason, lastUsedBy }) => `${tag} ${reason} ${lastUsedBy}`);
  t.deepEqual(dropped.toSorted(), ['old max-age file', 'pr-7 untag file']);
  t.like(plan, { shrunk: { length: 1, 0: { tag: 'tiny', results: 0 } }, unmet: { length: 1 } });
  t.deepEqual(blobsIn(bucket), blobs);
  t.like(await verifyFolder(place), { sound: true, tags: 2 });
});

test('blobs do not expire before a cache that was made smaller', async (t) => {
  const { bucket, place } = buildkits();
  const day = 86_400_000;
  const blobs = blobsIn(bucket);
  const yesterday = Date.now() - day / 2;
  for (const [index, key] of blobs.entries()) {
    bucket.set(key, bucket.objects.get(key)?.bytes ?? Buffer.of(), index % 2 === 0 ? Date.now() - 9 * day : yesterday);
  }
  const policy = { maxSize: 10_000 };
  bucket.touches = false;
  const before = new Map(bucket.objects);
  await t.throwsAsync(prune(place, policy), { code: 'FAILED', message: /stays as it is/ });
  t.deepEqual(bucket.objects, before);
  bucket.touches = true;
  t.like(await prune(place, policy), { shrunk: { length: 1 }, unmet: [] });
  const named = [...(bucket.objects.get('manifests/tiny')?.bytes.toString() ?? '').matchAll(/"blob":"([^"]+)"/g)];
  const digests = new Set(named.map(([, digest]) => digest));
  t.true(digests.size > 0 && digests.size < blobs.length, `${digests.size}`);
  for (const digest of digests) {
    t.true((bucket.objects.get(`blobs/${digest}`)?.modified ?? 0) >= yesterday, `${digest}`);
  }
  const touched = bucket.requests.findLastIndex((request) => request.startsWith('touch'));
  t.true(touched !== -1 && touched < bucket.requests.indexOf('put manifests/tiny'));
});

test('what an export writes under a name while prune works stays', async (t) => {
  const { bucket, place } = buildkits();
  bucket.set('manifests/pr-7', bucket.objects.get('manifests/tiny')?.bytes ?? Buffer.of());
  await using store = bucketStore(bucket, s3Keys, { type: 's3', attributes: {} });
  const entries = allRead(await store.entries());
  await copyCache({ imports: [importOf('max-gzip')], exports: [`${place},name=pr-7`] });
  const written = bucket.objects.get('manifests/pr-7');
  await store.change?.({ entries: entries.map((entry) => ({ entry, to: undefined })), documents: [] });
  t.is(bucket.objects.get('manifests/pr-7'), written);
  t.false(bucket.objects.has('manifests/tiny'));
});

test('with a name that cannot be read, prune changes nothing', async (t) => {
  for (const [bytes, code] of [
    [Buffer.from('no cache'), 'CORRUPT'],
    [undefined, 'DENIED'],
  ] as const) {
    const { bucket, place } = buildkits();
    bucket.set('manifests/other', bytes ?? Buffer.from('{}'));
    if (bytes === undefined) bucket.refused.add('manifests/other');
    const before = new Map(bucket.objects);
    await t.throwsAsync(prune(place, { untag: ['*'] }), { code });
    t.deepEqual(bucket.objects, before);
  }
});

test('a string with a name is for one cache, and repair takes blobs from a bucket', async (t) => {
  const { bucket, place } = buildkits();
  await t.throwsAsync(verifyFolder(`${place},name=tiny`), { code: 'USAGE', message: /^name= selects one cache/ });
  const folder = temporary(t);
  await copyCache({ imports: [`${place},name=tiny`], exports: [folder] });
  bucket.requests.length = 0;
  const { sound } = await repairFolder(folder, { from: [place] });
  t.true(sound);
  t.false(bucket.requests.some((request) => request.startsWith('get')));
  await copyCache({ imports: [importOf('max-gzip')], exports: [`${place},name=main`] });
  t.like(await verifyFolder(place, { deep: true }), { sound: true, tags: 2 });
});

test('repair sends what is missing from another cache, and leaves out the results whose blobs nobody has', async (t) => {
  const { bucket, place } = buildkits();
  const [first = '', second = ''] = blobsIn(bucket);
  const config = bucket.objects.get('manifests/tiny')?.bytes;
  for (const key of [first, second]) bucket.objects.delete(key);
  const other = buildkits();
  other.bucket.objects.delete(second);
  const before = new Map(bucket.objects);
  const plan = await repairFolder(place, { from: [other.place], dryRun: true });
  t.deepEqual(bucket.objects, before);
  t.false(plan.sound);
  const { actions, sound, lacked } = await repairFolder(place, { from: [other.place] });
  t.deepEqual(actions, plan.actions);
  t.like(actions, { length: 2, 0: { type: 'fetched' }, 1: { type: 'cut', tag: 'tiny' } });
  t.is(lacked.length, 1);
  t.true(sound);
  t.true(bucket.objects.has(first));
  t.notDeepEqual(bucket.objects.get('manifests/tiny')?.bytes, config);
  const writes = bucket.requests.filter((request) => request.startsWith('put'));
  t.is(writes[0], `put ${first}`);
  t.is(writes.at(-1), 'put manifests/tiny', 'blobs come before the name');
  t.false(bucket.objects.has(second));
  t.like(await verifyFolder(place, { deep: true }), { sound: true, tags: 1 });
  t.like(await repairFolder(place), { actions: [], sound: true });
  const folder = temporary(t);
  await copyCache({ imports: [`${place},name=tiny`], exports: [folder] });
  t.true((await verifyFolder(folder, { deep: true })).sound);
});

test('repair leaves a name alone that was written again meanwhile, and what is no cacheconfig', async (t) => {
  const { bucket, place } = buildkits();
  const [lost = ''] = blobsIn(bucket);
  bucket.set('manifests/note', Buffer.from('a note'));
  bucket.objects.delete(lost);
  const whole = MemoryStore.of(fixture('s3-bucket')).objects.get('manifests/tiny')?.bytes ?? Buffer.of();
  const written = Buffer.from(`${whole.toString()} `);
  bucket.asked = (request) => {
    if (request === `head ${lost}`) bucket.set('manifests/tiny', written);
  };
  await repairFolder(place);
  t.deepEqual(bucket.objects.get('manifests/tiny')?.bytes, written);
  t.is(bucket.objects.get('manifests/note')?.bytes.toString(), 'a note');
});

test('touch makes old blobs young that names need, with requests for these alone', async (t) => {
  const { bucket, place } = buildkits();
  const [old = '', lost = '', ...others] = blobsIn(bucket);
  const before = Date.now() - 30 * 3_600_000;
  bucket.set(old, bucket.objects.get(old)?.bytes ?? Buffer.of(), before);
  const garbage = `blobs/${sha256('garbage')}`;
  bucket.set(garbage, Buffer.from('garbage'), before);
  const bytes = bucket.objects.get(old)?.bytes.length ?? 0;
  const plan = await touchCaches(place, { dryRun: true });
  t.like(plan, { touched: { count: 1, bytes }, young: { count: others.length + 1 }, names: 0, missing: [] });
  t.is(bucket.objects.get(old)?.modified, before);
  bucket.requests.length = 0;
  t.like(await touchCaches(place), { touched: { count: 1, bytes }, refused: [] });
  t.deepEqual(counted(bucket), { 'list manifests/': 1, 'get manifests/tiny': 1, 'list blobs/': 1, 'touch blobs/': 1 });
  t.true((bucket.objects.get(old)?.modified ?? 0) > before);
  t.is(bucket.objects.get(garbage)?.modified, before);
  bucket.set('manifests/tiny', bucket.objects.get('manifests/tiny')?.bytes ?? Buffer.of(), before);
  bucket.set('manifests/note', Buffer.from('a note'));
  bucket.objects.delete(lost);
  const result = await touchCaches(place, { names: true });
  t.like(result, { names: 1, missing: [`memory://bucket/${lost}`], unread: { length: 1, 0: { name: 'note' } } });
  t.regex(touchText(result, false), /^missing: .*\nnot read: note: .*\nrequests: 2 list, 2 get, 1 head, 1 copy$/m);
  bucket.touches = false;
  t.like(await touchCaches(place, { olderThan: 0, names: true }), { touched: { count: 0 }, names: 0 });
  t.is((await touchCaches(place, { olderThan: 0 })).refused.length, others.length + 1);
  for (const text of [fixture('grown'), 'type=registry,ref=localhost:1/a']) {
    await t.throwsAsync(touchCaches(text), { code: 'USAGE', message: /touch cannot work on/ });
  }
});
