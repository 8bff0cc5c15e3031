import { CacheError } from '../../../errors.js';
import { parallel } from '../../../bytes/parallel.js';
import { abortedBy, type AzblobConnection, AzblobFailure } from './azblob-connection.js';
import type { ObjectCleaning, Refused } from './object-cleaning.js';

const AT_ONCE = 8;
const SECOND = 1000;
/** Blobs that are looked at for versions and soft deletion. */
const LOOKED_AT = 100;

/** Cleaning up in a container. Blocks of uploads that never ended go by themselves after a week. */
export function azblobCleaning(azblob: AzblobConnection): ObjectCleaning {
  return {
    async removeUnchanged({ key, modified }, signal) {
      // Dates are whole seconds here, and each write and each new property makes the date of the blob later.
      const conditions = { ifUnmodifiedSince: new Date(Math.floor(modified / SECOND) * SECOND) };
      try {
        await azblob.ask(
          {
            purpose: `delete ${key}`,
            right: 'delete',
            send: (client) => client.blob(key).deleteIfExists({ conditions, ...abortedBy(signal) }),
          },
          signal,
        );
        return true;
      } catch (error) {
        if (!(error instanceof AzblobFailure)) throw error;
        if (error.refusal.status === 412) return false;
        throw error.described;
      }
    },
    async removeAll(keys, signal) {
      const refused: Refused[] = [];
      await parallel(keys, AT_ONCE, signal, async (key, inner) => {
        try {
          await azblob.ask(
            {
              purpose: `delete ${key}`,
              right: 'delete',
              send: (client) => client.blob(key).deleteIfExists(abortedBy(inner)),
            },
            inner,
          );
        } catch (error) {
          if (error instanceof AzblobFailure) refused.push({ key, reason: error.described.message });
          else if (error instanceof CacheError) refused.push({ key, reason: error.message });
          else throw error;
        }
      });
      return refused;
    },
    refresh: ({ key }, signal) => refreshBlob(azblob, key, signal),
    retention: (signal) => retentionOf(azblob, signal),
  };
}

/**
 * New metadata makes the date of the last change new, and a byte that is read that of the last access: rules go by either.
 * A copy of a blob onto itself would do the first alone, and move all bytes.
 */
async function refreshBlob(azblob: AzblobConnection, key: string, signal: AbortSignal | undefined): Promise<boolean> {
  try {
    await azblob.ask(
      {
        purpose: `touch ${key}`,
        right: 'write',
        async send(client) {
          const blob = client.blob(key);
          const { etag, metadata = {} } = await blob.getProperties(abortedBy(signal));
          const conditions = etag === undefined ? {} : { ifMatch: etag };
          await blob.setMetadata(
            { ...metadata, updated_at: new Date().toISOString() },
            { conditions, ...abortedBy(signal) },
          );
          await blob.downloadToBuffer(0, 1, { maxRetryRequestsPerBlock: 0, ...abortedBy(signal) });
        },
      },
      signal,
    );
    return true;
  } catch (error) {
    if (!(error instanceof AzblobFailure)) throw error;
    const { code, status } = error.refusal;
    // Another writer has just made it young.
    if (status === 412) return true;
    if (code === 'BlobNotFound' || code === 'BlobArchived') return false;
    throw error.described;
  }
}

/** What keeps deleted blobs. A user who may not ask is told nothing. */
async function retentionOf(azblob: AzblobConnection, signal: AbortSignal | undefined): Promise<readonly string[]> {
  const known: string[] = [];
  const properties = await allowed(
    azblob.ask(
      {
        purpose: 'look at the container',
        right: 'list',
        send: ({ container }) => container.getProperties(abortedBy(signal)),
      },
      signal,
    ),
  );
  if (properties?.hasImmutabilityPolicy === true || properties?.hasLegalHold === true) {
    known.push('the container has a policy that keeps blobs: they are refused to be deleted until it ends');
  }
  const kept = await allowed(
    azblob.ask(
      {
        purpose: 'look for versions',
        right: 'list',
        async send({ container }) {
          const options = { includeDeleted: true, includeVersions: true, ...abortedBy(signal) };
          const pages = container.listBlobsFlat(options).byPage({ maxPageSize: LOOKED_AT });
          const page = await pages.next();
          const items = page.done === true ? [] : page.value.segment.blobItems;
          return {
            deleted: items.some(({ deleted }) => deleted),
            versions: items.some(({ versionId }) => versionId !== undefined),
          };
        },
      },
      signal,
    ),
  );
  if (kept?.versions === true) {
    known.push(
      'the account keeps versions: what is deleted is hidden, and not freed. A lifecycle rule with an action for "version" frees old versions',
    );
  }
  if (kept?.deleted === true) {
    known.push('the account has soft delete: what is deleted is charged for until the days of the setting are over');
  }
  return known;
}

async function allowed<T>(answer: Promise<T>): Promise<T | undefined> {
  try {
    return await answer;
  } catch (error) {
    if (error instanceof AzblobFailure) return undefined;
    throw error;
  }
}
