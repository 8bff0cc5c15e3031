import { isRepository, isTag } from '../../oci/reference.js';

/** A tag in a repository, as a client of a registry names it. */
export interface TagName {
  readonly repository: string;
  readonly tag: string;
}

/** The tag that a reference without a tag means. A name in the store without a tag means it, too. */
const LATEST = 'latest';

/**
 * The name in the store for a tag: `team/app:main`, and `team/app` for `team/app:latest`, as references are written. So
 * what `bkcache import team/app` keeps is what a client finds at `HOST/team/app`.
 */
export function nameOf({ repository, tag }: TagName): string {
  return tag === LATEST ? repository : `${repository}:${tag}`;
}

/** All names in the store that mean a tag; the first counts where there are several. */
export function namesOf({ repository, tag }: TagName): readonly string[] {
  return tag === LATEST ? [repository, `${repository}:${LATEST}`] : [`${repository}:${tag}`];
}

/** The tag that a name in the store stands for; undefined for a name that no client of a registry could ask for. */
export function tagNameOf(name: string): TagName | undefined {
  const colon = name.indexOf(':');
  const repository = colon === -1 ? name : name.slice(0, colon);
  const tag = colon === -1 ? LATEST : name.slice(colon + 1);
  return isRepository(repository) && isTag(tag) ? { repository, tag } : undefined;
}
