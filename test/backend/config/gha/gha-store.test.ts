import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { once } from 'node:events';
import test, { type ExecutionContext } from 'ava';
import { blobKey, indexKey } from '../../../../src/backend/config/gha/cache-keys.js';
import { sha256 } from '../../../../src/oci/digest.js';
import { copyCache } from '../../../../src/operations/copy/copy.js';
import { collectGarbage } from '../../../../src/operations/gc.js';
import { inspectCache } from '../../../../src/operations/inspect.js';
import { listCaches } from '../../../../src/operations/list.js';
import { prune } from '../../../../src/operations/prune/prune.js';
import { repairFolder } from '../../../../src/operations/repair/repair.js';
import { verifyCache, verifyFolder } from '../../../../src/operations/verify/verify.js';
import { storeConformance } from '../../store-conformance.js';
import { bkcache } from '../../../support/command.js';
import { FakeGha, type FakeScope, GH_TOKEN, MAIN, tokenOf } from '../../../support/fake-gha.js';
import { importOf, temporary } from '../../../support/fixtures.js';

const HOUR = 3_600_000;
const DAY = 24 * HOUR;
const FEATURE: FakeScope = { Scope: 'refs/heads/feature', Permission: 3 };

/** The REST API of all fake services: its address is in a variable, and each service has another repository. */
const services = new Map<string, FakeGha>();
const api = createServer((request, answer) => {
  const [, , owner, name] = (request.url ?? '').split(/[/?]/);
  const fake = services.get(`${owner}/${name}`);
  if (fake === undefined) answer.writeHead(404).end();
  else void fake.handle(request, answer);
});

test.before(async () => {
  await once(api.listen(0, '127.0.0.1'), 'listening');
  process.env['GITHUB_API_URL'] = `http://127.0.0.1:${(api.address() as AddressInfo).port}`;
});
test.after.always(() => void api.close());

interface Opened {
  readonly fake: FakeGha;
  /** The option string for all caches. */
  readonly place: string;
  readonly at: (scope: string, token?: string) => string;
}

async function open(t: ExecutionContext, token = tokenOf()): Promise<Opened> {
  const fake = await FakeGha.start(t);
  fake.repository = `team/app-${services.size}`;
  services.set(fake.repository, fake);
  const access = `,ghtoken=${GH_TOKEN},repository=${fake.repository}`;
  const place = `type=gha,url_v2=http://${fake.host},token=${token}${access}`;
  return { fake, place, at: (scope, other = token) => fake.at(scope, { token: other }) };
}

async function filled(t: ExecutionContext): Promise<Opened> {
  const opened = await open(t);
  for (const tag of ['main', 'feature']) await copy(importOf('grown', tag), opened.at(tag));
  return opened;
}

async function copy(from: string, to: string): Promise<void> {
  await copyCache({ imports: [from], exports: [to] });
}

/** The key of a layer that no index names. */
const layerKey = (letter: string) => blobKey(sha256(letter));

/** Makes all entries so old that no token of their time lives. */
function age({ entries }: FakeGha, days = 3): void {
  for (const entry of entries) {
    entry.created -= days * DAY;
    entry.accessed -= days * DAY;
  }
}

storeConformance('gha', async (t) => {
  const { fake, place, at } = await open(t);
  return {
    place,
    imports: at,
    exports: at,
    lose: (digest) => (fake.entries = fake.entries.filter(({ key }) => key !== blobKey(digest))),
  };
});

test('caches are listed in all scopes, and those of others are named with theirs', async (t) => {
  const { fake, place, at } = await filled(t);
  await copy(importOf('min-gzip'), at('main', tokenOf([FEATURE])));
  fake.add('node-modules-1', Buffer.from('an archive of actions/cache'));
  const rows = await listCaches(place);
  t.deepEqual(
    rows.map(({ tag, cache, problem }) => [tag, cache?.mode, problem]),
    [
      ['main', 'max', undefined],
      ['feature', 'max', undefined],
      ['main@refs/heads/feature', undefined, 'the token of this job does not read refs/heads/feature'],
    ],
  );
  t.like(await verifyFolder(place), { sound: true, tags: 2 });
  t.like(await verifyCache(at('main')), { sound: true, tags: 1 });
  const { stdout, code } = await bkcache(['list', place]);
  t.is(code, 0);
  t.regex(stdout, /main@refs\/heads\/feature: the token of this job does not read/);
});

