import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type Input, makeLayout, makeTars, makeWeights } from './input.js';
import type { Run } from './run.js';

const MAIN = fileURLToPath(new URL('../../src/cli/main.js', import.meta.url));
const MB = 1e6;
/** Manifests and configs are smaller, and all layers are larger; in bytes. */
const SMALL_LAYER = 32 * 1024;
const SKOPEO_ZSTD = ['--dest-compress-format', 'zstd', '--dest-compress-level', '3'];

export interface Command {
  readonly name: string;
  readonly command: string;
  readonly args: readonly string[];
  /** Throws when the work was not done. */
  readonly check: (run: Run) => void;
}

export interface Row {
  readonly work: string;
  /** What has to be installed for it. */
  readonly needs: readonly string[];
  readonly ours: Command;
  readonly peer: Command;
  /** The most that our time may be of the peer's. */
  readonly limit: number;
}

export interface Settings {
  readonly tree: string;
  readonly work: string;
}

/** Makes the input, and says what is compared with what. */
export async function makeRows({ tree, work }: Settings): Promise<Row[]> {
  const folder = join(work, 'input');
  const big = makeTars(tree, folder, 'big', [500 * MB]);
  const mixed = makeTars(
    tree,
    folder,
    'mixed',
    [160, 90, 60, 40, 20, 10, 5, 2, 1, 0.5].map((size) => size * MB),
  );
  const many = makeTars(tree, folder, 'many', [700 * MB, 700 * MB, 700 * MB, 700 * MB]);
  const gzipped = await makeLayout(join(folder, 'big-gzip'), big, 'tar.gz');
  const plain = await makeLayout(join(folder, 'big-plain'), big, 'tar');
  const hard = await makeLayout(join(folder, 'weights-plain'), [makeWeights(folder, 250 * MB)], 'tar');
  const packed = await makeLayout(join(folder, 'big-zstd'), big, 'tar.zst');
  const mix = await makeLayout(join(folder, 'mixed-gzip'), mixed, 'tar.gz');
  const gigabyte = await makeLayout(join(folder, 'gigabyte'), many, 'tar.gz', 1);
  const out = join(work, 'out');
  const [[bigLayer], [hardLayer]] = [plain.layers, hard.layers];
  if (bigLayer === undefined || hardLayer === undefined) throw new Error('there is no layer');
  const copied = (input: Input) => () => {
    for (const { digest } of input.layers) assert(existsSync(blobIn(out, digest)), `${digest} was not copied`);
  };
  const resolve = ours('resolve', ['resolve', `type=local,src=${gigabyte.folder}`], ({ stdout }) =>
    assert(stdout.includes('"digest":"sha256:'), 'it resolved nothing'),
  );
  const copy = (...options: string[]) =>
    ours(
      'bkcache copy',
      [
        'copy',
        '--quiet',
        ...options,
        '--import-cache',
        `type=local,src=${gigabyte.folder}`,
        '--export-cache',
        `type=local,dest=${out}`,
      ],
      copied(gigabyte),
    );
  const oras: Command = {
    name: 'oras cp',
    command: 'oras',
    args: ['cp', '--from-oci-layout', `${gigabyte.folder}:image`, '--to-oci-layout', `${out}:image`],
    check: copied(gigabyte),
  };
  return [
    {
      work: 'gzip to zstd 3, one layer of 500 MB',
      needs: ['skopeo', 'zstd'],
      limit: 0.7,
      ours: conversion(gzipped, out, 'zstd', 3),
      peer: {
        name: 'skopeo copy',
        command: 'skopeo',
        args: ['copy', '-q', ...SKOPEO_ZSTD, `oci:${gzipped.folder}:image`, `oci:${out}:image`],
        check: () => checkLayers(out, gzipped, 'zstd'),
      },
    },
    {
      work: 'uncompressed to gzip 6, one layer of 500 MB',
      needs: ['pigz'],
      limit: 0.75,
      ours: conversion(plain, out, 'gzip', 6),
      peer: shell('pigz -6 -p 2', `pigz -6 -n -p 2 -c '${bigLayer.tar}' > '${out}'`, () =>
        assert(digestOf(`gzip -dc < '${out}'`) === bigLayer.diffID, 'pigz made something else'),
      ),
    },
    {
      work: 'uncompressed to gzip 6, weights of 250 MB',
      needs: ['pigz'],
      limit: 0.6,
      ours: conversion(hard, out, 'gzip', 6),
      peer: shell('pigz -6 -p 2', `pigz -6 -n -p 2 -c '${hardLayer.tar}' > '${out}'`, () =>
        assert(digestOf(`gzip -dc < '${out}'`) === hardLayer.diffID, 'pigz made something else'),
      ),
    },
    {
      work: 'gzip to gzip 9, mixed layers',
      needs: ['pigz'],
      limit: 0.8,
      ours: conversion(mix, out, 'gzip', 9),
      peer: shell(
        'pigz -dc | pigz -9 -p 2',
        `mkdir '${out}'; for f in ${mix.layers.map(({ blob }) => `'${blob}'`).join(' ')}; do pigz -dc < $f | pigz -9 -n -p 2 > '${out}'/$(basename $f); done`,
        () => {
          for (const { digest, diffID } of mix.layers) {
            assert(digestOf(`gzip -dc < '${join(out, digest)}'`) === diffID, 'pigz made something else');
          }
        },
      ),
    },
    {
      work: 'zstd to uncompressed, verified',
      needs: ['zstd', 'sha256sum'],
      limit: 1,
      ours: conversion(packed, out, 'uncompressed'),
      peer: shell('zstd -dc | sha256sum', `zstd -q -dc '${packed.layers[0]?.blob}' | sha256sum`, ({ stdout }) =>
        assert(stdout.startsWith(bigLayer.diffID), 'zstd unpacked something else'),
      ),
    },
    {
      work: 'copy of a cache of 1 GB, verified',
      needs: ['skopeo'],
      limit: 0.5,
      ours: copy(),
      peer: {
        name: 'skopeo copy',
        command: 'skopeo',
        args: ['copy', '-q', `oci:${gigabyte.folder}:image`, `oci:${out}:image`],
        check: copied(gigabyte),
      },
    },
    {
      work: 'the same',
      needs: ['oras'],
      limit: 1,
      ours: copy(),
      peer: oras,
    },
    {
      // What oras does: it syncs nothing.
      work: 'the same, with --no-fsync',
      needs: ['oras'],
      limit: 1,
      ours: copy('--no-fsync'),
      peer: oras,
    },
    {
      // The parts of the work, by the tools of the system.
      work: 'the same, checked and synced',
      needs: ['cp', 'sha256sum', 'sync'],
      limit: 1,
      ours: copy(),
      peer: shell(
        'cp, sha256sum, sync',
        `cp -r '${gigabyte.folder}' '${out}'; cd '${out}/blobs/sha256'; sha256sum -- * > ../sums; sync -- *`,
        copied(gigabyte),
      ),
    },
    {
      work: 'a bundle of a cache of 1 GB, in a file',
      needs: ['tar', 'sha256sum'],
      limit: 1.2,
      ours: ours('bkcache pack', ['pack', '--quiet', '--no-fsync', gigabyte.folder, '-o', out], () =>
        checkArchive(out, gigabyte),
      ),
      peer: shell('tar, sha256sum', `tar -C '${gigabyte.folder}' -cf '${out}' . && sha256sum '${out}'`, () =>
        checkArchive(out, gigabyte),
      ),
    },
    {
      work: 'bkcache resolve',
      needs: [],
      limit: 2,
      ours: resolve,
      peer: { name: 'node -e 0', command: process.execPath, args: ['-e', '0'], check: () => undefined },
    },
  ];
}

