import { createHash, randomBytes } from 'node:crypto';
import test, { type ExecutionContext } from 'ava';
import { registryRepository } from '../../../src/backend/registry/registry-repository.js';
import { CacheError } from '../../../src/errors.js';
import { registryClient } from '../../../src/backend/registry/session-client.js';
import { Session } from '../../../src/session.js';
import { type Content, contentOf } from '../../../src/oci/content.js';
import type { BlobId } from '../../../src/oci/descriptor.js';
import type { Digest } from '../../../src/oci/digest.js';
import { type BentRegistry, type Exchange, fault, startBentRegistry } from '../../support/bent-registry.js';
import { HASTY } from '../../support/servers.js';

const MIB = 1024 * 1024;

async function open(t: ExecutionContext, bend: BentRegistry['bend']) {
  const registry = await startBentRegistry(t);
  registry.bend = bend;
  const session = new Session({}, HASTY);
  t.teardown(() => session[Symbol.asyncDispose]());
  const client = await registryClient(registry.host, { side: 'import', insecure: false }, session);
  return { registry, repository: registryRepository({ client, repository: 'team/cache', side: 'export' }) };
}

function random(size: number): { readonly bytes: Buffer; readonly blob: BlobId } {
  const bytes = randomBytes(size);
  const digest = `sha256:${createHash('sha256').update(bytes).digest('hex')}` as Digest;
  return { bytes, blob: { digest, size } };
}

/** Bytes whose size nobody knows before their end, and how often they were read. */
function stream(bytes: Buffer): Content & { opened: number } {
  const content = {
    opened: 0,
    open() {
      content.opened++;
      return contentOf(bytes).open();
    },
  };
  return content;
}

const sent = (registry: BentRegistry, method: string) => registry.seen.filter((line) => line.startsWith(method)).length;
const isOver = ({ body }: Exchange, most: number) => body.length > most;

for (const status of [404, 409, 413, 416, 422]) {
  test(`a first chunk that is refused with ${status} is sent in smaller ones, and so are those after it`, async (t) => {
    const { registry, repository } = await open(t, (exchange) =>
      exchange.method === 'PATCH' && isOver(exchange, 4 * MIB)
        ? fault(exchange.answer, status, 'TOO_LARGE', 'at most 4.00MiB')
        : false,
    );
    for (const round of [1, 2]) {
      const { bytes, blob } = random(9 * MIB);
      const content = stream(bytes);
      t.deepEqual(await repository.write(content, undefined), blob);
      t.true(registry.blobs.get(blob.digest)?.equals(bytes));
      // What is held is enough to begin again.
      t.is(content.opened, 1);
      // 8 MiB are refused once; then there are two of 4 MiB, and the rest.
      t.is(sent(registry, 'PATCH'), 1 + 2 * round);
    }
  });
}

test('a registry that takes no chunks gets a blob in one request', async (t) => {
  const { registry, repository } = await open(t, ({ method, answer }) =>
    method === 'PATCH' ? fault(answer, 416, 'NO_CHUNKS') : false,
  );
  const converted = random(9 * MIB);
  const content = stream(converted.bytes);
  t.deepEqual(await repository.write(content, undefined), converted.blob);
  t.is(content.opened, 3);
  t.true(registry.blobs.get(converted.blob.digest)?.equals(converted.bytes));
  const again = random(9 * MIB);
  await repository.write(stream(again.bytes), undefined);
  // 8, 4 and 1 MiB were tried by the first one.
  t.is(sent(registry, 'PATCH'), 3);
});

test('a blob that is too large for one request goes in chunks, and so do those after it', async (t) => {
  for (const [most, patches] of [
    [4 * MIB, 1],
    [MIB, 5],
  ] as const) {
    const { registry, repository } = await open(t, (exchange) =>
      isOver(exchange, most) ? fault(exchange.answer, 413, 'TOO_LARGE', 'the proxy takes less') : false,
    );
    for (const round of [1, 2]) {
      const { bytes, blob } = random(5 * MIB + 1);
      await repository.write(contentOf(bytes), blob);
      t.true(registry.blobs.get(blob.digest)?.equals(bytes));
      const tried = most === MIB ? 1 : 0;
      t.is(sent(registry, 'PATCH'), tried + round * patches);
      t.is(sent(registry, 'PUT'), 1 + round);
    }
  }
});

test('uploads at the same time find out together what a registry takes', async (t) => {
  let waiting: (() => void)[] = [];
  const { registry, repository } = await open(t, async (exchange) => {
    if (!isOver(exchange, MIB)) return false;
    // All of a round are refused at once, after all were sent.
    await new Promise<void>((resolve) => {
      waiting.push(resolve);
      if (waiting.length < 3) return;
      for (const go of waiting) go();
      waiting = [];
    });
    return fault(exchange.answer, 413, 'TOO_LARGE');
  });
  const blobs = [random(5 * MIB), random(5 * MIB), random(5 * MIB)];
  await Promise.all(blobs.map(({ bytes, blob }) => repository.write(contentOf(bytes), blob)));
  for (const { bytes, blob } of blobs) t.true(registry.blobs.get(blob.digest)?.equals(bytes));
});

