import { createHash } from 'node:crypto';
import { CacheError } from '../../../errors.js';
import { type Answer, LostUpload, type StoredObject } from './object-store.js';
import { partSize, sendParts } from '../parts.js';
import { type S3Connection, S3Failure } from './s3-connection.js';
import { refusalOf } from './s3-error.js';
import { claimUpload } from './unfinished-upload.js';

/** Above this size an object is copied in parts of it: cache/remotecache/s3/s3.go, maxCopyObjectSize. In bytes. */
export const LARGEST_COPY = 5 * 1024 ** 3;
/** S3 may take long to copy an object, or to make one of its parts. In milliseconds. */
export const WORK_TIMEOUT = 600_000;
/** How long a failed upload may take to be given up, in milliseconds. */
const ABORT_TIMEOUT = 30_000;

/** An upload in parts, as requests name it. */
interface Upload {
  readonly Bucket: string;
  readonly Key: string;
  readonly UploadId: string | undefined;
}

interface Part {
  readonly ETag: string;
  readonly PartNumber: number;
}

/** A part that the service has. */
interface StoredPart {
  readonly etag: string;
  readonly size: number;
}

/** Looks whether an object is in its place, asked where the answer to the end of the upload got lost. */
type Look = () => Promise<Answer<StoredObject>>;

/**
 * Stores an object in parts. A part that failed is sent again alone. Where an earlier run was killed, its upload goes on:
 * a part that is whole, with the bytes that this run reads, is not sent again.
 *
 * @throws LostUpload where somebody else ended the upload before it was whole
 */
export async function uploadInParts(
  s3: S3Connection,
  key: string,
  bytes: AsyncIterable<Uint8Array>,
  size: number,
  look: Look,
  signal: AbortSignal | undefined,
): Promise<void> {
  const at = { Bucket: s3.settings.bucket, Key: key };
  await using unfinished = await claimUpload(`${s3.service} ${at.Bucket}/${key} ${size}`);
  let upload: Upload = { ...at, UploadId: unfinished.id };
  let there = unfinished.id === undefined ? undefined : await partsOf(s3, upload, signal);
  if (there === undefined) {
    if (unfinished.id !== undefined) await abort(s3, upload);
    upload = await begin(s3, key, undefined, signal);
    there = new Map();
    await unfinished.remember(upload.UploadId ?? '');
  }
  const known = there;
  const sendPart = async (body: Uint8Array, number: number): Promise<Part> => {
    const part = known.get(number);
    if (part?.size === body.length && part.etag === etagOf(body)) return { ETag: part.etag, PartNumber: number };
    return uploadPart(s3, upload, body, number, signal);
  };
  try {
    const parts = await sendParts(bytes, partSize(size), sendPart);
    const failure = await complete(s3, upload, parts, signal);
    if (failure !== undefined) {
      const answer = await look();
      if (answer.state !== 'there' || !isResult(answer.value, parts, size)) throw failure;
      // Where the object is stored and the upload is not ended all the same.
      await abort(s3, upload);
    }
    await unfinished.forget();
  } catch (error) {
    if (await abort(s3, upload)) await unfinished.forget();
    throw error;
  }
}

/** Whether an object is what the parts make together, as far as its size and its ETag tell. */
function isResult(found: StoredObject, parts: readonly Part[], size: number): boolean {
  const etag = plainEtag(found.etag);
  const hashes = parts.map(({ ETag }) => plainEtag(ETag));
  // S3's own form, for buckets without keys of their owner; others have what they like.
  const isTold = /^[0-9a-f]{32}-\d+$/.test(etag) && hashes.every((hash) => /^[0-9a-f]{32}$/.test(hash));
  const whole = createHash('md5')
    .update(Buffer.from(hashes.join(''), 'hex'))
    .digest('hex');
  return found.size === size && (!isTold || etag === `${whole}-${parts.length}`);
}

function plainEtag(etag = ''): string {
  return etag.replaceAll('"', '').toLowerCase();
}

/** The ETag of a part, unless the bucket encrypts with keys of its owner: then parts are sent again. */
function etagOf(bytes: Uint8Array): string {
  return `"${createHash('md5').update(bytes).digest('hex')}"`;
}

/**
 * The parts that the service has of an upload.
 *
 * @returns undefined for an upload that is no more, or of which it does not say
 */
