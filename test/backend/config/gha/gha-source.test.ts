import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { blobKey, hashOf, indexKey } from '../../../../src/backend/config/gha/cache-keys.js';
import { saveBare } from '../../../../src/graph/bare.js';
import { blobsOf } from '../../../../src/graph/graph.js';
import { type Digest, sha256 } from '../../../../src/oci/digest.js';
import { readWhole } from '../../../../src/oci/content.js';
import { copyCache } from '../../../../src/operations/copy/copy.js';
import { inspectCache } from '../../../../src/operations/inspect.js';
import { resolveCache } from '../../../../src/operations/resolve.js';
import { bkcache } from '../../../support/command.js';
import { FakeGha, type GhaFault, json, MAIN, PULL, tokenOf } from '../../../support/fake-gha.js';
import { fixture, importOf, loadFixture, temporary } from '../../../support/fixtures.js';
import { assertSound } from '../../../support/sound.js';

const VERSIONS = [1, 2];

/** Puts the cache that BuildKit wrote into a bucket where BuildKit has it in a cache service: layers, then the index. */
function addCache(fake: FakeGha, { scope = 'buildkit', ref = MAIN.Scope, number = 1 } = {}): string {
  const blobs = join(fixture('s3-bucket'), 'blobs');
  for (const name of readdirSync(blobs)) fake.add(blobKey(name as Digest), readFileSync(join(blobs, name)), { ref });
  const config = readFileSync(join(fixture('s3-bucket'), 'manifests', 'tiny'));
  fake.add(`${indexKey(scope, ref)}${number}`, config, { ref });
  return config.toString();
}

/** Adds a cache of a fixture with a manifest. */
async function addFixture(fake: FakeGha, folder: string, tag: string, ref: string): Promise<void> {
  const cache = await loadFixture(folder, tag);
  for (const one of blobsOf(cache.graph))
    fake.add(blobKey(one.digest), await readWhole(cache.blob(one), one, 'x', { limit: 1e7 }), { ref });
  fake.add(`${indexKey('buildkit', ref)}3`, saveBare(cache.graph).bytes, { ref });
}

async function copied(t: ExecutionContext, from: string): Promise<string> {
  const folder = temporary(t);
  await copyCache({ imports: [from], exports: [`type=local,dest=${folder}`] });
  await assertSound(t, folder);
  return folder;
}

test('the keys are those of BuildKit', (t) => {
  t.is(hashOf('refs/heads/main'), 'f921bd05');
  t.is(indexKey('a b', 'refs/heads/main'), 'index-a b-1-f921bd05#');
  t.is(indexKey('x', 'refs/heads/main', { isSigned: true }), 'index-x-1-f921bd05-sig#');
  t.is(blobKey(sha256('x')), `buildkit-blob-1-${sha256('x')}`);
});

for (const version of VERSIONS) {
  test(`version ${version}: a cache is read, its newest index and all its layers`, async (t) => {
    const fake = await FakeGha.start(t);
    fake.add(`${indexKey('buildkit', MAIN.Scope)}1`, Buffer.from('an index that nobody reads any more'));
    const config = addCache(fake, { number: 2 });
    const at = fake.at('buildkit', { version });
    t.is((await resolveCache(at)).digest, sha256(config));
    t.is((await inspectCache(at)).records.length, 12);
    const folder = await copied(t, at);
    t.like(await inspectCache(folder), { records: { length: 12 } });
    const paths = fake.all.map(({ url }) => url.pathname);
    t.true(paths.every((path) => path.startsWith(version === 2 ? '/twirp/' : '/_apis/') || path.startsWith('/blob/')));
  });

  test(`version ${version}: the scopes of a token are one cache, and one without it counts as empty`, async (t) => {
    const fake = await FakeGha.start(t);
    await addFixture(fake, 'grown', 'main', 'refs/heads/main');
    const at = fake.at('buildkit', { version, token: tokenOf(PULL) });
    const main = await inspectCache(at);
    await addFixture(fake, 'grown', 'feature', 'refs/pull/7/merge');
    const both = await inspectCache(at);
    const { records } = await inspectCache(await copied(t, at));
    t.true(both.records.length > main.records.length);
    const merged = temporary(t);
    const imports = [importOf('grown', 'main'), importOf('grown', 'feature')];
    await copyCache({ imports, exports: [`type=local,dest=${merged}`] });
    t.is(records.length, (await inspectCache(merged)).records.length);
  });

  test(`version ${version}: a signed index does not answer for an unsigned one, and is read where there is no other`, async (t) => {
    const fake = await FakeGha.start(t);
    const config = addCache(fake);
    const signed = `${indexKey('buildkit', MAIN.Scope, { isSigned: true })}9`;
    fake.add(signed, Buffer.from('{"layers":[],"records":[]}'));
    t.is((await resolveCache(fake.at('buildkit', { version }))).digest, sha256(config));
    const notes: string[] = [];
    fake.entries = fake.entries.filter(({ key }) => !key.endsWith('#1'));
    await inspectCache(fake.at('buildkit', { version }), { onNote: (note) => notes.push(note) });
    t.deepEqual(notes, [`${signed} is a signed cache, and its signature is not checked`]);
  });

  test(`version ${version}: a layer that was evicted is a miss for the results that need it`, async (t) => {
    const fake = await FakeGha.start(t);
    addCache(fake);
    const whole = await inspectCache(fake.at());
    const gone = whole.layers.at(-1)?.digest;
    fake.entries = fake.entries.filter(({ key }) => key !== `buildkit-blob-1-${gone}`);
    const notes: string[] = [];
    const folder = temporary(t);
    const imports = [fake.at('buildkit', { version })];
    await copyCache({ imports, exports: [`type=local,dest=${folder}`], onNote: (note) => notes.push(note) });
    await assertSound(t, folder);
    const left = await inspectCache(folder);
    t.is(left.records.length, whole.records.length, 'every key stays');
    t.false(left.layers.some(({ digest }) => digest === gone));
    t.true(left.layers.length > 0);
    t.regex(notes.join('\n'), /1 of 6 layers are gone, and the results that need them stay out/);
  });
}

