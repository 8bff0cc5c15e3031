import { CacheError } from '../../errors.js';
import { discard } from '../../net/http/http.js';
import { codingsOf } from '../../net/http/content-encoding.js';
import { fetchDocument } from '../../net/registry/registry-document.js';
import { headerOf, type RegistryResponse } from '../../net/registry/registry-request.js';
import { contentOf } from '../../oci/content.js';
import type { BlobId, Descriptor } from '../../oci/descriptor.js';
import { isDigest, sha256 } from '../../oci/digest.js';
import { JSON_LIMIT } from '../../oci/json.js';
import { DOCKER_MANIFEST, DOCKER_MANIFEST_LIST, OCI_INDEX, OCI_MANIFEST } from '../../oci/media-types.js';
import { isTag } from '../../oci/reference.js';
import { parallel } from '../../bytes/parallel.js';
import { registryConversions } from '../repository/conversion-memory.js';
import { presentOf } from '../repository/present.js';
import { Outage } from '../outage.js';
import { downloadOf } from './registry-download.js';
import { nameOf, type RegistryPlace, requestTo } from './registry-place.js';
import { listTags } from './registry-tags.js';
import { uploadStream } from './registry-stream.js';
import { uploadBlob } from './registry-upload.js';
import type { Reference, Repository, RepositoryEntry, UnreadEntry } from '../repository/repository.js';
import { readingImport } from '../sides.js';

const ACCEPT = [OCI_MANIFEST, OCI_INDEX, DOCKER_MANIFEST, DOCKER_MANIFEST_LIST].join(', ');
/** How many requests a registry gets at once; most of the time goes by on the way. */
const CONCURRENCY = 8;
/** How many tags a message names. */
const TAGS_SHOWN = 20;

/** A repository in a registry: distribution-spec. What it reads and writes goes through one connection pool. */
export function registryRepository(place: RegistryPlace): Repository {
  const { client, repository, side } = place;
  const name = nameOf(place);
  const has = async (blob: BlobId, signal: AbortSignal | undefined) => {
    const response = await client.request({
      ...requestTo(place, `blobs/${blob.digest}`),
      method: 'HEAD',
      purpose: `look for blob ${blob.digest}`,
      // A range of nothing is what an empty blob has.
      accept: [404, 416],
      signal,
    });
    discard(response);
    if (response.status === 404) return false;
    if (response.status === 416) return blob.size === 0;
    const length = totalLength(response);
    return length === undefined || length === blob.size;
  };
  const present: Repository['present'] = (blobs, signal) => presentOf(blobs, has, signal);
  return {
    name,
    concurrency: CONCURRENCY,
    resolve: (reference, signal) => resolveManifest(place, reference, signal),
    entries: (signal) => listEntries(place, signal),
    manifest: ({ digest, size }) =>
      downloadOf(place, `manifests/${digest}`, { size, accept: ACCEPT, what: `manifest ${digest}` }),
    blob({ digest, size }) {
      const origin = { registry: client.registry, repository };
      return { ...downloadOf(place, `blobs/${digest}`, { size, what: `blob ${digest}` }), origin };
    },
    present,
    conversions: registryConversions(present),
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
    async [Symbol.asyncDispose]() {
      // The connections belong to the operation, which may go on with them.
    },
  };
}

/** Asks for a manifest's descriptor alone, which registries do not count as a pull; and for its bytes where they have to. */
async function resolveManifest(place: RegistryPlace, reference: Reference, signal?: AbortSignal): Promise<Descriptor> {
  const found = await findManifest(place, reference, signal);
  if (found !== undefined) return found;
  const which = 'tag' in reference ? `tag ${JSON.stringify(reference.tag)}` : `manifest ${reference.digest}`;
  const hint = await tagsHint(place, signal);
  throw new CacheError('NOT_FOUND', `${nameOf(place)} has no ${which}`, { hint, side: place.side });
}

async function findManifest(
  place: RegistryPlace,
  reference: Reference,
  signal?: AbortSignal,
): Promise<Descriptor | undefined> {
  const named = 'tag' in reference ? reference.tag : reference.digest;
  const request = {
    ...requestTo(place, `manifests/${named}`),
    purpose: `find ${named}`,
    headers: { accept: ACCEPT },
    accept: [404],
    signal,
  };
  if (place.client.abilities.head) {
    const head = await place.client.request({ ...request, method: 'HEAD' });
    discard(head);
    if (head.status === 404) return undefined;
    const known = descriptorIn(head, reference);
    if (known !== undefined) return known;
  }
  const { response, bytes } = await fetchDocument(place.client, { ...request, method: 'GET' }, JSON_LIMIT);
  if (bytes === undefined) return undefined;
  const digest = 'digest' in reference ? reference.digest : sha256(bytes);
  return { mediaType: mediaTypeOf(response), digest, size: bytes.length };
}

/** What the headers of an answer say; undefined when they do not say all. */
function descriptorIn(response: RegistryResponse, reference: Reference): Descriptor | undefined {
  const digest = 'digest' in reference ? reference.digest : headerOf(response.headers, 'docker-content-digest');
  const size = totalLength(response) ?? 0;
  const mediaType = mediaTypeOf(response);
  if (!isDigest(digest) || !(size > 0) || mediaType === '') return undefined;
  return { mediaType, digest, size };
}

/** How many bytes there are behind an answer, of which it may have only a part; undefined where it does not say. */
function totalLength({ status, headers }: RegistryResponse): number | undefined {
  // That length would be the one of the coded bytes.
  if (codingsOf(headers).length > 0) return undefined;
  const [, total] = /^bytes \d+-\d*\/(\d+)$/.exec(headers['content-range'] ?? '') ?? [];
  const text = status === 206 ? total : headerOf(headers, 'content-length');
  return text === undefined ? undefined : Number(text);
}

function mediaTypeOf({ headers }: RegistryResponse): string {
  return headers['content-type']?.replace(/;.*$/, '').trim() ?? '';
}

async function tagsHint(place: RegistryPlace, signal?: AbortSignal): Promise<string> {
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

async function listEntries(
  place: RegistryPlace,
  signal?: AbortSignal,
): Promise<readonly (RepositoryEntry | UnreadEntry)[]> {
  const tags = await listTags(place, signal);
  const found = new Map<string, RepositoryEntry | UnreadEntry>();
  const outage = new Outage();
  await parallel(tags, CONCURRENCY, signal, async (tag, inner) => {
    if (!isTag(tag)) {
      const problem = new CacheError('UNREACHABLE', `${nameOf(place)} lists a tag whose name is none`);
      found.set(tag, { tag, problem });
      return;
    }
    try {
      const descriptor = await findManifest(place, { tag }, inner);
      outage.answered();
      // One that went away while the list was read is not there any more.
      if (descriptor !== undefined) found.set(tag, { tag, descriptor });
    } catch (error) {
      inner.throwIfAborted();
      found.set(tag, { tag, problem: outage.failed(error) });
    }
  });
  outage.end();
  return tags.flatMap((tag) => found.get(tag) ?? []);
}
