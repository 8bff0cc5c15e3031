import { collect } from '../../../bytes/collect.js';
import { limited } from '../../../bytes/limited.js';
import { CacheError } from '../../../errors.js';
import { cutOff } from '../../../net/http/network-error.js';
import { TransientError } from '../../../net/http/retry.js';
import { azblobCleaning } from './azblob-cleaning.js';
import { abortedBy, type AzblobConnection, AzblobFailure } from './azblob-connection.js';
import { isForbidden } from './azblob-error.js';
import { store } from './azblob-upload.js';
import { byBytes, byFolders, type ListPage, wholeListing } from './listing.js';
import { downloadedContent, type ObjectPart } from '../object-download.js';
import { lostObject } from './object-lost.js';
import type { Answer, ObjectStore, StoredObject } from './object-store.js';

const PAGE = 1000;
/** How often Azure is asked whether a copy is whole, in milliseconds. */
const COPY_PAUSE = 500;

/** A container of Azure Blob Storage. */
export function azblobStore(azblob: AzblobConnection): ObjectStore {
  const nameOf = (key: string) => `${azblob.name}/${key}`;
  const head = (key: string, signal?: AbortSignal) => headBlob(azblob, key, signal);
  // The containers from which Azure does not copy, so that it is asked once.
  const refused = new Set<string>();
  return {
    name: azblob.name,
    nameOf,
    content(key, size) {
      return downloadedContent({
        size,
        get: (start, end, signal) => getPart(azblob, key, { start, end }, signal),
        failure: (error) => azblob.describe(error, reading(key)),
        backoff: () => azblob.backoff(),
        object: { name: nameOf(key), service: azblob.service, source: azblob.addressOf(key) },
      });
    },
    async read(key, limit, signal) {
      const retry = azblob.backoff();
      for (;;) {
        const tooLarge = () => new CacheError('FAILED', `${nameOf(key)} has over ${limit} bytes, the limit`);
        try {
          const { bytes } = await getBlob(azblob, key, { start: 0, end: undefined }, signal);
          return { state: 'there', value: await collect(limited(bytes, limit, tooLarge)) };
        } catch (error) {
          signal?.throwIfAborted();
          if (error instanceof AzblobFailure) {
            if (isArchivedNow(error)) {
              const what = 'is archived and cannot be read before it is rehydrated';
              const hint = 'rehydrate it, or export the cache again';
              throw new CacheError('NOT_FOUND', `${nameOf(key)} ${what}`, { side: azblob.side, hint });
            }
            return refusedAnswer(azblob, error);
          }
          const described = azblob.describe(error, reading(key));
          if (!(described instanceof TransientError)) throw described;
          await retry.wait(described, signal);
        }
      }
    },
    async head(key, signal) {
      const answer = await head(key, signal);
      return answer.state === 'there' && answer.value.isArchived ? { state: 'missing' } : answer;
    },
    list(prefix, signal) {
      return wholeListing(azblob.name, (token) => listPage(azblob, prefix, token, signal), [byBytes, byFolders]);
    },
    put: (key, bytes, size, signal) => store(azblob, { key, bytes, size }, signal),
    create: (key, bytes, size, signal) => store(azblob, { key, bytes, size, look: () => head(key, signal) }, signal),
    async copy(object, to, signal) {
      if (!(await copyBlob(azblob, object.key, azblob.addressOf(object.key), to, signal))) return false;
      const answer = await head(to, signal);
      if (answer.state === 'there' && answer.value.size === object.size) return true;
      throw new CacheError('FAILED', `${azblob.name}: the service said that it copied ${object.key}, and did not`, {
        side: azblob.side,
      });
    },
    async copyFrom({ name, service, source }, to, { size }, signal) {
      const container = source.slice(0, source.lastIndexOf('/'));
      // A copy onto itself changes nothing: a blob that has to be written again is sent.
      if (source === azblob.addressOf(to)) return false;
      if (service !== azblob.service || refused.has(container)) return false;
      try {
        if (!(await copyBlob(azblob, name, source, to, signal))) return false;
        const answer = await head(to, signal);
        if (answer.state === 'there' && answer.value.size === size && answer.value.isArchived !== true) return true;
      } catch (error) {
        signal?.throwIfAborted();
        if (!(error instanceof CacheError)) throw error;
        refused.add(container);
      }
      return false;
    },
    cleaning: azblobCleaning(azblob),
    async remove(key, signal) {
      await azblob.request(
        {
          purpose: `delete ${key}`,
          right: 'delete',
          send: (client) => client.blob(key).deleteIfExists(abortedBy(signal)),
        },
        signal,
      );
    },
  };
}