test('a registry that takes nothing has the last word', async (t) => {
  const { repository } = await open(t, (exchange) =>
    exchange.body.length > 0 ? fault(exchange.answer, 413, 'QUOTA', 'nothing goes in here') : false,
  );
  const { bytes, blob } = random(5 * MIB);
  for (const write of [
    () => repository.write(contentOf(bytes), blob),
    () => repository.write(stream(random(9 * MIB).bytes), undefined),
  ]) {
    const error = await t.throwsAsync(write, { instanceOf: CacheError });
    t.regex(error.message, /cannot write blob sha256:\w+: QUOTA: nothing goes in here \(HTTP 413\)$/);
    t.like(error, { code: 'DENIED', side: 'export' });
  }
});

test('chunks are as large as the registry wants them, but for the last', async (t) => {
  const least = 10 * MIB;
  for (const size of [9 * MIB, 20 * MIB, 20 * MIB + 1]) {
    const { registry, repository } = await open(t, (exchange) => {
      const { method, body, answer } = exchange;
      if (method === 'POST') answer.setHeader('OCI-Chunk-Min-Length', `${least}`);
      return method === 'PATCH' && body.length < least ? fault(answer, 416, 'BLOB_UPLOAD_INVALID', 'too small') : false;
    });
    const { bytes, blob } = random(size);
    const content = stream(bytes);
    t.deepEqual(await repository.write(content, undefined), blob);
    t.true(registry.blobs.get(blob.digest)?.equals(bytes));
    t.is(content.opened, 1);
    t.is(sent(registry, 'PATCH'), Math.max(0, Math.ceil(size / least) - 1));
  }
});

test('chunks that are too large to be held are not made', async (t) => {
  const { registry, repository } = await open(t, ({ method, answer }) => {
    if (method === 'POST') answer.setHeader('OCI-Chunk-Min-Length', `${1024 ** 4}`);
    return false;
  });
  const { bytes, blob } = random(9 * MIB);
  t.deepEqual(await repository.write(stream(bytes), undefined), blob);
  t.is(sent(registry, 'PATCH'), 0);
});

test('a refused mount is not tried again between the same repositories', async (t) => {
  const { registry, repository } = await open(t, ({ query, answer }) =>
    query.has('mount') ? fault(answer, 400, 'UNSUPPORTED') : false,
  );
  for (const { bytes, blob } of [random(10), random(10)]) {
    const origin = { registry: registry.host, repository: 'other/cache' };
    await repository.write({ ...contentOf(bytes), size: bytes.length, origin }, blob);
    t.true(registry.blobs.has(blob.digest));
  }
  t.is(registry.seen.filter((line) => line.includes('mount=')).length, 1);
});

test('any success is one, and an upload without an address is an error of that request', async (t) => {
  const { repository } = await open(t, ({ method, answer }) => {
    if (method === 'PUT') {
      answer.writeHead(200).end();
      return true;
    }
    return false;
  });
  const { bytes, blob } = random(10);
  await repository.write(contentOf(bytes), blob);
  const mute = await open(t, ({ method, answer }) => {
    if (method === 'POST') answer.writeHead(202).end();
    return method === 'POST';
  });
  const error = await t.throwsAsync(mute.repository.write(contentOf(bytes), blob), { instanceOf: CacheError });
  t.regex(error.message, /cannot start to write blob sha256:\w+: it does not say where to go on$/);
  const empty = await open(t, ({ method, answer }) => {
    if (method === 'POST') answer.writeHead(202, { location: '' }).end();
    return method === 'POST';
  });
  const same = await t.throwsAsync(empty.repository.write(contentOf(bytes), blob), { instanceOf: CacheError });
  t.regex(same.message, /cannot start to write blob sha256:\w+: it does not say where to go on$/);
});

test('a registry that never knows its own uploads is given up after three of them, with a reason', async (t) => {
  const { registry, repository } = await open(t, (exchange) =>
    exchange.method === 'PUT' && exchange.path.includes('/uploads/')
      ? fault(exchange.answer, 404, 'BLOB_UPLOAD_UNKNOWN', '')
      : false,
  );
  const { bytes, blob } = random(1000);
  const writes = [() => repository.write(contentOf(bytes), blob), () => repository.write(stream(bytes), undefined)];
  for (const [round, write] of writes.entries()) {
    const error = await t.throwsAsync(write, { instanceOf: CacheError });
    t.like(error, { code: 'UNREACHABLE', side: 'export' });
    t.regex(
      error.message,
      /cannot write blob .*: the registry no longer knows the upload \(HTTP 404\); tried 3 times$/,
    );
    t.regex(error.hint ?? '', /several servers/);
    t.is(sent(registry, 'PUT'), 3 * (round + 1));
  }
});