test('gc frees indexes that were replaced and layers that no index names, and neither young ones nor those of others', async (t) => {
  const { fake, place, at } = await filled(t);
  await copy(importOf('min-gzip'), at('main'));
  fake.add('node-modules-1', Buffer.from('an archive of actions/cache'));
  const kept = new Set((await inspectCache(at('feature'))).layers.map(({ digest }) => blobKey(digest)));
  for (const { digest } of (await inspectCache(at('main'))).layers) kept.add(blobKey(digest));
  t.like(await collectGarbage(place), { removed: { count: 0 } }, 'all of it is young');
  age(fake);
  const plan = await collectGarbage(place, { dryRun: true });
  const before = fake.entries.length;
  const { removed, budget, paths } = await collectGarbage(place);
  t.deepEqual(plan.removed, removed);
  t.true(removed.count > 0);
  t.is(before - fake.entries.length, removed.count);
  t.deepEqual(budget?.deletions, removed.count);
  t.true(paths.some((path) => path.startsWith('index-main-1-f921bd05#1 of refs/heads/main')));
  t.deepEqual(fake.keys('buildkit-blob').toSorted(), [...kept].toSorted());
  t.deepEqual(fake.keys('index-').toSorted(), ['index-feature-1-f921bd05#1', 'index-main-1-f921bd05#2']);
  t.true(fake.keys().includes('node-modules-1'));
  t.true(fake.all.every(({ method, what }) => method !== 'DELETE' || /\/caches\/\d+$/.test(what)));
  t.true((await verifyFolder(place, { deep: true })).sound);
});

test('a layer that an index of another branch may need stays, though the token does not read that index', async (t) => {
  const { fake, place, at } = await filled(t);
  // The branch finds the layers of main, and has an index over them.
  await copy(importOf('grown', 'main'), at('work', tokenOf([{ ...MAIN, Permission: 1 }, FEATURE])));
  const needed = new Set((await inspectCache(at('main'))).layers.map(({ digest }) => blobKey(digest)));
  for (const { key, id } of fake.entries)
    if (key.startsWith('index-main') || key.startsWith('index-feature'))
      fake.entries = fake.entries.filter((one) => one.id !== id);
  age(fake);
  const { removed, uncertain } = await collectGarbage(place);
  t.is(removed.count, 0);
  t.true((uncertain?.count ?? 0) >= needed.size);
  t.true([...needed].every((key) => fake.keys().includes(key)));
  const { stdout } = await bkcache(['gc', '--dry-run', place]);
  t.regex(stdout, /left alone: .* that caches may need which this token does not read/);
  // What was stored after that index is not needed by it.
  fake.add(layerKey('a'), Buffer.from('x'));
  for (const entry of fake.entries.slice(-1)) entry.created = entry.accessed = Date.now() - 2 * DAY;
  t.is((await collectGarbage(place)).removed.count, 1);
});

test('no cache is missing in a listing, though entries are evicted between two pages', async (t) => {
  const { fake, place } = await open(t);
  for (let number = 0; number < 150; number++) {
    fake.add(`${indexKey(`app-${number}`, FEATURE.Scope)}1`, Buffer.from('{}'), { ref: FEATURE.Scope });
  }
  let isEvicted = false;
  fake.fault = ({ url }) => {
    if (!isEvicted && url.searchParams.get('page') === '2') {
      isEvicted = true;
      fake.entries = fake.entries.slice(1);
    }
    return false;
  };
  const names = (await listCaches(place)).map(({ tag }) => tag);
  t.is(names.length, 149);
  t.true(names.includes(`app-100@${FEATURE.Scope}`));
  t.false(names.includes(`app-0@${FEATURE.Scope}`));
});

test('a layer that was looked for a short time ago stays', async (t) => {
  const { fake, place } = await filled(t);
  fake.add(layerKey('a'), Buffer.from('x'));
  fake.add(layerKey('b'), Buffer.from('y'));
  age(fake);
  for (const entry of fake.entries.slice(-1)) entry.accessed = Date.now() - HOUR;
  t.like(await collectGarbage(place), { removed: { count: 1 }, young: { count: 1 } });
  t.true(fake.keys().includes(layerKey('b')));
});

test('a size is a quota of the repository: the least recently used that no index needs goes, and no more', async (t) => {
  const { fake, place } = await filled(t);
  for (const [index, letter] of ['a', 'b', 'c'].entries()) {
    const entry = fake.add(layerKey(letter), Buffer.alloc(1000));
    entry.created = entry.accessed = Date.now() - (10 - index) * DAY;
  }
  const total = fake.entries.reduce((sum, { bytes }) => sum + bytes.length, 0);
  const plan = await prune(place, { maxSize: total - 1500, dryRun: true });
  const done = await prune(place, { maxSize: total - 1500 });
  t.deepEqual(plan.collected?.removed, done.collected?.removed);
  t.like(done, { dropped: [], shrunk: [], unmet: [], collected: { removed: { count: 2 }, size: total - 2000 } });
  t.true(fake.keys().includes(layerKey('c')));
  const over = await prune(place, { maxSize: 10 });
  t.regex(over.unmet[0] ?? '', /^10 bytes: \d+ are left; what is left is needed by caches/);
  t.true((await verifyFolder(place)).sound);
});

test('prune drops caches by name and age, with all their indexes, and frees their layers', async (t) => {
  const { fake, place, at } = await filled(t);
  await copy(importOf('grown', 'main'), at('main'));
  age(fake);
  const { dropped, collected } = await prune(place, { untag: ['main'] });
  t.like(dropped, { length: 1, 0: { tag: 'main', reason: 'untag' } });
  t.true((collected?.removed.count ?? 0) > 0);
  t.deepEqual(fake.keys('index-'), ['index-feature-1-f921bd05#1']);
  t.true((await verifyFolder(place, { deep: true })).sound);
});

