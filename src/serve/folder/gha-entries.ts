import { ENTRY_VERSION } from '../../backend/config/gha/cache-keys.js';
import { LAST_USED, type LayoutIndex } from '../../layout/index/index-json.js';
import { lastUsed } from '../../layout/index/last-used.js';
import type { Descriptor } from '../../oci/descriptor.js';
import type { EntryId } from '../gha/gha-store.js';
import { keyOf } from '../gha/keys.js';

// How entries of GitHub's cache stand in index.json. A cache of BuildKit is a cache of the store under a name; any other
// entry is a blob without a name. Annotations have the rest.

const KEY = 'dev.bkcache.gha.key';
const VERSION = 'dev.bkcache.gha.version';
const REF = 'dev.bkcache.gha.ref';
const NAME = 'dev.bkcache.gha.scope';
const NUMBER = 'dev.bkcache.gha.number';
const CREATED = 'dev.bkcache.gha.created';

/** The media type of an entry that is no cache of BuildKit. */
export const ENTRY_TYPE = 'application/vnd.bkcache.gha.entry.v1';

/** An entry, and the descriptor that names its manifest or its bytes. */
export interface StoredEntry extends EntryId {
  readonly kind: 'index' | 'other';
  readonly descriptor: Descriptor;
  /** In milliseconds since 1970, as the next. */
  readonly created: number;
  readonly used: number;
}

/** The entries in an index, the newest first. */
export function ghaEntriesIn({ manifests }: LayoutIndex): readonly StoredEntry[] {
  const entries: StoredEntry[] = [];
  // Of two entries of one instant the later one is the newer.
  for (const descriptor of manifests.toReversed()) {
    const {
      [REF]: ref,
      [CREATED]: made,
      [KEY]: key,
      [VERSION]: version,
      [NAME]: name,
      [NUMBER]: number,
    } = descriptor.annotations ?? {};
    if (ref === undefined) continue;
    const created = Date.parse(made ?? '') || 0;
    const common = { ref, descriptor, created, used: Math.max(created, lastUsed(descriptor) ?? 0) };
    if (name !== undefined && number !== undefined && /^\d{1,15}$/.test(number)) {
      const index = { key: keyOf({ name, ref, number: Number(number) }), version: ENTRY_VERSION };
      entries.push({ ...common, ...index, kind: 'index' });
    } else if (key !== undefined && version !== undefined) {
      entries.push({ ...common, key, version, kind: 'other' });
    }
  }
  return entries.toSorted((a, b) => b.created - a.created);
}

/** The annotations of a cache of BuildKit. */
export function indexAnnotations(ref: string, { name, number }: { readonly name: string; readonly number: number }) {
  return { ...stamps(), [REF]: ref, [NAME]: name, [NUMBER]: `${number}` };
}

/** The annotations of another entry. */
export function entryAnnotations({ key, version, ref }: EntryId) {
  return { ...stamps(), [REF]: ref, [KEY]: key, [VERSION]: version };
}

function stamps() {
  const now = new Date().toISOString();
  return { [CREATED]: now, [LAST_USED]: now };
}