function reading(key: string) {
  return { purpose: `read ${key}`, right: 'read' } as const;
}

/** What a refusal says of a blob: nothing, where the credentials may not know. */
function refusedAnswer(
  { side }: AzblobConnection,
  { refusal, described }: AzblobFailure,
): Exclude<Answer<never>, { readonly state: 'there' }> {
  const { code } = refusal;
  if (code === 'BlobNotFound') return { state: 'missing' };
  // An export makes the container when it has something to write.
  if (code === 'ContainerNotFound' && side === 'export') return { state: 'missing' };
  if (!isForbidden(refusal)) throw described;
  return { state: 'unknown', problem: described };
}

interface Wanted {
  readonly start: number;
  readonly end: number | undefined;
}

/** Asks for a blob, or for a part of it. */
async function getBlob(
  azblob: AzblobConnection,
  key: string,
  { start, end }: Wanted,
  signal: AbortSignal | undefined,
): Promise<ObjectPart> {
  const own = new AbortController();
  const inner = signal === undefined ? own.signal : AbortSignal.any([signal, own.signal]);
  return azblob.ask(
    {
      ...reading(key),
      async send(client) {
        const count = end === undefined ? undefined : end - start;
        const options = { abortSignal: inner, maxRetryRequests: 0 };
        const got = await client
          .blob(key)
          .download(start, count, options)
          .catch((error: unknown) => {
            // An answer without the headers of a blob.
            if (!(error instanceof RangeError)) throw error;
            throw new TransientError(`${azblob.name}: cannot read ${key}: its answer is not Azure's`, {
              side: azblob.side,
              cause: error,
            });
          });
        const body = got.readableStreamBody as AsyncIterable<Uint8Array> | undefined;
        if (body === undefined) throw new TypeError('the client gave no stream');
        const first = /^bytes (\d+)-/.exec(got.contentRange ?? '')?.[1];
        const why = () => azblob.transport.failureOf(inner) ?? cutOff();
        return { bytes: explained(body, why), first: Number(first ?? 0), isPart: first !== undefined };
      },
    },
    signal,
  );
}

/** Bytes that break off with the error of their connection, which the client leaves out. */
async function* explained(
  bytes: AsyncIterable<Uint8Array>,
  why: () => Error,
): AsyncGenerator<Uint8Array, void, undefined> {
  const iterator = bytes[Symbol.asyncIterator]();
  try {
    for (;;) {
      const next = await iterator.next().catch(() => {
        throw why();
      });
      if (next.done === true) return;
      yield next.value;
    }
  } finally {
    await iterator.return?.();
  }
}

async function getPart(
  azblob: AzblobConnection,
  key: string,
  wanted: Wanted,
  signal: AbortSignal | undefined,
): Promise<ObjectPart> {
  try {
    return await getBlob(azblob, key, wanted, signal);
  } catch (error) {
    if (!(error instanceof AzblobFailure)) throw error;
    if (error.refusal.status === 416) throw lostObject(azblob, `${key} is shorter than it should be`, 'size');
    if (isArchivedNow(error)) {
      throw lostObject(azblob, `${key} is archived and cannot be read before it is rehydrated`, 'missing');
    }
    const answer = refusedAnswer(azblob, error);
    throw answer.state === 'unknown' ? answer.problem : lostObject(azblob, `${key} is missing`, 'missing');
  }
}

/**
 * Has Azure copy a blob of the same account. Azure may answer before the copy is whole.
 *
 * @param name - of the blob, for messages
 * @param from - its address
 * @returns false for a blob that is missing
 */
