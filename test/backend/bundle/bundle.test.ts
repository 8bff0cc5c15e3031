import { execFileSync } from 'node:child_process';
import {
  appendFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { type Header, pack } from 'tar-stream';
import { Bundle } from '../../../src/backend/bundle/bundle.js';
import { bundleReader } from '../../../src/backend/bundle/bundle-reader.js';
import { treeOf } from '../../../src/backend/bundle/tree.js';
import { collect } from '../../../src/bytes/collect.js';
import { CacheError } from '../../../src/errors.js';
import { collectGarbage } from '../../../src/operations/gc.js';
import { copyCache } from '../../../src/operations/copy/copy.js';
import { verifyFolder } from '../../../src/operations/verify/verify.js';
import { copyOne } from '../../support/caches.js';
import { bkcache } from '../../support/command.js';
import { fixture, FIXTURES, importOf, temporary } from '../../support/fixtures.js';
import { digestOfBytes } from '../../support/layers.js';

/** Entries of a tar, in order; a header without bytes is a link or a folder. */
type Entries = readonly (readonly [header: Partial<Header> & { readonly name: string }, bytes?: string | Buffer])[];

async function tarOf(t: ExecutionContext, entries: Entries): Promise<string> {
  const tar = pack();
  for (const [header, bytes] of entries) {
    if (bytes === undefined) tar.entry(header);
    else tar.entry({ mtime: new Date(0), ...header }, bytes);
  }
  tar.finalize();
  const path = join(temporary(t), 'bundle.tar');
  writeFileSync(path, await collect(tar as AsyncIterable<Uint8Array>));
  return path;
}

const LAYOUT = [{ name: 'oci-layout' }, '{"imageLayoutVersion":"1.0.0"}'] as const;
const NO_ENTRIES = [{ name: 'index.json' }, '{"schemaVersion":2,"manifests":[]}'] as const;

async function bundleOf(t: ExecutionContext, ...tags: readonly (readonly [string, string])[]): Promise<string> {
  const path = join(temporary(t), 'caches.tar');
  for (const [folder, tag] of tags) {
    await copyOne(importOf(folder, tag), `type=bundle,dest=${path},tag=${folder}-${tag}`);
  }
  return path;
}

async function refused(t: ExecutionContext, path: string): Promise<CacheError> {
  const error = await t.throwsAsync(Bundle.open([path], path), { instanceOf: CacheError });
  return error;
}

/** Everything that a bundle says, with all bytes checked. */
async function contentsOf(path: string): Promise<string> {
  await using bundle = await Bundle.open([path], path);
  const { manifests } = bundle.index;
  const { documents, layers } = await treeOf(bundleReader(bundle), manifests, undefined);
  for (const { digest } of layers) {
    const bytes = await collect(bundle.content({ digest }).open());
    if (digestOfBytes(bytes) !== digest) throw new CacheError('CORRUPT', `${bundle.content({ digest }).place}`);
  }
  return JSON.stringify([manifests, documents.map(({ descriptor }) => descriptor), layers]);
}

test('a bundle is a tar of an OCI layout, whose documents come first, and tar lists and unpacks it', async (t) => {
  const path = await bundleOf(t, ['max-gzip', 'latest'], ['grown', 'main']);
  const names = execFileSync('tar', ['tf', path], { encoding: 'utf8' }).trim().split('\n');
  t.deepEqual(names.slice(0, 3), ['oci-layout', 'index.json', 'SHA256SUMS']);
  t.true(names.slice(3).every((name) => /^blobs\/sha256\/[0-9a-f]{64}$/.test(name)));
  const documents = names.slice(3, 7).map((name) => name.slice(-64));
  const out = temporary(t);
  execFileSync('tar', ['xf', path, '-C', out]);
  t.notRegex(execFileSync('sha256sum', ['-c', 'SHA256SUMS'], { cwd: out, encoding: 'utf8' }), /FAILED/);
  for (const name of documents) t.notThrows(() => JSON.parse(readFileSync(join(out, 'blobs/sha256', name), 'utf8')));
  t.is((await verifyFolder(out)).findings.length, 0);
});

test('equal caches and options are equal bytes, whenever and wherever they are written', async (t) => {
  const [one, two] = [await bundleOf(t, ...FIXTURES), await bundleOf(t, ...FIXTURES)];
  t.true(readFileSync(one).equals(readFileSync(two)));
  const converted = 'compression=zstd,force-compression=true';
  const [three, four] = [join(temporary(t), 'a.tar'), join(temporary(t), 'b.tar')];
  for (const path of [three, four]) await copyOne(importOf('max-gzip'), `type=bundle,dest=${path},${converted}`);
  t.true(readFileSync(three).equals(readFileSync(four)));
});

test('nothing is left next to a bundle, and what no tag needs any more is not in it', async (t) => {
  const folder = temporary(t);
  const path = join(folder, 'caches.tar');
  await copyOne(importOf('max-uncompressed'), `type=bundle,dest=${path}`);
  const before = readFileSync(path).length;
  await copyOne(importOf('min-gzip'), `type=bundle,dest=${path}`);
  t.true(readFileSync(path).length < before);
  t.deepEqual(readdirSync(folder), ['caches.tar']);
});

test('what a killed writer left next to a bundle goes with the next one', async (t) => {
  const folder = temporary(t);
  const path = join(folder, 'caches.tar');
  const left = join(folder, '.caches.tar.bkcache-abcdef');
  mkdirSync(left);
  writeFileSync(join(left, 'lock'), '');
  writeFileSync(join(left, 'bundle'), 'half');
  execFileSync('touch', ['-d', '1 hour ago', left]);
  await copyOne(importOf('min-gzip'), `type=bundle,dest=${path}`);
  t.deepEqual(readdirSync(folder), ['caches.tar']);
});

test('every byte of a small bundle, flipped, is refused with the offset, or the bundle is still right', async (t) => {
  const manifest = JSON.stringify({
    schemaVersion: 2,
    mediaType: 'application/vnd.oci.image.manifest.v1+json',
    config: {
      mediaType: 'application/vnd.oci.image.config.v1+json',
      digest: digestOfBytes(Buffer.from('{}')),
      size: 2,
    },
    layers: [
      { mediaType: 'application/vnd.oci.image.layer.v1.tar', digest: digestOfBytes(Buffer.from('abc')), size: 3 },
    ],
  });
  const folder = temporary(t);
  const files: Record<string, string> = {
    'oci-layout': '{"imageLayoutVersion":"1.0.0"}',
    'index.json': `{"schemaVersion":2,"manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"${digestOfBytes(Buffer.from(manifest))}","size":${manifest.length},"annotations":{"org.opencontainers.image.ref.name":"latest"}}]}`,
  };
  for (const [name, text] of Object.entries(files)) writeFileSync(join(folder, name), text);
  const sums = execFileSync('sha256sum', Object.keys(files), { cwd: folder });
  const blob = (text: string) =>
    [{ name: `blobs/${digestOfBytes(Buffer.from(text)).replace(':', '/')}` }, text] as const;
  const path = await tarOf(t, [
    ...Object.entries(files).map(([name, text]) => [{ name }, text] as const),
    [{ name: 'SHA256SUMS' }, sums],
    blob(manifest),
    blob('{}'),
    blob('abc'),
  ]);
  const whole = readFileSync(path);
  const right = await contentsOf(path);
  const flipped = join(temporary(t), 'flipped.tar');
  let refusals = 0;
  for (let at = 0; at < whole.length; at++) {
    const bytes = Buffer.from(whole);
    bytes[at] = (bytes[at] ?? 0) ^ (1 << (at % 8));
    writeFileSync(flipped, bytes);
    try {
      t.is(await contentsOf(flipped), right, `byte ${at}`);
    } catch (error) {
      if (!(error instanceof CacheError)) throw error;
      t.is(error.code, 'CORRUPT', `byte ${at}: ${error.message}`);
      refusals++;
    }
  }
  t.true(refusals > whole.length * 0.95, `${refusals} of ${whole.length}`);
});

test('a bundle that is cut short anywhere is refused', async (t) => {
  const path = await bundleOf(t, ['min-gzip', 'latest']);
  const { length } = readFileSync(path);
  for (let size = length - 1; size > 0; size = size > 5000 ? size - 977 : size - 411) {
    truncateSync(path, size);
    const { code, message } = await refused(t, path);
    t.is(code, 'CORRUPT', `${size}`);
    t.regex(message, /byte \d+/);
  }
});

test('a damaged layer is refused with its offset in the bundle, and nothing is published', async (t) => {
  const path = await bundleOf(t, ['min-gzip', 'latest']);
  const bytes = readFileSync(path);
  const at = bytes.length - 1024 - 600;
  bytes[at] = (bytes[at] ?? 0) ^ 1;
  writeFileSync(path, bytes);
  const out = temporary(t);
  const error = await t.throwsAsync(
    copyCache({ imports: [`type=bundle,src=${path},tag=min-gzip-latest`], exports: [out] }),
    { instanceOf: CacheError },
  );
  t.is(error.code, 'CORRUPT');
  t.is(error.side, 'import');
  t.true(error.message.startsWith(`${path}, byte `), error.message);
  t.false(existsSync(join(out, 'index.json')));
  const verified = await bkcache(['verify', `type=bundle,src=${path},tag=min-gzip-latest`]);
  t.is(verified.code, 4, verified.stdout);
});

const BAD: Readonly<Record<string, { readonly entries: Entries; readonly message: RegExp }>> = {
  'an absolute path': {
    entries: [LAYOUT, NO_ENTRIES, [{ name: '/etc/passwd' }, 'x']],
    message: /leads out of the folder/,
  },
  'a path with ..': {
    entries: [LAYOUT, NO_ENTRIES, [{ name: 'blobs/../../x' }, 'x']],
    message: /leads out of the folder/,
  },
  'a symbolic link': {
    entries: [LAYOUT, NO_ENTRIES, [{ name: 'blobs', type: 'symlink', linkname: '/etc' }]],
    message: /is a symbolic link/,
  },
  'a hard link': {
    entries: [LAYOUT, NO_ENTRIES, [{ name: 'x', type: 'link', linkname: 'index.json' }]],
    message: /is a hard link/,
  },
  'a device': { entries: [LAYOUT, NO_ENTRIES, [{ name: 'x', type: 'character-device' }]], message: /is a device/ },
  'a pipe': { entries: [LAYOUT, NO_ENTRIES, [{ name: 'x', type: 'fifo' }]], message: /is a pipe/ },
  'an entry twice': { entries: [LAYOUT, NO_ENTRIES, NO_ENTRIES], message: /is in it twice/ },
  'an entry twice under two spellings': {
    entries: [LAYOUT, NO_ENTRIES, [{ name: './index.json' }, '{}']],
    message: /is in it twice/,
  },
  'a blob that is named otherwise': {
    entries: [LAYOUT, NO_ENTRIES, [{ name: 'blobs/sha256/abc' }, 'x']],
    message: /not the path of a blob/,
  },
  'a huge index': {
    entries: [LAYOUT, [{ name: 'index.json' }, Buffer.alloc(65 * 1024 * 1024, ' ')]],
    message: /over the limit/,
  },
  'no index': { entries: [LAYOUT], message: /has no index\.json/ },
  'no layout': { entries: [NO_ENTRIES], message: /has no oci-layout/ },
  'a layout of another version': {
    entries: [[{ name: 'oci-layout' }, '{"imageLayoutVersion":"2.0.0"}'], NO_ENTRIES],
    message: /no version 1/,
  },
};
for (const [what, { entries, message }] of Object.entries(BAD)) {
  test(`a tar with ${what} is refused`, async (t) => {
    const error = await refused(t, await tarOf(t, entries));
    t.is(error.code, 'CORRUPT');
    t.regex(error.message, message);
    t.truthy(error.hint);
  });
}

test('data behind the end is refused, and zeros are not', async (t) => {
  const path = await tarOf(t, [LAYOUT, NO_ENTRIES]);
  appendFileSync(path, Buffer.alloc(9216));
  await t.notThrowsAsync(contentsOf(path));
  const { length } = readFileSync(path);
  appendFileSync(path, 'x');
  t.regex((await refused(t, path)).message, new RegExp(`byte ${length}: .* data follows the end`));
});

test('what is no tar says so', async (t) => {
  const path = join(temporary(t), 'x.tar');
  writeFileSync(path, 'hello');
  t.regex((await refused(t, path)).message, /this is no bundle/);
  writeFileSync(path, '');
  t.is((await refused(t, path)).code, 'CORRUPT');
  const out = await bkcache(['inspect', `type=bundle,src=${fixture('max-gzip')}`]);
  t.deepEqual([out.code, /is a folder, and a bundle is a file/.test(out.stderr)], [2, true]);
  t.is((await bkcache(['inspect', 'type=bundle,src=/nowhere.tar'])).code, 3);
  t.regex((await bkcache(['list', path])).stderr, /type=bundle,src=/);
});

test('the tar of a folder, as tar itself makes it, is read like a bundle', async (t) => {
  const path = join(temporary(t), 'tar.tar');
  execFileSync('tar', ['cf', path, '-C', fixture('max-gzip'), '.']);
  const out = temporary(t);
  const { descriptor } = await copyOne(`type=bundle,src=${path}`, out);
  t.is(descriptor.digest, (await copyOne(importOf('max-gzip'), temporary(t))).descriptor.digest);
});

test('a device, a pipe or a folder is not replaced by a bundle', async (t) => {
  const folder = temporary(t);
  const pipe = join(folder, 'pipe');
  execFileSync('mkfifo', [pipe]);
  symlinkSync('/dev/null', join(folder, 'null'));
  for (const path of [pipe, join(folder, 'null'), folder]) {
    const error = await t.throwsAsync(copyOne(importOf('min-gzip'), `type=bundle,dest=${path}`), {
      instanceOf: CacheError,
    });
    t.is(error.code, 'USAGE');
  }
  const missing = copyOne(importOf('min-gzip'), `type=bundle,dest=${join(folder, 'no', 'x.tar')}`);
  t.is((await t.throwsAsync(missing, { instanceOf: CacheError })).code, 'NOT_FOUND');
});

test('a bundle is for reading: gc, prune and repair refuse it and say what to do', async (t) => {
  const path = await bundleOf(t, ['min-gzip', 'latest']);
  const error = await t.throwsAsync(collectGarbage(`type=bundle,src=${path}`), { instanceOf: CacheError });
  t.is(error.code, 'USAGE');
  t.regex(error.hint ?? '', /unpack/);
  const args = await bkcache(['import-args', '--tool', 'buildctl', '--import-cache', `type=bundle,src=${path}`]);
  t.is(args.code, 2, args.stderr);
});
