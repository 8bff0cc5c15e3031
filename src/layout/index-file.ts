import { randomUUID } from 'node:crypto';
import { constants } from 'node:fs';
import { open, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import * as v from 'valibot';
import { CacheError, isSystemError } from '../errors.js';
import { type Descriptor, IMAGE_NAME, REF_NAME } from '../oci/descriptor.js';
import { goJson, JSON_LIMIT, parseJson } from '../oci/json.js';
import { descriptorSchema, orderedDescriptor } from '../oci/manifest.js';
import { OCI_INDEX } from '../oci/media-types.js';
import { withLock } from './lock.js';

/** index.json: image-spec image-layout.md. Entries and fields that are not understood here survive a rewrite. */
export interface LayoutIndex {
  readonly manifests: readonly Descriptor[];
  readonly [field: string]: unknown;
}

const indexSchema = v.looseObject({ manifests: v.nullish(v.array(descriptorSchema), []) });

/** The tag of an index entry: the name that an import could ask for. */
export function tagOf({ annotations }: Descriptor): string | undefined {
  return annotations?.[IMAGE_NAME] ?? annotations?.[REF_NAME];
}

/** The entry for a tag, as BuildKit looks for it (client/ociindex/ociindex.go, Get). */
export function findTag(index: LayoutIndex, tag: string): Descriptor | undefined {
  return (
    index.manifests.find(({ annotations }) => annotations?.[IMAGE_NAME] === tag) ??
    index.manifests.find(({ annotations }) => annotations?.[REF_NAME] === tag)
  );
}

/**
 * Points a tag at a manifest, as BuildKit does (insertDesc): the entries of the same name go, the new one comes last.
 * A descriptor that has names already, as images have, takes the place of the entry with these names, so that whatever
 * found that one finds it.
 */
export function withTag(index: LayoutIndex, tag: string, descriptor: Descriptor): LayoutIndex {
  if (tagOf(descriptor) !== undefined) {
    const place = index.manifests.findIndex((entry) => sameNames(entry, descriptor));
    const others = index.manifests.filter((entry) => !sameNames(entry, descriptor));
    return { ...index, manifests: others.toSpliced(place === -1 ? others.length : place, 0, descriptor) };
  }
  const entry = { ...descriptor, annotations: { ...descriptor.annotations, [REF_NAME]: tag } };
  return { ...index, manifests: [...withoutTag(index, tag).manifests, entry] };
}

function sameNames(a: Descriptor, b: Descriptor): boolean {
  return [IMAGE_NAME, REF_NAME].every((name) => a.annotations?.[name] === b.annotations?.[name]);
}

/** Takes a tag away; entries that have an image name beside it are other names. */
export function withoutTag(index: LayoutIndex, tag: string): LayoutIndex {
  const others = index.manifests.filter(
    ({ annotations }) => annotations?.[REF_NAME] !== tag || (annotations[IMAGE_NAME] ?? '') !== '',
  );
  return { ...index, manifests: others };
}

/**
 * Reads index.json while holding the shared lock.
 *
 * @throws CacheError NOT_FOUND when there is none, CORRUPT when it is none, BUSY
 */
export async function readIndex(root: string, signal?: AbortSignal): Promise<LayoutIndex> {
  const path = join(root, 'index.json');
  const bytes = await withLock(path, 'shared', () => readFileOf(path), { signal });
  if (bytes === undefined) {
    throw new CacheError('NOT_FOUND', `there is no cache in ${root}: it has no index.json`, {
      hint: 'the first build with --export-cache type=local,dest=… makes one',
    });
  }
  return decodeIndex(bytes, path);
}

/** Changes index.json under the exclusive lock; a reader sees the old file or the new one. */
export async function updateIndex(
  root: string,
  change: (index: LayoutIndex) => LayoutIndex,
  signal?: AbortSignal,
): Promise<void> {
  const path = join(root, 'index.json');
  await withLock(
    path,
    'exclusive',
    async () => {
      const bytes = await readFileOf(path);
      const before = bytes === undefined || bytes.length === 0 ? { manifests: [] } : decodeIndex(bytes, path);
      const after = change(before);
      if (after !== before) await replaceFile(path, encodeIndex(after));
    },
    { signal },
  );
}

function decodeIndex(bytes: Uint8Array, path: string): LayoutIndex {
  return parseJson(indexSchema, bytes, path);
}

function encodeIndex({ manifests, ...fields }: LayoutIndex): Buffer {
  // Older releases of BuildKit leave the media type out; newer ones fill it in when they write (setOCIIndexDefaults).
  const { schemaVersion = 2, mediaType = OCI_INDEX, ...others } = fields;
  return goJson({ schemaVersion, mediaType, manifests: manifests.map(orderedDescriptor), ...others });
}

async function readFileOf(path: string): Promise<Buffer | undefined> {
  try {
    const handle = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW);
    try {
      const { size } = await handle.stat();
      if (size > JSON_LIMIT) throw new CacheError('CORRUPT', `${path} has ${size} bytes; no index is that large`);
      return await handle.readFile();
    } finally {
      await handle.close();
    }
  } catch (error) {
    if (isSystemError(error, 'ENOENT', 'ENOTDIR')) return undefined;
    if (isSystemError(error, 'ELOOP')) {
      throw new CacheError('CORRUPT', `${path} is a link; links inside a layout are not followed`);
    }
    throw error;
  }
}

/** Writes a file beside its place, and moves it there when it is whole. */
export async function replaceFile(path: string, bytes: Uint8Array, mode = 0o644): Promise<void> {
  const temporary = `${path}.${randomUUID()}`;
  try {
    const handle = await open(temporary, 'wx', mode);
    try {
      await handle.writeFile(bytes);
      await handle.sync();
    } finally {
      await handle.close();
    }
    await rename(temporary, path);
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  }
}
