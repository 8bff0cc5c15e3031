import { randomBytes } from 'node:crypto';
import { IncomingMessage, ServerResponse } from 'node:http';
import { Socket } from 'node:net';
import test, { type ExecutionContext } from 'ava';
import { readActionsToken } from '../../../../src/backend/config/gha/actions-token.js';
import { blobKey, indexKey } from '../../../../src/backend/config/gha/cache-keys.js';
import { BlobUploads } from '../../../../src/backend/config/gha/entry-upload.js';
import { GhaConnection } from '../../../../src/backend/config/gha/gha-connection.js';
import { writeIndex } from '../../../../src/backend/config/gha/gha-index.js';
import { GhaPlace } from '../../../../src/backend/config/gha/gha-place.js';
import { ghaTarget } from '../../../../src/backend/config/gha/gha-target.js';
import { type EntryLimit, entryLimit, Pace } from '../../../../src/backend/config/gha/pace.js';
import { serviceV1 } from '../../../../src/backend/config/gha/service-v1.js';
import { serviceV2 } from '../../../../src/backend/config/gha/service-v2.js';
import { blobsOf } from '../../../../src/graph/graph.js';
import { loadBare } from '../../../../src/graph/bare.js';
import { HttpClient } from '../../../../src/net/http/http.js';
import { contentOf } from '../../../../src/oci/content.js';
import { UNCOMPRESSED } from '../../../../src/oci/descriptor.js';
import { sha256 } from '../../../../src/oci/digest.js';
import { type CopyResult, copyCache } from '../../../../src/operations/copy/copy.js';
import { inspectCache } from '../../../../src/operations/inspect.js';
import { bkcache } from '../../../support/command.js';
import {
  FakeGha,
  type FakeScope,
  GH_TOKEN,
  type GhaFault,
  json,
  MAIN,
  PULL,
  REPOSITORY,
  tokenOf,
} from '../../../support/fake-gha.js';
import { FIXTURES, importOf, loadFixture, temporary } from '../../../support/fixtures.js';
import { HASTY } from '../../../support/servers.js';
import { assertSound } from '../../../support/sound.js';

const INDEX = indexKey('buildkit', MAIN.Scope);
const HASTY_TIMES = { blobs: 300, indexPause: 20, index: 100 };
const MIB = 1024 ** 2;

async function copy(from: string, to: string, onNote?: (note: string) => void): Promise<CopyResult> {
  return copyCache({ imports: [from], exports: [to], onNote });
}

/** A place in a fake service that waits for nothing longer than a test has to. */
function placeOf(
  t: ExecutionContext,
  fake: FakeGha,
  { isV2 = true, scopes = [MAIN] as readonly FakeScope[], limit = undefined as EntryLimit | undefined } = {},
) {
  const http = new HttpClient({ verify: true });
  t.teardown(() => http[Symbol.asyncDispose]());
  const token = tokenOf(scopes);
  const url = new URL(`http://${fake.host}`);
  const notes: string[] = [];
  const note = (text: string) => notes.push(text);
  const pace = new Pace({ name: 'here', limit, note });
  const connection = new GhaConnection({
    http,
    name: 'here',
    side: 'export',
    token,
    pace,
    timeout: 60_000,
    policy: HASTY,
  });
  const access = readActionsToken(token);
  const settings = { url, isV2, scope: 'buildkit', token, access, timeout: 60_000 };
  const service = isV2 ? serviceV2(connection, url) : serviceV1(connection, url);
  const place = new GhaPlace(settings, connection, service, { note });
  return { place, notes, uploads: new BlobUploads(place, HASTY_TIMES) };
}

const blobOf = (bytes: Uint8Array) => ({ digest: sha256(bytes), size: bytes.length });
const opens = (bytes: Uint8Array) => () => contentOf(bytes).open();