test('an address that has run out is asked for again, and reading goes on where it was', async (t) => {
  let cuts = 0;
  const fake = await FakeGha.start(t, ({ what, headers }, answer, service) => {
    if (!what.startsWith('GET /blob/') || headers.range !== undefined || cuts >= 3) return false;
    const { bytes } = service.entries.find(({ id }) => what.endsWith(`/${id}`)) ?? { bytes: Buffer.of() };
    if (bytes.length < 1000) return false;
    cuts++;
    // A connection that breaks, after which the address does not count any more.
    answer.writeHead(200, { 'content-length': bytes.length }).write(bytes.subarray(0, 500), () => {
      service.expire();
      answer.destroy();
    });
    return true;
  });
  addCache(fake);
  await copied(t, fake.at());
  t.is(cuts, 3);
  t.true(fake.all.some(({ headers }) => headers.range === 'bytes=500-'));
});

test('bytes that are not those of the digest are found', async (t) => {
  const fake = await FakeGha.start(t);
  addCache(fake);
  const entry = fake.entries.find(({ key, bytes }) => key.startsWith('buildkit-blob') && bytes.length > 100);
  entry?.bytes.fill(0, 10, 20);
  const error = await t.throwsAsync(copied(t, fake.at()), { code: 'CORRUPT' });
  t.regex(error.message, /sha256/);
});

test('what there is not is exit 3, with the scopes that were looked at', async (t) => {
  const fake = await FakeGha.start(t);
  addCache(fake, { scope: 'other' });
  // A longer name does not answer for a shorter one.
  fake.add('index-buildkit-1-f921bd05-more#1', Buffer.from('{}'));
  const error = await t.throwsAsync(resolveCache(fake.at('buildkit', { token: tokenOf(PULL) })), { code: 'NOT_FOUND' });
  t.regex(error.message, /gha:\/\/127\.0\.0\.1:\d+\/buildkit, in refs\/heads\/main or refs\/pull\/7\/merge$/);
});

const throttled =
  (headers: Record<string, string>): GhaFault =>
  ({ what, before }, answer) => {
    if (what !== 'GetCacheEntryDownloadURL' || before > 1) return false;
    json(answer, 429, { code: 'resource_exhausted', msg: 'rate limit exceeded' }, headers);
    return true;
  };

test('no request goes out before the time that the service asked for, and the wait is shown', async (t) => {
  const fake = await FakeGha.start(t, throttled({ 'retry-after': '1' }));
  addCache(fake);
  const { code, stderr } = await bkcache(['inspect', fake.at()]);
  t.is(code, 0);
  t.regex(stderr, /note: 127\.0\.0\.1:\d+ takes no more requests at present: waiting 1 s/);
});

test('a wait that is longer than timeout= is an error at once', async (t) => {
  const fake = await FakeGha.start(t, throttled({ 'retry-after': '3600' }));
  addCache(fake);
  const error = await t.throwsAsync(resolveCache(fake.at('buildkit', { more: ',timeout=5m' })), {
    code: 'UNREACHABLE',
  });
  t.regex(error.message, /takes no more requests, and asks to wait 3600 s/);
  t.is((error as Error & { hint?: string }).hint, 'one request waits no longer than timeout=, here 300 s');
});

const REFUSALS: readonly (readonly [string, GhaFault, RegExp])[] = [
  [
    'the page of a proxy',
    (_, answer) =>
      !answer.writeHead(200, { 'content-type': 'text/html' }).end('\n<h1>Sign in</h1>\n<p>More').headersSent,
    /its answer is no JSON, it begins with <h1>Sign in<\/h1> \(HTTP 200\)/,
  ],
  [
    'a refusal that is a page',
    (_, answer) => !answer.writeHead(403, { 'content-type': 'text/html' }).end('<h1>Blocked</h1>\n').headersSent,
    /<h1>Blocked<\/h1> \(HTTP 403\)/,
  ],
  [
    'a mode without reading',
    (_, answer) => {
      json(answer, 403, { code: 'permission_denied', msg: 'cache read denied: token has no readable scopes' });
      return true;
    },
    /cache read denied: token has no readable scopes \(HTTP 403\)/,
  ],
];

