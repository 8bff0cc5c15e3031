import { CacheError } from '../../../errors.js';
import { collect } from '../../../bytes/collect.js';
import { limited } from '../../../bytes/limited.js';
import { TransientError } from '../../../net/http/retry.js';
import { wholeListing } from './listing.js';
import { lostObject } from './object-lost.js';
import { downloadedContent, type ObjectPart } from '../object-download.js';
import type { Answer, ObjectStore, StoredObject } from './object-store.js';
import { UPLOAD_PART } from '../parts.js';
import { s3Cleaning } from './s3-cleaning.js';
import { type S3Connection, S3Failure } from './s3-connection.js';
import { S3Copies } from './s3-copy.js';
import { isForbidden, isMissing, refusalOf, type S3Refusal } from './s3-error.js';
import type { SdkRequest } from './s3-handler.js';
import { uploadInParts } from './s3-upload.js';

/** A bucket of S3, or of a service that speaks S3's protocol. */
export function s3Store(s3: S3Connection): ObjectStore {
  const { bucket } = s3.settings;
  const head = (key: string, signal?: AbortSignal) => headObject(s3, key, signal);
  const copies = new S3Copies(s3, head);
  const touch = (object: StoredObject, signal?: AbortSignal) => copies.touch(object, signal);
  return {
    name: s3.name,
    nameOf: (key) => `${s3.name}/${key}`,
    content(key, size) {
      return downloadedContent({
        size,
        get: (start, end, signal) => getPart(s3, key, { start, end }, signal),
        failure: (error) => s3.describe(error, reading(key)),
        backoff: () => s3.backoff(),
        object: copies.originOf(key),
      });
    },
    async read(key, limit, signal) {
      const retry = s3.backoff();
      for (;;) {
        const tooLarge = () => new CacheError('FAILED', `${s3.name}/${key} has over ${limit} bytes, the limit`);
        try {
          const { bytes } = await getObject(s3, key, undefined, signal);
          return { state: 'there', value: await collect(limited(bytes, limit, tooLarge)) };
        } catch (error) {
          signal?.throwIfAborted();
          if (error instanceof S3Failure) {
            if (refusalOf(error.cause)?.code !== 'InvalidObjectState') return refusedAnswer(error, 's3:GetObject');
            throw new CacheError(
              'NOT_FOUND',
              `${s3.name}/${key} is archived and cannot be read before it is restored`,
              {
                side: s3.side,
                hint: 'restore it, or export the cache again',
              },
            );
          }
          const described = s3.describe(error, reading(key));
          if (!(described instanceof TransientError)) throw described;
          await retry.wait(described, signal);
        }
      }
    },
    head,
    list(prefix, signal) {
      return wholeListing(s3.name, (token) =>
        s3.request(
          {
            purpose: `list ${prefix}`,
            action: 's3:ListBucket',
            async send(client, { ListObjectsV2Command }, options) {
              const input = { Bucket: bucket, Prefix: prefix, ContinuationToken: token, EncodingType: 'url' } as const;
              const page = await client.send(new ListObjectsV2Command(input), options);
              if (typeof page.IsTruncated !== 'boolean') {
                throw new TransientError(`${s3.name}: cannot list ${prefix}: its answer is no listing`, {
                  side: s3.side,
                  attempts: 3,
                });
              }
              // Some services take no notice of the encoding, and then they do not name it either.
              const decode = page.EncodingType === 'url' ? decodeKey : (key: string) => key;
              return {
                objects: (page.Contents ?? []).map(
                  ({ Key = '', Size = 0, LastModified, ETag: etag, StorageClass = '' }) => ({
                    key: decode(Key),
                    size: Size,
                    modified: LastModified?.getTime() ?? 0,
                    etag,
                    ...(ARCHIVED.has(StorageClass) ? { isArchived: true } : {}),
                  }),
                ),
                isTruncated: page.IsTruncated,
                token: page.NextContinuationToken,
              };
            },
          },
          signal,
        ),
      );
    },
    async put(key, bytes, size, signal) {
      if (size >= 2 * UPLOAD_PART) return uploadInParts(s3, key, bytes, size, () => head(key, signal), signal);
      const body = await collect(bytes);
      await s3.request(
        {
          purpose: `write ${key}`,
          action: 's3:PutObject',
          async send(client, { PutObjectCommand }, options) {
            const object = { Bucket: bucket, Key: key, Body: body, ContentLength: size };
            const command = new PutObjectCommand(object);
            // What the signature covers; the client hashes the body where the header is missing.
            const hash = HASH_IN_KEY.exec(key)?.[1];
            if (hash !== undefined) {
              command.middlewareStack.add(
                (next) => (args) => {
                  Object.assign((args.request as SdkRequest).headers, { 'x-amz-content-sha256': hash });
                  return next(args);
                },
                { step: 'build', name: 'bkcacheContentHash' },
              );
            }
            s3.resultOf((await client.send(command, options)).ETag);
          },
        },
        signal,
      );
    },
    touch,
    cleaning: s3Cleaning(s3, { head, touch }),
    copy: (object, to, signal) => copies.within(object, to, signal),
    copyFrom: (from, to, blob, signal) => copies.from(from, to, blob, signal),
    async remove(key, signal) {
      await s3.request(
        {
          purpose: `delete ${key}`,
          action: 's3:DeleteObject',
          send: (client, { DeleteObjectCommand }, options) =>
            client.send(new DeleteObjectCommand({ Bucket: bucket, Key: key }), options),
        },
        signal,
      );
    },
  };
}

/** The key of a blob ends with the digest of its bytes, which were compared with it when they were read. */
const HASH_IN_KEY = /sha256:([0-9a-f]{64})$/;