async function partsOf(
  s3: S3Connection,
  upload: Upload,
  signal: AbortSignal | undefined,
): Promise<Map<number, StoredPart> | undefined> {
  const found = new Map<number, StoredPart>();
  let last: string | undefined;
  try {
    for (;;) {
      const page = await s3.ask(
        {
          purpose: `list the parts of ${upload.Key}`,
          action: 's3:ListMultipartUploadParts',
          send: (client, { ListPartsCommand }, options) =>
            client.send(new ListPartsCommand({ ...upload, PartNumberMarker: last }), options),
        },
        signal,
      );
      if (page.UploadId !== upload.UploadId) return undefined;
      for (const { PartNumber = 0, ETag: etag = '', Size: size = 0 } of page.Parts ?? []) {
        found.set(PartNumber, { etag, size });
      }
      if (page.IsTruncated !== true) return found;
      if (page.NextPartNumberMarker === undefined || page.NextPartNumberMarker === last) return found;
      last = page.NextPartNumberMarker;
    }
  } catch (error) {
    signal?.throwIfAborted();
    if (error instanceof S3Failure || error instanceof CacheError) return undefined;
    throw error;
  }
}

async function uploadPart(
  s3: S3Connection,
  upload: Upload,
  body: Uint8Array,
  PartNumber: number,
  signal: AbortSignal | undefined,
): Promise<Part> {
  try {
    return await s3.ask(
      {
        ...writing(upload.Key),
        async send(client, { UploadPartCommand }, options) {
          const part = { ...upload, PartNumber, Body: body, ContentLength: body.length };
          return { ETag: s3.resultOf((await client.send(new UploadPartCommand(part), options)).ETag), PartNumber };
        },
      },
      signal,
    );
  } catch (error) {
    throw lostOr(s3, error);
  }
}

/** The error of a request of an upload. */
function lostOr(s3: S3Connection, error: unknown): unknown {
  if (!(error instanceof S3Failure)) return error;
  const code = refusalOf(error.cause)?.code;
  const lost = code === 'NoSuchUpload' ? 'upload' : code === 'InvalidPart' ? 'part of it' : undefined;
  if (lost === undefined || !(error.described instanceof CacheError)) return error.described;
  const { message } = error.described;
  return new LostUpload('FAILED', `${message}; the service has lost the ${lost}`, {
    side: s3.side,
    cause: error.cause,
    hint: 'a rule of the bucket for unfinished uploads, or another program, may have ended it; copy again',
  });
}

/**
 * Copies an object in parts, as BuildKit does with those over 5 GiB (cache/remotecache/s3/s3.go, touch).
 *
 * @param object - the copy; its size is that of the source
 * @param source - the object, as `x-amz-copy-source` has it
 * @param isDone - whether a copy is the result, asked where the answer to the end got lost
 */
export async function copyInParts(
  s3: S3Connection,
  { key, size }: Pick<StoredObject, 'key' | 'size'>,
  { source, metadata, isDone }: PartsToCopy,
  signal: AbortSignal | undefined,
): Promise<void> {
  const upload = await begin(s3, key, metadata, signal);
  try {
    const parts: Part[] = [];
    for (let start = 0; start < size; start += LARGEST_COPY) {
      const range = `bytes=${start}-${Math.min(start + LARGEST_COPY, size) - 1}`;
      const PartNumber = parts.length + 1;
      const part = await s3.ask(
        {
          ...writing(key),
          timeout: WORK_TIMEOUT,
          async send(client, { UploadPartCopyCommand }, options) {
            const copy = { ...upload, PartNumber, CopySource: source, CopySourceRange: range };
            const { CopyPartResult } = await client.send(new UploadPartCopyCommand(copy), options);
            return { ETag: s3.resultOf(CopyPartResult?.ETag), PartNumber };
          },
        },
        signal,
      );
      parts.push(part);
    }
    const failure = await complete(s3, upload, parts, signal);
    if (failure !== undefined && !(await isDone())) throw failure;
  } catch (error) {
    await abort(s3, upload);
    throw error;
  }
}

interface PartsToCopy {
  readonly source: string;
  readonly metadata?: Readonly<Record<string, string>>;
  readonly isDone: () => Promise<boolean>;
}

function writing(key: string) {
  return { purpose: `write ${key}`, action: 's3:PutObject' };
}

async function begin(
  s3: S3Connection,
  Key: string,
  Metadata: Readonly<Record<string, string>> | undefined,
  signal: AbortSignal | undefined,
): Promise<Upload> {
  const at = { Bucket: s3.settings.bucket, Key };
  const UploadId = await s3.request(
    {
      ...writing(Key),
      send: async (client, { CreateMultipartUploadCommand }, options) => {
        const begun = await client.send(new CreateMultipartUploadCommand({ ...at, Metadata }), options);
        return s3.resultOf(begun.UploadId);
      },
    },
    signal,
  );
  return { ...at, UploadId };
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
    return lostOr(s3, error);
  }
}

/**
 * Ends an upload that failed: S3 keeps its parts, and charges for them. What cannot be aborted stays, for the next run, the
 * rule of the bucket or the next collection to remove.
 *
 * @returns whether the service has it no more
 */
async function abort(s3: S3Connection, upload: Upload): Promise<boolean> {
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
    return true;
  } catch (error) {
    // The error that led here is the one to show.
    return error instanceof S3Failure && refusalOf(error.cause)?.code === 'NoSuchUpload';
  }
}
