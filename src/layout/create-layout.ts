import { rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { goJson } from '../oci/json.js';
import { exists, makeFolder, syncFolder, writeNewFile } from './files/durable.js';
import { refuseToWrite } from './index/lost-index.js';
import { type Layout, layoutAt, refuseLinks, refuseMangled } from './layout.js';
import { DEFAULT_LAYOUT_SETTINGS, type LayoutSettings } from './settings.js';

/**
 * A layout to write to; made when it is not there.
 *
 * @throws CacheError CORRUPT when a folder in it leads elsewhere, or its index was lost; BUSY; USAGE for a path that is not
 *   UTF-8
 */
export async function createLayout(root: string, settings: LayoutSettings = DEFAULT_LAYOUT_SETTINGS): Promise<Layout> {
  refuseMangled(root);
  const layout = layoutAt(root, settings);
  await makeFolder(root, { ...layout.settings, inherit: 'nothing' });
  await makeFolder(join(root, 'blobs', 'sha256'), layout.settings);
  await refuseLinks(root);
  await refuseToWrite(layout);
  if (!(await exists(join(root, 'oci-layout')))) await writeVersion(layout);
  return layout;
}

/** Writes `oci-layout`, which says that the folder is a layout. */
export async function writeVersion(layout: Layout): Promise<void> {
  await replaceFile(layout, 'oci-layout', goJson({ imageLayoutVersion: '1.0.0' }));
}

/** Writes a file in the root, whole or not at all. */
export async function replaceFile(
  { root, workspace, settings }: Layout,
  name: string,
  bytes: Uint8Array,
): Promise<void> {
  await using lease = workspace.lease();
  const temporary = await lease.temporary();
  try {
    const place = join(root, name);
    await writeNewFile(temporary, bytes, { ...settings, place });
    await rename(temporary, place);
    if (settings.durable) await syncFolder(root);
  } finally {
    await rm(temporary, { force: true });
  }
}
