import test, { type ExecutionContext } from 'ava';
import { abortable, CacheError } from '../src/errors.js';
import { copyCache } from '../src/operations/copy/copy.js';
import { resolveCache } from '../src/operations/resolve.js';
import { Session } from '../src/session.js';
import { type BentRegistry, startBentRegistry } from './support/bent-registry.js';
import { importOf, temporary } from './support/fixtures.js';

const MAIN = { username: 'main', password: 'the password of main' };
const OTHER = { username: 'other', password: 'the password of other' };

/** A registry for one user, and what it was told of users. */
async function startPrivateRegistry(t: ExecutionContext, { username, password }: typeof MAIN, folder?: string) {
  const registry = await startBentRegistry(t, folder);
  const told = new Set<string>();
  const right = `Basic ${Buffer.from(`${username}:${password}`).toString('base64')}`;
  registry.bend = ({ incoming, answer }) => {
    const { authorization } = incoming.headers;
    if (authorization !== undefined) told.add(authorization);
    if (authorization === right) return false;
    answer.writeHead(401, { 'www-authenticate': 'Basic realm="x"' }).end();
    return true;
  };
  return { registry, told, right };
}

const refOf = ({ ref }: BentRegistry, tag: string) => `${ref}:${tag}`;

test('each side has the user of its registry, and no registry sees the user of the other', async (t) => {
  const from = await startPrivateRegistry(t, MAIN, 'max-gzip');
  const to = await startPrivateRegistry(t, OTHER);
  const copy = {
    imports: [refOf(from.registry, 'latest')],
    exports: [refOf(to.registry, 'latest')],
    registry: { import: MAIN, export: OTHER },
  };
  const { exports } = await copyCache(copy);
  t.is(exports[0]?.descriptor.digest, (await resolveCache(importOf('max-gzip'))).digest);
  t.deepEqual([...from.told], [from.right]);
  t.deepEqual([...to.told], [to.right]);
});

test('a user without a side is for the side that has none', async (t) => {
  const from = await startPrivateRegistry(t, MAIN, 'max-gzip');
  const to = await startPrivateRegistry(t, OTHER);
  const imports = [refOf(from.registry, 'latest')];
  const exports = [refOf(to.registry, 'latest')];
  await copyCache({ imports, exports, registry: { ...MAIN, export: OTHER } });
  await copyCache({ imports, exports, registry: { ...OTHER, import: MAIN } });
  t.deepEqual([from.told.size, to.told.size], [1, 1]);
});

test('two users in one registry: the import is read as one, the export written as the other', async (t) => {
  const registry = await startBentRegistry(t, 'max-gzip');
  const told: string[] = [];
  registry.bend = ({ method, incoming, answer }) => {
    const { authorization = '' } = incoming.headers;
    const [, name = ''] = /^(\w+):/.exec(Buffer.from(authorization.split(' ')[1] ?? '', 'base64').toString()) ?? [];
    if (name !== '') told.push(`${name} ${method}`);
    if (name === OTHER.username || (name === MAIN.username && (method === 'GET' || method === 'HEAD'))) return false;
    answer.writeHead(401, { 'www-authenticate': 'Basic realm="x"' }).end();
    return true;
  };
  const imports = [refOf(registry, 'latest')];
  const exports = [`${refOf(registry, 'zstd')},compression=zstd,force-compression=true`];
  await copyCache({ imports, exports, registry: { import: MAIN, export: OTHER } });
  t.true(told.includes('main GET'));
  t.true(told.includes('other PUT'));
  t.false(told.some((one) => /^main (?:PUT|POST|PATCH)$/.test(one)));
});

test('a user that was given is for one registry, and the second is refused before anything is done', async (t) => {
  const [one, two] = [await startBentRegistry(t, 'max-gzip'), await startBentRegistry(t, 'max-gzip')];
  const [first, second] = [refOf(one, 'latest'), refOf(two, 'latest')];
  const folder = temporary(t);
  const cases = [
    { imports: [first], exports: [second], registry: MAIN },
    { imports: [first, second], exports: [folder], registry: MAIN },
    { imports: [first, second], exports: [folder], registry: { import: MAIN } },
    { imports: [importOf('max-gzip')], exports: [first, second], registry: { ...OTHER, export: MAIN } },
  ];
  for (const options of cases) {
    const error = await t.throwsAsync(copyCache(options), { instanceOf: CacheError });
    t.like(error, {
      code: 'USAGE',
      message: `credentials were given, and there are two registries: ${one.host} and ${two.host}`,
      hint: 'use "docker login" for both instead, so that each gets its own',
    });
  }
  t.deepEqual([...one.seen, ...two.seen], []);
});

test('a session fills in what is left out, and makes each thing once', async (t) => {
  await using session = new Session({ layout: { durable: false, heal: undefined } as object });
  t.deepEqual(session.layout, { lockTimeout: 10_000, durable: false, heal: false });
  const make = () => Promise.resolve({ [Symbol.asyncDispose]: () => Promise.resolve() });
  t.is(await session.once('client', make), await session.once('client', make));
  t.not(await session.once('client', make), await session.once('another', make));
  t.not(await session.http({ verify: true }), await session.http({ verify: false }));
  t.is(await session.http({ verify: true }), await session.http({ verify: true }));
});

test('a session closes all that it opened, the latest first, also what cannot be closed', async (t) => {
  const closed: string[] = [];
  const closing = (name: string, fails = false) => ({
    async [Symbol.asyncDispose]() {
      closed.push(name);
      await Promise.resolve();
      if (fails) throw new Error(`cannot close ${name}`);
    },
  });
  const session = new Session();
  // A client asks for its connections while it is made.
  await session.once('client', async () => {
    await session.once('connections', () => Promise.resolve(closing('connections')));
    return closing('client');
  });
  session.defer(closing('a lease', true));
  session.defer(closing('another lease', true));
  const never = session.once('none', () => Promise.reject(new Error('cannot be made')));
  await t.throwsAsync(never, { message: 'cannot be made' });
  const late = session.once('late', async () => {
    await new Promise((resolve) => setImmediate(resolve));
    return closing('late');
  });
  await t.throwsAsync(async () => session[Symbol.asyncDispose](), { message: 'cannot close another lease' });
  t.deepEqual(closed, ['late', 'another lease', 'a lease', 'client', 'connections']);
  await late;
});

test('an error is told as it was, when closing fails after it as well', async (t) => {
  const call = abortable(undefined, async () => {
    await using session = new Session();
    session.defer({ [Symbol.asyncDispose]: () => Promise.reject(new Error('cannot close')) });
    await Promise.resolve();
    throw new CacheError('BUSY', 'the first');
  });
  t.like(await t.throwsAsync(call), { code: 'BUSY', message: 'the first' });
});
