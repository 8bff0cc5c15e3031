import test from 'ava';
import { createHash } from 'node:crypto';
import { sha256 } from '../../../src/oci/digest.js';
import { DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST } from '../../../src/oci/media-types.js';
import { MANIFEST_LIMIT } from '../../../src/serve/registry/manifests.js';
import { entriesOf } from '../../support/folders.js';
import { ServedFolder } from '../../support/served.js';

// The rules of the OCI distribution-spec 1.1 for pushes of manifests; each test is named after its section.

const UNKNOWN = `sha256:${'0'.repeat(64)}`;

test('Pushing Manifests: 201 with a location from which the same bytes come back', async (t) => {
  const served = await ServedFolder.open(t);
  const bytes = ` ${await served.imageManifest('team/app')}\n`;
  for (const reference of ['v1', sha256(bytes)]) {
    const put = await served.putManifest('team/app', reference, bytes);
    t.deepEqual([put.status, put.headers['docker-content-digest']], [201, sha256(bytes)]);
    const got = await served.ask('GET', String(put.headers['location']));
    t.deepEqual([got.status, got.body.toString()], [200, bytes]);
  }
});

test('Pushing Manifests: the digest in the path has to be that of the bytes', async (t) => {
  const served = await ServedFolder.open(t);
  const bytes = await served.imageManifest('team/app');
  const put = await served.putManifest('team/app', UNKNOWN, bytes);
  t.deepEqual([put.status, put.codes], [400, ['DIGEST_INVALID']]);
  const long = `sha512:${createHash('sha512').update(bytes).digest('hex')}`;
  t.is((await served.putManifest('team/app', long, bytes)).status, 201);
  t.is((await served.ask('GET', `/v2/team/app/manifests/${long}`)).body.toString(), bytes);
});

test('Pushing Manifests: a manifest by its digest sets the tags of the query, and lists them', async (t) => {
  const served = await ServedFolder.open(t);
  const bytes = await served.imageManifest('team/app');
  const put = await served.putManifest('team/app', `${sha256(bytes)}?tag=v1&tag=v1.2&tag=latest`, bytes);
  t.is(put.status, 201);
  t.deepEqual(put.headers['oci-tag'], ['v1', 'v1.2', 'latest']);
  for (const tag of ['v1', 'v1.2', 'latest']) {
    t.is((await served.ask('GET', `/v2/team/app/manifests/${tag}`)).status, 200, tag);
  }
  t.is((await served.putManifest('team/app', `${sha256(bytes)}?tag=-x`, bytes)).status, 400);
  const many = Array.from({ length: 101 }, (_, at) => `tag=t${at}`).join('&');
  t.is((await served.putManifest('team/app', `${sha256(bytes)}?${many}`, bytes)).status, 414);
});

test('Pushing Manifests: a blob that is not here, or has another size, is MANIFEST_BLOB_UNKNOWN', async (t) => {
  const served = await ServedFolder.open(t);
  const bytes = await served.imageManifest('team/app');
  for (const wrong of [bytes.replaceAll(sha256('a layer'), UNKNOWN), bytes.replace('"size":7', '"size":8')]) {
    const put = await served.putManifest('team/app', 'v1', wrong);
    t.deepEqual([put.status, put.codes], [400, ['MANIFEST_BLOB_UNKNOWN']]);
  }
  const index = { schemaVersion: 2, mediaType: OCI_INDEX, manifests: [] as object[] };
  index.manifests.push({ mediaType: OCI_MANIFEST, digest: UNKNOWN, size: 10 });
  t.deepEqual((await served.putManifest('team/app', 'v1', JSON.stringify(index))).codes, ['MANIFEST_BLOB_UNKNOWN']);
  t.is((await served.ask('GET', '/v2/team/app/manifests/v1')).status, 404);
});

test('Pushing Manifests: layers that are not distributed need not be here', async (t) => {
  const served = await ServedFolder.open(t);
  const bytes = await served.imageManifest('team/app', { layers: [] });
  const foreign = {
    mediaType: 'application/vnd.oci.image.layer.nondistributable.v1.tar+gzip',
    digest: UNKNOWN,
    size: 5,
    urls: ['https://example.com/layer'],
  };
  const manifest = { ...(JSON.parse(bytes) as object), layers: [foreign] };
  t.is((await served.putManifest('team/app', 'v1', JSON.stringify(manifest))).status, 201);
});

test('Pushing Manifests: what is no manifest, or another than its Content-Type says, is 400', async (t) => {
  const served = await ServedFolder.open(t);
  const put = (body: string, type: string) =>
    served.ask('PUT', '/v2/team/app/manifests/v1', { body, headers: { 'content-type': type } });
  const bytes = await served.imageManifest('team/app');
  for (const [body, type] of [
    ['no JSON', OCI_MANIFEST],
    ['{}', OCI_MANIFEST],
    ['[]', OCI_INDEX],
    [bytes, OCI_INDEX],
    [bytes, 'text/plain'],
    [bytes.replace('"layers"', '"manifests":[],"layers"'), OCI_MANIFEST],
  ] as const) {
    const reply = await put(body, type);
    t.deepEqual([reply.status, reply.codes], [400, ['MANIFEST_INVALID']], `${type} ${body.slice(0, 40)}`);
  }
  t.is((await put(bytes, `${OCI_MANIFEST}; charset=utf-8`)).status, 201);
});