async function copyBlob(
  azblob: AzblobConnection,
  name: string,
  from: string,
  to: string,
  signal: AbortSignal | undefined,
): Promise<boolean> {
  try {
    const started = await azblob.ask(
      {
        purpose: `copy ${name}`,
        right: 'write',
        makesContainer: true,
        send: async (client) => {
          const options = { ...abortedBy(signal), intervalInMs: COPY_PAUSE };
          const poller = await client.blob(to).beginCopyFromURL(from, options);
          return poller.pollUntilDone();
        },
      },
      signal,
    );
    if (started.copyStatus === 'success') return true;
    throw new CacheError('FAILED', `${azblob.name}: Azure did not copy ${name}: ${started.copyStatus ?? 'no status'}`, {
      side: azblob.side,
    });
  } catch (error) {
    if (!(error instanceof AzblobFailure)) throw error;
    const { code, status } = error.refusal;
    if (code === 'BlobNotFound' || (code === 'CannotVerifyCopySource' && status === 404)) return false;
    throw error.described;
  }
}

function isArchivedNow({ refusal: { code } }: AzblobFailure): boolean {
  return code === 'BlobArchived' || code === 'BlobBeingRehydrated';
}

async function headBlob(
  azblob: AzblobConnection,
  key: string,
  signal: AbortSignal | undefined,
): Promise<Answer<StoredObject & { readonly etag: string | undefined }>> {
  try {
    const found = await azblob.ask(
      {
        purpose: `look for ${key}`,
        right: 'read',
        send: (client) => client.blob(key).getProperties(abortedBy(signal)),
      },
      signal,
    );
    const value = {
      ...storedObject(key, found.contentLength, found.lastModified, found.accessTier),
      etag: found.etag,
    };
    return { state: 'there', value };
  } catch (error) {
    if (!(error instanceof AzblobFailure)) throw error;
    return refusedAnswer(azblob, error);
  }
}

function storedObject(
  key: string,
  size: number | undefined,
  modified: Date | undefined,
  tier: string | undefined,
): StoredObject {
  const object = { key, size: size ?? 0, modified: modified?.getTime() ?? 0 };
  // A blob that is being rehydrated has this tier until that is done.
  return tier === 'Archive' ? { ...object, isArchived: true } : object;
}

/** A page of a listing. The client's own loop ends without a word where a page does not say how it goes on. */
async function listPage(
  azblob: AzblobConnection,
  prefix: string,
  token: string | undefined,
  signal: AbortSignal | undefined,
): Promise<ListPage> {
  const noListing = (cause?: unknown) =>
    new TransientError(`${azblob.name}: cannot list ${prefix}: its answer is no listing`, {
      side: azblob.side,
      attempts: 3,
      cause,
    });
  try {
    return await azblob.ask(
      {
        purpose: `list ${prefix}`,
        right: 'list',
        async send({ container }) {
          const pages = container
            .listBlobsFlat({ prefix, ...abortedBy(signal) })
            .byPage({ maxPageSize: PAGE, ...(token === undefined ? {} : { continuationToken: token }) });
          const next = await pages.next().catch((error: unknown) => {
            // The client takes other documents apart as if they were a listing.
            throw error instanceof TypeError ? noListing(error) : error;
          });
          const page = next.done === true ? undefined : next.value;
          // Azure says at the end of each page how it goes on: with nothing after the last one.
          if (page?.continuationToken === undefined) throw noListing();
          const objects = page.segment.blobItems.map(
            ({ name, properties: { contentLength, lastModified, accessTier, etag } }) => ({
              ...storedObject(name, contentLength, lastModified, accessTier),
              etag,
            }),
          );
          return { objects, isTruncated: page.continuationToken !== '', token: page.continuationToken };
        },
      },
      signal,
    );
  } catch (error) {
    if (!(error instanceof AzblobFailure)) throw error;
    const isNew = error.refusal.code === 'ContainerNotFound' && azblob.side === 'export';
    if (isNew) return { objects: [], isTruncated: false, token: undefined };
    throw error.described;
  }
}
