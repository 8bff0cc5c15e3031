import { CacheError } from '../../../errors.js';
import type { Answer, StoredObject } from './object-store.js';
import { partSize, sendParts } from '../parts.js';
import { type S3Connection, S3Failure } from './s3-connection.js';

/** Above this size an object is copied in parts of it: cache/remotecache/s3/s3.go, maxCopyObjectSize. In bytes. */
export const LARGEST_COPY = 5 * 1024 ** 3;
/** S3 may take long to copy an object, or to make one of its parts. In milliseconds. */
export const WORK_TIMEOUT = 600_000;
/** How long a failed upload may take to be given up, in milliseconds. */
const ABORT_TIMEOUT = 30_000;

/**
 * Stores an object in parts. A part that failed is sent again alone.
 *
 * @param look - whether the object is in its place, asked where the answer to the end of the upload got lost
 */
export async function uploadInParts(
  s3: S3Connection,
  key: string,
  bytes: AsyncIterable<Uint8Array>,
  size: number,
  look: () => Promise<Answer<StoredObject>>,
  signal: AbortSignal | undefined,
): Promise<void> {
  const makeParts = (upload: Upload) =>
    sendParts(bytes, partSize(size), (body, PartNumber) =>
      s3.request(
        {
          ...writing(key),
          async send(client, { UploadPartCommand }, options) {
            const part = { ...upload, PartNumber, Body: body, ContentLength: body.length };
            const { ETag } = await client.send(new UploadPartCommand(part), options);
            return { ETag, PartNumber };
          },
        },
        signal,
      ),
    );
  await multipart(s3, { key, makeParts, isDone: async () => sizeIn(await look()) === size }, signal);
}

/**
 * Copies an object over 5 GiB onto itself with new metadata, as BuildKit does (cache/remotecache/s3/s3.go, touch).
 *
 * @param source - the object, as `x-amz-copy-source` has it
 */
export async function copyInParts(
  s3: S3Connection,
  { key, size }: StoredObject,
  { source, metadata }: { readonly source: string; readonly metadata: Readonly<Record<string, string>> },
  signal: AbortSignal | undefined,
): Promise<void> {
  const makeParts = async (upload: Upload) => {
    const parts: Part[] = [];
    for (let start = 0; start < size; start += LARGEST_COPY) {
      const range = `bytes=${start}-${Math.min(start + LARGEST_COPY, size) - 1}`;
      const PartNumber = parts.length + 1;
      const part = await s3.request(
        {
          ...writing(key),
          timeout: WORK_TIMEOUT,
          async send(client, { UploadPartCopyCommand }, options) {
            const copy = { ...upload, PartNumber, CopySource: source, CopySourceRange: range };
            const { CopyPartResult } = await client.send(new UploadPartCopyCommand(copy), options);
            return { ETag: CopyPartResult?.ETag, PartNumber };
          },
        },
        signal,
      );
      parts.push(part);
    }
    return parts;
  };
  await multipart(s3, { key, metadata, makeParts, isDone: () => Promise.resolve(false) }, signal);
}

interface Upload {
  readonly Bucket: string;
  readonly Key: string;
  readonly UploadId: string | undefined;
}

interface Part {
  readonly ETag: string | undefined;
  readonly PartNumber: number;
}

interface Multipart {
  readonly key: string;
  readonly metadata?: Readonly<Record<string, string>>;
  readonly makeParts: (upload: Upload) => Promise<Part[]>;
  /** Whether the object is stored, though the service did not say so. */
  readonly isDone: () => Promise<boolean>;
}

function writing(key: string) {
  return { purpose: `write ${key}`, action: 's3:PutObject' };
}

function sizeIn(answer: Answer<StoredObject>): number | undefined {
  return answer.state === 'there' ? answer.value.size : undefined;
}

/** An upload that cannot be ended is aborted: S3 keeps its parts, and charges for them. */
async function multipart(
  s3: S3Connection,
  { key, metadata, makeParts, isDone }: Multipart,
  signal: AbortSignal | undefined,
): Promise<void> {
  const at = { Bucket: s3.settings.bucket, Key: key };
  const { UploadId } = await s3.request(
    {
      ...writing(key),
      send: (client, { CreateMultipartUploadCommand }, options) =>
        client.send(new CreateMultipartUploadCommand({ ...at, Metadata: metadata }), options),
    },
    signal,
  );
  const upload: Upload = { ...at, UploadId };
  try {
    const failure = await complete(s3, upload, await makeParts(upload), signal);
    if (failure !== undefined && !(await isDone())) throw failure;
  } catch (error) {
    await abort(s3, upload);
    throw error;
  }
}

/** @returns the error of an end that did not succeed, or of which it is not known */
async function complete(
  s3: S3Connection,
  upload: Upload,
  parts: Part[],
  signal: AbortSignal | undefined,
): Promise<unknown> {
  try {
    await s3.ask(
      {
        ...writing(upload.Key),
        timeout: WORK_TIMEOUT,
        async send(client, { CompleteMultipartUploadCommand }, options) {
          const input = { ...upload, MultipartUpload: { Parts: parts } };
          const { ETag } = await client.send(new CompleteMultipartUploadCommand(input), options);
          if (ETag !== undefined) return;
          throw new CacheError('UNREACHABLE', `${s3.name}: cannot write ${upload.Key}: its answer has no result`, {
            side: s3.side,
          });
        },
      },
      signal,
    );
    return undefined;
  } catch (error) {
    signal?.throwIfAborted();
    return error instanceof S3Failure ? error.described : error;
  }
}

/** What cannot be aborted stays, for the rule of the bucket or the next collection to remove. */
async function abort(s3: S3Connection, upload: Upload): Promise<void> {
  try {
    await s3.ask(
      {
        purpose: `give up writing ${upload.Key}`,
        action: 's3:AbortMultipartUpload',
        send: (client, { AbortMultipartUploadCommand }, options) =>
          client.send(new AbortMultipartUploadCommand(upload), options),
      },
      AbortSignal.timeout(ABORT_TIMEOUT),
    );
  } catch {
    // The error that led here is the one to show.
  }
}
