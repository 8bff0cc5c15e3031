import { closeSync, cpSync, mkdirSync, openSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { gzipSync } from 'node:zlib';
import test, { type ExecutionContext } from 'ava';
import type { recompressFile } from '../../src/codec/file-tasks.js';
import type { RecompressOptions } from '../../src/codec/recompress.js';
import type { copyBlob } from '../../src/layout/blobs/copy-blob.js';
import { areThreadsEnding, inThread } from '../../src/thread/thread.js';
import { copyCache } from '../../src/operations/copy/copy.js';
import { CacheError } from '../../src/errors.js';
import { sha256 } from '../../src/oci/digest.js';
import { temporary } from '../support/fixtures.js';
import { assertSound } from '../support/sound.js';
import { blobPath } from '../support/folders.js';

const RECOMPRESS = new URL('../../src/codec/file-tasks.js', import.meta.url);
const COPY = new URL('../../src/layout/blobs/copy-blob.js', import.meta.url);
const MANIFEST = 'application/vnd.oci.image.manifest.v1+json';

/** A cache with a layer that is large enough for a thread of its own. */
function largeCache(t: ExecutionContext): { readonly folder: string; readonly layer: string } {
  const folder = temporary(t);
  mkdirSync(join(folder, 'blobs', 'sha256'), { recursive: true });
  const put = (bytes: Buffer) => {
    const digest = sha256(bytes);
    writeFileSync(blobPath(folder, digest), bytes, { mode: 0o444 });
    return { digest, size: bytes.length };
  };
  const json = (value: object) => put(Buffer.from(JSON.stringify(value)));
  // Zeros are a whole tar: its end.
  const tar = Buffer.alloc(6 * 1024 * 1024);
  const layer = put(gzipSync(tar, { level: 0 }));
  const config = json({
    layers: [{ blob: layer.digest, parent: -1 }],
    records: [{ layers: [{ layer: 0, createdAt: '2024-01-01T00:00:00Z' }], digest: sha256('a record') }],
  });
  const manifest = json({
    schemaVersion: 2,
    mediaType: MANIFEST,
    config: { mediaType: 'application/vnd.buildkit.cacheconfig.v0', ...config },
    layers: [
      {
        mediaType: 'application/vnd.oci.image.layer.v1.tar+gzip',
        ...layer,
        annotations: { 'containerd.io/uncompressed': sha256(tar) },
      },
    ],
  });
  const entry = { mediaType: MANIFEST, ...manifest, annotations: { 'org.opencontainers.image.ref.name': 'latest' } };
  writeFileSync(join(folder, 'index.json'), JSON.stringify({ schemaVersion: 2, manifests: [entry] }));
  writeFileSync(join(folder, 'oci-layout'), '{"imageLayoutVersion":"1.0.0"}');
  return { folder, layer: blobPath(folder, layer.digest) };
}

const EXPORTS = [
  '',
  ',compression=gzip,compression-level=1',
  ',compression=zstd',
  ',compression=uncompressed',
  ',compression=estargz',
];

for (const options of EXPORTS) {
  const exported = (folder: string) => `type=local,dest=${folder}${options}${options && ',force-compression=true'}`;

  test(`a large layer arrives whole, with every byte counted: ${options}`, async (t) => {
    const { folder, layer } = largeCache(t);
    const out = temporary(t);
    let bytes = 0;
    await copyCache({
      imports: [`type=local,src=${folder}`],
      exports: [exported(out)],
      onProgress: (event) => {
        if (event.type === 'bytes') bytes += event.bytes;
      },
    });
    await assertSound(t, out);
    t.true(bytes >= readFileSync(layer).length);
  });

  test(`a damaged large layer is named, and leaves nothing: ${options}`, async (t) => {
    const { folder, layer } = largeCache(t);
    const broken = temporary(t);
    cpSync(folder, broken, { recursive: true });
    const path = layer.replace(folder, broken);
    const bytes = readFileSync(path);
    bytes[3_000_000] = 1;
    writeFileSync(`${path}.new`, bytes);
    cpSync(`${path}.new`, path, { force: true });
    const out = temporary(t);
    await t.throwsAsync(copyCache({ imports: [`type=local,src=${broken}`], exports: [exported(out)] }), {
      instanceOf: CacheError,
      code: 'CORRUPT',
    });
    t.deepEqual(readdirSync(join(out, 'blobs', 'sha256')), []);
  });

  test(`stopping ends the threads, and leaves nothing: ${options}`, async (t) => {
    const { folder } = largeCache(t);
    const out = temporary(t);
    const stop = new AbortController();
    const copy = copyCache({
      imports: [`type=local,src=${folder}`],
      exports: [exported(out)],
      signal: stop.signal,
      onProgress: (event) => {
        if (event.type === 'bytes') stop.abort(new CacheError('ABORTED', 'enough'));
      },
    });
    await t.throwsAsync(copy, { instanceOf: CacheError, message: 'enough' });
    t.false(readdirSync(out).includes('index.json'));
    t.deepEqual(readdirSync(join(out, 'blobs', 'sha256')), []);
    t.false(readdirSync(out).includes('.bkcache'));
  });
}

test('what is stopped lets go of its files at once, in the middle of what zstd is doing', async (t) => {
  const folder = temporary(t);
  const noise = Array.from({ length: 500_000 }, (_, index) => sha256(String(index)).slice(7, 7 + (index % 40))).join(
    ' ',
  );
  writeFileSync(join(folder, 'tar'), noise);
  const [from, to] = [openSync(join(folder, 'tar'), 'r'), openSync(join(folder, 'packed'), 'w')];
  const size = Buffer.byteLength(noise);
  const options: RecompressOptions = {
    blob: { digest: sha256(noise), size },
    diffID: undefined,
    encoding: { compression: 'zstd', level: 19 },
    where: 'test',
  };
  const stop = new AbortController();
  const job = inThread<typeof recompressFile>(
    { module: RECOMPRESS, task: 'recompressFile', input: { from, to, options } },
    {
      signal: stop.signal,
      // All is read, and zstd has seconds of work before it.
      onRead: () => stop.abort(new Error('stopped')),
    },
  );
  await t.throwsAsync(job, { message: 'stopped' });
  t.true(areThreadsEnding());
  closeSync(from);
  closeSync(to);
  const { size: packed } = statSync(join(folder, 'packed'));
  await sleep(200);
  t.is(statSync(join(folder, 'packed')).size, packed);
});

test('a thread does one job after the other', async (t) => {
  const folder = temporary(t);
  const bytes = Buffer.alloc(1_000_000, 'bytes');
  writeFileSync(join(folder, 'from'), bytes);
  const expected = { digest: sha256(bytes), size: bytes.length };
  for (const name of ['first', 'second', 'third']) {
    const [from, to] = [openSync(join(folder, 'from'), 'r'), openSync(join(folder, name), 'w')];
    let read = 0;
    await inThread<typeof copyBlob>(
      { module: COPY, task: 'copyBlob', input: { from, to, expected, where: 'test' } },
      { onRead: (count) => (read += count) },
    );
    closeSync(from);
    closeSync(to);
    t.is(read, bytes.length);
    t.deepEqual(readFileSync(join(folder, name)), bytes);
  }
});

test('a job fails whose module has no such task, or cannot be loaded', async (t) => {
  const input = { from: 0, to: undefined, expected: { digest: sha256(''), size: 0 }, where: 'test' };
  const fails = (module: URL, task: string, message: RegExp) =>
    t.throwsAsync(inThread<typeof copyBlob>({ module, task, input }, {}), { message });
  await fails(COPY, 'copyNothing', /copy-blob\.js has no task copyNothing$/);
  await fails(new URL('missing.js', COPY), 'copyBlob', /missing\.js/);
});
