import { CacheError } from '../../errors.js';
import { nextLink } from '../../net/registry/link.js';
import { fetchDocument } from '../../net/registry/registry-document.js';
import { headerOf } from '../../net/registry/registry-request.js';
import { EMPTY, list, parseGo, string, struct } from '../../oci/go-types.js';
import { JSON_LIMIT } from '../../oci/json.js';
import { nameOf, type RegistryPlace, requestTo } from './registry-place.js';

const TAGS_A_PAGE = 1000;
/** How many pages in a row may have no new tags: some registries filter pages after they cut them. */
const PAGES_WITHOUT_NEW_TAGS = 100;
/** The limits of tags and pages. */
const MOST_TAGS = 1_000_000;
const MOST_PAGES = 10_000;

const NO_TAGS: readonly string[] = EMPTY;
const tagsType = struct(() => ({ tags: NO_TAGS }), { tags: ['tags', list(string)] });

/**
 * The tags of a repository, sorted. It reads pages until a page has no link to the next (distribution-spec, "Listing
 * Tags").
 *
 * @throws CacheError NOT_FOUND for a missing repository, UNREACHABLE for a list that does not end
 */
export async function listTags(place: RegistryPlace, signal?: AbortSignal): Promise<string[]> {
  const { target, ...request } = requestTo(place, `tags/list?n=${TAGS_A_PAGE}`);
  const asked = { ...request, purpose: 'list the tags' };
  const tags = new Set<string>();
  const seen = new Set<string>();
  let withoutNewTags = 0;
  for (let page: string | URL = target; ;) {
    const { response, bytes } = await fetchDocument(
      place.client,
      { ...asked, method: 'GET', target: page, signal },
      JSON_LIMIT,
    );
    const before = tags.size;
    const where = `${nameOf(place)}: the list of tags`;
    for (const tag of parseGo(tagsType, bytes ?? Buffer.from('{}'), where).tags) tags.add(tag);
    withoutNewTags = tags.size === before ? withoutNewTags + 1 : 0;
    seen.add(response.url.href);
    const next = nextLink(headerOf(response.headers, 'link'));
    // Registries differ in their order of tags.
    if (next === undefined) return [...tags].toSorted();
    page = place.client.addressIn(next, response, asked);
    // Some registries link a page to itself.
    if (seen.has(page.href)) return [...tags].toSorted();
    if (withoutNewTags < PAGES_WITHOUT_NEW_TAGS && seen.size < MOST_PAGES && tags.size < MOST_TAGS) continue;
    throw new CacheError(
      'UNREACHABLE',
      `${where} does not end: it has ${tags.size} tags on ${seen.size} pages so far`,
      {
        side: place.side,
      },
    );
  }
}
