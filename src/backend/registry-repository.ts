import { CacheError } from '../errors.js';
import { discard } from '../net/http.js';
import { headerOf, type RegistryResponse } from '../net/registry-client.js';
import { contentOf } from '../oci/content.js';
import type { Descriptor } from '../oci/descriptor.js';
import { isDigest, sha256 } from '../oci/digest.js';
import { EMPTY, list, parseGo, string, struct } from '../oci/go-types.js';
import { JSON_LIMIT } from '../oci/json.js';
import { DOCKER_MANIFEST, DOCKER_MANIFEST_LIST, OCI_INDEX, OCI_MANIFEST } from '../oci/media-types.js';
import { parallel } from '../parallel.js';
import { registryConversions } from './conversion-memory.js';
import { downloadOf } from './registry-download.js';
import { nameOf, type RegistryPlace, requestTo } from './registry-place.js';
import { uploadBlob, uploadStream } from './registry-upload.js';
import type { Reference, Repository, RepositoryEntry } from './repository.js';
import { readingImport } from './sides.js';

const ACCEPT = [OCI_MANIFEST, OCI_INDEX, DOCKER_MANIFEST, DOCKER_MANIFEST_LIST].join(', ');
/** How many requests a registry gets at once; most of the time goes by on the way. */
const CONCURRENCY = 8;
const TAGS_A_PAGE = 1000;
/** How many tags a message names. */
const TAGS_SHOWN = 20;

const NO_TAGS: readonly string[] = EMPTY;
const tagsType = struct(() => ({ tags: NO_TAGS }), { tags: ['tags', list(string)] });

/** A repository in a registry: distribution-spec. What it reads and writes goes through one connection pool. */
export function registryRepository(place: RegistryPlace): Repository {
  const { client, repository, side } = place;
  const name = nameOf(place);
  const has: Repository['has'] = async (blob, signal) => {
    const response = await client.request({
      ...requestTo(place, `blobs/${blob.digest}`),
      method: 'HEAD',
      purpose: `look for blob ${blob.digest}`,
      accept: [404],
      signal,
    });
    discard(response);
    const length = headerOf(response.headers, 'content-length');
    return response.status === 200 && (length === undefined || Number(length) === blob.size);
  };
  return {
    name,
    concurrency: CONCURRENCY,
    resolve: (reference, signal) => resolve(place, reference, signal),
    entries: (signal) => entries(place, signal),
    manifest: ({ digest, size }) =>
      downloadOf(place, `manifests/${digest}`, { size, accept: ACCEPT, what: `manifest ${digest}` }),
    blob({ digest, size }) {
      const origin = { registry: client.registry, repository };
      return { ...downloadOf(place, `blobs/${digest}`, { size, what: `blob ${digest}` }), origin };
    },
    has,
    conversions: registryConversions(has),
    write(content, expected, signal) {
      return readingImport(async () => {
        if (expected === undefined) return uploadStream(place, content, (blob) => has(blob, signal), signal);
        await uploadBlob(place, content, expected, () => has(expected, signal), signal);
        return expected;
      });
    },
    async publish({ descriptor, bytes }, tag, signal) {
      const isIndex = descriptor.mediaType === OCI_INDEX || descriptor.mediaType === DOCKER_MANIFEST_LIST;
      const response = await client.request({
        ...requestTo(place, `manifests/${tag ?? descriptor.digest}`),
        method: 'PUT',
        purpose: `write the manifest of ${tag ?? descriptor.digest}`,
        headers: { 'content-type': descriptor.mediaType, 'content-length': `${bytes.length}` },
        body: () => contentOf(bytes).open(),
        hint: isIndex
          ? 'this registry seems not to take caches in the shape of an index; export with image-manifest=true'
          : undefined,
        signal,
      });
      discard(response);
      const digest = headerOf(response.headers, 'docker-content-digest');
      if (digest === undefined || digest === descriptor.digest) return;
      throw new CacheError(
        'FAILED',
        `${name}: the manifest was ${descriptor.digest}, and is ${digest} to the registry`,
        {
          side,
        },
      );
    },
    async close() {
      // The connections belong to the operation, which may go on with them.
    },
  };
}

