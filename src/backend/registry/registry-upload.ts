import { CacheError } from '../../errors.js';
import type { Abilities } from '../../net/registry/abilities.js';
import { Backoff } from '../../net/http/retry.js';
import type { Content } from '../../oci/content.js';
import type { BlobId } from '../../oci/descriptor.js';
import { CheckedContent } from './checked-content.js';
import { nameOf, type RegistryPlace } from './registry-place.js';
import { sourceOf } from '../repository/import-bytes.js';
import { BodyRefused, UploadSession } from './upload-session.js';

/** Blobs over this size are sent in chunks of this size, since proxies limit the size of bodies. In bytes. */
const CHUNK = 64 * 1024 * 1024;

/**
 * Writes a blob. After a broken connection it asks the registry for the offset, and sends the rest. The digest is checked
 * here as the source is read, and by the registry.
 *
 * @param exists - whether the registry has the blob; called after a lost response
 * @throws CacheError CORRUPT when the source has other bytes than expected
 */
export async function uploadBlob(
  place: RegistryPlace,
  content: Content,
  expected: BlobId,
  exists: () => Promise<boolean>,
  signal: AbortSignal | undefined,
): Promise<void> {
  const what = `blob ${expected.digest}`;
  const source = new CheckedContent(content, expected, sourceOf(content) ?? nameOf(place), signal);
  const { abilities, policy } = place.client;
  const backoff = new Backoff(policy);
  let session: UploadSession | undefined;
  for (;;) {
    try {
      if (session === undefined) {
        session = await open(place, content, expected, what, signal);
        if (session === undefined) return;
      }
      const chunk = chunkFor(abilities, expected.size, session);
      while (expected.size - session.offset > chunk) {
        await session.append(source.body(session.offset, session.offset + chunk));
      }
      await session.finish(expected.digest, source.body(session.offset, expected.size));
      return;
    } catch (error) {
      if (source.failure !== undefined) throw source.failure;
      if (error instanceof BodyRefused) {
        const isWhole = error.size === expected.size;
        if (isWhole) abilities.refuseWhole(error.size);
        else abilities.refuseChunk(error.size);
        // A parallel upload may have recorded the same refusal, so the next chunk size decides.
        const isLast = session === undefined || chunkFor(abilities, expected.size, session) === Infinity;
        if (isWhole && isLast) throw error.cause;
        session = undefined;
        continue;
      }
      await backoff.wait(error, signal);
      if (session === undefined) continue;
      const isKnown = await session.recover();
      backoff.reached(session.offset);
      if (isKnown && session.offset <= expected.size) continue;
      session = undefined;
      // The blob was written, and only the response was lost.
      if (await exists()) return;
    }
  }
}

/**
 * How much of a blob to send in one request, in bytes: a small blob whole, otherwise the largest chunk that the registry
 * accepts. If the registry accepts no chunks, the whole blob in one request shows its reason.
 */
function chunkFor(abilities: Abilities, size: number, { minimum }: UploadSession): number {
  const isWhole = abilities.takesWhole(size);
  const chunk = size <= CHUNK && isWhole ? undefined : abilities.chunk(Math.min(CHUNK, size - 1), minimum);
  return chunk ?? Infinity;
}

/** Opens an upload. @returns undefined when the registry mounted the blob from another repository instead */
async function open(
  place: RegistryPlace,
  { origin }: Content,
  { digest }: BlobId,
  what: string,
  signal: AbortSignal | undefined,
): Promise<UploadSession | undefined> {
  const { client, repository } = place;
  const from = origin?.registry === client.registry && origin.repository !== repository ? origin.repository : undefined;
  if (from !== undefined && client.abilities.mounts(from, repository)) {
    try {
      return await UploadSession.mount(place, what, { digest, from }, signal);
    } catch (error) {
      // Some registries refuse every mount, or mounts from a repository that the user may not read: then the bytes are sent.
      if (!(error instanceof CacheError) || error.code !== 'DENIED') throw error;
      client.abilities.refuseMount(from, repository);
    }
  }
  return UploadSession.open(place, what, signal);
}