for (const version of [1, 2]) {
  test(`version ${version}: every cache goes in and comes back, and is not sent again`, async (t) => {
    for (const [folder, tag] of FIXTURES) {
      const fake = await FakeGha.start(t);
      const at = fake.at(`${folder} ${tag}`, { version });
      await copy(importOf(folder, tag), at);
      const [here, there] = [await inspectCache(importOf(folder, tag)), await inspectCache(at)];
      t.deepEqual(there.records, here.records, folder);
      const out = temporary(t);
      await copy(at, `type=local,dest=${out}`);
      await assertSound(t, out);
      const before = fake.keys('buildkit-blob').length;
      const [again] = (await copy(importOf(folder, tag), at)).exports;
      t.like(again, { bytesWritten: 0, actions: { copied: 0 } });
      t.is(fake.keys('buildkit-blob').length, before);
      t.deepEqual(
        fake.keys('index-').map((key) => key.split('#')[1]),
        ['1', '2'],
      );
    }
  });

  test(`version ${version}: large layers go in blocks, and a block that fails goes again alone`, async (t) => {
    let failures = 0;
    const fake = await FakeGha.start(t, ({ what, method }, answer) => {
      const isBlock = version === 1 ? method === 'PATCH' : what.endsWith(' block');
      if (!isBlock || failures >= 2) return false;
      if (++failures === 1) answer.destroy();
      else answer.writeHead(503).end();
      return true;
    });
    const { place, uploads } = placeOf(t, fake, { isV2: version === 2 });
    for (const size of [0, 1, 16 * MIB - 1, 16 * MIB, 33 * MIB + 1]) {
      const bytes = randomBytes(size);
      const blob = blobOf(bytes);
      await uploads.store(opens(bytes), blob, undefined);
      t.true(fake.entries.find(({ key }) => key === blobKey(blob.digest))?.bytes.equals(bytes), `${size}`);
      t.true((await place.look([blob.digest], undefined)).has(blob.digest));
    }
    t.is(failures, 2);
    const blocks = fake.all.filter(({ what, method }) =>
      version === 1 ? method === 'PATCH' : what.endsWith(' block'),
    );
    t.true(blocks.every(({ body }) => body.length <= 8 * MIB));
  });

  test(`version ${version}: writers at once have a number each, and the newest index is one of theirs`, async (t) => {
    const fake = await FakeGha.start(t);
    const writers = Array.from({ length: 5 }, () => placeOf(t, fake, { isV2: version === 2 }).place);
    const texts = writers.map((_, index) => `{"layers":[],"records":[],"writer":${index}}`);
    const keys = await Promise.all(
      writers.map((place, index) => writeIndex(place, INDEX, Buffer.from(texts[index] ?? ''), undefined, HASTY_TIMES)),
    );
    t.is(new Set(keys).size, 5);
    t.deepEqual(fake.keys('index-').toSorted(), keys.toSorted());
    t.true(texts.includes(fake.index() ?? ''));
  });

  test(`version ${version}: a number that a crashed run has reserved is left out after a while`, async (t) => {
    const fake = await FakeGha.start(t);
    const { place, notes } = placeOf(t, fake, { isV2: version === 2 });
    const prefix = indexKey('buildkit', MAIN.Scope);
    fake.add(`${prefix}7`, Buffer.from('old'));
    fake.add(`${prefix}8`, Buffer.of(), { isDone: false });
    t.is(await writeIndex(place, prefix, Buffer.from('new'), undefined, HASTY_TIMES), `${prefix}9`);
    t.is(fake.index(), 'new');
    t.regex(notes.join('\n'), /another run is writing index-buildkit-1-f921bd05#: waiting for it/);
  });

  test(`version ${version}: a layer that another run is storing counts when it can be found`, async (t) => {
    const fake = await FakeGha.start(t);
    const { uploads, notes } = placeOf(t, fake, { isV2: version === 2 });
    const bytes = Buffer.from('a layer');
    const other = fake.add(blobKey(sha256(bytes)), bytes, { isDone: false });
    let looks = 0;
    fake.fault = ({ what, url }) => {
      const isLook = what === 'GetCacheEntryDownloadURL' || url.searchParams.has('keys');
      if (isLook && ++looks > 1) other.isDone = true;
      return false;
    };
    await uploads.store(opens(bytes), blobOf(bytes), undefined);
    t.deepEqual(fake.keys(), [other.key]);
    t.deepEqual(notes, ['another run is writing layers of this cache: waiting for them']);
  });

  test(`version ${version}: a layer whose key a crashed run has reserved goes under a longer one, and is found`, async (t) => {
    const fake = await FakeGha.start(t);
    const { place, uploads } = placeOf(t, fake, { isV2: version === 2 });
    const bytes = Buffer.from('a layer');
    const { digest } = blobOf(bytes);
    fake.add(blobKey(digest), Buffer.of(), { isDone: false });
    await uploads.store(opens(bytes), blobOf(bytes), undefined);
    t.deepEqual(fake.keys(), [`${blobKey(digest)}-again1`]);
    t.true((await place.look([digest], undefined)).has(digest));
  });

  test(`version ${version}: a job without the right to write is exit 1 before anything is sent, or a message`, async (t) => {
    const fake = await FakeGha.start(t);
    const token = tokenOf([{ ...MAIN, Permission: 1 }]);
    const to = fake.at('buildkit', { version, token });
    const args = ['copy', '--import-cache', importOf('max-gzip'), '--export-cache'];
    const { code, stderr } = await bkcache([...args, to]);
    t.is(code, 1);
    t.regex(stderr, /export: the token of this job may only read: refs\/heads\/main\n {2}hint: pull requests of forks/);
    t.deepEqual(fake.seen, []);
    t.is((await bkcache([...args, `${to},ignore-error=true`])).code, 0);
  });
}

test('a service that denies writing is exit 1, and nothing under ignore-error', async (t) => {
  const fake = await FakeGha.start(t, ({ what }, answer) => {
    if (what !== 'CreateCacheEntry') return false;
    json(answer, 200, { ok: false, message: 'cache write denied: token has no writable scopes' });
    return true;
  });
  const args = ['copy', '--import-cache', importOf('max-gzip'), '--export-cache'];
  const { code, stderr } = await bkcache([...args, fake.at()]);
  t.is(code, 1);
  t.regex(stderr, /cache write denied: token has no writable scopes/);
  t.regex(stderr, /hint: cache-mode in the workflow/);
  t.is((await bkcache([...args, fake.at('x', { more: ',ignore-error=true' })])).code, 0);
  t.deepEqual(fake.keys('index-'), []);
});

test('a mode of the workflow is respected, and one that only writes needs no look-up', async (t) => {
  const fake = await FakeGha.start(t, ({ what }, answer) => {
    if (what !== 'GetCacheEntryDownloadURL') return false;
    json(answer, 403, { code: 'permission_denied', msg: 'cache read denied: token has no readable scopes' });
    return true;
  });
  const args = ['copy', '--import-cache', importOf('max-gzip'), '--export-cache', fake.at()];
  for (const mode of ['none', 'read']) {
    const { code, stderr } = await bkcache(args, { ACTIONS_CACHE_MODE: mode });
    t.is(code, 1);
    t.regex(stderr, new RegExp(`ACTIONS_CACHE_MODE=${mode}: this job may not write caches`));
    t.deepEqual(fake.seen, []);
  }
  for (const number of [1, 3, 7]) {
    const { code, stderr } = await bkcache(args, { ACTIONS_CACHE_MODE: 'write-only' });
    t.is(code, 0, stderr);
    t.true(fake.keys('index-').at(-1)?.endsWith(`#${number}`));
  }
  t.false(fake.seen.some((one) => one.startsWith('GetCache')));
  // Where the service alone says so.
  t.is((await bkcache(args)).code, 0);
});

test('an export goes to the last scope that may be written, and a pull request finds the layers of main', async (t) => {
  const fake = await FakeGha.start(t);
  await copy(importOf('grown', 'main'), fake.at());
  const before = fake.entries.length;
  await copy(importOf('grown', 'main'), fake.at('buildkit', { token: tokenOf(PULL) }));
  t.is(fake.entries.length, before + 1);
  t.is(fake.entries.at(-1)?.ref, 'refs/pull/7/merge');
});

const listed = `,ghtoken=${GH_TOKEN},repository=${REPOSITORY}`;

test('with ghtoken and repository a listing answers for all layers; where it fails, look-ups do', async (t) => {
  const fake = await FakeGha.start(t);
  const env = { GITHUB_API_URL: `http://${fake.host}` };
  const args = (more: string) => [
    'copy',
    '--import-cache',
    importOf('max-gzip'),
    '--export-cache',
    fake.at('buildkit', { more }),
  ];
  t.is((await bkcache(args(listed), env)).code, 0);
  t.is(fake.seen.filter((one) => one.startsWith('GetCacheEntryDownloadURL buildkit-blob')).length, 0);
  fake.seen.length = 0;
  const again = await bkcache(args(listed), env);
  t.is(again.code, 0);
  const asked = fake.seen.filter((one) => !one.includes('index-') && !one.startsWith('PUT /blob/'));
  t.deepEqual(asked, ['GET /repos/team/app/actions/caches']);
  const wrong = await bkcache(args(`,ghtoken=wrong,repository=${REPOSITORY}`), env);
  t.is(wrong.code, 0);
  t.regex(wrong.stderr, /the layers are looked for one by one, since a listing failed: .*Bad credentials/);
});

test('new entries keep to the pace of GitHub, and each wait is shown', async (t) => {
  const fake = await FakeGha.start(t);
  const { uploads, notes } = placeOf(t, fake, { limit: { entries: 5, within: 1000 } });
  const start = Date.now();
  const all = Array.from({ length: 11 }, (_, index) => Buffer.from(`layer ${index}`));
  await Promise.all(all.map((bytes) => uploads.store(opens(bytes), blobOf(bytes), undefined)));
  t.true(Date.now() - start >= 1900);
  t.is(fake.keys().length, 11);
  t.regex(notes[0] ?? '', /^here takes 5 new entries in 1 s: waiting 1 s$/);
  t.true(notes.length <= 2);
});

test('GitHub has the limit of GitHub, and other services what they ask for', (t) => {
  for (const host of ['results-receiver.actions.githubusercontent.com', 'github.com', 'x.ghe.com'])
    t.deepEqual(entryLimit(new URL(`https://${host}`)), { entries: 200, within: 60_000 });
  for (const host of ['127.0.0.1:3000', 'notgithub.com', 'github.com.example.com'])
    t.is(entryLimit(new URL(`http://${host}`)), undefined);
});

const afterThree: GhaFault = ({ what, before }, answer) => {
  if (what !== 'CreateCacheEntry' || before < 3 || before > 5) return false;
  json(answer, 429, { code: 'resource_exhausted', msg: 'too many' }, { 'retry-after': '1' });
  return true;
};

test('a service that takes no more entries for a time gets none before, and loses none', async (t) => {
  const fake = await FakeGha.start(t, afterThree);
  const times: number[] = [];
  const fault = fake.fault;
  let until = 0;
  fake.fault = (seen, answer, service) => {
    times.push(Date.now());
    if (seen.what === 'CreateCacheEntry' && Date.now() < until) t.fail('too early');
    const isRefused = fault(seen, answer, service) === true;
    // A little is lost on the way, and requests that were under way are refused together.
    if (isRefused && until === 0) setTimeout(() => (until = Date.now() + 800), 100);
    return isRefused;
  };
  const notes: string[] = [];
  await copy(importOf('max-gzip'), fake.at(), (note) => notes.push(note));
  t.is(fake.keys('buildkit-blob').length, 6);
  t.regex(notes.join('\n'), /takes no more requests at present: waiting 1 s/);
});

test('an answer that got lost is no failure: the entry is looked for, or goes under the next key', async (t) => {
  const lost = new Set<string>();
  const fake = await FakeGha.start(t, (seen, answer, service) => {
    const isOnce = /^(?:CreateCacheEntry|FinalizeCacheEntryUpload)$/.test(seen.what) && !lost.has(seen.what);
    if (!isOnce) return false;
    lost.add(seen.what);
    // It is done, and the connection breaks.
    service.serve(seen, new ServerResponse(new IncomingMessage(new Socket())));
    answer.destroy();
    return true;
  });
  await copy(importOf('max-gzip'), fake.at());
  t.is(lost.size, 2);
  const out = temporary(t);
  await copy(fake.at(), `type=local,dest=${out}`);
  await assertSound(t, out);
});

test('an address for writing that has run out: the layer goes under the next key, from its start', async (t) => {
  const fake = await FakeGha.start(t);
  const { uploads } = placeOf(t, fake);
  const bytes = randomBytes(17 * MIB);
  let isExpired = false;
  fake.fault = ({ what }, _, service) => {
    if (what.endsWith(' block') && !isExpired) {
      isExpired = true;
      service.expire();
    }
    return false;
  };
  await uploads.store(opens(bytes), blobOf(bytes), undefined);
  t.true(fake.entries.find(({ isDone }) => isDone)?.bytes.equals(bytes));
});

test('an upload that is refused again and again is an error, and no index names the layer', async (t) => {
  const fake = await FakeGha.start(t, ({ what }, answer) => {
    if (!what.startsWith('PUT /blob/')) return false;
    answer.writeHead(403).end('<Error><Code>AuthorizationFailure</Code></Error>');
    return true;
  });
  await t.throwsAsync(copy(importOf('max-gzip'), fake.at()), {
    message: /cannot send .*AuthorizationFailure, HTTP 403/,
  });
  t.deepEqual(fake.keys(), []);
});

test('a layer without a diffID gets it from its bytes', async (t) => {
  const fake = await FakeGha.start(t);
  const cache = await loadFixture('max-zstd');
  const [first] = blobsOf(cache.graph);
  if (first === undefined) return t.fail();
  const descriptors = new Map(cache.graph.descriptors).set(first.digest, { ...first, annotations: {} });
  const graph = { ...cache.graph, descriptors };
  await using target = ghaTarget(placeOf(t, fake).place, {
    name: 'x',
    ref: MAIN.Scope,
    rest: undefined,
    times: HASTY_TIMES,
  });
  for (const blob of blobsOf(graph)) await target.write(cache.blob(blob), blob);
  await target.publish({ graph, shape: undefined, saved: undefined });
  const back = loadBare(Buffer.from(fake.index() ?? ''), 'x');
  t.is(back.descriptors.get(first.digest)?.annotations?.[UNCOMPRESSED], first.annotations?.[UNCOMPRESSED]);
});

test('conversions, min and merging come to the same as in a folder', async (t) => {
  const fake = await FakeGha.start(t);
  const cases = [
    { imports: [importOf('max-gzip')], options: ',mode=min' },
    { imports: [importOf('grown', 'main'), importOf('grown', 'feature')], options: ',mode=max' },
  ];
  for (const [index, { imports, options }] of cases.entries()) {
    const exports = [`type=local,dest=${temporary(t)}${options}`, fake.at(`${index}`, { more: options })];
    const [here, there] = (await copyCache({ imports, exports })).exports;
    t.deepEqual([there?.layers, there?.records, there?.mode], [here?.layers, here?.records, here?.mode]);
  }
});

test('two exports to one cache are refused, and what is damaged stores nothing', async (t) => {
  const fake = await FakeGha.start(t);
  const exports = [fake.at(), fake.at('buildkit', { more: ',mode=min' })];
  await t.throwsAsync(copyCache({ imports: [importOf('max-gzip')], exports }), { code: 'USAGE' });
  const { uploads } = placeOf(t, fake);
  await t.throwsAsync(
    uploads.store(
      async function* () {
        yield Buffer.from('x');
        throw new Error('the source broke');
      },
      blobOf(Buffer.from('xy')),
      undefined,
    ),
    { message: 'the source broke' },
  );
  t.deepEqual(fake.keys(), []);
});
