import { collect } from '../../bytes/collect.js';
import { limited } from '../../bytes/limited.js';
import { CacheError } from '../../errors.js';
import { LostBlobs } from '../../layout/blobs/lost-blobs.js';
import type { BlobId, Descriptor } from '../../oci/descriptor.js';
import {
  type Digest,
  hashDigest,
  hasherFor,
  isDigest,
  isKnownAlgorithm,
  sha256,
  splitDigest,
} from '../../oci/digest.js';
import { decodeManifest, type Manifest } from '../../oci/manifest.js';
import { isNonDistributable } from '../../oci/media-types.js';
import { isTag } from '../../oci/reference.js';
import * as v from 'valibot';
import { contentAnswer, matches } from '../content-answer.js';
import { type Answer, announcedLength, header, type Request } from '../request.js';
import { expectRead, withoutBytes } from './blobs.js';
import { refusal, refusals } from './refusals.js';
import type { RepositoryHandler } from './registry.js';
import type { Reference, RegistryStore } from './registry-store.js';
import { writerFor } from './upload-requests.js';

/** The largest manifest, in bytes: distribution-spec asks for 4 MB at least, and BuildKit reads 1 MiB. */
export const MANIFEST_LIMIT = 8 * 1024 * 1024;

/** The tags that a request may set. */
const MAX_TAGS = 100;

function referenceIn(text: string): Reference {
  if (isTag(text)) return { tag: text };
  if (isDigest(text)) return { digest: text };
  throw refusal(400, 'MANIFEST_INVALID', 'this is neither a tag nor a digest');
}

/** distribution-spec, "Pulling manifests". */
export const answerManifest: RepositoryHandler = async ({ store }, request, repository, target) => {
  expectRead(request, repository);
  const reference = referenceIn(target);
  const descriptor = await found(store, repository, reference);
  await store.pulled(repository, descriptor, reference);
  const { digest, mediaType } = descriptor;
  const open = request.method === 'HEAD' ? withoutBytes(await store.size(digest)) : await store.open(digest);
  if (open === undefined) throw unknown();
  const headers = { 'content-type': mediaType, 'docker-content-digest': digest };
  return contentAnswer(request, open, { ...headers, tag: `"${digest}"` });
};

async function found(store: RegistryStore, repository: string, reference: Reference): Promise<Descriptor> {
  const descriptor = await store.find(repository, reference);
  if (descriptor !== undefined) return descriptor;
  if ((await store.tags(repository)) !== undefined) throw unknown();
  throw refusal(404, 'NAME_UNKNOWN', 'there is no such repository');
}

function unknown(): Error {
  return refusal(404, 'MANIFEST_UNKNOWN', 'the manifest is not here');
}

/** distribution-spec, "Pushing Manifests". */
export const putManifest: RepositoryHandler = async (context, request, repository, target) => {
  const writer = writerFor(context, request, repository);
  const reference = referenceIn(target);
  const tags = tagsIn(request, reference);
  const bytes = await manifestBytes(request);
  const digest = digestOf(bytes, reference);
  const { manifest, mediaType } = readManifest(bytes, request);
  const needs = blobsIn(manifest);
  await expectSeen(context.store, request, manifest);
  const descriptor = { mediaType, digest, size: bytes.length };
  try {
    const check = (current: Descriptor | undefined) => checkConditions(request, current);
    const lacking = await writer.publish(repository, { descriptor, bytes }, { tags, needs, check });
    if (lacking.length > 0) throw missing(lacking);
  } catch (error) {
    if (error instanceof LostBlobs) throw missing([...error.digests]);
    throw error;
  }
  const subject = subjectOf(manifest);
  return {
    status: 201,
    headers: {
      location: `/v2/${repository}/manifests/${target}`,
      'docker-content-digest': digest,
      etag: `"${digest}"`,
      'content-length': '0',
      ...(subject === undefined ? {} : { 'oci-subject': subject }),
      ...('digest' in reference && tags.length > 0 ? { 'oci-tag': tags } : {}),
    },
  } satisfies Answer;
};

/** The tag in the path; of a manifest that is pushed by its digest, those in the query. */
function tagsIn({ query }: Request, reference: Reference): readonly string[] {
  if ('tag' in reference) return [reference.tag];
  const tags = [...new Set(query.getAll('tag'))];
  if (!tags.every(isTag)) throw refusal(400, 'MANIFEST_INVALID', 'this is not a tag');
  if (tags.length > MAX_TAGS) throw refusal(414, 'MANIFEST_INVALID', `a request can set ${MAX_TAGS} tags`);
  return tags;
}

async function manifestBytes(request: Request): Promise<Buffer> {
  const tooLarge = () => refusal(413, 'SIZE_INVALID', `a manifest may have ${MANIFEST_LIMIT} bytes at most`);
  if ((announcedLength(request) ?? 0) > MANIFEST_LIMIT) throw tooLarge();
  return collect(limited(request.body, MANIFEST_LIMIT, tooLarge));
}

