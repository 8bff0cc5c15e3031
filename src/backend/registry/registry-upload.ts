import { CacheError } from '../../errors.js';
import type { Abilities } from '../../net/registry/abilities.js';
import { Backoff } from '../../net/http/retry.js';
import type { Content } from '../../oci/content.js';
import type { BlobId } from '../../oci/descriptor.js';
import { CheckedContent } from './checked-content.js';
import { nameOf, type RegistryPlace } from './registry-place.js';
import { sourceOf } from '../sides.js';
import { BodyRefused, UploadSession } from './upload-session.js';

/** Blobs over this size go in chunks of it, so that a proxy's limit on bodies is no limit on blobs. In bytes. */
const CHUNK = 64 * 1024 * 1024;

/**
 * Writes a blob. After a break the registry is asked how much it has, and the rest is sent; the registry checks the
 * digest, and so is the source's.
 *
 * @param exists - whether the blob is there, asked when an answer got lost
 * @throws CacheError CORRUPT when the source is not what was expected
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
        // Other uploads may have found that out before; it is what comes next that counts.
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
      // It was written, and only the answer did not arrive.
      if (await exists()) return;
    }
  }
}

/**
 * How much of a blob goes in one request, in bytes: all of it where that is little or the registry takes no chunks,
 * and otherwise the largest chunk that it takes. Where it takes neither, one request has its reason again.
 */
function chunkFor(abilities: Abilities, size: number, { minimum }: UploadSession): number {
  const isWhole = abilities.takesWhole(size);
  const chunk = size <= CHUNK && isWhole ? undefined : abilities.chunk(Math.min(CHUNK, size - 1), minimum);
  return chunk ?? Infinity;
}

/** Opens an upload, or takes the blob over from another repository; then there is none. */
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
      // Registries refuse to mount what the user may not read there, or altogether: then the bytes have to travel.
      if (!(error instanceof CacheError) || error.code !== 'DENIED') throw error;
      client.abilities.refuseMount(from, repository);
    }
  }
  return UploadSession.open(place, what, signal);
}
