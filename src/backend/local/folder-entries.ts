import { entryKey, findTag, type LayoutIndex, namesOf } from '../../layout/index/index-json.js';
import { lastUsed } from '../../layout/index/last-used.js';
import type { EntryChange, StoreEntry } from '../cache-store.js';

/** The entries of index.json. */
export function entriesOf(index: LayoutIndex): readonly StoreEntry[] {
  return index.manifests.map((descriptor) => {
    const names = namesOf(descriptor);
    return {
      names,
      shadowed: names.slice(1).filter((name) => findTag(index, name) !== descriptor),
      descriptor,
      lastUsed: lastUsed(descriptor),
    };
  });
}

/** The index with changed entries. An entry that another process has written or used in the meantime stays as it is. */
export function withChanges(index: LayoutIndex, changes: readonly EntryChange[]): LayoutIndex {
  if (changes.length === 0) return index;
  const changed = new Map(changes.map(({ entry, to }) => [entryKey(entry.descriptor), { to }]));
  const manifests = index.manifests.flatMap((entry) => {
    const change = changed.get(entryKey(entry));
    if (change === undefined) return entry;
    return change.to === undefined ? [] : { ...entry, ...change.to };
  });
  return { ...index, manifests };
}
