import { lstat, mkdir, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { CacheError, isSystemError } from '../errors.js';
import { goJson } from '../oci/json.js';
import { Blobs } from './blobs.js';
import { replaceFile } from './index-file.js';

/** An OCI image layout on disk: image-spec image-layout.md. Any file in it that is not part of one is left alone. */
export interface Layout {
  readonly root: string;
  readonly blobs: Blobs;
}

/**
 * A layout to read from. A missing `oci-layout` file is no fault, since BuildKit does not look for it.
 *
 * @throws CacheError NOT_FOUND, CORRUPT when blobs/ leads elsewhere
 */
export async function openLayout(root: string): Promise<Layout> {
  const stats = await stat(root).catch((error: unknown) => {
    if (isSystemError(error, 'ENOENT')) return undefined;
    throw error;
  });
  if (stats === undefined) {
    throw new CacheError('NOT_FOUND', `there is no folder ${root}`, {
      hint: 'check the path; the first build with --export-cache makes it',
    });
  }
  if (!stats.isDirectory()) throw new CacheError('NOT_FOUND', `${root} is not a folder`);
  await refuseLinks(root);
  return { root, blobs: new Blobs(root) };
}

/** A layout to write to; made when it is not there. */
export async function createLayout(root: string): Promise<Layout> {
  await makeFolder(join(root, 'blobs', 'sha256'));
  await refuseLinks(root);
  const marker = join(root, 'oci-layout');
  const present = await lstat(marker).catch((error: unknown) => {
    if (isSystemError(error, 'ENOENT')) return undefined;
    throw error;
  });
  if (present === undefined) await replaceFile(marker, goJson({ imageLayoutVersion: '1.0.0' }));
  return { root, blobs: new Blobs(root) };
}

/**
 * Makes a folder and those above it. Node's own `recursive` hides why that fails on a read-only filesystem, and never
 * returns on some others.
 */
async function makeFolder(path: string): Promise<void> {
  try {
    await mkdir(path);
  } catch (error) {
    if (isSystemError(error, 'EEXIST')) return;
    if (!isSystemError(error, 'ENOENT') || dirname(path) === path || (await isFolder(dirname(path)))) throw error;
    await makeFolder(dirname(path));
    await makeFolder(path);
  }
}

async function isFolder(path: string): Promise<boolean> {
  return stat(path).then(
    (stats) => stats.isDirectory(),
    () => false,
  );
}

async function refuseLinks(root: string): Promise<void> {
  for (const path of [join(root, 'blobs'), join(root, 'blobs', 'sha256')]) {
    const stats = await lstat(path).catch((error: unknown) => {
      if (isSystemError(error, 'ENOENT', 'ENOTDIR')) return undefined;
      throw error;
    });
    if (stats?.isSymbolicLink()) {
      throw new CacheError('CORRUPT', `${path} is a link; links inside a layout are not followed`);
    }
  }
}
