import type { SavedCache } from '../../src/graph/save.js';
import type { Descriptor } from '../../src/oci/descriptor.js';
import type { Digest } from '../../src/oci/digest.js';
import { topOf } from '../../src/oci/document.js';
import { copyCache, type ExportResult } from '../../src/operations/copy/copy.js';
import { locate, openSource } from '../../src/backend/backends.js';
import type { Cache } from '../../src/backend/backend.js';
import { Session } from '../../src/session.js';

/** The cache that a folder has under a tag; `latest` by default. */
export async function loadFolder(folder: string, tag?: string): Promise<Cache> {
  const attributes = { src: folder, ...(tag === undefined ? {} : { tag }) };
  await using session = new Session();
  const source = await openSource(await locate({ type: 'local', attributes }, 'import', session), session);
  return await source.load();
}

/** The digest that names a cache. */
export function digestOfCache({ saved }: { readonly saved?: SavedCache | undefined }): Digest | undefined {
  return saved && topOf(saved.documents).descriptor.digest;
}

/** The descriptors of the layers of the cache that a folder has under `latest`. */
export async function descriptorsIn(folder: string): Promise<Descriptor[]> {
  return [...(await loadFolder(folder)).graph.descriptors.values()];
}

/** Copies one cache to one place. */
export async function copyOne(imported: string, exported: string): Promise<ExportResult> {
  const { exports } = await copyCache({ imports: [imported], exports: [exported] });
  const [only] = exports;
  if (only === undefined) throw new Error('nothing was exported');
  return only;
}
