import { statOf } from '../../layout/files/local-disk.js';
import { namesOf, type LayoutIndex } from '../../layout/index/index-json.js';
import { indexPath, readIndexOrNone } from '../../layout/index/index-read.js';
import type { Layout } from '../../layout/layout.js';
import { type Descriptor, IMAGE_NAME, REF_NAME } from '../../oci/descriptor.js';
import { nameOf, tagNameOf } from '../registry/names.js';

/** On an entry without a name: the repository that a client pushed it to by its digest. */
export const REPOSITORY = 'dev.bkcache.repository';

/** A file that was changed within this time may be changed again without a sign of it; in milliseconds. */
const YOUNG = 100;

/** What index.json has for one repository. */
export interface RepositoryView {
  readonly tags: ReadonlyMap<string, Descriptor>;
  /** The entries of the tags, and those that only a digest names. */
  readonly entries: ReadonlySet<Descriptor>;
}

export type Repositories = ReadonlyMap<string, RepositoryView>;

/** The entries of an index by the repositories that registries would have them in. */
export function repositoriesIn({ manifests }: LayoutIndex): Repositories {
  const repositories = new Map<string, { tags: Map<string, Descriptor>; entries: Set<Descriptor> }>();
  const add = (repository: string, entry: Descriptor) => {
    const view = repositories.get(repository) ?? { tags: new Map(), entries: new Set() };
    repositories.set(repository, view);
    view.entries.add(entry);
    return view;
  };
  // In this order BuildKit looks for a name: see `findTag`.
  for (const key of [IMAGE_NAME, REF_NAME]) {
    for (const entry of manifests) {
      const name = entry.annotations?.[key] ?? '';
      const found = tagNameOf(name);
      if (found === undefined) continue;
      const { tags } = add(found.repository, entry);
      const isFirst = !tags.has(found.tag);
      const isBetter = nameOf(found) === name && !namesOf(tags.get(found.tag) ?? entry).includes(name);
      if (isFirst || isBetter) tags.set(found.tag, entry);
    }
  }
  for (const entry of manifests) {
    const repository = entry.annotations?.[REPOSITORY];
    if (repository !== undefined && namesOf(entry).length === 0) add(repository, entry);
  }
  return repositories;
}

/** Reads index.json when it has changed. */
export class IndexReader<T> {
  readonly #layout: Layout;
  readonly #make: (index: LayoutIndex) => T;
  #known: { readonly key: string; readonly made: T } | undefined;

  /** @param make - what is made of the index, and remembered */
  constructor(layout: Layout, make: (index: LayoutIndex) => T) {
    this.#layout = layout;
    this.#make = make;
  }

  /** @throws CacheError CORRUPT, BUSY; NOT_FOUND without a cache */
  async read(): Promise<T> {
    const stats = await statOf(indexPath(this.#layout));
    const key = stats && [stats.dev, stats.ino, stats.size, stats.mtimeMs, stats.ctimeMs].join(' ');
    if (key !== undefined && key === this.#known?.key) return this.#known.made;
    const made = this.#make(await readIndexOrNone(this.#layout));
    const isYoung = stats === undefined || Date.now() - Math.max(stats.mtimeMs, stats.ctimeMs) < YOUNG;
    if (key !== undefined && !isYoung) this.#known = { key, made };
    return made;
  }
}
