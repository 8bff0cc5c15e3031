import { type Digest, isDigest } from '../../oci/digest.js';
import { contentAnswer, type OpenContent } from '../content-answer.js';
import type { Request } from '../request.js';
import { notAllowed, notSupported, refusal } from './refusals.js';
import type { RegistryStore } from './registry-store.js';
import type { RepositoryHandler } from './registry.js';

/**
 * The digest in a request.
 *
 * @throws Refusal 400
 */
export function digestIn(text: string): Digest {
  if (isDigest(text)) return text;
  throw refusal(400, 'DIGEST_INVALID', 'this is not a digest');
}

/** @throws Refusal 401, 403 */
export function expectRead(request: Request, repository: string): void {
  if (!request.access.mayRead(repository)) throw notAllowed(request, `read ${repository}`);
}

/** @throws Refusal 401, 403 */
export function expectWrite(request: Request, repository: string): void {
  if (!request.access.mayWrite(repository)) throw notAllowed(request, `write to ${repository}`);
}

/** Whether the caller of a request may see a blob. */
export async function sees(store: RegistryStore, { access }: Request, digest: Digest): Promise<boolean> {
  return (await store.unseen(access, [digest])).length === 0;
}

/**
 * The size of a blob that the caller may see, in bytes; undefined for a blob that is not here. gc keeps the blob for as
 * long as the push of a manifest may take.
 */
export async function keptSize(
  store: RegistryStore,
  request: Request,
  { repository, digest }: { readonly repository: string; readonly digest: Digest },
): Promise<number | undefined> {
  if ((await store.size(digest)) === undefined || !(await sees(store, request, digest))) return undefined;
  await store.writer?.keep(repository, digest);
  // gc may have taken it before the lease began.
  return store.size(digest);
}

/** distribution-spec, "Pulling blobs" and "Checking if content exists in the registry". */
export const answerBlob: RepositoryHandler = async ({ store }, request, repository, target) => {
  expectRead(request, repository);
  const digest = digestIn(target);
  const open = await openFor(store, request, { repository, digest });
  if (open === undefined) throw refusal(404, 'BLOB_UNKNOWN', 'the blob is not here');
  const headers = { 'content-type': 'application/octet-stream', 'docker-content-digest': digest };
  return contentAnswer(request, open, { ...headers, tag: `"${digest}"` });
};

async function openFor(
  store: RegistryStore,
  request: Request,
  { repository, digest }: { readonly repository: string; readonly digest: Digest },
): Promise<OpenContent | undefined> {
  if (request.method !== 'HEAD') return (await sees(store, request, digest)) ? store.open(digest) : undefined;
  // Who may write may be about to push a manifest that names the blob.
  if (request.access.mayWrite(repository)) return withoutBytes(await keptSize(store, request, { repository, digest }));
  return (await sees(store, request, digest)) ? withoutBytes(await store.size(digest)) : undefined;
}

/** Other repositories and caches may need the blob: gc knows, and a client does not. */
export const deleteBlob: RepositoryHandler = async (_, request, repository, target) => {
  expectWrite(request, repository);
  digestIn(target);
  throw notSupported('DELETE of a blob', ['GET', 'HEAD']);
};

/** Content for an answer to HEAD. */
export function withoutBytes(size: number | undefined): OpenContent | undefined {
  if (size === undefined) return undefined;
  const nothing = async function* (): AsyncGenerator<Uint8Array, void, undefined> {
    // HEAD has no body.
  };
  return { size, read: nothing, [Symbol.asyncDispose]: () => Promise.resolve() };
}
