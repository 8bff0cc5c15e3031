import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { CacheError, isSystemError } from '../errors.js';
import { statOf } from './files/local-disk.js';
import { namesIn } from './blobs/blob-list.js';
import { Blobs } from './blobs/blobs.js';
import { DEFAULT_LAYOUT_SETTINGS, type LayoutSettings } from './settings.js';
import { Workspace, WORKSPACE_FOLDER } from './workspace/workspace.js';

/**
 * An OCI image layout on disk: image-spec image-layout.md. Any file in it that is not part of one is left alone.
 *
 * What is promised of it, to every reader, BuildKit included:
 * - at every instant, also after a kill or a power cut, index.json is the old one or the new one, and what it refers to
 *   is there and whole, if it was before;
 * - a blob is not removed while a tag, a running process or a young writer needs it;
 * - many processes may read and write at once.
 */
export interface Layout extends AsyncDisposable {
  readonly root: string;
  readonly blobs: Blobs;
  readonly settings: LayoutSettings;
  /** The leases and temporary files of this process. */
  readonly workspace: Workspace;
}

/**
 * A layout to read from. A missing `oci-layout` file is no fault, since BuildKit does not look for it.
 *
 * @throws CacheError NOT_FOUND, CORRUPT when a folder in it leads elsewhere, USAGE for a path that is not UTF-8
 */
export async function openLayout(root: string, settings: LayoutSettings = DEFAULT_LAYOUT_SETTINGS): Promise<Layout> {
  refuseMangled(root);
  const stats = await stat(root).catch((error: unknown) => {
    // A path that leads nowhere, whatever it is that ends it.
    if (isSystemError(error, 'ENOENT', 'ENOTDIR', 'ELOOP', 'ENAMETOOLONG')) return undefined;
    throw error;
  });
  if (stats === undefined) {
    throw new CacheError('NOT_FOUND', `there is no folder ${root}`, {
      hint: 'check the path; the first build with --export-cache makes it',
    });
  }
  if (!stats.isDirectory()) {
    throw new CacheError('NOT_FOUND', `${root} is not a folder`, { hint: `a bundle is type=bundle,src=${root}` });
  }
  await refuseLinks(root);
  return layoutAt(root, settings);
}

/** Of a path that is not UTF-8, Node hands on another one, with a sign for what could not be read: that leads elsewhere. */
export function refuseMangled(root: string): void {
  if (!root.includes('\uFFFD')) return;
  throw new CacheError('USAGE', `the path ${root} is not UTF-8, and others cannot be handled`, {
    hint: 'rename the folder, or use it by another name, such as that of a link to it',
  });
}

/** A layout as it will be, whether the folder exists or not. */
export function layoutAt(root: string, settings: LayoutSettings): Layout {
  const workspace = new Workspace(root);
  return {
    root,
    settings,
    workspace,
    blobs: new Blobs(root),
    [Symbol.asyncDispose]: () => workspace.close(),
  };
}

/** Refuses links inside a layout: they could lead anywhere. */
export async function refuseLinks(root: string): Promise<void> {
  const blobs = join(root, 'blobs');
  const below = (await namesIn(blobs)).map((name) => join(blobs, name));
  for (const path of [blobs, ...below, join(root, 'ingest'), join(root, WORKSPACE_FOLDER)]) {
    if ((await statOf(path))?.isSymbolicLink() === true) {
      throw new CacheError('CORRUPT', `${path} is a link; links inside a layout are not followed`);
    }
  }
}