test('looking at caches does not make them younger, and a build does', async (t) => {
  const { fake, place, at } = await filled(t);
  age(fake);
  const policy = { maxAge: 2 * DAY, dryRun: true };
  for (let times = 0; times < 2; times++) t.is((await prune(place, policy)).dropped.length, 2);
  await copy(at('feature'), `type=local,dest=${temporary(t)}`);
  t.deepEqual(
    (await prune(place, policy)).dropped.map(({ tag }) => tag),
    ['main'],
  );
});

test('repair stores what was evicted again, replaces what is damaged, and writes an index without what cannot be had', async (t) => {
  const { fake, place, at } = await filled(t);
  const { layers } = await inspectCache(at('main'));
  const [first, second] = [layers[0]?.digest, layers.at(-1)?.digest];
  if (first === undefined || second === undefined) return t.fail();
  const damaged = fake.entries.find(({ key }) => key === blobKey(first));
  damaged?.bytes.fill(0, 5, 15);
  fake.entries = fake.entries.filter(({ key }) => key !== blobKey(second));
  const fixed = await repairFolder(place, { from: [importOf('grown', 'main')], deep: true });
  t.deepEqual(fixed.actions.map(({ type }) => type).toSorted(), ['fetched', 'fetched']);
  t.true((await verifyFolder(place, { deep: true })).sound);
  const out = temporary(t);
  await copy(at('main'), `type=local,dest=${out}`);

  fake.entries = fake.entries.filter(({ key }) => key !== blobKey(second));
  const cut = await repairFolder(place);
  t.true(cut.actions.some(({ type }) => type === 'cut'));
  t.true((await verifyFolder(place)).sound);
  t.true(fake.keys('index-main').length > 1);
  return undefined;
});

test('without a token for the REST API the error says where it comes from', async (t) => {
  const { at } = await filled(t);
  const env = { GITHUB_REPOSITORY: '', GITHUB_TOKEN: '' };
  for (const verb of ['list', 'gc']) {
    const place = at('main').replace(',scope=main', '');
    const { code, stderr } = await bkcache([verb, place], env);
    t.is(code, 2);
    t.regex(stderr, /hint: set GITHUB_REPOSITORY and GITHUB_TOKEN/);
  }
  t.is((await bkcache(['verify', at('main')], env)).code, 0);
});

test('repository and token come from the variables of a job, and the limit of the API is respected and shown', async (t) => {
  const { fake, at } = await filled(t);
  const place = at('main').replace(',scope=main', '');
  const reset = `${Math.floor(Date.now() / 1000) + 6}`;
  let refused = 0;
  fake.fault = ({ what }, answer) => {
    if (!what.startsWith('GET /repos/')) return false;
    if (refused++ === 0) {
      answer.writeHead(403, { 'x-ratelimit-remaining': '0', 'x-ratelimit-reset': reset });
      answer.end('{"message":"API rate limit exceeded"}');
      return true;
    }
    answer.setHeader('x-ratelimit-remaining', '4321').setHeader('x-ratelimit-reset', reset);
    return false;
  };
  const env = { GITHUB_REPOSITORY: fake.repository, GITHUB_TOKEN: GH_TOKEN };
  const { code, stdout, stderr } = await bkcache(['gc', '--dry-run', place], env);
  t.is(code, 0, stderr);
  t.regex(stderr, /takes no more requests at present: waiting \d s/);
  t.regex(stdout, /requests that would delete: 0; the service takes 4321 more until 20/);
});

test('no secret is in what the verbs print', async (t) => {
  const token = tokenOf();
  const { place } = await open(t, token);
  for (const args of [
    ['list'],
    ['verify'],
    ['gc', '--json'],
    ['prune', '--max-size', '1GB', '--json'],
    ['repair', '--json'],
  ]) {
    const { stdout, stderr } = await bkcache([...args, place]);
    t.false(`${stdout}${stderr}`.includes(token), args.join(' '));
    t.false(`${stdout}${stderr}`.includes(GH_TOKEN), args.join(' '));
  }
});

test('an import that finds nothing names what there is, where it can be listed', async (t) => {
  const { place } = await filled(t);
  const error = await t.throwsAsync<Error & { hint?: string }>(inspectCache(`${place},scope=mian`), {
    code: 'NOT_FOUND',
  });
  t.is(error.hint, 'the caches there are: main, feature');
});

test('the newest index goes last, so that no older one counts again', async (t) => {
  const { fake, place, at } = await filled(t);
  await copy(importOf('min-gzip'), at('main'));
  await prune(place, { untag: ['main'] });
  const ids = fake.all.filter(({ method }) => method === 'DELETE').map(({ what }) => Number(what.split('/').at(-1)));
  t.deepEqual(
    ids,
    ids.toSorted((a, b) => a - b),
  );
  t.is(fake.index('main'), undefined);
  t.true(indexKey('main', MAIN.Scope).endsWith('#'));
});
