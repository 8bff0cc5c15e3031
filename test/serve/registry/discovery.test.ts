import test from 'ava';
import { sha256 } from '../../../src/oci/digest.js';
import { OCI_INDEX, OCI_MANIFEST } from '../../../src/oci/media-types.js';
import { ServedFolder } from '../../support/served.js';

// The rules of the OCI distribution-spec 1.1 for listings; each test is named after its section.

async function tagsOf(
  served: ServedFolder,
  query = '',
): Promise<{ tags: readonly string[]; link: string | undefined }> {
  const { body, headers } = await served.ask('GET', `/v2/team/app/tags/list${query}`);
  const { name, tags } = JSON.parse(body.toString()) as { name: string; tags: readonly string[] };
  if (name !== 'team/app') throw new Error(`the list is that of ${name}`);
  return { tags, link: headers['link'] as string | undefined };
}

async function withTags(served: ServedFolder, ...tags: readonly string[]): Promise<void> {
  const bytes = await served.imageManifest('team/app');
  for (const tag of tags) await served.putManifest('team/app', tag, bytes);
}

test('Listing Tags: 200 with all tags in ASCII order', async (t) => {
  const served = await ServedFolder.open(t);
  await withTags(served, 'b', 'latest', 'B', 'a', '_x', '10', '9');
  t.deepEqual(await tagsOf(served), { tags: ['10', '9', 'B', '_x', 'a', 'b', 'latest'], link: undefined });
});

test('Listing Tags: n limits a list, and a Link leads through the rest', async (t) => {
  const served = await ServedFolder.open(t);
  const all = ['a', 'b', 'c', 'd', 'e'];
  await withTags(served, ...all);
  const seen: string[] = [];
  let query: string | undefined = '?n=2';
  while (query !== undefined) {
    const page = await tagsOf(served, query);
    t.true(page.tags.length <= 2);
    seen.push(...page.tags);
    query =
      page.link === undefined ? undefined : /^<\/v2\/team\/app\/tags\/list(\?.*)>; rel="next"$/.exec(page.link)?.[1];
  }
  t.deepEqual(seen, all);
  t.is((await tagsOf(served, '?n=5')).link, undefined);
  t.is((await tagsOf(served, '?n=9')).link, undefined);
});

test('Listing Tags: n=0 is an empty list without a Link', async (t) => {
  const served = await ServedFolder.open(t);
  await withTags(served, 'a');
  t.deepEqual(await tagsOf(served, '?n=0'), { tags: [], link: undefined });
});

test('Listing Tags: last begins after a tag, whether the tag exists or not', async (t) => {
  const served = await ServedFolder.open(t);
  await withTags(served, 'a', 'c', 'e');
  t.deepEqual((await tagsOf(served, '?last=a')).tags, ['c', 'e']);
  t.deepEqual((await tagsOf(served, '?last=b')).tags, ['c', 'e']);
  t.deepEqual((await tagsOf(served, '?n=1&last=c')).tags, ['e']);
  t.deepEqual((await tagsOf(served, '?last=e')).tags, []);
});

test('Listing Tags: an unknown repository is 404, and a number that is none is 400', async (t) => {
  const served = await ServedFolder.open(t);
  t.is((await served.ask('GET', '/v2/team/app/tags/list')).status, 404);
  await withTags(served, 'a');
  t.is((await served.ask('GET', '/v2/team/app/tags/list?n=-1')).status, 400);
  t.is((await served.ask('GET', '/v2/team/app/tags/list?n=x')).status, 400);
});

/** A list of referrers, and its headers. */
async function referrers(served: ServedFolder, digest: string, query = '') {
  const reply = await served.ask('GET', `/v2/team/app/referrers/${digest}${query}`);
  const { manifests } = JSON.parse(reply.body.toString()) as {
    manifests: { digest: string; artifactType?: string; annotations?: object }[];
  };
  return { ...reply, manifests };
}

async function subjectIn(served: ServedFolder) {
  const bytes = await served.imageManifest('team/app');
  await served.putManifest('team/app', 'v1', bytes);
  return { mediaType: OCI_MANIFEST, digest: sha256(bytes), size: bytes.length };
}

test('Listing Referrers: an index with the type and annotations of each manifest, and never 404', async (t) => {
  const served = await ServedFolder.open(t);
  const subject = await subjectIn(served);
  const none = await referrers(served, subject.digest);
  t.deepEqual([none.status, none.headers['content-type'], none.manifests], [200, OCI_INDEX, []]);
  const elsewhere = await served.ask('GET', `/v2/unknown/referrers/${subject.digest}`);
  t.is(elsewhere.status, 200);
  t.is((await served.ask('GET', '/v2/team/app/referrers/sha256:abc')).status, 400);

  const annotations = { 'org.example': 'yes' };
  const typed = await served.imageManifest('team/app', { subject, artifactType: 'application/x.sbom', annotations });
  const plain = await served.imageManifest('team/app', { subject });
  const index = JSON.stringify({ schemaVersion: 2, mediaType: OCI_INDEX, manifests: [], subject });
  for (const bytes of [typed, plain, index]) await served.putManifest('team/app', sha256(bytes), bytes);
  const { manifests } = await referrers(served, subject.digest);
  const found = new Map(manifests.map((one) => [one.digest, one]));
  t.deepEqual(found.get(sha256(typed)), {
    mediaType: OCI_MANIFEST,
    size: typed.length,
    digest: sha256(typed),
    artifactType: 'application/x.sbom',
    annotations,
  } as object);
  t.is(found.get(sha256(plain))?.artifactType, 'application/vnd.example.config');
  t.false('artifactType' in (found.get(sha256(index)) ?? { artifactType: 'the index is missing' }));
  t.is(manifests.length, 3);
});

test('Listing Referrers: artifactType filters, and the answer says so', async (t) => {
  const served = await ServedFolder.open(t);
  const subject = await subjectIn(served);
  for (const artifactType of ['application/x.a', 'application/x.b']) {
    const bytes = await served.imageManifest('team/app', { subject, artifactType });
    await served.putManifest('team/app', sha256(bytes), bytes);
  }
  const { manifests, headers } = await referrers(served, subject.digest, '?artifactType=application/x.b');
  t.deepEqual(
    manifests.map(({ artifactType }) => artifactType),
    ['application/x.b'],
  );
  t.is(headers['oci-filters-applied'], 'artifactType');
});

test('Enabling the Referrers API: what the index of a referrers tag lists is found', async (t) => {
  const served = await ServedFolder.open(t);
  const subject = await subjectIn(served);
  const bytes = await served.imageManifest('team/app', { subject });
  await served.putManifest('team/app', sha256(bytes), bytes);
  const manifests = [{ mediaType: OCI_MANIFEST, digest: sha256(bytes), size: bytes.length }];
  const index = JSON.stringify({ schemaVersion: 2, mediaType: OCI_INDEX, manifests });
  await served.putManifest('team/app', subject.digest.replace(':', '-'), index);
  const found = await referrers(served, subject.digest);
  t.deepEqual(
    found.manifests.map(({ digest }) => digest),
    [sha256(bytes)],
  );
});
