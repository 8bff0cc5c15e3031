import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { createServer as createSecureServer } from 'node:https';
import test, { type ExecutionContext } from 'ava';
import { azblobSettings } from '../../../../src/backend/config/bucket/azblob-backend.js';
import { collect } from '../../../../src/bytes/collect.js';
import { CacheError } from '../../../../src/errors.js';
import { sha256 } from '../../../../src/oci/digest.js';
import { bkcache } from '../../../support/command.js';
import { makeCertificate } from '../../../support/certificate.js';
import { type AzblobFault, FakeAzblob, refuse } from '../../../support/fake-azblob.js';
import { fixture, temporary } from '../../../support/fixtures.js';

const MEBIBYTE = 1024 ** 2;
const SECRET = Buffer.from('a secret of the tests').toString('base64');

async function* inChunks(bytes: Uint8Array): AsyncGenerator<Uint8Array, void, undefined> {
  for (let at = 0; at < bytes.length; at += 65_536) yield bytes.subarray(at, at + 65_536);
}

type Store = ReturnType<FakeAzblob['open']>;
const put = (store: Store, key: string, bytes: Uint8Array) => store.put(key, inChunks(bytes), bytes.length);
const create = async (store: Store, key: string, bytes: Uint8Array) =>
  store.create?.(key, inChunks(bytes), bytes.length);

/** Fails the first requests of a kind. */
const first =
  (times: number, method: string, fail: AzblobFault): AzblobFault =>
  (seen, answer, fake) =>
    seen.method === method && seen.before < times && fail(seen, answer, fake);

const refusal =
  (status: number, code: string, more: Parameters<typeof refuse>[3] = {}): AzblobFault =>
  ({ method }, answer) => {
    refuse(answer, status, code, { isHead: method === 'HEAD', ...more });
    return true;
  };

test('keys and the version of the protocol go over the wire as from BuildKit', async (t) => {
  const fake = await FakeAzblob.start(t);
  const store = fake.open(t);
  for (const key of ['blobs/sha256:x', '../blobs//x']) {
    await put(store, key, Buffer.from(key));
    t.is(String(fake.blobs.get(key)?.bytes), key);
  }
  // As BuildKit sends a key, and the version of the protocol that it speaks.
  t.deepEqual(
    fake.all.map(({ path }) => path),
    ['/account/container/blobs%2Fsha256%3Ax', '/account/container/..%2Fblobs%2F%2Fx'],
  );
  t.true(fake.all.every(({ headers }) => headers['x-ms-version'] === '2024-11-04'));
});

test('a service that is busy is asked again, and so is one that breaks off an answer', async (t) => {
  const bytes = randomBytes(300_000);
  const faults: [string, AzblobFault][] = [
    ['ServerBusy', first(2, 'GET', refusal(503, 'ServerBusy'))],
    ['429', first(2, 'GET', refusal(429, 'TooManyRequests'))],
    ['InternalError', first(2, 'PUT', refusal(500, 'InternalError'))],
    ['OperationTimedOut', first(2, 'PUT', refusal(500, 'OperationTimedOut'))],
    ['no XML', first(1, 'PUT', (_, answer) => Boolean(answer.writeHead(502).end('<html>Bad Gateway')))],
    ['a page of a proxy', first(1, 'GET', (_, answer) => Boolean(answer.writeHead(200).end('<html>Login')))],
    [
      'a cut',
      first(1, 'GET', (_, answer) => {
        answer.writeHead(200, { 'content-length': bytes.length, etag: '"x"' });
        answer.write(bytes.subarray(0, 100_000), () => answer.destroy());
        return true;
      }),
    ],
    ['no answer', first(1, 'PUT', (_, answer) => Boolean(answer.destroy()))],
  ];
  for (const [name, fault] of faults) {
    const store = (await FakeAzblob.start(t, fault)).open(t);
    await put(store, 'key', bytes);
    t.deepEqual(await collect(store.content('key', bytes.length).open()), bytes, name);
    t.deepEqual(await store.read('key', bytes.length), { state: 'there', value: bytes }, name);
  }
});

