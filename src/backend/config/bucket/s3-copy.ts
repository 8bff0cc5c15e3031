import { CacheError } from '../../../errors.js';
import type { ObjectOrigin } from '../../../oci/content.js';
import type { BlobId } from '../../../oci/descriptor.js';
import type { Answer, StoredObject } from './object-store.js';
import { type S3Connection, S3Failure } from './s3-connection.js';
import { isMissing, refusalOf } from './s3-error.js';
import { copyInParts, LARGEST_COPY, WORK_TIMEOUT } from './s3-upload.js';

/** Looks for an object of the bucket. */
type Head = (key: string, signal?: AbortSignal) => Promise<Answer<StoredObject>>;

/** Copies of objects that S3 makes itself: its answers say little, so that each copy is looked at. */
export class S3Copies {
  readonly #s3: S3Connection;
  readonly #head: Head;
  /** The buckets from which the service does not copy, so that it is asked once. */
  readonly #refused = new Set<string>();

  constructor(s3: S3Connection, head: Head) {
    this.#s3 = s3;
    this.#head = head;
  }

  /** What a copy of an object is asked for with. */
  originOf(key: string): ObjectOrigin {
    const { name, service } = this.#s3;
    return { name: `${name}/${key}`, service, source: this.#sourceOf(key) };
  }

  /**
   * Copies an object onto itself with new metadata, as BuildKit does (cache/remotecache/s3/s3.go, touch).
   *
   * @returns whether it is younger now
   */
  async touch(object: StoredObject, signal: AbortSignal | undefined): Promise<boolean> {
    const { key } = object;
    const isYounger = async () => {
      const answer = await this.#head(key, signal);
      return answer.state === 'there' && answer.value.modified > object.modified;
    };
    const metadata = { 'updated-at': new Date().toISOString() };
    const request = { purpose: `touch ${key}`, source: this.#sourceOf(key), metadata, isDone: isYounger };
    try {
      await this.#copy(object, request, signal);
    } catch (error) {
      signal?.throwIfAborted();
      if (error instanceof S3Failure || error instanceof CacheError) return false;
      throw error;
    }
    return isYounger();
  }

  /**
   * Copies an object of the bucket.
   *
   * @returns false for an object that is missing
   * @throws CacheError for a copy that the service does not have afterwards
   */
  async within(object: StoredObject, to: string, signal: AbortSignal | undefined): Promise<boolean> {
    const { key, size } = object;
    const isDone = () => this.#isThere(to, size, signal);
    try {
      const request = { purpose: `copy ${key}`, source: this.#sourceOf(key), isDone };
      await this.#copy({ key: to, size }, request, signal);
    } catch (error) {
      if (!(error instanceof S3Failure)) throw error;
      const refusal = refusalOf(error.cause);
      if (refusal !== undefined && isMissing(refusal)) return false;
      throw error.described;
    }
    // Some services answer with success and copy nothing.
    if (await isDone()) return true;
    throw new CacheError('FAILED', `${this.#s3.name}: the service said that it copied ${key}, and did not`, {
      side: this.#s3.side,
      hint: 'its CopyObject does not work, as in the gateway of Ceph over SQLite',
    });
  }

  /** As `copyFrom` of an `ObjectStore`. */
  async from(
    { name, service, source }: ObjectOrigin,
    to: string,
    { digest, size }: BlobId,
    signal: AbortSignal | undefined,
  ): Promise<boolean> {
    const bucket = source.split('/')[0] ?? '';
    // A copy onto itself changes nothing: a blob that has to be written again is sent.
    if (source === this.#sourceOf(to)) return false;
    if (service !== this.#s3.service || this.#refused.has(bucket)) return false;
    const isDone = () => this.#isThere(to, size, signal);
    try {
      const sha256 = await this.#copy({ key: to, size }, { purpose: `copy ${name}`, source, isDone }, signal);
      const isOther = sha256 !== undefined && digest.startsWith('sha256:') && sha256 !== digest.slice('sha256:'.length);
      if (!isOther && (await isDone())) return true;
      if (isOther) await this.#remove(to, signal);
      else this.#refused.add(bucket);
    } catch (error) {
      signal?.throwIfAborted();
      if (!(error instanceof S3Failure || error instanceof CacheError)) throw error;
      const refusal = error instanceof S3Failure ? refusalOf(error.cause) : undefined;
      // An object that is missing says nothing of the others.
      if (refusal === undefined || !isMissing(refusal)) this.#refused.add(bucket);
    }
    return false;
  }

  /** @returns the SHA-256 of the copy in hex, where the service tells it */
  async #copy(
    to: Pick<StoredObject, 'key' | 'size'>,
    { purpose, source, metadata, isDone }: CopyRequest,
    signal: AbortSignal | undefined,
  ): Promise<string | undefined> {
    if (to.size > LARGEST_COPY) {
      await copyInParts(this.#s3, to, { source, isDone, ...(metadata === undefined ? {} : { metadata }) }, signal);
      return undefined;
    }
    const { bucket, endpoint } = this.#s3.settings;
    return this.#s3.ask(
      {
        purpose,
        action: 's3:PutObject',
        timeout: WORK_TIMEOUT,
        send: async (client, { CopyObjectCommand }, options) => {
          const copy = new CopyObjectCommand({
            Bucket: bucket,
            Key: to.key,
            CopySource: source,
            ...(metadata === undefined ? {} : { MetadataDirective: 'REPLACE', Metadata: metadata }),
            // AWS reads the bytes for that. Others do not know it, and a touch does not need it.
            ...(endpoint === undefined && metadata === undefined ? { ChecksumAlgorithm: 'SHA256' } : {}),
          });
          const { CopyObjectResult: result } = await client.send(copy, options);
          const sha256 = result?.ChecksumSHA256;
          return sha256 === undefined ? undefined : Buffer.from(sha256, 'base64').toString('hex');
        },
      },
      signal,
    );
  }

  async #isThere(key: string, size: number, signal: AbortSignal | undefined): Promise<boolean> {
    const answer = await this.#head(key, signal);
    return answer.state === 'there' && answer.value.size === size;
  }

  /** A copy of bytes that are not those of the blob. Nobody needs it, since its key says what it should be. */
  async #remove(key: string, signal: AbortSignal | undefined): Promise<void> {
    await this.#s3.request(
      {
        purpose: `delete ${key}`,
        action: 's3:DeleteObject',
        send: (client, { DeleteObjectCommand }, options) =>
          client.send(new DeleteObjectCommand({ Bucket: this.#s3.settings.bucket, Key: key }), options),
      },
      signal,
    );
  }

  /** Escaped, apart from `:`, which some services leave escaped where they should not (and BuildKit escapes nothing). */
  #sourceOf(key: string): string {
    const parts = `${this.#s3.settings.bucket}/${key}`.split('/').map(encodeURIComponent);
    return parts.join('/').replaceAll('%3A', ':');
  }
}

interface CopyRequest {
  readonly purpose: string;
  /** The object, as `x-amz-copy-source` has it. */
  readonly source: string;
  /** Replaces that of the source. */
  readonly metadata?: Readonly<Record<string, string>>;
  /** Whether the copy is the result, asked where the answer got lost. */
  readonly isDone: () => Promise<boolean>;
}
