import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  createReadStream,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  renameSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { copyFile } from 'node:fs/promises';
import { join } from 'node:path';

/** A layer to measure with: its tar, and the blob that is in the layouts. */
export interface Layer {
  readonly tar: string;
  readonly diffID: string;
  readonly blob: string;
  readonly digest: string;
}

/** A layout that has the same layers as an image (tag `image`) and as a build cache (tag `latest`). */
export interface Input {
  readonly folder: string;
  readonly layers: readonly Layer[];
}

type Kind = 'tar' | 'tar.gz' | 'tar.zst';
const SUFFIX: Readonly<Record<Kind, string>> = { tar: '', 'tar.gz': '+gzip', 'tar.zst': '+zstd' };
const MANIFEST = 'application/vnd.oci.image.manifest.v1+json';

/** The files of a tree in the order of a hash of their names, so that any number of them is a fair sample. */
export function sampleOf(tree: string): { readonly path: string; readonly size: number }[] {
  const files = readdirSync(tree, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() || entry.isSymbolicLink())
    .map((entry) => join(entry.parentPath, entry.name));
  const rank = (path: string) => createHash('sha1').update(path).digest('hex');
  return files
    .map((path) => ({ path, rank: rank(path) }))
    .toSorted((a, b) => (a.rank < b.rank ? -1 : 1))
    .map(({ path }) => ({ path, size: lstatSync(path).size }));
}

/** Makes tars of about these sizes, in bytes, from a tree, each of other files; the tree starts over when it is used up. */
export function makeTars(tree: string, folder: string, name: string, sizes: readonly number[]): string[] {
  mkdirSync(folder, { recursive: true });
  const tars = sizes.map((_, index) => join(folder, `${name}-${index}.tar`));
  if (tars.every((tar) => existsSync(tar))) return tars;
  const files = sampleOf(tree);
  let next = 0;
  for (const [index, size] of sizes.entries()) {
    const paths: string[] = [];
    for (let sum = 0; sum < size; next++) {
      const file = files[next % files.length];
      if (file === undefined) throw new Error(`${tree} is empty`);
      sum += file.size + 512;
      paths.push(file.path.slice(1));
    }
    const list = join(folder, 'list');
    writeFileSync(list, [...new Set(paths)].toSorted().join('\n'));
    const tar = tars[index] ?? '';
    const owner = ['--owner=0', '--group=0', '--numeric-owner', '--mtime=@1700000000', '--no-recursion'];
    execFileSync('tar', ['-C', '/', ...owner, '-cf', `${tar}.new`, '-T', list]);
    renameSync(`${tar}.new`, tar);
  }
  return tars;
}

/**
 * Makes a tar with one file of numbers like the weights of a model: normally distributed, 32 bits each, in random order.
 *
 * @param size - of the file, in bytes
 */
export function makeWeights(folder: string, size: number): string {
  mkdirSync(folder, { recursive: true });
  const tar = join(folder, 'weights.tar');
  if (existsSync(tar)) return tar;
  const weights = new Float32Array(size / 4);
  let state = 1;
  const random = () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return (state + 1) / 2 ** 32;
  };
  for (let at = 0; at < weights.length; at++) {
    weights[at] = Math.sqrt(-2 * Math.log(random())) * Math.cos(2 * Math.PI * random()) * 0.02;
  }
  writeFileSync(join(folder, 'weights'), weights);
  execFileSync('tar', ['-C', folder, '--mtime=@1700000000', '-cf', `${tar}.new`, 'weights']);
  renameSync(`${tar}.new`, tar);
  return tar;
}

/**
 * Makes a layout of tars. gzip is level 6, which is BuildKit's default, and zstd level 3.
 *
 * @param step - stands for the step of a build in its record: caches of different steps are merged into two records
 */
export async function makeLayout(
  folder: string,
  tars: readonly string[],
  kind: Kind,
  level?: number,
  step = 'bench',
): Promise<Input> {
  const blobs = join(folder, 'blobs', 'sha256');
  mkdirSync(blobs, { recursive: true });
  const layers: Layer[] = [];
  for (const tar of tars) {
    const packed = kind === 'tar' ? tar : `${tar}.${level ?? ''}${kind.slice(4)}`;
    if (!existsSync(packed)) pack(tar, packed, kind, level);
    const digest = await sha256File(packed);
    const blob = join(blobs, digest);
    if (!existsSync(blob)) await copyFile(packed, blob);
    layers.push({ tar, diffID: await sha256File(tar), blob, digest });
  }
  const put = (mediaType: string, document: object) => {
    const bytes = JSON.stringify(document);
    const digest = createHash('sha256').update(bytes).digest('hex');
    writeFileSync(join(blobs, digest), bytes);
    return { mediaType, digest: `sha256:${digest}`, size: Buffer.byteLength(bytes) };
  };
  const descriptors = layers.map(({ blob, digest, diffID }) => ({
    mediaType: `application/vnd.oci.image.layer.v1.tar${SUFFIX[kind]}`,
    digest: `sha256:${digest}`,
    size: statSync(blob).size,
    annotations: { 'containerd.io/uncompressed': `sha256:${diffID}` },
  }));
  const manifest = (config: object) =>
    put(MANIFEST, { schemaVersion: 2, mediaType: MANIFEST, config, layers: descriptors });
  const image = put('application/vnd.oci.image.config.v1+json', {
    architecture: 'amd64',
    os: 'linux',
    config: {},
    rootfs: { type: 'layers', diff_ids: layers.map(({ diffID }) => `sha256:${diffID}`) },
    history: layers.map(() => ({ created_by: 'bench' })),
  });
  const cache = put('application/vnd.buildkit.cacheconfig.v0', {
    layers: descriptors.map(({ digest }, index) => ({ blob: digest, parent: index - 1 })),
    records: [
      {
        layers: [{ layer: layers.length - 1, createdAt: '2024-01-01T00:00:00Z' }],
        digest: `sha256:${createHash('sha256').update(step).digest('hex')}`,
      },
    ],
  });
  const tagged = (descriptor: object, tag: string) => ({
    ...descriptor,
    annotations: { 'org.opencontainers.image.ref.name': tag },
  });
  writeFileSync(join(folder, 'oci-layout'), '{"imageLayoutVersion":"1.0.0"}');
  writeFileSync(
    join(folder, 'index.json'),
    JSON.stringify({
      schemaVersion: 2,
      manifests: [tagged(manifest(image), 'image'), tagged(manifest(cache), 'latest')],
    }),
  );
  return { folder, layers };
}

function pack(tar: string, packed: string, kind: Kind, level: number | undefined): void {
  const command = kind === 'tar.gz' ? `gzip -n -${level ?? 6} -c` : `zstd -q -${level ?? 3} -c`;
  execFileSync('sh', ['-c', `${command} "$0" > "$1.new" && mv "$1.new" "$1"`, tar, packed]);
}

export async function sha256File(path: string): Promise<string> {
  const hash = createHash('sha256');
  for await (const chunk of createReadStream(path, { highWaterMark: 1024 * 1024 })) hash.update(chunk as Buffer);
  return hash.digest('hex');
}
