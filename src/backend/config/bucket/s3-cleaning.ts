import { createHash } from 'node:crypto';
import type { DeleteObjectsCommand, ListMultipartUploadsCommandOutput } from '@aws-sdk/client-s3';
import { parallel } from '../../../bytes/parallel.js';
import { CacheError } from '../../../errors.js';
import { DELETED_AT_ONCE } from './counted-store.js';
import type { ObjectCleaning, OpenUpload, Refused } from './object-cleaning.js';
import type { Answer, StoredObject } from './object-store.js';
import { type S3Connection, S3Failure } from './s3-connection.js';
import { isForbidden, refusalOf } from './s3-error.js';

const SINGLY_AT_ONCE = 8;
const SECOND = 1000;

/** What the requests of gc and touch need of the driver beside its connection. */
interface S3Objects {
  readonly head: (key: string, signal?: AbortSignal) => Promise<Answer<StoredObject>>;
  readonly touch: (object: StoredObject, signal?: AbortSignal) => Promise<boolean>;
}

/** Cleaning up in a bucket of S3. What a service does not know is learnt once. */
export function s3Cleaning(s3: S3Connection, { head, touch }: S3Objects): ObjectCleaning {
  const { bucket } = s3.settings;
  /** Whether the service may know deletions of several objects, and the condition on a date. */
  let [takesMany, takesDate] = [true, true];

  /** @throws S3Failure */
  const removeOne = (key: string, date: Date | undefined, signal: AbortSignal | undefined) =>
    s3.ask(
      {
        ...deleting(key),
        send: (client, { DeleteObjectCommand }, options) =>
          client.send(
            new DeleteObjectCommand({ Bucket: bucket, Key: key, ...(date && { IfMatchLastModifiedTime: date }) }),
            options,
          ),
      },
      signal,
    );

  const removeSingly = async (keys: readonly string[], signal: AbortSignal | undefined) => {
    const refused: Refused[] = [];
    await parallel(keys, SINGLY_AT_ONCE, signal, async (key, inner) => {
      try {
        await removeOne(key, undefined, inner);
      } catch (error) {
        refused.push({ key, reason: reasonOf(error) });
      }
    });
    return refused;
  };

  return {
    refresh: touch,
    async removeUnchanged(object, signal) {
      const { key, size, modified } = object;
      if (takesDate) {
        try {
          // Answers to HEAD, and this header, count in seconds.
          await removeOne(key, new Date(Math.floor(modified / SECOND) * SECOND), signal);
          return true;
        } catch (error) {
          if (!(error instanceof S3Failure)) throw error;
          const { code, status } = refusalOf(error.cause) ?? {};
          if (status === 412) {
            const now = await head(key, signal);
            if (now.state === 'unknown') throw now.problem;
            const isSame = now.state === 'there' && now.value.size === size && sameSecond(now.value.modified, modified);
            if (!isSame) return false;
          } else if (!isUnknownRequest(code, status)) throw error.described;
          // AWS knows the condition in directory buckets alone, and other services may compare parts of seconds.
          takesDate = false;
        }
      }
      await s3.request(
        {
          ...deleting(key),
          send: (client, { DeleteObjectCommand }, options) =>
            client.send(new DeleteObjectCommand({ Bucket: bucket, Key: key }), options),
        },
        signal,
      );
      return true;
    },
    async removeAll(keys, signal) {
      const refused: Refused[] = [];
      for (let start = 0; start < keys.length; start += DELETED_AT_ONCE) {
        const some = keys.slice(start, start + DELETED_AT_ONCE);
        const answer = takesMany ? await removeMany(s3, some, signal) : undefined;
        if (answer === undefined) takesMany = false;
        refused.push(...(answer ?? (await removeSingly(some, signal))));
      }
      return refused;
    },
    uploads: (prefix, signal) => listUploads(s3, prefix, signal),
    async abort({ key, id }, signal) {
      try {
        await s3.ask(
          {
            purpose: `abort the upload of ${key}`,
            action: 's3:AbortMultipartUpload',
            send: (client, { AbortMultipartUploadCommand }, options) =>
              client.send(new AbortMultipartUploadCommand({ Bucket: bucket, Key: key, UploadId: id }), options),
          },
          signal,
        );
      } catch (error) {
        if (!(error instanceof S3Failure)) throw error;
        if (refusalOf(error.cause)?.code !== 'NoSuchUpload') throw error.described;
      }
    },
    retention: (signal) => retentionOf(s3, signal),
  };
}

function deleting(key: string) {
  return { purpose: `delete ${key}`, action: 's3:DeleteObject' };
}

function sameSecond(a: number, b: number): boolean {
  return Math.abs(a - b) < SECOND;
}

/** Whether a service refuses a kind of request, rather than this one. */
function isUnknownRequest(code: string | undefined, status: number | undefined): boolean {
  return code === 'NotImplemented' || status === 400 || status === 405 || status === 411 || status === 501;
}

function reasonOf(error: unknown): string {
  if (!(error instanceof S3Failure)) {
    if (error instanceof CacheError) return error.message;
    throw error;
  }
  const { code = '', text = '' } = refusalOf(error.cause) ?? {};
  if (code !== '') return text === '' ? code : `${code}: ${text}`;
  return error.described instanceof Error ? error.described.message : 'refused';
}

/**
 * Deletes up to 1000 objects with one request.
 *
 * @returns undefined where the service does not know the request
 */
