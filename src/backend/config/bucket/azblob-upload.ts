import { randomUUID } from 'node:crypto';
import type { BlobUploadCommonResponse, BlockBlobClient, BlockBlobCommitBlockListResponse } from '@azure/storage-blob';
import { collect } from '../../../bytes/collect.js';
import { abortedBy, type AzblobCall, type AzblobConnection, AzblobFailure } from './azblob-connection.js';
import type { Answer, StoredObject } from './object-store.js';
import { partSize, sendParts, UPLOAD_PART } from '../parts.js';

/** A blob to store. */
export interface Upload {
  readonly key: string;
  readonly bytes: AsyncIterable<Uint8Array>;
  /** Of all bytes. */
  readonly size: number;
  /**
   * Looks for the blob, where one that has this size already stays. Left out for a blob that replaces any other: the last
   * writer wins.
   */
  readonly look?: () => Promise<Answer<StoredObject & { readonly etag: string | undefined }>>;
}

/** What a blob may replace: anything, nothing, or one version of itself. */
type Conditions = Readonly<Partial<Record<'ifNoneMatch' | 'ifMatch', string>>>;

/** How long an id of a block is, in bytes, as in BuildKit's client: Azure wants one length for all writers of a blob. */
const ID_LENGTH = 64;
/** What Azure says where another writer was faster, or where the answer to an earlier attempt got lost. */
const STORED_MEANWHILE = new Set([
  'BlobAlreadyExists',
  'ConditionNotMet',
  'InvalidBlockList',
  // The answer to credentials that may create blobs, and may not replace them.
  'UnauthorizedBlobOverwrite',
]);

/**
 * Stores a blob: a small one at once, a large one in blocks, which are no blob before they are committed. Blocks that
 * failed are sent again alone; Azure drops those of an upload without an end a week later.
 */
export async function store(azblob: AzblobConnection, upload: Upload, signal: AbortSignal | undefined): Promise<void> {
  const { key, bytes, size } = upload;
  const options = abortedBy(signal);
  if (size < 2 * UPLOAD_PART) {
    const body = await collect(bytes);
    return finish(
      azblob,
      upload,
      (blob, conditions) => blob.upload(body, body.length, { ...options, conditions }),
      signal,
    );
  }
  const idOf = blockIds();
  const ids = await sendParts(bytes, partSize(size), async (body, number) => {
    const id = idOf(number);
    const send: AzblobCall<unknown>['send'] = (client) => client.blob(key).stageBlock(id, body, body.length, options);
    await azblob.request({ ...writing(key), send }, signal);
    return id;
  });
  await finish(azblob, upload, (blob, conditions) => blob.commitBlockList(ids, { ...options, conditions }), signal);
}

function writing(key: string) {
  return { purpose: `write ${key}`, right: 'write', makesContainer: true } as const;
}

/**
 * The ids of the blocks of one upload. No other writer has the same, so that no blob is made of the blocks of
 * two (Azure's client for Go, chunkwriting.go, newUUIDBlockID).
 */
export function blockIds(): (number: number) => string {
  const writer = Buffer.from(randomUUID().replaceAll('-', ''), 'hex');
  return (number) => {
    const id = Buffer.alloc(ID_LENGTH);
    writer.copy(id);
    id.writeUInt32BE(number, writer.length);
    return id.toString('base64');
  };
}

type Finish = (
  blob: BlockBlobClient,
  conditions: Conditions,
) => Promise<BlobUploadCommonResponse | BlockBlobCommitBlockListResponse>;

/** Makes the blob. One that another writer stored meanwhile stays, unless it was cut short. */
async function finish(
  azblob: AzblobConnection,
  { key, size, look }: Upload,
  make: Finish,
  signal: AbortSignal | undefined,
): Promise<void> {
  const attempt = (conditions: Conditions) =>
    azblob.ask({ ...writing(key), send: (client) => make(client.blob(key), conditions) }, signal);
  try {
    await attempt(look === undefined ? {} : { ifNoneMatch: '*' });
  } catch (error) {
    if (!(error instanceof AzblobFailure)) throw error;
    if (look === undefined || !STORED_MEANWHILE.has(error.refusal.code)) throw error.described;
    const answer = await look();
    // Who may write and not read has no other way to know.
    if (answer.state === 'unknown') return;
    if (answer.state === 'missing') throw error.described;
    const { etag = '*', isArchived, size: stored } = answer.value;
    if (stored === size && isArchived !== true) return;
    try {
      await attempt({ ifMatch: etag });
    } catch (second) {
      throw second instanceof AzblobFailure ? second.described : second;
    }
  }
}