/** Asks for a manifest's descriptor alone, which registries do not count as a pull; and for its bytes where they have to. */
async function resolve(place: RegistryPlace, reference: Reference, signal?: AbortSignal): Promise<Descriptor> {
  const found = await find(place, reference, signal);
  if (found !== undefined) return found;
  const which = 'tag' in reference ? `tag ${JSON.stringify(reference.tag)}` : `manifest ${reference.digest}`;
  const hint = await hintOf(place, signal);
  throw new CacheError('NOT_FOUND', `${nameOf(place)} has no ${which}`, { hint, side: place.side });
}

async function find(place: RegistryPlace, reference: Reference, signal?: AbortSignal): Promise<Descriptor | undefined> {
  const named = 'tag' in reference ? reference.tag : reference.digest;
  const request = {
    ...requestTo(place, `manifests/${named}`),
    purpose: `find ${named}`,
    headers: { accept: ACCEPT },
    accept: [404],
    signal,
  };
  const head = await place.client.request({ ...request, method: 'HEAD' });
  discard(head);
  if (head.status === 404) return undefined;
  const known = described(head, reference);
  if (known !== undefined) return known;
  const response = await place.client.request({ ...request, method: 'GET' });
  if (response.status === 404) {
    discard(response);
    return undefined;
  }
  const bytes = await readDocument(response, nameOf(place));
  const digest = 'digest' in reference ? reference.digest : sha256(bytes);
  return { mediaType: mediaTypeOf(response), digest, size: bytes.length };
}

/** What the headers of an answer say; undefined when they do not say all. */
function described(response: RegistryResponse, reference: Reference): Descriptor | undefined {
  const digest = 'digest' in reference ? reference.digest : headerOf(response.headers, 'docker-content-digest');
  const size = Number(headerOf(response.headers, 'content-length') ?? Number.NaN);
  const mediaType = mediaTypeOf(response);
  if (!isDigest(digest) || !(size > 0) || mediaType === '') return undefined;
  return { mediaType, digest, size };
}

function mediaTypeOf({ headers }: RegistryResponse): string {
  return headers['content-type']?.replace(/;.*$/, '').trim() ?? '';
}

async function hintOf(place: RegistryPlace, signal?: AbortSignal): Promise<string> {
  try {
    const tags = await listTags(place, signal);
    if (tags.length === 0) return 'it has no tags at all';
    const more = tags.length > TAGS_SHOWN ? `, and ${tags.length - TAGS_SHOWN} more` : '';
    return `its tags are: ${tags.slice(0, TAGS_SHOWN).join(', ')}${more}`;
  } catch (error) {
    if (!(error instanceof CacheError)) throw error;
    return 'there may be no such repository';
  }
}

async function entries(place: RegistryPlace, signal?: AbortSignal): Promise<readonly RepositoryEntry[]> {
  const tags = await listTags(place, signal);
  const found = new Map<string, Descriptor>();
  await parallel(tags, CONCURRENCY, signal, async (tag, inner) => {
    const descriptor = await find(place, { tag }, inner);
    // One that went away while the list was read is not there any more.
    if (descriptor !== undefined) found.set(tag, descriptor);
  });
  return tags.flatMap((tag) => {
    const descriptor = found.get(tag);
    return descriptor === undefined ? [] : [{ tag, descriptor }];
  });
}

async function listTags(place: RegistryPlace, signal?: AbortSignal): Promise<string[]> {
  const { target, ...request } = requestTo(place, `tags/list?n=${TAGS_A_PAGE}`);
  const tags = new Set<string>();
  for (let page: string | URL | undefined = target; page !== undefined;) {
    const response: RegistryResponse = await place.client.request({
      ...request,
      method: 'GET',
      target: page,
      purpose: 'list the tags',
      signal,
    });
    const before: number = tags.size;
    const where = `${nameOf(place)}: the list of tags`;
    for (const tag of parseGo(tagsType, await readDocument(response, nameOf(place)), where).tags) tags.add(tag);
    const next = /<([^>]+)>\s*;\s*rel="?next"?/i.exec(headerOf(response.headers, 'link') ?? '')?.[1];
    // A page without anything new would be followed by itself.
    page = next === undefined || tags.size === before ? undefined : new URL(next, response.url);
  }
  // Registries have orders of their own.
  return [...tags].toSorted();
}

async function readDocument({ body }: RegistryResponse, where: string): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of body as AsyncIterable<Uint8Array>) {
    size += chunk.length;
    if (size > JSON_LIMIT) throw new CacheError('CORRUPT', `${where}: a document has over ${JSON_LIMIT} bytes`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}