test('Pushing Manifests: the type of a pull is that of the push', async (t) => {
  const served = await ServedFolder.open(t);
  const bytes = (await served.imageManifest('team/app')).replace(OCI_MANIFEST, DOCKER_MANIFEST);
  await served.putManifest('team/app', 'v1', bytes);
  t.is((await served.ask('HEAD', '/v2/team/app/manifests/v1')).headers['content-type'], DOCKER_MANIFEST);
});

test('Pushing Manifests: 4 MB are taken, and more than the limit is 413', async (t) => {
  const served = await ServedFolder.open(t);
  const bytes = await served.imageManifest('team/app');
  const padded = (size: number) => bytes.replace(/\}$/, `,"annotations":{"x":"${'x'.repeat(size)}"}}`);
  t.is((await served.putManifest('team/app', 'v1', padded(4_200_000))).status, 201);
  t.is((await served.putManifest('team/app', 'v1', padded(MANIFEST_LIMIT))).status, 413);
  const headers = { 'content-length': `${MANIFEST_LIMIT + 1}` };
  t.is((await served.putManifest('team/app', 'v1', bytes, headers)).status, 413);
});

test('Pushing Manifests: conditions look at the manifest that the tag has at that moment', async (t) => {
  const served = await ServedFolder.open(t);
  const [one, two] = [
    await served.imageManifest('a', { layers: ['1'] }),
    await served.imageManifest('a', { layers: ['2'] }),
  ];
  const status = async (body: string, headers: Record<string, string>) =>
    (await served.putManifest('a', 'v1', body, headers)).status;
  t.is(await status(one, { 'if-match': `"${sha256(two)}"` }), 412);
  t.is(await status(one, { 'if-none-match': '*' }), 201);
  t.is(await status(two, { 'if-none-match': '*' }), 412);
  t.is(await status(two, { 'if-match': `"${sha256(two)}"` }), 412);
  t.is(await status(two, { 'if-match': `"${sha256(one)}"` }), 201);
  const raced = await Promise.all(
    ['x', 'y', 'z'].map(async (layer) =>
      status(await served.imageManifest('a', { layers: [layer] }), { 'if-match': `"${sha256(two)}"` }),
    ),
  );
  t.deepEqual(
    raced.toSorted((a, b) => a - b),
    [201, 412, 412],
  );
});

test('Push: a subject that is not here is accepted, and told back', async (t) => {
  const served = await ServedFolder.open(t);
  const subject = { mediaType: OCI_MANIFEST, digest: UNKNOWN, size: 10 };
  const bytes = await served.imageManifest('team/app', { subject });
  const put = await served.putManifest('team/app', sha256(bytes), bytes);
  t.deepEqual([put.status, put.headers['oci-subject']], [201, UNKNOWN]);
});

test('manifests that were pushed for an index have no entry once the index has one', async (t) => {
  const served = await ServedFolder.open(t);
  const child = await served.imageManifest('team/app');
  await served.putManifest('team/app', sha256(child), child);
  t.is(entriesOf(served.folder).length, 1);
  const manifests = [{ mediaType: OCI_MANIFEST, digest: sha256(child), size: child.length }];
  const index = JSON.stringify({ schemaVersion: 2, mediaType: OCI_INDEX, manifests });
  t.is((await served.putManifest('team/app', 'v1', index)).status, 201);
  t.deepEqual(
    entriesOf(served.folder).map(({ digest }) => digest),
    [sha256(index)],
  );
  const got = await served.ask('GET', `/v2/team/app/manifests/${sha256(child)}`);
  t.deepEqual([got.status, got.headers['content-type']], [200, OCI_MANIFEST]);
});

test('a tag that is pushed again moves, and the store has one entry for it', async (t) => {
  const served = await ServedFolder.open(t);
  await served.pushImage('team/app', 'v1', { layers: ['1'] });
  const second = await served.pushImage('team/app', 'v1', { layers: ['2'] });
  t.deepEqual(
    entriesOf(served.folder).map(({ digest }) => digest),
    [second],
  );
});

test('tags that many clients push at once are all there', async (t) => {
  const served = await ServedFolder.open(t);
  const names = Array.from({ length: 20 }, (_, at) => `v${at}`);
  await Promise.all(names.map((tag) => served.pushImage('team/app', tag, { layers: [tag] })));
  const { body } = await served.ask('GET', '/v2/team/app/tags/list');
  t.deepEqual((JSON.parse(body.toString()) as { tags: string[] }).tags, names.toSorted());
});
