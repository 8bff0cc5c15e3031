import { setTimeout as sleep } from 'node:timers/promises';
import { CacheError } from '../../../errors.js';
import type { BlobId } from '../../../oci/descriptor.js';
import { blobKey, blobKeyAgain } from './cache-keys.js';
import { ExpiredUpload, type Reservation } from './cache-service.js';
import { GhaFailure } from './gha-error.js';
import type { GhaPlace } from './gha-place.js';

/** How an export waits for another one. In milliseconds. */
export interface UploadTimes {
  /** How long all blobs together wait for uploads of others that do not end. */
  readonly blobs: number;
  /** Between two looks for the number of an index, and how long in all: go-actions-cache, SaveMutable. */
  readonly indexPause: number;
  readonly index: number;
}

export const UPLOAD_TIMES: UploadTimes = { blobs: 30_000, indexPause: 2000, index: 15_000 };

/** How many keys a blob may have. */
const MOST_KEYS = 5;
const FIRST_LOOK = 500;

/** Stores blobs as entries. The keys of two writers never stand for an upload that nobody can read. */
export class BlobUploads {
  readonly #place: GhaPlace;
  readonly #times: UploadTimes;
  /** Until when all uploads wait together, in milliseconds since 1970. */
  #until: number | undefined;

  constructor(place: GhaPlace, times: UploadTimes) {
    this.#place = place;
    this.#times = times;
  }

  /**
   * Stores a blob. Where its key is reserved, another run is storing it, or has crashed: the blob counts as stored only when
   * it can be found. After a while it is stored under a longer key, by whose beginning BuildKit and bkcache find it.
   *
   * @param open - the bytes, from the start with each call
   */
  async store(
    open: () => AsyncIterable<Uint8Array>,
    { digest, size }: BlobId,
    signal: AbortSignal | undefined,
  ): Promise<void> {
    const { service, connection } = this.#place;
    const retry = new UploadRetry();
    for (let attempt = 0; attempt < MOST_KEYS; attempt++) {
      const key = attempt === 0 ? blobKey(digest) : blobKeyAgain(digest, attempt);
      const reservation = await service.reserve(key, signal);
      if (typeof reservation !== 'string') {
        if (await retry.upload(this.#place, key, reservation, { open, size }, signal)) return;
        continue;
      }
      // Without the right to read, this is what BuildKit does always.
      if (this.#place.isBlind) return;
      const isOwn = reservation === 'own' || attempt > 0;
      if (await this.#comesIn({ digest, size }, isOwn, signal)) return;
    }
    const { name, side } = connection;
    throw new CacheError('DENIED', `${name}: ${blobKey(digest)} is reserved for an upload that has not ended`, {
      hint: 'another run is writing this layer, or has crashed while it did: GitHub frees such a key in up to a day',
      side,
    });
  }

  /** Waits until another run has stored a blob. @param isOwn - nobody else has reserved the key */
  async #comesIn({ digest }: BlobId, isOwn: boolean, signal: AbortSignal | undefined): Promise<boolean> {
    for (let pause = FIRST_LOOK; ; pause *= 2) {
      if ((await this.#place.findBlob(digest, undefined, signal)) !== undefined) return true;
      if (isOwn) return false;
      if (this.#until === undefined) {
        this.#until = Date.now() + this.#times.blobs;
        this.#place.note('another run is writing layers of this cache: waiting for them');
      }
      const left = this.#until - Date.now();
      if (left <= 0) return false;
      await sleep(Math.min(pause, left), undefined, { signal });
    }
  }
}

/** What is uploaded: bytes that can be read again, and their number. */
interface Upload {
  readonly open: () => AsyncIterable<Uint8Array>;
  readonly size: number;
}

/** Uploads under one key after the other, where the right to write runs out: once. */
export class UploadRetry {
  #isRepeated = false;

  /** @returns false where the right to write has run out before the end */
  async upload(
    place: GhaPlace,
    key: string,
    reservation: Reservation,
    { open, size }: Upload,
    signal: AbortSignal | undefined,
  ): Promise<boolean> {
    try {
      await reservation.send(open(), size, signal);
      await reservation.commit(size, signal);
      return true;
    } catch (error) {
      if (error instanceof ExpiredUpload) {
        if (this.#isRepeated) throw error.described;
        this.#isRepeated = true;
        return false;
      }
      if (!(error instanceof GhaFailure)) throw error;
      // The answer to an earlier attempt may have got lost.
      if (error.mayBeOwn && (await place.find(key, signal))?.key === key) return true;
      throw error.described;
    }
  }
}
