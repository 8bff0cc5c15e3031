import { gc } from '../../layout/gc/gc.js';
import { readIndexOrNone } from '../../layout/index/index-read.js';
import type { Layout } from '../../layout/layout.js';
import type { Changes, GcOptions } from '../cache-store.js';
import { withChanges } from './folder-entries.js';

/** Frees what nothing in a folder needs, as if changes that are only planned had been made. */
export async function gcOf(layout: Layout, { former, grace, dryRun, planned, signal }: GcOptions) {
  const manifests = async ({ entries }: Changes) =>
    withChanges(await readIndexOrNone(layout, signal), entries).manifests;
  return gc(layout, {
    ...(former ? { former } : {}),
    grace,
    dryRun,
    planned: planned && { manifests: await manifests(planned), documents: planned.documents },
    signal,
  });
}
