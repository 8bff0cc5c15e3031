import { join } from 'node:path';
import { CacheError } from '../../errors.js';
import { exists } from '../files/durable.js';
import { decodeIndex, hasList, type LayoutIndex } from './index-json.js';
import type { Layout } from '../layout.js';
import { type SettledFile, type Stamp, settled } from './settled.js';

/** What was in index.json, and what it says. */
interface IndexReading {
  readonly file: SettledFile;
  readonly index: LayoutIndex;
}

export function indexPath({ root }: Pick<Layout, 'root'>): string {
  return join(root, 'index.json');
}

/**
 * Reads index.json, and takes no lock for that: a build that met it would fail.
 *
 * @throws CacheError NOT_FOUND when index.json is missing, CORRUPT when it is unreadable or has no list of manifests, BUSY
 *   when a process keeps writing it
 */
export async function readIndex(layout: Layout, signal?: AbortSignal): Promise<LayoutIndex> {
  return (await indexReading(layout, signal)).index;
}

/**
 * As `readIndex`; a layout without an index.json, as a first export leaves it that was cut short, has no entries.
 *
 * @throws CacheError NOT_FOUND where there are no blobs either
 */
export async function readIndexOrNone(layout: Layout, signal?: AbortSignal): Promise<LayoutIndex> {
  try {
    return await readIndex(layout, signal);
  } catch (error) {
    if (await isWithoutIndex(layout, error)) return { manifests: [] };
    throw error;
  }
}

/** Whether an error says that there is no index.json, and it comes from a folder with blobs. */
export async function isWithoutIndex({ root }: Pick<Layout, 'root'>, error: unknown): Promise<boolean> {
  return error instanceof CacheError && error.code === 'NOT_FOUND' && (await exists(join(root, 'blobs')));
}

/** As `readIndex`, with the file that was read. */
export async function indexReading(layout: Layout, signal?: AbortSignal): Promise<IndexReading> {
  const path = indexPath(layout);
  const read = (bytes: Buffer | undefined, stamp: Stamp | undefined): IndexReading => {
    if (bytes === undefined) throw noIndex(layout);
    return { file: { bytes, stamp }, index: decodeIndex(bytes, path) };
  };
  const reading = await settled(path, read, { timeout: layout.settings.lockTimeout, signal });
  if (!hasList(reading.index)) {
    const { refuseLostIndex } = await import('./lost-index.js');
    await refuseLostIndex(layout, reading.index, signal);
  }
  return reading;
}

function noIndex({ root }: Pick<Layout, 'root'>): CacheError {
  return new CacheError('NOT_FOUND', `there is no cache in ${root}: it has no index.json`, {
    hint: 'the first build with --export-cache type=local,dest=… makes one',
  });
}
