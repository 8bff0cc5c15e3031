import { createHash } from 'node:crypto';
import type { BlobUploadCommonResponse, BlockBlobClient, BlockBlobCommitBlockListResponse } from '@azure/storage-blob';
import { collect } from '../../../bytes/collect.js';
import { CacheError } from '../../../errors.js';
import { abortedBy, type AzblobCall, type AzblobConnection, AzblobFailure } from './azblob-connection.js';
import { refusalOf } from './azblob-error.js';
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
/** The least bytes of an id: its number, and so much of the hash that no two blocks have the same. */
const LEAST_ID = 4 + 16;
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
 * failed are sent again alone, and those that an earlier run has sent are not. Azure drops those of an upload without an
 * end a week later.
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
  const { there, idLength } = await blocksOf(azblob, key, signal);
  const ids = await sendParts(bytes, partSize(size), async (body, number) => {
    const id = blockId(body, number, idLength);
    if (there.get(id) === body.length) return id;
    const send: AzblobCall<unknown>['send'] = (client) => client.blob(key).stageBlock(id, body, body.length, options);
    await azblob.request({ ...writing(key), send }, signal);
    return id;
  });
  await finish(azblob, upload, (blob, conditions) => blob.commitBlockList(ids, { ...options, conditions }), signal);
}

/** The blocks of a blob that are not committed: their sizes by their ids, and the length that ids have to have, in bytes. */
async function blocksOf(
  azblob: AzblobConnection,
  key: string,
  signal: AbortSignal | undefined,
): Promise<{ readonly there: ReadonlyMap<string, number>; readonly idLength: number }> {
  try {
    const { uncommittedBlocks = [] } = await azblob.ask(
      {
        purpose: `list the blocks of ${key}`,
        right: 'read',
        send: (client) =>
          client
            .blob(key)
            .getBlockList('uncommitted', abortedBy(signal))
            .catch((error: unknown) => {
              if ((refusalOf(error)?.status ?? 400) >= 300) throw error;
              throw new CacheError('FAILED', 'its answer is no list of blocks', { cause: error });
            }),
      },
      signal,
    );
    const there = new Map(uncommittedBlocks.map(({ name, size }) => [name, size]));
    const [id] = there.keys();
    const length = id === undefined ? ID_LENGTH : Buffer.from(id, 'base64').length;
    return { there, idLength: length < LEAST_ID ? ID_LENGTH : length };
  } catch (error) {
    signal?.throwIfAborted();
    // Who may not read sends all blocks, as does who finds a service that does not list them.
    if (!(error instanceof AzblobFailure || error instanceof CacheError)) throw error;
    return { there: new Map(), idLength: ID_LENGTH };
  }
}

function writing(key: string) {
  return { purpose: `write ${key}`, right: 'write', makesContainer: true } as const;
}

/**
 * The id of a block, which says what its bytes are. So no blob is made of the blocks of two writers unless they are the same,
 * and a block that an earlier run has sent can be told from any other. Programs that count their blocks, or give them random
 * ids (Azure's client for Go, chunkwriting.go, newUUIDBlockID), never have such an id.
 *
 * @param length - in bytes, at least 20 and at most 64
 */
export function blockId(bytes: Uint8Array, number: number, length = ID_LENGTH): string {
  const id = Buffer.alloc(Math.max(length, ID_LENGTH));
  id.writeUInt32BE(number);
  createHash('sha256').update(bytes).digest().copy(id, 4);
  return id.subarray(0, length).toString('base64');
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