async function removeMany(
  s3: S3Connection,
  keys: readonly string[],
  signal: AbortSignal | undefined,
): Promise<readonly Refused[] | undefined> {
  try {
    const { Deleted = [], Errors = [] } = await s3.ask(
      {
        purpose: `delete ${keys.length} objects`,
        action: 's3:DeleteObject',
        send(client, { DeleteObjectsCommand }, options) {
          const Delete = { Objects: keys.map((key) => ({ Key: key })) };
          return client.send(withMd5(new DeleteObjectsCommand({ Bucket: s3.settings.bucket, Delete })), options);
        },
      },
      signal,
    );
    // Errors stand in an answer that says 200, and so does an answer that is none.
    const left = new Map(keys.map((key) => [key, 'the service does not say that it has deleted it']));
    for (const { Key: key = '' } of Deleted) left.delete(key);
    for (const { Key: key = '', Code: code = '', Message: text = '' } of Errors) {
      if (code === 'NoSuchKey') left.delete(key);
      else if (left.has(key)) left.set(key, text === '' ? code : `${code}: ${text}`);
    }
    return Array.from(left, ([key, reason]) => ({ key, reason }));
  } catch (error) {
    if (!(error instanceof S3Failure)) throw error;
    const { code, status } = refusalOf(error.cause) ?? {};
    if (isUnknownRequest(code, status)) return undefined;
    throw error.described;
  }
}

/** Sends the checksum that every service knows, instead of the one that the client would send. */
function withMd5(command: DeleteObjectsCommand): DeleteObjectsCommand {
  command.middlewareStack.add(
    (next) => (args) => {
      const { headers, body } = args.request as { headers: Record<string, string>; body: string | Uint8Array };
      for (const name of Object.keys(headers)) {
        if (/^x-amz-(?:checksum-|sdk-checksum-)/i.test(name)) delete headers[name];
      }
      headers['content-md5'] = createHash('md5').update(body).digest('base64');
      return next(args);
    },
    { step: 'build', priority: 'low', name: 'contentMd5' },
  );
  return command;
}

async function* listUploads(
  s3: S3Connection,
  prefix: string,
  signal: AbortSignal | undefined,
): AsyncGenerator<readonly OpenUpload[], void, undefined> {
  const seen = new Set<string>();
  let key: string | undefined;
  let id: string | undefined;
  for (;;) {
    const from = { Prefix: prefix, KeyMarker: key, UploadIdMarker: id };
    const page: ListMultipartUploadsCommandOutput = await s3.request(
      {
        purpose: `list the unfinished uploads of ${prefix}`,
        action: 's3:ListBucketMultipartUploads',
        send: (client, { ListMultipartUploadsCommand }, options) =>
          client.send(new ListMultipartUploadsCommand({ Bucket: s3.settings.bucket, ...from }), options),
      },
      signal,
    );
    yield (page.Uploads ?? []).flatMap(({ Key, UploadId, Initiated }) =>
      Key === undefined || UploadId === undefined || Initiated === undefined
        ? []
        : { key: Key, id: UploadId, begun: Initiated.getTime() },
    );
    if (page.IsTruncated !== true) return;
    key = page.NextKeyMarker;
    id = page.NextUploadIdMarker;
    const marker = `${key}\n${id}`;
    if (key === undefined || seen.has(marker)) {
      throw new CacheError('UNREACHABLE', `${s3.name}: the listing of unfinished uploads is not whole`);
    }
    seen.add(marker);
  }
}

/** Versions and locks keep what is deleted. A user who may not ask is told nothing. */
async function retentionOf(s3: S3Connection, signal: AbortSignal | undefined): Promise<readonly string[]> {
  const Bucket = s3.settings.bucket;
  const known: string[] = [];
  const versioning = await allowed(
    s3.ask(
      {
        purpose: 'look for versions',
        action: 's3:GetBucketVersioning',
        send: (client, { GetBucketVersioningCommand }, options) =>
          client.send(new GetBucketVersioningCommand({ Bucket }), options),
      },
      signal,
    ),
  );
  if (versioning?.Status !== undefined) {
    known.push(
      `the bucket has versions (${versioning.Status}): what is deleted is hidden, and not freed. ` +
        'A rule NoncurrentVersionExpiration with ExpiredObjectDeleteMarker frees old versions',
    );
  }
  const lock = await allowed(
    s3.ask(
      {
        purpose: 'look for a lock',
        action: 's3:GetBucketObjectLockConfiguration',
        send: (client, { GetObjectLockConfigurationCommand }, options) =>
          client.send(new GetObjectLockConfigurationCommand({ Bucket }), options),
      },
      signal,
    ),
  );
  const rule = lock?.ObjectLockConfiguration?.Rule?.DefaultRetention;
  if (lock?.ObjectLockConfiguration?.ObjectLockEnabled !== undefined) {
    const period = rule?.Days === undefined ? rule?.Years && `${rule.Years} years` : `${rule.Days} days`;
    known.push(
      `the bucket has an object lock${period ? ` of ${period} (${rule?.Mode})` : ''}: no rule frees a version before its lock ends`,
    );
  }
  return known;
}

/** The answer, undefined where the service refuses or does not know the question. */
async function allowed<T>(answer: Promise<T>): Promise<T | undefined> {
  try {
    return await answer;
  } catch (error) {
    if (!(error instanceof S3Failure)) throw error;
    const refusal = refusalOf(error.cause);
    if (refusal === undefined) throw error.described;
    const { code, status } = refusal;
    if (isForbidden(refusal) || isUnknownRequest(code, status) || status === 404) return undefined;
    throw error.described;
  }
}
