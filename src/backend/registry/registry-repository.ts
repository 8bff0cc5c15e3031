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
import type { Reference, Repository, RepositoryEntry, UnreadTag } from '../repository/repository.js';
import { readingImport } from '../repository/import-bytes.js';

const ACCEPT = [OCI_MANIFEST, OCI_INDEX, DOCKER_MANIFEST, DOCKER_MANIFEST_LIST].join(', ');
/** How many requests run in parallel; most of their time is network latency. */
const CONCURRENCY = 8;
/** How many tags a hint names. */
const TAGS_SHOWN = 20;

/** A repository in a registry: distribution-spec. It uses the connections of its client. */
export function registryRepository(place: RegistryPlace): Repository {
  const { client, repository, side } = place;
  const name = nameOf(place);
  const has = async (blob: BlobId, signal: AbortSignal | undefined) => {
    const response = await client.request({
      ...requestTo(place, `blobs/${blob.digest}`),
      method: 'HEAD',
      purpose: `look for blob ${blob.digest}`,
      // Registries answer a range request for an empty blob with 416.
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
          ? 'this registry seems to refuse caches in the shape of an index; export with image-manifest=true'
          : undefined,
        signal,
      });
      discard(response);
      const digest = headerOf(response.headers, 'docker-content-digest');
      if (digest === undefined || digest === descriptor.digest) return;
      throw new CacheError(
        'FAILED',
        `${name}: the registry stored the manifest ${descriptor.digest} under another digest, ${digest}`,
        {
          side,
        },
      );
    },
    async [Symbol.asyncDispose]() {
      // The session owns the connections.
    },
  };
}

/** Finds the descriptor of a manifest: with HEAD, which registries do not count as a pull, or with GET. */
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

/** The descriptor in the headers of a response; undefined for incomplete headers. */
function descriptorIn(response: RegistryResponse, reference: Reference): Descriptor | undefined {
  const digest = 'digest' in reference ? reference.digest : headerOf(response.headers, 'docker-content-digest');
  const size = totalLength(response) ?? 0;
  const mediaType = mediaTypeOf(response);
  if (!isDigest(digest) || !(size > 0) || mediaType === '') return undefined;
  return { mediaType, digest, size };
}

/** The size of the whole blob or manifest in the headers of a response, which may have only a part; undefined if unknown. */
function totalLength({ status, headers }: RegistryResponse): number | undefined {
  // Content-Length would be the length of the encoded bytes.
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
    if (tags.length === 0) return 'the repository has no tags';
    const more = tags.length > TAGS_SHOWN ? `, and ${tags.length - TAGS_SHOWN} more` : '';
    return `its tags are: ${tags.slice(0, TAGS_SHOWN).join(', ')}${more}`;
  } catch (error) {
    if (!(error instanceof CacheError)) throw error;
    return 'perhaps there is no such repository';
  }
}

async function listEntries(
  place: RegistryPlace,
  signal?: AbortSignal,
): Promise<readonly (RepositoryEntry | UnreadTag)[]> {
  const tags = await listTags(place, signal);
  const found = new Map<string, RepositoryEntry | UnreadTag>();
  const outage = new Outage();
  await parallel(tags, CONCURRENCY, signal, async (tag, inner) => {
    if (!isTag(tag)) {
      const problem = new CacheError('UNREACHABLE', `${nameOf(place)} lists a tag with an invalid name`);
      found.set(tag, { tag, problem });
      return;
    }
    try {
      const descriptor = await findManifest(place, { tag }, inner);
      outage.answered();
      // A tag that was deleted since the list was read is left out.
      if (descriptor !== undefined) found.set(tag, { tag, descriptor });
    } catch (error) {
      inner.throwIfAborted();
      found.set(tag, { tag, problem: outage.failed(error) });
    }
  });
  outage.end();
  return tags.flatMap((tag) => found.get(tag) ?? []);
}