/** What a refusal says of an object: nothing, where the credentials may not know. */
function refusedAnswer(failure: S3Failure, action: string): Exclude<Answer<never>, { readonly state: 'there' }> {
  const refusal = refusalOf(failure.cause);
  const { described } = failure;
  if (refusal !== undefined && isMissing(refusal)) return { state: 'missing' };
  if (refusal === undefined || !isForbidden(refusal) || !(described instanceof CacheError)) throw described;
  const problem = new CacheError('DENIED', described.message, {
    cause: described,
    side: described.side,
    hint: `${described.hint ?? `these credentials need the right ${action}`}; without s3:ListBucket, S3 says the same of an object that is missing`,
  });
  return { state: 'unknown', problem };
}

/** Asks for an object, or for a part of it. */
async function getObject(
  s3: S3Connection,
  key: string,
  range: string | undefined,
  signal: AbortSignal | undefined,
): Promise<ObjectPart & { readonly object: StoredObject }> {
  return s3.ask(
    {
      ...reading(key),
      async send(client, { GetObjectCommand }, options) {
        const { bucket } = s3.settings;
        const got = await client.send(new GetObjectCommand({ Bucket: bucket, Key: key, Range: range }), options);
        const bytes = got.Body as AsyncIterable<Uint8Array>;
        // A page of a proxy, for example, which is not read to its end.
        if (got.ETag === undefined && got.LastModified === undefined) {
          for await (const _ of bytes) break;
          s3.resultOf(undefined);
        }
        const [, first, total] = /^bytes (\d+)-\d*\/(\d+)$/.exec(got.ContentRange ?? '') ?? [];
        const size = Number(total ?? got.ContentLength ?? 0);
        // Some services leave out which part they send.
        const isPart = got.$metadata.httpStatusCode === 206;
        const asked = Number(/\d+/.exec(range ?? '')?.[0] ?? 0);
        return {
          bytes,
          first: Number(first ?? (isPart ? asked : 0)),
          isPart,
          object: { key, size, modified: got.LastModified?.getTime() ?? 0 },
        };
      },
    },
    signal,
  );
}

function reading(key: string) {
  return { purpose: `read ${key}`, action: 's3:GetObject' };
}

async function getPart(
  s3: S3Connection,
  key: string,
  { start, end }: { readonly start: number; readonly end: number | undefined },
  signal: AbortSignal | undefined,
): Promise<ObjectPart> {
  const isAll = start === 0 && end === undefined;
  try {
    return await getObject(s3, key, isAll ? undefined : `bytes=${start}-${end === undefined ? '' : end - 1}`, signal);
  } catch (error) {
    if (!(error instanceof S3Failure)) throw error;
    const refusal = refusalOf(error.cause);
    if (refusal?.status === 416) throw lostObject(s3, `${key} is shorter than it should be`, 'size');
    if (refusal?.code === 'InvalidObjectState') {
      throw lostObject(s3, `${key} is archived and cannot be read before it is restored`, 'missing');
    }
    const answer = refusedAnswer(error, 's3:GetObject');
    throw answer.state === 'unknown' ? answer.problem : lostObject(s3, `${key} is missing`, 'missing');
  }
}

/** Storage classes whose objects nobody can read before they are restored. */
const ARCHIVED = new Set(['GLACIER', 'DEEP_ARCHIVE']);

async function headObject(s3: S3Connection, key: string, signal?: AbortSignal): Promise<Answer<StoredObject>> {
  const call = { purpose: `look for ${key}`, action: 's3:GetObject' };
  try {
    const found = await s3.ask(
      {
        ...call,
        send: (client, { HeadObjectCommand }, options) =>
          client.send(new HeadObjectCommand({ Bucket: s3.settings.bucket, Key: key }), options),
      },
      signal,
    );
    const isRestored = found.Restore?.includes('ongoing-request="false"') === true;
    const isArchived = ARCHIVED.has(found.StorageClass ?? '') || found.ArchiveStatus !== undefined;
    if (isArchived && !isRestored) return { state: 'missing' };
    // With a key of the bucket's owner, an ETag says nothing of the bytes.
    const isEncrypted = found.SSEKMSKeyId !== undefined || found.SSECustomerAlgorithm !== undefined;
    const etag = isEncrypted ? undefined : found.ETag;
    const object = { key, size: found.ContentLength ?? 0, modified: found.LastModified?.getTime() ?? 0, etag };
    return { state: 'there', value: object };
  } catch (error) {
    if (!(error instanceof S3Failure)) throw error;
    const refusal = refusalOf(error.cause);
    // The answer to a HEAD has no body that says which bucket or right is missing.
    if (refusal === undefined || !isUnexplained(refusal)) return refusedAnswer(error, call.action);
    if (isMissing(refusal) && s3.isKnown) return { state: 'missing' };
    return explained(s3, key, signal);
  }
}

function isUnexplained({ code, status }: S3Refusal): boolean {
  return code === '' || code === 'NotFound' || code === String(status);
}

/** Asks with a method whose answer has a reason. */
async function explained(s3: S3Connection, key: string, signal?: AbortSignal): Promise<Answer<StoredObject>> {
  try {
    const { bytes, object } = await getObject(s3, key, 'bytes=0-0', signal);
    // One byte, or all of the object where the service gives no parts.
    for await (const _ of bytes) break;
    return { state: 'there', value: object };
  } catch (error) {
    if (!(error instanceof S3Failure)) throw error;
    const answer = refusedAnswer(error, 's3:GetObject');
    if (answer.state === 'missing') s3.isKnown = true;
    return answer;
  }
}

/** Keys come in the form of a URL, so that XML can carry those that it has no characters for. */
function decodeKey(key: string): string {
  try {
    return decodeURIComponent(key.replaceAll('+', ' '));
  } catch {
    return key;
  }
}