function digestOf(bytes: Buffer, reference: Reference): Digest {
  if (!('digest' in reference)) return sha256(bytes);
  const { digest } = reference;
  if (!isKnownAlgorithm(splitDigest(digest)[0])) {
    throw refusal(400, 'DIGEST_INVALID', 'only sha256 and sha512 can be checked');
  }
  const { algorithm, hash } = hasherFor(digest);
  if (hashDigest(algorithm, hash.update(bytes)) === digest) return digest;
  throw refusal(400, 'DIGEST_INVALID', 'the bytes of the manifest have another digest');
}

function readManifest(bytes: Buffer, request: Request): { readonly manifest: Manifest; readonly mediaType: string } {
  const sent = (header(request, 'content-type') ?? '').replace(/;.*$/, '').trim();
  const invalid = (message: string) => refusal(400, 'MANIFEST_INVALID', message);
  let manifest: Manifest;
  try {
    manifest = decodeManifest(bytes, 'the manifest');
  } catch (error) {
    if (error instanceof CacheError) throw invalid(error.message);
    throw error;
  }
  if (manifest.fault !== undefined) throw invalid(manifest.fault);
  const stated = statedType(bytes);
  if (stated !== undefined && sent !== '' && stated !== sent) {
    throw invalid(`Content-Type is ${sent}, and the manifest says ${stated}`);
  }
  return { manifest, mediaType: stated ?? (sent === '' ? manifest.mediaType : sent) };
}

const typeSchema = v.object({ mediaType: v.pipe(v.string(), v.minLength(1)) });

/** The media type that a manifest states: a manifest without one is what its Content-Type says. */
function statedType(bytes: Buffer): string | undefined {
  const parsed = v.safeParse(v.pipe(v.string(), v.parseJson(), typeSchema), bytes.toString());
  return parsed.success ? parsed.output.mediaType : undefined;
}

/** What has to be here before the manifest: all that it names, but its subject, and layers that are not distributed. */
function blobsIn(manifest: Manifest): readonly BlobId[] {
  if (manifest.kind === 'index') return manifest.manifests;
  const layers = manifest.layers.filter(({ mediaType }) => !isNonDistributable(mediaType));
  return [manifest.config, ...layers];
}

/**
 * A manifest gives access to what it names. So the caller has to see all of that already: also what the manifests of an
 * index name, since anybody can push a manifest as a mere blob.
 */
async function expectSeen(store: RegistryStore, { access }: Request, manifest: Manifest): Promise<void> {
  if (access.readsAll) return;
  const named = new Set(blobsIn(manifest).map(({ digest }) => digest));
  if (manifest.kind === 'index') {
    for (const { digest } of manifest.manifests) {
      for (const inner of await store.contentsOf(digest)) named.add(inner);
    }
  }
  const unseen = await store.unseen(access, [...named]);
  if (unseen.length > 0) throw missing(unseen);
}

function missing(digests: readonly Digest[]): Error {
  return refusals(
    400,
    'MANIFEST_BLOB_UNKNOWN',
    digests.map((digest) => `${digest} is not here, or has another size`),
  );
}

/** RFC 9110, section 13.1, for what a tag stands for at the moment of the change. */
function checkConditions(request: Request, current: Descriptor | undefined): void {
  const tag = current === undefined ? undefined : `"${current.digest}"`;
  const [ifMatch, ifNoneMatch] = [header(request, 'if-match'), header(request, 'if-none-match')];
  const isStopped =
    (ifMatch !== undefined && (tag === undefined || !matches(ifMatch, tag))) ||
    (ifNoneMatch !== undefined && tag !== undefined && matches(ifNoneMatch, tag));
  if (isStopped) throw refusal(412, 'DENIED', 'the tag stands for another manifest by now');
}

const subjectSchema = v.object({ digest: v.custom<Digest>(isDigest) });

function subjectOf({ fields }: Manifest): Digest | undefined {
  const plain = JSON.parse(JSON.stringify(fields ?? {})) as Readonly<Record<string, unknown>>;
  const parsed = v.safeParse(subjectSchema, plain['subject']);
  return parsed.success ? parsed.output.digest : undefined;
}

/** distribution-spec, "Deleting tags" and "Deleting Manifests". Blobs stay until gc. */
export const deleteManifest: RepositoryHandler = async (context, request, repository, target) => {
  const writer = writerFor(context, request, repository);
  const reference = referenceIn(target);
  if ((await context.store.tags(repository)) === undefined) await found(context.store, repository, reference);
  switch (await writer.remove(repository, reference)) {
    case 'removed':
      return { status: 202, headers: { 'content-length': '0' } };
    case 'needed':
      throw refusal(405, 'UNSUPPORTED', 'an index in this repository names the manifest: delete the index first');
    case 'unknown':
      throw unknown();
  }
};
