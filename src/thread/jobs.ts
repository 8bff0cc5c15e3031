import { CacheError, isSystemError, systemCode, type PlainCacheError } from '../errors.js';
import type { BlobId } from '../oci/descriptor.js';
import type { Packed, RecompressOptions, Unpacked, UnpackOptions } from '../codec/recompress.js';

/** Work on one blob for a thread. Files are named by their descriptors, which all threads share; who asks closes them. */
export type Job =
  | {
      readonly kind: 'copy';
      readonly from: number;
      /** Left out where the bytes are only to be checked. */
      readonly to?: number;
      readonly expected: BlobId;
      readonly where: string;
    }
  | {
      readonly kind: 'recompress';
      readonly from: number;
      readonly to: number;
      readonly options: RecompressOptions;
    }
  | {
      readonly kind: 'unpack';
      readonly from: number;
      readonly options: UnpackOptions;
    };

/** A job, and the gate that the thread passes for each touch of its files. */
export interface Order {
  readonly job: Job;
  readonly gate: SharedArrayBuffer;
}

/** What each kind of job comes to. */
export interface JobResults {
  readonly copy: BlobId;
  readonly recompress: { readonly blob: BlobId; readonly packed: Packed };
  readonly unpack: Unpacked;
}

/** What a thread says: how many bytes it read since the last time, and how it ended. */
export type Message =
  | { readonly kind: 'read'; readonly bytes: number }
  | { readonly kind: 'done'; readonly result: JobResults[Job['kind']] }
  | { readonly kind: 'failed'; readonly error: PlainError };

/** An error on its way between threads, where classes and additional fields are lost. */
interface PlainError {
  readonly message: string;
  readonly stack?: string | undefined;
  /** What it was, where it was a CacheError. */
  readonly cache?: PlainCacheError;
  /** The code of the operating system. */
  readonly system?: { readonly code: string | undefined; readonly syscall: string | undefined };
}

export function toPlain(thrown: unknown): PlainError {
  const error = thrown instanceof Error ? thrown : new Error(String(thrown));
  const { message, stack } = error;
  if (error instanceof CacheError) return { message, stack, cache: error.toJSON() };
  if (!isSystemError(error)) return { message, stack };
  return { message, stack, system: { code: systemCode(error), syscall: error.syscall } };
}

export function fromPlain({ message, stack, cache, system }: PlainError): Error {
  const error =
    cache === undefined ? Object.assign(new Error(message), system) : new CacheError(cache.code, message, cache);
  if (stack !== undefined) error.stack = stack;
  return error;
}