test('a service that stays busy is an error after some attempts, and a connection that breaks says so', async (t) => {
  const fake = await FakeAzblob.start(t, refusal(503, 'ServerBusy', { message: 'The server is busy.' }));
  const error = await t.throwsAsync<CacheError>(put(fake.open(t), 'key', Buffer.from('x')));
  t.is(error.code, 'UNREACHABLE');
  t.is(
    error.message,
    `http://${fake.host}/account/container: cannot write key: The server is busy (ServerBusy, HTTP 503); tried 4 times`,
  );
  t.is(fake.seen.length, 4);
  const cut = await FakeAzblob.start(t, ({ method }, answer) => {
    if (method !== 'GET') return false;
    answer.writeHead(200, { 'content-length': 100, etag: '"x"' });
    answer.write('x', () => answer.destroy());
    return true;
  });
  await t.throwsAsync(collect(cut.open(t).content('key', 100).open()), { message: /the connection was cut/ });
});

test('a large blob goes in blocks with ids of one length, and a block that failed is sent again alone', async (t) => {
  const bytes = randomBytes(33 * MEBIBYTE + 5);
  let broken = 0;
  const fake = await FakeAzblob.start(t, ({ method, query }, answer) => {
    if (method !== 'PUT' || query.get('comp') !== 'block' || broken === 2) return false;
    broken++;
    answer.destroy();
    return true;
  });
  // What is left of an upload of BuildKit that ended early: its ids have 64 bytes.
  fake.blocks.set('key', new Map([[Buffer.alloc(64).toString('base64'), Buffer.from('x')]]));
  await create(fake.open(t), 'key', bytes);
  t.true(fake.blobs.get('key')?.bytes.equals(bytes));
  const sent = fake.all.filter(({ query }) => query.get('comp') === 'block');
  t.deepEqual(new Set(sent.map(({ body }) => body.length)), new Set([8 * MEBIBYTE, MEBIBYTE + 5]));
  t.is(sent.length, 7);
  const ids = new Set(sent.map(({ query }) => query.get('blockid') ?? ''));
  t.deepEqual([ids.size, new Set([...ids].map((id) => id.length)).size], [5, 1]);
});

test('two writers of one blob have ids of their own', async (t) => {
  const fake = await FakeAzblob.start(t);
  const [one, two] = [randomBytes(20 * MEBIBYTE), randomBytes(20 * MEBIBYTE)];
  await put(fake.open(t), 'key', one);
  await put(fake.open(t), 'key', two);
  const ids = fake.all.flatMap(({ query }) => query.get('blockid') ?? []);
  t.is(new Set(ids).size, 6);
  t.true(fake.blobs.get('key')?.bytes.equals(two), 'the last writer wins');
});

test('blocks that an earlier run has sent are not sent again, and blocks of others are not taken for them', async (t) => {
  const bytes = randomBytes(33 * MEBIBYTE);
  const fake = await FakeAzblob.start(t, ({ query, body }, answer) => {
    if (query.get('comp') !== 'block' || body.length === 8 * MEBIBYTE) return false;
    refuse(answer, 403, 'AuthorizationFailure');
    return true;
  });
  await t.throwsAsync(create(fake.open(t), 'key', bytes), { code: 'DENIED' });
  t.is(fake.blocks.get('key')?.size, 4);
  fake.blocks.get('key')?.set(Buffer.alloc(64, 7).toString('base64'), Buffer.from('of another'));
  const changed = Buffer.concat([bytes.subarray(0, 32 * MEBIBYTE), randomBytes(MEBIBYTE)]);
  fake.fault = () => false;
  fake.all.length = 0;
  await create(fake.open(t), 'key', changed);
  t.true(fake.blobs.get('key')?.bytes.equals(changed));
  const again = fake.all.filter(({ query }) => query.get('comp') === 'block');
  t.deepEqual(
    again.map(({ body }) => body.length),
    [MEBIBYTE],
  );
});

test('blocks of another program have ids of another length: then ids have that length', async (t) => {
  const bytes = randomBytes(20 * MEBIBYTE);
  const fake = await FakeAzblob.start(t);
  fake.blocks.set('key', new Map([[Buffer.alloc(36).toString('base64'), Buffer.from('x')]]));
  await create(fake.open(t), 'key', bytes);
  t.true(fake.blobs.get('key')?.bytes.equals(bytes));
});

