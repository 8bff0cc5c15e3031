import { brotliCompressSync, deflateSync, gzipSync } from 'node:zlib';
import test, { type ExecutionContext } from 'ava';
import { registryRepository } from '../../../src/backend/registry/registry-repository.js';
import { CacheError } from '../../../src/errors.js';
import { registryClient } from '../../../src/backend/registry/session-client.js';
import { Session } from '../../../src/session.js';
import { readWhole, type Range } from '../../../src/oci/content.js';
import { sha256 } from '../../../src/oci/digest.js';
import { listCaches } from '../../../src/operations/list.js';
import { listText } from '../../../src/report/text/list.js';
import { type BentRegistry, fault, startBentRegistry } from '../../support/bent-registry.js';
import { HASTY } from '../../support/servers.js';
import { hasBlob } from '../../support/repositories.js';
import { collect } from '../../../src/bytes/collect.js';

const TEXT = Buffer.from('{"a": "document, or what a layer has in it"}'.repeat(50));

async function open(t: ExecutionContext, folder?: string) {
  const registry = await startBentRegistry(t, folder);
  const session = new Session({}, HASTY);
  t.teardown(() => session[Symbol.asyncDispose]());
  const client = await registryClient(registry.host, { side: 'import', insecure: false }, session);
  return { registry, repository: registryRepository({ client, repository: 'team/cache', side: 'import' }) };
}

function add(registry: BentRegistry, bytes: Buffer) {
  const blob = { digest: sha256(bytes), size: bytes.length };
  registry.blobs.set(blob.digest, bytes);
  return blob;
}

const isRead = ({ method, path }: { method: string; path: string }) => method === 'GET' && path.startsWith('blobs/');

test('bytes are asked for as they are, and a coding that comes all the same is undone', async (t) => {
  const { registry, repository } = await open(t);
  const blob = add(registry, TEXT);
  for (const [coding, coded] of [
    ['gzip', gzipSync(TEXT)],
    ['x-gzip', gzipSync(TEXT)],
    ['deflate', deflateSync(TEXT)],
    ['br', brotliCompressSync(TEXT)],
    ['deflate, gzip', gzipSync(deflateSync(TEXT))],
  ] as const) {
    for (const hasLength of [true, false]) {
      registry.bend = (exchange) => {
        if (!isRead(exchange)) return false;
        t.is(exchange.incoming.headers['accept-encoding'], 'identity');
        const length = hasLength ? { 'content-length': coded.length } : {};
        exchange.answer.writeHead(200, { 'content-encoding': coding, ...length }).end(coded);
        return true;
      };
      const bytes = await readWhole(repository.blob(blob), blob, 'here', { limit: 1e6 });
      t.true(bytes.equals(TEXT), coding);
      t.true((await collect(repository.blob(blob).open({ start: 5, end: 50 }))).equals(TEXT.subarray(5, 50)));
    }
  }
  registry.bend = (exchange) => {
    if (isRead(exchange)) exchange.answer.writeHead(200, { 'content-encoding': 'snappy' }).end('x');
    return isRead(exchange);
  };
  const error = await t.throwsAsync(collect(repository.blob(blob).open()), { instanceOf: CacheError });
  t.regex(error.message, /cannot read blob sha256:\w+: its answer comes in the coding "snappy"/);
  t.like(error, { code: 'UNREACHABLE', side: 'import' });
});

test('a layer that is gzip itself stays so, whatever its label says', async (t) => {
  const { registry, repository } = await open(t);
  const layer = gzipSync(TEXT);
  const blob = add(registry, layer);
  for (const hasLength of [true, false]) {
    registry.bend = (exchange) => {
      if (!isRead(exchange)) return false;
      exchange.answer.setHeader('content-encoding', 'x-gzip');
      if (hasLength) return false;
      exchange.answer.writeHead(200).end(layer);
      return true;
    };
    t.true((await readWhole(repository.blob(blob), blob, 'here', { limit: 1e6 })).equals(layer));
    t.true((await collect(repository.blob(blob).open({ start: 3 }))).equals(layer.subarray(3)));
  }
});

test('a range that is refused or is another one is taken from the whole', async (t) => {
  const { registry, repository } = await open(t);
  const blob = add(registry, TEXT);
  for (const answer of ['416', 'other', 'none', 'multipart'] as const) {
    registry.bend = (exchange) => {
      if (!isRead(exchange) || exchange.incoming.headers.range === undefined) return false;
      if (answer === '416') exchange.answer.writeHead(416).end();
      else if (answer === 'other') exchange.answer.writeHead(206, { 'content-range': 'bytes 0-9/99' }).end(TEXT);
      else if (answer === 'none') exchange.answer.writeHead(206).end(TEXT);
      else exchange.answer.writeHead(206, { 'content-type': 'multipart/byteranges; boundary=x' }).end('--x\r\n');
      return true;
    };
    for (const range of [{ start: 10 }, { start: 10, end: 20 }, { end: 7 }] as Range[]) {
      const bytes = await collect(repository.blob(blob).open(range));
      t.true(bytes.equals(TEXT.subarray(range.start, range.end)), `${answer} ${JSON.stringify(range)}`);
    }
  }
});

