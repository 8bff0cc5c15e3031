import { lstat, mkdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
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
  await mkdir(join(root, 'blobs', 'sha256'), { recursive: true });
  await refuseLinks(root);
  const marker = join(root, 'oci-layout');
  const present = await lstat(marker).catch((error: unknown) => {
    if (isSystemError(error, 'ENOENT')) return undefined;
    throw error;
  });
  if (present === undefined) await replaceFile(marker, goJson({ imageLayoutVersion: '1.0.0' }));
  return { root, blobs: new Blobs(root) };
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