function ours(name: string, args: readonly string[], check: Command['check']): Command {
  return { name, command: process.execPath, args: [MAIN, ...args], check };
}

/** A conversion of all layers of a cache, which are then unpacked by other tools and compared. */
export function conversion(input: Input, out: string, compression: string, level?: number): Command {
  const asked = `compression=${compression}${level === undefined ? '' : `,compression-level=${level}`}`;
  const exported = `type=local,dest=${out},${asked},force-compression=true`;
  return ours(
    'bkcache copy',
    ['copy', '--quiet', '--import-cache', `type=local,src=${input.folder}`, '--export-cache', exported],
    () => checkLayers(out, input, compression),
  );
}

function shell(name: string, script: string, check: Command['check']): Command {
  return { name, command: 'sh', args: ['-ec', script], check };
}

function checkLayers(out: string, input: Input, compression: string): void {
  const unpack = { gzip: 'gzip -dc', estargz: 'gzip -dc', zstd: 'zstd -q -dc', uncompressed: 'cat' }[compression];
  const found = new Set(
    readdirSync(join(out, 'blobs', 'sha256'))
      .filter((name) => statSync(blobIn(out, name)).size > SMALL_LAYER)
      .map((name) => digestOf(`${unpack} < '${blobIn(out, name)}'`)),
  );
  for (const { diffID } of input.layers) assert(found.has(diffID), `no ${compression} layer unpacks to ${diffID}`);
}

function checkArchive(file: string, { layers }: Input): void {
  const names = execFileSync('tar', ['-tf', file], { encoding: 'utf8' });
  for (const { digest } of layers) assert(names.includes(digest), `${digest} is not in the tar`);
}

function digestOf(script: string): string {
  return execFileSync('sh', ['-ec', `${script} | sha256sum`], { encoding: 'utf8' }).slice(0, 64);
}

function blobIn(layout: string, digest: string): string {
  return join(layout, 'blobs', 'sha256', digest);
}

function assert(holds: boolean, message: string): void {
  if (!holds) throw new Error(message);
}
