import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { createServer } from 'node:http';
import test, { type ExecutionContext } from 'ava';
import { layoutRepository } from '../../../src/backend/local/layout-repository.js';
import { registryRepository } from '../../../src/backend/registry/registry-repository.js';
import { CacheError } from '../../../src/errors.js';
import { createLayout } from '../../../src/layout/create-layout.js';
import { registryClient } from '../../../src/backend/registry/session-client.js';
import { Session } from '../../../src/session.js';
import { type Content, contentOf } from '../../../src/oci/content.js';
import { temporary } from '../../support/fixtures.js';
import { randomBlob } from '../../support/layers.js';

const MIB = 1024 * 1024;
const POLICY = { attempts: 4, pause: 5, longestPause: 10, longestAsked: 100, longestStall: 120_000 };

/**
 * The uploads of a registry that keeps what it got of a request that broke, as distribution-spec wants it and Debian's
 * docker-registry does not.
 *
 * @param cut - after how many bytes to break the n-th request with a body; nothing leaves it whole
 */
async function startUploads(t: ExecutionContext, cut: (request: number) => number | undefined) {
  let kept: Buffer[] = [];
  let length = 0;
  let bodies = 0;
  const state = { blobs: new Map<string, Buffer>(), received: 0, reads: 0 };
  const server = createServer((incoming, answer) => {
    const url = new URL(incoming.url ?? '', 'http://here');
    const location = '/v2/cache/blobs/uploads/1';
    const opened = { location, range: `0-${length - 1}` };
    if (incoming.method === 'POST') {
      kept = [];
      length = 0;
      answer.writeHead(202, { location }).end();
    } else if (incoming.method === 'PATCH' || incoming.method === 'PUT') {
      const limit = cut(bodies++) ?? Infinity;
      const from = Number(incoming.headers['content-range']?.split('-')[0] ?? length);
      if (from !== length) return void answer.writeHead(416, opened).end();
      let left = limit;
      incoming.on('data', (chunk: Buffer) => {
        const part = chunk.subarray(0, left);
        state.received += part.length;
        length += part.length;
        kept.push(part);
        left -= part.length;
        if (left === 0) incoming.socket.destroy();
      });
      incoming.on('end', () => {
        if (incoming.method === 'PATCH') {
          answer.writeHead(202, { location, range: `0-${length - 1}` }).end();
          return;
        }
        const blob = Buffer.concat(kept);
        const digest = `sha256:${createHash('sha256').update(blob).digest('hex')}`;
        if (digest !== url.searchParams.get('digest')) return void answer.writeHead(400).end();
        state.blobs.set(digest, blob);
        answer.writeHead(201).end();
      });
    } else if (url.pathname === location) {
      state.reads++;
      answer.writeHead(204, opened).end();
    } else {
      answer.writeHead(url.pathname === '/v2/' ? 200 : 404).end();
    }
    return undefined;
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as { port: number };
  t.teardown(() => server.close().closeAllConnections());
  const client = await registryClient(
    `127.0.0.1:${port}`,
    { side: 'import', insecure: false },
    new Session({}, POLICY),
  );
  return { state, repository: registryRepository({ client, repository: 'cache', side: 'export' }) };
}

test('an upload that breaks goes on at the offset that the registry reports, and sends no byte twice', async (t) => {
  const { state, repository } = await startUploads(t, (request) => (request < 5 ? MIB + 7 : undefined));
  const { bytes, blob } = randomBlob(6 * MIB);
  const reads: (number | undefined)[] = [];
  const content: Content = {
    open(range = {}) {
      reads.push(range.start);
      return contentOf(bytes).open(range);
    },
  };
  await repository.write(content, blob);
  t.true(state.blobs.get(blob.digest)?.equals(bytes));
  t.is(state.received, 6 * MIB);
  t.is(state.reads, 5);
  t.deepEqual(
    reads,
    [0, 1, 2, 3, 4, 5].map((part) => part * (MIB + 7)),
  );
});

test('a stream that breaks goes on from what is in memory', async (t) => {
  const { state, repository } = await startUploads(t, (request) => ([0, 2].includes(request) ? 3 * MIB : undefined));
  const { bytes, blob } = randomBlob(20 * MIB);
  let opened = 0;
  const content: Content = {
    async *open() {
      opened++;
      yield* contentOf(bytes).open();
    },
  };
  t.deepEqual(await repository.write(content, undefined), blob);
  t.true(state.blobs.get(blob.digest)?.equals(bytes));
  t.is(state.received, 20 * MIB);
  t.is(opened, 1);
});

test('an upload that never gets any further is given up', async (t) => {
  const { state, repository } = await startUploads(t, (request) => (request === 0 ? MIB : 0));
  const { bytes, blob } = randomBlob(2 * MIB);
  const error = await t.throwsAsync(repository.write(contentOf(bytes), blob), { instanceOf: CacheError });
  t.is(error.code, 'UNREACHABLE');
  t.is(error.side, 'export');
  t.is(state.reads, POLICY.attempts);
});

test('bytes that are not what they should be are the fault of where they come from', async (t) => {
  const { repository } = await startUploads(t, () => undefined);
  const folder = layoutRepository(await createLayout(temporary(t)), 'copy');
  const { bytes, blob } = randomBlob(1000);
  const origin = { registry: 'a.test', repository: 'team/cache' };
  for (const [wrong, message] of [
    [bytes.map((byte) => byte ^ 1), /^a\.test\/team\/cache: blob sha256:\w+ is damaged/],
    [bytes.subarray(1), /^a\.test\/team\/cache: blob sha256:\w+ has the wrong size/],
  ] as const) {
    for (const target of [repository, folder]) {
      const content: Content = { ...contentOf(wrong), size: blob.size, origin };
      const error = await t.throwsAsync(target.write(content, blob), { instanceOf: CacheError, message });
      t.like(error, { code: 'CORRUPT', side: 'import' });
    }
  }
  await folder[Symbol.asyncDispose]();
});

test('a source that changed since its first bytes were sent is found out', async (t) => {
  const { state, repository } = await startUploads(t, (request) => (request === 0 ? MIB : undefined));
  const { bytes, blob } = randomBlob(2 * MIB);
  let opened = 0;
  const content: Content = {
    open: (range) => contentOf(opened++ === 0 ? bytes : bytes.map((byte) => byte ^ 1)).open(range),
  };
  await t.throwsAsync(repository.write(content, blob), { instanceOf: CacheError });
  t.is(state.blobs.size, 0);
});
