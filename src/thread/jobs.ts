import { CacheError, isSystemError, systemCode, type PlainCacheError } from '../errors.js';
import type { JobFiles } from './job-files.js';

/**
 * What a thread does with the files of a job. Its input and its result go from thread to thread, and so are plain data.
 * Files in the input are named by their descriptors, which all threads of a process share; the caller closes them.
 */
export type Task = (input: never, files: JobFiles) => unknown;

/** A task, by the module that exports it, and its input. */
export interface Job<T extends Task> {
  readonly module: URL;
  /** The name under which the module exports the task. */
  readonly task: string;
  readonly input: Parameters<T>[0];
}

/** A job on its way to a thread, with the gate that the thread passes for each touch of a file. */
export interface JobMessage {
  readonly module: string;
  readonly task: string;
  readonly input: unknown;
  readonly gate: SharedArrayBuffer;
}

/** What a thread says: how many bytes it read since the last time, and how the job ended. */
export type Message =
  | { readonly kind: 'read'; readonly bytes: number }
  | { readonly kind: 'done'; readonly result: unknown }
  | { readonly kind: 'failed'; readonly error: PlainError };

/** An error on its way between threads, where classes and additional fields are lost. */
interface PlainError {
  readonly message: string;
  readonly stack?: string | undefined;
  /** The fields of a CacheError. */
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
