import { once } from 'node:events';
import { createServer, type IncomingHttpHeaders } from 'node:http';
import test, { type ExecutionContext } from 'ava';
import { copyCache } from '../../src/operations/copy/copy.js';
import { CacheError } from '../../src/errors.js';
import { type Content, contentOf, readWhole } from '../../src/oci/content.js';
import { type Fault, type FaultProxy, type SeenRequest, startFaultProxy } from '../support/fault-proxy.js';
import { HASTY } from '../support/servers.js';
import { importOf } from '../support/fixtures.js';
import { placeIn, startTestRegistry, type TestRegistry, withRegistries } from './places.js';
import { hasBlob } from '../support/repositories.js';
import { blobOf, randomBlob } from '../support/layers.js';

const MIB = 1024 * 1024;

withRegistries(() => {
  let registry: TestRegistry;
  test.before(async () => {
    registry = await startTestRegistry('none');
  });
  test.after.always(() => registry.stop());

  /** A new repository behind a proxy of its own. */
  async function open(t: ExecutionContext) {
    const proxy = await startFaultProxy(registry.host);
    t.teardown(() => proxy.stop());
    return { proxy, ...(await placeIn({ host: proxy.host, access: {} })) };
  }

  test('a download that breaks goes on with the next byte, as often as it gets any further', async (t) => {
    const { proxy, repository } = await open(t);
    const { bytes, blob } = randomBlob(2 * MIB);
    await repository.write(contentOf(bytes), blob);
    proxy.fault = (request) => (isBlobRead(request) ? { kind: 'cut-answer', bytes: 300_000 } : undefined);
    t.true(bytes.equals(await readWhole(repository.blob(blob), blob, 'here', { limit: 10 * MIB })));
    const starts = proxy.seen.filter(isBlobRead).map(({ headers }) => headers.range);
    t.is(starts.length, Math.ceil((2 * MIB) / 300_000));
    t.is(starts[0], undefined);
    t.is(starts[1], 'bytes=300000-');
    const some = await readPart(repository.blob(blob), 100_000, 1_500_000);
    t.true(bytes.subarray(100_000, 1_500_000).equals(some));
  });

  test('a wrong byte in a download is found, and is not asked for again', async (t) => {
    const { proxy, repository } = await open(t);
    const { bytes, blob } = randomBlob(100_000);
    await repository.write(contentOf(bytes), blob);
    proxy.fault = (request) => (isBlobRead(request) ? { kind: 'flip', at: 50_000 } : undefined);
    const error = await t.throwsAsync(readWhole(repository.blob(blob), blob, 'here', { limit: MIB }), {
      instanceOf: CacheError,
    });
    t.is(error.code, 'CORRUPT');
    t.is(proxy.seen.filter(isBlobRead).length, 1);
  });

  test('an upload that breaks between two chunks goes on with the second', async (t) => {
    const { proxy, repository } = await open(t);
    const { bytes, blob } = blobOf(Buffer.alloc(130 * MIB, 'broken'));
    const isSecond = ({ method, headers }: SeenRequest) => method === 'PATCH' && headers['content-range']?.[0] !== '0';
    proxy.fault = times(1, isSecond, { kind: 'cut-request', bytes: 0 });
    await repository.write(contentOf(bytes), blob);
    t.true(await hasBlob(repository, blob));
    t.is(proxy.seen.filter(({ method }) => method === 'POST').length, 1);
    t.is(proxy.seen.filter(isSecond).length, 2);
  });

  // This registry forgets an upload of which it got half a request; test/backend/registry/upload.test.ts has one that does not.
  test('an upload that breaks in the middle is begun anew', async (t) => {
    const { proxy, repository } = await open(t);
    const { bytes, blob } = randomBlob(8 * MIB);
    proxy.fault = times(2, ({ method }) => method === 'PUT', { kind: 'cut-request', bytes: 3 * MIB });
    await repository.write(contentOf(bytes), blob);
    t.true(bytes.equals(await readWhole(repository.blob(blob), blob, 'here', { limit: 10 * MIB })));
  });

  test('a stream whose digest is not known yet survives breaks, too', async (t) => {
    const { proxy, repository } = await open(t);
    const { bytes, blob } = randomBlob(20 * MIB);
    const faults = [
      times(1, ({ method }) => method === 'PATCH', { kind: 'cut-request', bytes: 2 * MIB }),
      times(1, ({ method }) => method === 'PATCH', { kind: 'lose-answer' }),
      times(1, ({ method }) => method === 'PUT', { kind: 'answer', status: 503 }),
    ];
    proxy.fault = (request) => faults.map((fault) => fault(request)).find((fault) => fault !== undefined);
    t.deepEqual(await repository.write(streamOf(bytes), undefined), blob);
    t.true(bytes.equals(await readWhole(repository.blob(blob), blob, 'here', { limit: 30 * MIB })));
  });

  test('a blob is not sent again when only the answer got lost', async (t) => {
    const { proxy, repository } = await open(t);
    for (const content of [contentOf, streamOf]) {
      const { bytes, blob } = randomBlob(9 * MIB);
      proxy.seen.length = 0;
      proxy.fault = times(1, ({ method }) => method === 'PUT', { kind: 'lose-answer' });
      await repository.write(content(bytes), content === contentOf ? blob : undefined);
      t.true(await hasBlob(repository, blob));
      const sent = proxy.seen.filter(({ method }) => method === 'PUT' || method === 'PATCH').reduce(sum, 0);
      t.is(sent, 9 * MIB);
    }
  });

  test('large blobs go in chunks, and whole where the registry takes none', async (t) => {
    const { proxy, repository } = await open(t);
    const { bytes, blob } = blobOf(Buffer.alloc(130 * MIB, 'large'));
    await repository.write(contentOf(bytes), blob);
    const sent = proxy.seen.filter(({ method }) => method === 'PUT' || method === 'PATCH');
    t.deepEqual(
      sent.map(({ method, headers }) => [method, headers['content-range']]),
      [
        ['PATCH', `0-${64 * MIB - 1}`],
        ['PATCH', `${64 * MIB}-${128 * MIB - 1}`],
        ['PUT', `${128 * MIB}-${130 * MIB - 1}`],
      ],
    );
    proxy.fault = ({ method }) => (method === 'PATCH' ? { kind: 'answer', status: 405 } : undefined);
    const other = blobOf(Buffer.alloc(65 * MIB, 'other'));
    await repository.write(contentOf(other.bytes), other.blob);
    t.true(await hasBlob(repository, other.blob));
    const stream = randomBlob(20 * MIB);
    t.deepEqual(await repository.write(streamOf(stream.bytes), undefined), stream.blob);
    t.true(await hasBlob(repository, stream.blob));
  });

  test('what may be over in a moment is tried again, after the pause that was asked for', async (t) => {
    const { proxy, ...place } = await open(t);
    const { bytes, blob } = randomBlob(1000);
    for (const status of [408, 429, 500, 502, 503, 504]) {
      proxy.fault = times(2, () => true, { kind: 'answer', status });
      t.false(await hasBlob(place.repository, blob), `${status}`);
    }
    proxy.fault = times(1, () => true, { kind: 'answer', status: 429, headers: { 'retry-after': '1' } });
    const start = Date.now();
    await place.repository.write(contentOf(bytes), blob);
    t.true(Date.now() - start >= 1000);
    proxy.fault = () => ({ kind: 'delay', milliseconds: 50 });
    await copyCache({ imports: [importOf('max-gzip')], exports: [place.exports('slow')] });
  });

  test('patience has an end, and the last error says what the registry said', async (t) => {
    const { proxy, repository } = await open(t);
    const { blob } = randomBlob(1000);
    await hasBlob(repository, blob);
    proxy.seen.length = 0;
    const body = '{"errors":[{"code":"UNAVAILABLE","message":"the\\u001b[31m disk is full","detail":{"free":0}}]}';
    proxy.fault = () => ({ kind: 'answer', status: 503, body });
    const error = await t.throwsAsync(repository.resolve({ tag: 'a' }), { instanceOf: CacheError });
    t.is(error.code, 'UNREACHABLE');
    t.is(error.side, 'export');
    // The last one asks for the reason, which the answer to HEAD has no room for.
    t.is(proxy.seen.length, HASTY.attempts + 1);
    t.regex(error.message, /HTTP 503; tried 4 times: UNAVAILABLE: the \[31m disk is full: \{"free":0\}$/);
    const upload = await t.throwsAsync(repository.write(contentOf(Buffer.alloc(10)), blobOf(Buffer.alloc(10)).blob));
    t.regex(upload.message, /UNAVAILABLE: the \[31m disk is full: \{"free":0\} \(HTTP 503\)/);
    // Longer than anybody waits.
    proxy.seen.length = 0;
    proxy.fault = () => ({ kind: 'answer', status: 429, headers: { 'retry-after': '3600' } });
    await t.throwsAsync(hasBlob(repository, blob), { message: /429; it asks to wait 3600 s/ });
    t.is(proxy.seen.length, 2);
  });

  test('what is final is not tried again', async (t) => {
    const { proxy, repository } = await open(t);
    const { blob } = randomBlob(1000);
    await hasBlob(repository, blob);
    for (const status of [400, 401, 403, 405, 501]) {
      proxy.seen.length = 0;
      proxy.fault = () => ({ kind: 'answer', status });
      await t.throwsAsync(hasBlob(repository, blob), { instanceOf: CacheError, message: new RegExp(`HTTP ${status}`) });
      t.deepEqual(
        proxy.seen.map(({ method }) => method),
        ['HEAD', 'GET'],
      );
    }
  });

  test('a registry that refuses an index names image-manifest=true, and its own reason', async (t) => {
    const { proxy, ...place } = await open(t);
    const body = '{"errors":[{"code":"MANIFEST_INVALID","message":"manifest invalid","detail":"no config"}]}';
    proxy.fault = ({ method, path }) =>
      method === 'PUT' && path.includes('/manifests/') ? { kind: 'answer', status: 400, body } : undefined;
    const refused = (name: string) =>
      t.throwsAsync(copyCache({ imports: [importOf(name)], exports: [place.exports('a')] }), {
        instanceOf: CacheError,
      });
    const index = await refused('max-gzip-index');
    t.regex(index.message, /MANIFEST_INVALID: manifest invalid: no config \(HTTP 400\)/);
    t.regex(index.hint ?? '', /image-manifest=true/);
    t.is(index.side, 'export');
    t.is((await refused('max-gzip')).hint, undefined);
  });

  test('credentials stay behind when a download leads to another host', async (t) => {
    const guarded = await startTestRegistry('htpasswd');
    t.teardown(() => guarded.stop());
    const proxy = await startFaultProxy(guarded.host);
    t.teardown(() => proxy.stop());
    const { repository } = await placeIn({ host: proxy.host, access: guarded.access });
    const { bytes, blob } = randomBlob(MIB);
    await repository.write(contentOf(bytes), blob);
    const seen: IncomingHttpHeaders[] = [];
    // Breaks once, so that going on leads there as well.
    const storage = createServer(({ headers }, answer) => {
      seen.push(headers);
      const start = Number(/\d+/.exec(headers.range ?? '0')?.[0]);
      answer.writeHead(start === 0 ? 200 : 206, {
        'content-length': bytes.length - start,
        ...(start === 0 ? {} : { 'content-range': `bytes ${start}-${bytes.length - 1}/${bytes.length}` }),
      });
      if (start > 0) answer.end(bytes.subarray(start));
      else answer.write(bytes.subarray(0, 1000), () => setTimeout(() => answer.destroy(), 50));
    }).listen(0, '127.0.0.1');
    t.teardown(() => storage.close());
    await once(storage, 'listening');
    const { port } = storage.address() as { port: number };
    const location = `http://127.0.0.1:${port}/signed?signature=secret`;
    proxy.fault = (request) =>
      isBlobRead(request) ? { kind: 'answer', status: 307, headers: { location } } : undefined;
    t.true(bytes.equals(await readWhole(repository.blob(blob), blob, 'here', { limit: 2 * MIB })));
    t.true(proxy.seen.filter(isBlobRead).every(({ headers }) => headers.authorization !== undefined));
    t.deepEqual(
      seen.map(({ authorization, range }) => [authorization, range]),
      [
        [undefined, undefined],
        [undefined, 'bytes=1000-'],
      ],
    );
  });
});

function streamOf(bytes: Buffer): Content {
  return {
    async *open() {
      for (let at = 0; at < bytes.length; at += 300_000) yield bytes.subarray(at, at + 300_000);
    },
  };
}

async function readPart(content: Content, start: number, end: number): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of content.open({ start, end })) chunks.push(chunk);
  return Buffer.concat(chunks);
}

function isBlobRead({ method, path }: SeenRequest): boolean {
  return method === 'GET' && path.includes('/blobs/sha256');
}

function lengthOf({ headers }: SeenRequest): number {
  return Number(headers['content-length'] ?? 0);
}

function sum(total: number, request: SeenRequest): number {
  return total + lengthOf(request);
}

/** The same fault for the first requests of a kind. */
function times(count: number, which: (request: SeenRequest) => boolean, fault: Fault): FaultProxy['fault'] {
  let left = count;
  return (request) => {
    if (left === 0 || !which(request)) return undefined;
    left--;
    return fault;
  };
}
