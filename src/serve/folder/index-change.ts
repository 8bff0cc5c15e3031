import { type LayoutIndex, namesOf as namesOfEntry, withTag } from '../../layout/index/index-json.js';
import { type Descriptor, IMAGE_NAME, REF_NAME } from '../../oci/descriptor.js';
import type { Digest } from '../../oci/digest.js';
import { nameOf, namesOf, tagNameOf } from '../registry/names.js';
import { REPOSITORY, repositoriesIn } from './index-view.js';

/**
 * An index in which tags point at a manifest. Entries of the repository that only their digest named go when the manifest
 * names them: they were pushed for it.
 *
 * @param named - what the manifest names
 */
export function withManifest(
  index: LayoutIndex,
  repository: string,
  entry: Descriptor,
  { tags, named }: { readonly tags: readonly string[]; readonly named: ReadonlySet<Digest> },
): LayoutIndex {
  if (tags.length === 0) {
    const { entries = new Set<Descriptor>() } = repositoriesIn(index).get(repository) ?? {};
    if ([...entries].some(({ digest }) => digest === entry.digest)) return index;
    const annotations = { ...entry.annotations, [REPOSITORY]: repository };
    return { ...index, manifests: [...index.manifests, { ...entry, annotations }] };
  }
  const isCovered = (other: Descriptor) =>
    isNameless(other, repository) && (other.digest === entry.digest || named.has(other.digest));
  const left = { ...index, manifests: index.manifests.filter((other) => !isCovered(other)) };
  return tags.reduce(
    (changed, tag) => withTag(withoutNames(changed, namesOf({ repository, tag })), nameOf({ repository, tag }), entry),
    left as LayoutIndex,
  );
}

/** An index without a tag. */
export function withoutTagName(index: LayoutIndex, repository: string, tag: string): LayoutIndex {
  return withoutNames(index, namesOf({ repository, tag }));
}

/** An index without a manifest in a repository, and without its tags. */
export function withoutManifest(index: LayoutIndex, repository: string, digest: Digest): LayoutIndex {
  const names = index.manifests
    .filter((entry) => entry.digest === digest)
    .flatMap(namesOfEntry)
    .filter((name) => tagNameOf(name)?.repository === repository);
  const left = index.manifests.filter((entry) => entry.digest !== digest || !isNameless(entry, repository));
  const without = left.length === index.manifests.length ? index : { ...index, manifests: left };
  const isOf = (entry: Descriptor) => entry.digest === digest;
  return names.length === 0 ? without : withoutNames(without, names, isOf);
}

function isNameless(entry: Descriptor, repository: string): boolean {
  return namesOfEntry(entry).length === 0 && entry.annotations?.[REPOSITORY] === repository;
}

/** Takes names from entries. An entry goes with its image name, and with its only name. */
function withoutNames(
  index: LayoutIndex,
  names: readonly string[],
  isMeant: (entry: Descriptor) => boolean = () => true,
): LayoutIndex {
  const has = (entry: Descriptor, key: string) => names.includes(entry.annotations?.[key] ?? '');
  const manifests = index.manifests.flatMap((entry) => {
    if (!isMeant(entry) || has(entry, IMAGE_NAME)) return isMeant(entry) ? [] : entry;
    if (!has(entry, REF_NAME)) return entry;
    if ((entry.annotations?.[IMAGE_NAME] ?? '') === '') return [];
    const { [REF_NAME]: _, ...annotations } = entry.annotations ?? {};
    return { ...entry, annotations };
  });
  const isSame =
    manifests.length === index.manifests.length && manifests.every((entry, at) => entry === index.manifests[at]);
  return isSame ? index : { ...index, manifests };
}
