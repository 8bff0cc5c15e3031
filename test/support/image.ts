import { createHash } from 'node:crypto';
import { chmodSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { ExecutionContext } from 'ava';
import { CacheError } from '../../src/errors.js';
import { type Content, contentOf } from '../../src/oci/content.js';
import { parseDigest } from '../../src/oci/digest.js';
import { importOf } from './fixtures.js';
import { blobPath, folderOf } from './folders.js';

/** The caches in the images that BuildKit wrote: one platform, and two. */
export const SINGLE = importOf('inline-image', 'inline');
export const MULTI = importOf('inline-multiplatform', 'multi');

/** The digests of these images. */
export const THEIRS = parseDigest('sha256:7d7e7b238f379786109ba402e383e0e01ae749d80a6fc1642b04d77140fd7784', 'fixture');
export const THEIR_INDEX = parseDigest(
  'sha256:5048b6c4bb62bd1b740dc937b00ca98f9160aaf4ecd5423d74d1d126f5a8324a',
  'fixture',
);

export interface Entry {
  mediaType: string;
  digest: string;
  size: number;
  annotations?: Record<string, string>;
  [field: string]: unknown;
}

/** A copy of an image in a folder, which a test may change in ways that BuildKit would not. */
export class ImageFolder {
  readonly path: string;

  constructor(t: ExecutionContext, name: string) {
    this.path = folderOf(t, name);
  }

  text(digest: string): string {
    return readFileSync(this.#file(digest), 'utf8');
  }

  content(digest: string): Content {
    return contentOf(readFileSync(this.#file(digest)));
  }

  json(digest: string): unknown {
    return JSON.parse(this.text(digest));
  }

  put(text: string): { digest: string; size: number } {
    const digest = `sha256:${createHash('sha256').update(text).digest('hex')}`;
    rmSync(this.#file(digest), { force: true });
    writeFileSync(this.#file(digest), text);
    chmodSync(this.#file(digest), 0o444);
    return { digest, size: Buffer.byteLength(text) };
  }

  get index(): { manifests: Entry[] } {
    return JSON.parse(readFileSync(join(this.path, 'index.json'), 'utf8')) as { manifests: Entry[] };
  }

  set index(index: object) {
    writeFileSync(join(this.path, 'index.json'), JSON.stringify(index));
  }

  /** The manifest of the first entry. */
  get top(): Entry {
    const [first] = this.index.manifests;
    if (first === undefined) throw new Error('there is no image in this folder');
    return first;
  }

  /** Puts another manifest behind the first entry. */
  retag(text: string, fields: object = {}): void {
    const [first, ...others] = this.index.manifests;
    this.index = { ...this.index, manifests: [{ ...first, ...this.put(text), ...fields }, ...others] };
  }

  /** Changes the config of an image, and the text of its manifest to match. */
  changeConfig(manifest: string, change: (config: string) => string): string {
    const text = this.text(manifest);
    const { config } = JSON.parse(text) as { config: Entry };
    const changed = this.put(change(this.text(config.digest)));
    return text.replace(config.digest, changed.digest).replace(`"size": ${config.size}`, `"size": ${changed.size}`);
  }

  #file(digest: string): string {
    return blobPath(this.path, digest);
  }
}

/** The text of an image config without its build cache. */
export function stripped(config: string): string {
  return config.replace(/"moby\.buildkit\.cache\.v0":"[^"]*",/, '');
}

/** The image that BuildKit wrote with a cache in it, as it is without. */
export function imageWithoutCache(t: ExecutionContext): ImageFolder {
  const image = new ImageFolder(t, 'inline-image');
  image.retag(image.changeConfig(image.top.digest, stripped));
  return image;
}

/** The image for two platforms without its caches, and what a test changes in its index. */
export function indexWithoutCaches(
  t: ExecutionContext,
  change: (index: { manifests: Entry[] }, image: ImageFolder) => string = spaced,
): ImageFolder {
  const image = new ImageFolder(t, 'inline-multiplatform');
  const index = image.json(image.top.digest) as { manifests: Entry[] };
  for (const entry of index.manifests) Object.assign(entry, image.put(image.changeConfig(entry.digest, stripped)));
  image.retag(change(index, image));
  return image;
}

/** JSON with the spaces of BuildKit's images. */
export const spaced = (index: object): string => JSON.stringify(index, null, 2);

/** The error of a call that is refused. */
export async function refusal(t: ExecutionContext, run: Promise<unknown>): Promise<CacheError> {
  return t.throwsAsync(run, { instanceOf: CacheError });
}