for (const [what, answerOf, expected] of REFUSALS) {
  test(`${what} is told in its own words`, async (t) => {
    const fake = await FakeGha.start(t, (seen, answer, service) => {
      answerOf(seen, answer, service);
      return true;
    });
    const error = await t.throwsAsync(resolveCache(fake.at()), { message: expected });
    t.truthy((error as Error & { hint?: string }).hint);
  });
}

test('errors of the service are tried again', async (t) => {
  const fake = await FakeGha.start(t, ({ what, before }, answer) => {
    if (what !== 'GetCacheEntryDownloadURL' || before > 0) return false;
    json(answer, 503, { code: 'unavailable', msg: 'try later' });
    return true;
  });
  addCache(fake);
  await t.notThrowsAsync(resolveCache(fake.at()));
});

test('no secret is in what is printed, whatever the service repeats', async (t) => {
  const token = tokenOf();
  const fake = await FakeGha.start(t, ({ headers }, answer) => {
    json(answer, 400, { code: 'invalid_argument', msg: `bad header ${headers.authorization}` });
    return true;
  });
  for (const args of [['inspect'], ['inspect', '--debug'], ['inspect', '--json'], ['resolve', '--debug']]) {
    const { code, stdout, stderr } = await bkcache([...args, fake.at('buildkit', { token })]);
    t.is(code, 1);
    t.false(`${stdout}${stderr}`.includes(token.slice(0, 30)));
    t.regex(stderr, /it repeats a secret/);
  }
});

test('what is no token, and one that does not count now, are told apart', async (t) => {
  const rows: [string, RegExp, string][] = [
    ['ghs_abc', /is no JWT/, 'USAGE'],
    [tokenOf([MAIN], {}, { alg: 'XX' }), /names no algorithm/, 'USAGE'],
    [tokenOf([MAIN], { ac: 7 }), /claims ac, nbf and exp/, 'USAGE'],
    [tokenOf([MAIN], { ac: '{}' }), /no list of scopes/, 'USAGE'],
    [tokenOf([MAIN], { exp: 1_700_000_000 }), /expired at 2023-11-14T22:13:20\.000Z/, 'DENIED'],
    [tokenOf([MAIN], { nbf: 4_000_000_000 }), /in the future/, 'DENIED'],
  ];
  for (const [token, message, code] of rows) {
    const error = await t.throwsAsync(resolveCache(`type=gha,url_v2=http://127.0.0.1:1/,token=${token}`), { code });
    t.regex(error.message, message);
    t.false(error.message.includes(token));
  }
});

test('the version is chosen as BuildKit chooses it', async (t) => {
  const fake = await FakeGha.start(t);
  addCache(fake);
  const address = `http://${fake.host}`;
  const rows: [string, 1 | 2][] = [
    [`url=${address},version=2`, 2],
    [`url=${address},version=3`, 2],
    [`url=${address}`, 1],
    [`url=${address},version=0`, 1],
    [`url_v2=${address}`, 2],
    [`url_v2=http://127.0.0.1:1,url=${address},version=1`, 1],
    [`url=http://127.0.0.1:1,url_v2=${address}/`, 2],
  ];
  for (const [words, version] of rows) {
    fake.seen.length = 0;
    await resolveCache(`type=gha,token=${tokenOf()},${words}`);
    t.is(
      fake.seen.some((one) => one.startsWith('GetCacheEntryDownloadURL')),
      version === 2,
      words,
    );
  }
});

test('a mode of the workflow that forbids reading is respected', async (t) => {
  const fake = await FakeGha.start(t);
  addCache(fake);
  for (const mode of ['none', 'write-only']) {
    const { code, stderr } = await bkcache(['resolve', fake.at()], { ACTIONS_CACHE_MODE: mode });
    t.is(code, 1);
    t.regex(stderr, new RegExp(`ACTIONS_CACHE_MODE=${mode}: this job may not read caches`));
  }
  t.is((await bkcache(['resolve', fake.at()], { ACTIONS_CACHE_MODE: 'read' })).code, 0);
});

test('no token in the environment: the hint says how a step gets it', async (t) => {
  const env = { ACTIONS_RUNTIME_TOKEN: '', ACTIONS_RESULTS_URL: '', ACTIONS_CACHE_URL: '' };
  const { code, stderr } = await bkcache(['resolve', 'type=gha'], env);
  t.is(code, 2);
  t.regex(stderr, /ACTIONS_CACHE_URL or ACTIONS_RESULTS_URL/);
  t.regex(stderr, /crazy-max\/ghaction-github-runtime/);
});