test('a service that lists no blocks gets all of them', async (t) => {
  const bytes = randomBytes(20 * MEBIBYTE);
  for (const status of [200, 403, 501]) {
    const fake = await FakeAzblob.start(t, ({ method, query }, answer) => {
      if (method !== 'GET' || query.get('comp') !== 'blocklist') return false;
      if (status === 200) answer.writeHead(200).end('not a list');
      else refuse(answer, status, 'NotImplemented');
      return true;
    });
    await create(fake.open(t), 'key', bytes);
    t.true(fake.blobs.get('key')?.bytes.equals(bytes));
  }
});

test('a blob is copied by the service from another container of the account, and sent where that fails', async (t) => {
  const bytes = randomBytes(1000);
  const fake = await FakeAzblob.start(t);
  const digest = sha256(bytes);
  fake.set('a/from', bytes);
  const store = fake.open(t);
  const { object } = store.content('a/from', 1000);
  if (object === undefined) return t.fail();
  t.true(await store.copyFrom?.(object, 'to', { digest, size: 1000 }));
  t.true(fake.blobs.get('to')?.bytes.equals(bytes));
  t.false(await store.copyFrom?.(store.content('to', 1000).object ?? object, 'to', { digest, size: 1000 }), 'itself');
  t.false(await store.copyFrom?.(object, 'to', { digest, size: 999 }), 'another size');
  t.false(await store.copyFrom?.({ ...object, service: 'azblob of others' }, 'to', { digest, size: 1000 }));
  t.false(await store.copyFrom?.(store.content('missing', 1000).object ?? object, 'x', { digest, size: 1000 }));
  t.true(await store.copyFrom?.(object, 'to', { digest, size: 1000 }));
  const withSas = fake.open(t, { key: undefined, sas: 'sv=1&sig=abc' }).content('a/from', 1).object;
  t.regex(withSas?.source ?? '', /a%2Ffrom\?sv=1&sig=abc$/);
  t.notRegex(withSas?.name ?? '', /sig/);
  fake.fault = refusal(403, 'AuthorizationFailure');
  t.false(await store.copyFrom?.(object, 'to', { digest, size: 1000 }));
  const before = fake.seen.length;
  t.false(await store.copyFrom?.(object, 'to', { digest, size: 1000 }));
  t.is(fake.seen.length, before, 'it is asked once');
});

test('a blob of its size that another writer stored stays, and one that was cut short is replaced', async (t) => {
  for (const size of [100, 20 * MEBIBYTE]) {
    const bytes = randomBytes(size);
    const fake = await FakeAzblob.start(t);
    fake.set('whole', bytes);
    fake.set('short', bytes.subarray(1));
    fake.set('archived', bytes);
    fake.archived.add('archived');
    const etag = fake.blobs.get('whole')?.etag;
    for (const key of ['whole', 'short', 'archived', 'new']) await create(fake.open(t), key, bytes);
    for (const key of ['whole', 'short', 'new']) t.true(fake.blobs.get(key)?.bytes.equals(bytes), key);
    t.is(fake.blobs.get('whole')?.etag, etag, 'it was not written again');
    t.false(fake.archived.has('archived'));
    const puts = fake.all.filter(({ method, query }) => method === 'PUT' && query.get('comp') !== 'block');
    t.true(puts.every(({ headers }) => headers['if-none-match'] === '*' || headers['if-match'] !== undefined));
  }
});

test('an end of an upload whose answer got lost is no failure', async (t) => {
  const bytes = randomBytes(20 * MEBIBYTE);
  const fake = await FakeAzblob.start(t, (seen, answer, service) => {
    if (seen.query.get('comp') !== 'blocklist' || service.blobs.has('key')) return false;
    service.set('key', bytes);
    service.blocks.delete('key');
    answer.destroy();
    return true;
  });
  await create(fake.open(t), 'key', bytes);
  t.true(fake.blobs.get('key')?.bytes.equals(bytes));
});

