import { lstat, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { isSystemError } from '../errors.js';
import { namesIn } from './blob-list.js';
import { readWorkspaces, removeWorkspace, WORKSPACE_FOLDER } from './workspace.js';

/** A file or folder that a process which is no more has left behind. */
export interface Leftover {
  readonly path: string;
  /** In bytes. */
  readonly size: number;
  readonly remove: () => Promise<void>;
}

/**
 * What dead processes have left: files in `.bkcache` whose process holds no lock any more, and unfinished blobs of
 * BuildKit's in `ingest/` that nobody has touched for long.
 *
 * @param before - what BuildKit has touched since then stays; in milliseconds since 1970
 */
export async function leftovers(root: string, before: number): Promise<Leftover[]> {
  const folder = join(root, WORKSPACE_FOLDER);
  const found: Leftover[] = [];
  for (const id of (await readWorkspaces(root)).dead) {
    const files = (await namesIn(folder)).filter((name) => name.startsWith(id));
    let size = 0;
    for (const name of files) size += (await touched(join(folder, name)))?.size ?? 0;
    found.push({ path: join(folder, id), size, remove: () => removeWorkspace(folder, id) });
  }
  for (const { path, size, time } of await ingests(root)) {
    if (time < before) found.push({ path, size, remove: () => rm(path, { recursive: true, force: true }) });
  }
  return found;
}

/** BuildKit's unfinished blobs, a folder each: containerd, plugins/content/local/store.go. */
export async function ingests(root: string): Promise<{ path: string; size: number; time: number }[]> {
  const found = [];
  for (const name of await namesIn(join(root, 'ingest'))) {
    if (!/^[0-9a-f]{64}$/.test(name)) continue;
    const path = join(root, 'ingest', name);
    const parts = [await touched(path)];
    for (const inner of await namesIn(path)) parts.push(await touched(join(path, inner)));
    found.push({
      path,
      size: parts.slice(1).reduce((sum, part) => sum + (part?.size ?? 0), 0),
      time: Math.max(...parts.map((part) => part?.time ?? 0)),
    });
  }
  return found;
}

async function touched(path: string): Promise<{ size: number; time: number } | undefined> {
  try {
    const { size, mtimeMs, ctimeMs } = await lstat(path);
    return { size, time: Math.max(mtimeMs, ctimeMs) };
  } catch (error) {
    if (isSystemError(error, 'ENOENT')) return undefined;
    throw error;
  }
}