test('a blob that is shorter than it should be is damaged, and not out of reach', async (t) => {
  const { registry, repository } = await open(t);
  const blob = { ...add(registry, TEXT), size: TEXT.length + 10 };
  const error = await t.throwsAsync(collect(repository.blob(blob).open({ start: TEXT.length + 1 })), {
    instanceOf: CacheError,
  });
  t.is(error.code, 'CORRUPT');
  t.regex(error.message, /is shorter than it should be$/);
});

test('every page of tags is read, whatever is on it', async (t) => {
  const { registry, repository } = await open(t);
  const pages = [['a'], [], null, ['a'], ['b']];
  registry.bend = ({ path, query, answer }) => {
    if (!path.startsWith('tags/')) return path.startsWith('manifests/') && fault(answer, 404, 'MANIFEST_UNKNOWN');
    const page = Number(query.get('page') ?? 0);
    if (page + 1 < pages.length) {
      answer.setHeader('link', `</v2/team/cache/tags/list?page=${page + 1}>; title="x, y"; rel="next"`);
    }
    answer.end(JSON.stringify({ tags: pages[page] }));
    return true;
  };
  const error = await t.throwsAsync(repository.resolve({ tag: 'c' }), { instanceOf: CacheError });
  t.is(error.hint, 'its tags are: a, b');
});

test('tags that never end are an error, and a page that links to itself is the last', async (t) => {
  const { registry, repository } = await open(t);
  let page = 0;
  let next = () => `/v2/team/cache/tags/list?page=${++page}`;
  registry.bend = ({ path, answer }) => {
    if (!path.startsWith('tags/')) return false;
    answer.setHeader('link', `<${next()}>; rel=next`);
    answer.end('{"tags":["a"]}');
    return true;
  };
  const error = await t.throwsAsync(repository.entries(), { instanceOf: CacheError });
  t.regex(error.message, /the list of tags does not end: it has 1 tags on \d+ pages so far$/);
  t.like(error, { code: 'UNREACHABLE', side: 'import' });
  t.true(page < 200);
  next = () => '/v2/team/cache/tags/list?n=1000';
  t.deepEqual(await repository.entries(), []);
  for (const [link, message] of [
    ['http://', /cannot list the tags: it names "http:\/\/" as the next address, which is not a URL$/],
    ['file:///x', /cannot list the tags: it names "file:/],
  ] as const) {
    next = () => link;
    await t.throwsAsync(repository.entries(), { message });
  }
});

test('a tag that is denied, fails or cannot be is a row with its reason', async (t) => {
  const { registry } = await open(t, 'max-gzip');
  for (const tag of ['denied', 'broken', '../x']) registry.tags.set(tag, registry.tags.get('latest') ?? '');
  registry.bend = ({ path, answer }) => {
    if (path === 'manifests/denied') return fault(answer, 412, 'PROJECTPOLICYVIOLATION', 'it has vulnerabilities');
    if (path === 'manifests/broken') return fault(answer, 501, 'UNKNOWN', 'the manifest cannot be served');
    return false;
  };
  const rows = await listCaches(registry.ref);
  t.deepEqual(
    rows.map(({ tag, cache }) => [tag, cache !== undefined]),
    [
      ['../x', false],
      ['broken', false],
      ['denied', false],
      ['latest', true],
    ],
  );
  const text = listText(rows);
  t.regex(text, /^denied +- +-$/m);
  t.regex(text, /^denied: .*: cannot find denied: HTTP 412: PROJECTPOLICYVIOLATION: it has vulnerabilities$/m);
  t.regex(text, /^broken: .*: cannot find broken: UNKNOWN: the manifest cannot be served \(HTTP 501\)$/m);
  t.false(registry.seen.some((line) => line.includes('/x')));
  t.like(JSON.parse(JSON.stringify(rows)), { 2: { tag: 'denied', problem: rows[2]?.problem } });
});

test('a config that is denied is the problem of its row', async (t) => {
  const { registry } = await open(t, 'grown');
  let first: string | undefined;
  registry.bend = ({ method, path, answer }) => {
    if (method !== 'GET' || !path.startsWith('blobs/')) return false;
    first ??= path;
    return path === first && fault(answer, 403, 'DENIED');
  };
  const rows = await listCaches(registry.ref);
  t.is(rows.length, 2);
  t.is(rows.filter(({ cache }) => cache === undefined).length, 1);
});

test('a registry that refuses every tag refuses to be listed', async (t) => {
  const { registry } = await open(t, 'grown');
  registry.bend = ({ path, answer }) => path.startsWith('manifests/') && fault(answer, 403, 'DENIED');
  t.like(await t.throwsAsync(listCaches(registry.ref), { instanceOf: CacheError }), { code: 'DENIED', side: 'import' });
});

test('a registry without HEAD is read, written to and looked into all the same', async (t) => {
  const { registry, repository } = await open(t, 'max-gzip');
  registry.bend = ({ method, answer }) => {
    if (method === 'HEAD') answer.writeHead(405).end();
    return method === 'HEAD';
  };
  const expected = registry.tags.get('latest');
  t.like(await repository.resolve({ tag: 'latest' }), { digest: expected });
  const blob = add(registry, TEXT);
  const empty = add(registry, Buffer.alloc(0));
  t.true(await hasBlob(repository, blob));
  t.true(await hasBlob(repository, empty));
  t.false(await hasBlob(repository, { ...blob, size: 3 }));
  t.false(await hasBlob(repository, { digest: sha256('nowhere'), size: 7 }));
  t.is((await listCaches(registry.ref)).length, 1);
});