test('a damaged import stores nothing, and neither does an upload that is refused', async (t) => {
  const bytes = randomBytes(20 * MEBIBYTE);
  const denied = await FakeAzblob.start(t, ({ query }, answer) => {
    if (query.get('comp') !== 'block') return false;
    refuse(answer, 403, 'AuthorizationPermissionMismatch');
    return true;
  });
  const error = await t.throwsAsync<CacheError>(create(denied.open(t), 'key', bytes));
  t.is(error.code, 'DENIED');
  t.regex(error.hint ?? '', /c and w in a SAS/);
  const damaged = await FakeAzblob.start(t);
  const broken = async function* () {
    yield bytes;
    throw new CacheError('CORRUPT', 'the import is damaged');
  };
  await t.throwsAsync(damaged.open(t).put('key', broken(), bytes.length), { message: 'the import is damaged' });
  t.is(damaged.blobs.size + denied.blobs.size, 0);
});

test('an export makes a container that is missing, once, and without looking at its properties', async (t) => {
  const fake = await FakeAzblob.start(t);
  fake.hasContainer = false;
  const store = fake.open(t, {}, 'export');
  t.deepEqual(await store.head('key'), { state: 'missing' });
  for await (const page of store.list('blobs/')) t.is(page.length, 0);
  t.false(fake.hasContainer, 'looking makes nothing');
  await Promise.all(['a', 'b', 'c'].map((key) => create(store, key, Buffer.from('x'))));
  t.is(fake.blobs.size, 3);
  const made = fake.all.filter(({ query }) => query.get('restype') === 'container' && !query.has('comp'));
  t.deepEqual(
    made.map(({ method }) => method),
    ['PUT'],
  );
  fake.hasContainer = false;
  const error = await t.throwsAsync<CacheError>(fake.open(t).read('key', 10));
  t.is(error.code, 'NOT_FOUND');
  t.regex(error.message, /there is no container "container"/);
  fake.fault = ({ query }, answer) => {
    if (query.get('restype') !== 'container') return false;
    refuse(answer, 403, 'AuthorizationPermissionMismatch');
    return true;
  };
  const refused = await t.throwsAsync<CacheError>(create(fake.open(t, {}, 'export'), 'a', Buffer.from('x')));
  t.regex(refused.message, /cannot make the container/);
  t.regex(refused.hint ?? '', /make the container first/);
});

test('a container that is being deleted is made when that is done', async (t) => {
  let isGone = false;
  const fake = await FakeAzblob.start(t, ({ query, before }, answer) => {
    if (isGone || query.get('restype') !== 'container') return false;
    isGone = before === 1;
    refuse(answer, 409, 'ContainerBeingDeleted');
    return true;
  });
  fake.hasContainer = false;
  await create(fake.open(t, {}, 'export'), 'key', Buffer.from('x'));
  t.true(fake.blobs.has('key'));
});

test('wrong keys, missing rights and a wrong clock have a reason, also where a HEAD was refused', async (t) => {
  const cases: [number, string, RegExp, Record<string, string>?][] = [
    [403, 'AuthenticationFailed', /a key of the account "account"/],
    [403, 'AuthenticationFailed', /set the clock/, { date: 'Thu, 26 Nov 2020 00:00:00 GMT' }],
    [403, 'KeyBasedAuthenticationNotPermitted', /takes no keys/],
    [403, 'AuthorizationSourceIPMismatch', /firewall/],
    [400, 'InvalidHeaderValue', /2024-11-04/],
  ];
  for (const [status, code, hint, headers = {}] of cases) {
    const fake = await FakeAzblob.start(t, refusal(status, code, { headers }));
    for (const ask of [(store: Store) => store.head('key'), (store: Store) => store.read('key', 10)]) {
      const error = await t.throwsAsync<CacheError>(ask(fake.open(t)));
      t.regex(error.hint ?? '', hint);
      t.regex(error.message, new RegExp(code));
      t.is(error.code, 'DENIED');
    }
  }
  const denied = await FakeAzblob.start(t, refusal(403, 'AuthorizationPermissionMismatch'));
  const answer = await denied.open(t).head('key');
  t.is(answer.state, 'unknown');
  t.regex((answer.state === 'unknown' && answer.problem.hint) || '', /r in a SAS/);
  await t.throwsAsync(collect(denied.open(t).content('key', 1).open()), { code: 'DENIED' });
});

test('an answer of another server than Azure says nothing of a blob', async (t) => {
  for (const status of [401, 403, 404, 409]) {
    const fake = await FakeAzblob.start(t, (_, answer) => Boolean(answer.writeHead(status).end('<html>Blocked')));
    for (const ask of [(store: Store) => store.head('key'), (store: Store) => store.read('key', 10)]) {
      const error = await t.throwsAsync<CacheError>(ask(fake.open(t)));
      t.is(error.code, 'DENIED');
      t.regex(error.message, new RegExp(`its answer is not Azure's \\(HTTP ${status}\\)$`));
    }
  }
});

test('the body of an answer that is no blob is not left on its connection', async (t) => {
  const fake = await FakeAzblob.start(t, ({ method }, answer) => {
    if (method !== 'GET') return false;
    answer.writeHead(200, { 'content-length': 10_000_000 });
    answer.write('<html>');
    answer.on('close', () => closed++);
    return true;
  });
  let closed = 0;
  await t.throwsAsync(fake.open(t).read('key', 100), { code: 'UNREACHABLE', message: /not Azure's; tried 4 times/ });
  await new Promise((resolve) => setTimeout(resolve, 200));
  t.is(closed, 4);
});

test('credentials that may create blobs, and not replace them, leave those of others', async (t) => {
  const fake = await FakeAzblob.start(t, ({ method }, answer) => {
    if (method === 'HEAD') refuse(answer, 403, 'AuthorizationPermissionMismatch', { isHead: true });
    else refuse(answer, 403, 'UnauthorizedBlobOverwrite');
    return true;
  });
  await t.notThrowsAsync(create(fake.open(t), 'key', Buffer.from('x')));
  await t.throwsAsync(put(fake.open(t), 'key', Buffer.from('x')), { code: 'DENIED' });
});

test('a SAS stands in every request and in no message, and one that ran out is named', async (t) => {
  const fake = await FakeAzblob.start(t);
  const sas = (until: string) => ({
    key: undefined,
    sas: `sv=2024-11-04&sp=rcw&se=${until}&sr=c&sig=a%2Bb%2Fc0123456789%3D`,
  });
  await create(fake.open(t, sas('2099-01-01T00:00:00Z'), 'export'), 'a/b', Buffer.from('x'));
  const store = fake.open(t, sas('2099-01-01T00:00:00Z'));
  t.is(String(await collect(store.content('a/b', 1).open())), 'x');
  t.true(fake.all.every(({ query, headers }) => query.get('sig') === 'a+b/c0123456789=' && !headers.authorization));
  t.false(store.nameOf('x').includes('sig'));
  fake.fault = refusal(403, 'AuthenticationFailed', { message: 'the signature a+b/c0123456789= is wrong' });
  const hints = [
    ['2020-01-01T00:00:00Z', /has run out/],
    ['2099-01-01T00:00:00Z', /is not valid here/],
  ] as const;
  for (const [until, hint] of hints) {
    const error = await t.throwsAsync<CacheError>(fake.open(t, sas(until)).read('key', 10));
    t.regex(error.hint ?? '', hint);
    t.notRegex(JSON.stringify(error) + error.message, /a\+b|a%2Bb|0123456789/);
  }
});

test('no key reaches a message, also where the service repeats it', async (t) => {
  const fake = await FakeAzblob.start(t, refusal(403, 'AuthenticationFailed', { message: `you sent ${SECRET}` }));
  const error = await t.throwsAsync<CacheError>(put(fake.open(t), 'key', Buffer.from('x')));
  t.false(JSON.stringify(error).includes(SECRET.slice(0, 16)));
});

test('an archived blob is in its place and cannot be read: a miss with that reason', async (t) => {
  const fake = await FakeAzblob.start(t);
  fake.set('key', Buffer.from('x'));
  fake.archived.add('key');
  const store = fake.open(t);
  t.deepEqual(await store.head('key'), { state: 'missing' });
  await t.throwsAsync(collect(store.content('key', 1).open()), { code: 'CORRUPT', message: /archived/ });
  await t.throwsAsync(store.read('key', 1), { code: 'NOT_FOUND', message: /archived/ });
  for await (const page of store.list('')) t.like(page, [{ key: 'key', isArchived: true }]);
});

test('a blob that is shorter or longer than it should be is seen', async (t) => {
  const fake = await FakeAzblob.start(t);
  fake.set('key', Buffer.from('long'));
  t.is((await collect(fake.open(t).content('key', 3).open())).length, 4);
  t.is((await collect(fake.open(t).content('key', 5).open())).length, 4);
  await t.throwsAsync(collect(fake.open(t).content('key', 9).open({ start: 5 })), {
    code: 'CORRUPT',
    message: /shorter/,
  });
});

test('a listing that is cut off or no listing is an error', async (t) => {
  const page =
    (body: string): AzblobFault =>
    (_, answer) =>
      Boolean(answer.writeHead(200, { 'content-type': 'application/xml' }).end(body));
  const list = async (fault: AzblobFault) => {
    const pages = (await FakeAzblob.start(t, fault)).open(t).list('blobs/');
    for await (const _ of pages) continue;
  };
  const whole = (blobs: string, next: string) =>
    page(
      `<EnumerationResults ServiceEndpoint="x" ContainerName="c"><Blobs>${blobs}</Blobs>${next}</EnumerationResults>`,
    );
  const blob = (name: string) =>
    `<Blob><Name>${name}</Name><Properties><Content-Length>1</Content-Length></Properties></Blob>`;
  await t.notThrowsAsync(list(whole('', '<NextMarker />')));
  await t.notThrowsAsync(list(whole(blob('a/b') + blob('a-b'), '<NextMarker />')), 'an account with folders');
  await t.throwsAsync(list(whole(blob('b') + blob('a'), '<NextMarker />')), { message: /out of order/ });
  await t.throwsAsync(list(whole('', '')), { message: /no listing/ });
  await t.throwsAsync(list(whole('', '<NextMarker>again</NextMarker>')), { message: /leads back/ });
  await t.throwsAsync(list(page('<html><body>Login</body></html>')), { code: 'UNREACHABLE' });
  await t.throwsAsync(list(page('<EnumerationResults><Blobs><Blob><Na')), { code: 'UNREACHABLE' });
});

test('the attributes of an option string lead to an account', (t) => {
  const settings = (attributes: Readonly<Record<string, string>>) => azblobSettings({ type: 'azblob', attributes });
  const refused = (attributes: Readonly<Record<string, string>>, message: RegExp) => {
    const error = t.throws<CacheError>(() => settings(attributes), { code: 'USAGE', message });
    t.notRegex(JSON.stringify(error), /hunter2/);
  };
  const url = 'https://team.blob.core.windows.net';
  t.deepEqual(settings({ account_url: `${url}/` }), {
    accountUrl: url,
    accountName: 'team',
    container: 'buildkit-cache',
    key: undefined,
    sas: undefined,
  });
  t.like(settings({ account_url: `${url}/?sv=1&sig=abc` }), { accountUrl: url, sas: 'sv=1&sig=abc' });
  t.like(settings({ account_url: `${url}?sig=abc`, secret_access_key: 'AAAA' }), { key: 'AAAA', sas: undefined });
  t.like(settings({ account_url: 'http://127.0.0.1:10000/dev', account_name: 'dev', secret_access_key: 'AAAA' }), {
    accountUrl: 'http://127.0.0.1:10000/dev',
    accountName: 'dev',
  });
  refused({ account_url: 'team' }, /is not an address/);
  refused({ account_url: 'https://me:hunter2@team.example.com' }, /a user or a password/);
  refused({ account_url: url, container: 'Team_Cache' }, /not the name of a container/);
  refused({ account_url: url, secret_access_key: 'sv=1&sig=hunter2' }, /not a key/);
  refused({ account_url: 'http://127.0.0.1' }, /plain HTTP/);
});

/** A service over TLS, where the official client sends what it found of an identity. */
async function secure(t: ExecutionContext, fault?: AzblobFault) {
  const { key, certificate } = await makeCertificate(temporary(t));
  const options = { key: readFileSync(key), cert: readFileSync(certificate) };
  const fake = await FakeAzblob.start(t, fault, (listener) => createSecureServer(options, listener));
  const open = (side: 'import' | 'export' = 'import') =>
    fake.open(t, { accountUrl: `https://${fake.host}/account`, key: undefined, ca: certificate }, side);
  return { fake, open };
}

function withoutAzure(t: ExecutionContext): void {
  const env = { ...process.env };
  t.teardown(() => (process.env = env));
  for (const name of Object.keys(process.env)) {
    if (/^(?:AZURE_|IDENTITY_|MSI_|IMDS_)/.test(name)) delete process.env[name];
  }
  // Neither this machine's metadata nor its tools are asked.
  process.env['PATH'] = '/nonexistent';
  process.env['HOME'] = '/nonexistent';
}

test.serial('the identity of a machine is found by the official client, over our own connections', async (t) => {
  const { fake, open } = await secure(t);
  withoutAzure(t);
  const tokens = await FakeAzblob.start(t, ({ headers }, answer) => {
    t.is(headers['x-identity-header'], 'an id of the tests');
    const until = Math.floor(Date.now() / 1000) + 3600;
    answer.writeHead(200, { 'content-type': 'application/json' });
    answer.end(
      JSON.stringify({
        access_token: 'a token of the tests',
        expires_on: `${until}`,
        resource: 'x',
        token_type: 'Bearer',
      }),
    );
    return true;
  });
  process.env['IDENTITY_ENDPOINT'] = `http://${tokens.host}/token`;
  process.env['IDENTITY_HEADER'] = 'an id of the tests';
  await create(open('export'), 'key', Buffer.from('x'));
  t.is(fake.all.at(-1)?.headers.authorization, 'Bearer a token of the tests');
  fake.fault = first(1, 'PUT', refusal(401, 'InvalidAuthenticationInfo'));
  await create(open('export'), 'renewed', Buffer.from('x'));
  t.is(fake.seen.filter((line) => line === 'PUT renewed').length, 2);
  fake.fault = refusal(403, 'AuthorizationPermissionMismatch', { message: 'a token of the tests may not' });
  const answer = await open().head('key');
  t.is(answer.state, 'unknown');
  const error = await t.throwsAsync<CacheError>(put(open('export'), 'key', Buffer.from('x')));
  t.notRegex(JSON.stringify(error), /a token of the tests/);
});

test('without an identity the reasons are named, and nothing of the client is printed', async (t) => {
  const fake = await FakeAzblob.start(t);
  fake.set('manifests/buildkit', readFileSync(join(fixture('s3-bucket'), 'manifests/tiny')));
  // Neither this machine's metadata nor its tools are asked.
  const env = { PATH: '/nonexistent', HOME: '/nonexistent', AZURE_TOKEN_CREDENTIALS: 'dev' };
  const loud = { ...env, AZURE_LOG_LEVEL: 'verbose', TYPESPEC_RUNTIME_LOG_LEVEL: 'verbose', DEBUG: '*' };
  const resolve = (at: string) => bkcache(['resolve', `type=azblob,container=container,account_url=${at}`], loud);
  const none = await resolve('https://localhost:1');
  t.is(none.code, 1);
  t.regex(
    none.stderr,
    /^bkcache: import: [^\n]*there are no credentials: [^\n]*Azure CLI[^\n]*\n {2}hint: [^\n]*az login[^\n]*\n$/,
  );
  const wrong = await bkcache(['resolve', 'type=azblob,account_url=https://localhost:1'], {
    ...env,
    AZURE_TOKEN_CREDENTIALS: 'wrong',
  });
  t.is(wrong.code, 2);
  t.regex(wrong.stderr, /cannot begin: .*AZURE_TOKEN_CREDENTIALS/);
  for (const level of ['verbose', 'no such level']) {
    loud.AZURE_LOG_LEVEL = level;
    loud.TYPESPEC_RUNTIME_LOG_LEVEL = level;
    const known = await resolve(`http://${fake.host}/account,account_name=account,secret_access_key=${SECRET}`);
    t.like(known, { code: 0, stderr: '' });
  }
});
