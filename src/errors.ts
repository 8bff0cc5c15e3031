import { constants } from 'node:os';

/**
 * What went wrong, as far as a caller can act on it.
 *
 * - UNREACHABLE: a service could not be asked. It gave no answer, none that can be used, or said that it cannot now.
 * - DENIED: a service answered, and refused; or what it wants of the user cannot be given.
 */
export type ErrorCode = 'FAILED' | 'USAGE' | 'NOT_FOUND' | 'CORRUPT' | 'BUSY' | 'UNREACHABLE' | 'DENIED' | 'ABORTED';

/** Which end of a copy an error belongs to. */
export type Side = 'import' | 'export';

/** What is wrong with a blob, with a document, or with what one says of the other. */
export type Wrong =
  | 'size'
  | 'digest'
  /** The digest that is said of the uncompressed layer. */
  | 'diffID'
  /** The digest that is said of an eStargz layer's table of contents. */
  | 'toc'
  | 'mediaType'
  | 'createdAt'
  /** The steps of an image's config. */
  | 'history'
  /** The links and layers of a cacheconfig. */
  | 'graph'
  /** The bytes are not what the media type promises: no JSON, no gzip, fields of other kinds. */
  | 'format'
  /** A manifest that is of two kinds at once. */
  | 'shape'
  /** Zeros behind the end of a gzip stream. */
  | 'padding'
  /** More bytes than are read. */
  | 'limit'
  | 'missing'
  /** The system refuses or fails to read it. */
  | 'unreadable'
  /** A link or folder in the place of a file. */
  | 'notAFile';

/** What an error says beside its code and its message. */
export interface ErrorDetails {
  /** What to do next, in one sentence. */
  readonly hint?: string | undefined;
  readonly side?: Side | undefined;
  /** What was compared, where something was: what should have been there, and what was. A digest, a number of bytes. */
  readonly wrong?: Wrong | undefined;
  readonly expected?: string | undefined;
  readonly found?: string | undefined;
  /** The field of a JSON document that is wrong, such as `layers.0.size`; empty for the whole of it. */
  readonly field?: string | undefined;
}

export interface CacheErrorOptions extends ErrorDetails {
  readonly cause?: unknown;
}

/** A CacheError as JSON has it: without its cause and its stack. */
export interface PlainCacheError extends ErrorDetails {
  readonly code: ErrorCode;
  readonly message: string;
}

/** Every error that bkcache raises on purpose. Anything else that escapes is a defect of bkcache. */
export class CacheError extends Error {
  override readonly name = 'CacheError';
  readonly code: ErrorCode;
  readonly hint: string | undefined;
  readonly side: Side | undefined;
  readonly wrong: Wrong | undefined;
  readonly expected: string | undefined;
  readonly found: string | undefined;
  readonly field: string | undefined;

  constructor(code: ErrorCode, message: string, options: CacheErrorOptions = {}) {
    super(message, options.cause === undefined ? {} : { cause: options.cause });
    this.code = code;
    this.hint = options.hint;
    this.side = options.side;
    this.wrong = options.wrong;
    this.expected = options.expected;
    this.found = options.found;
    this.field = options.field;
  }

  /** This error, of a side. One that has a side keeps it. */
  on(side: Side): CacheError {
    return this.side === undefined ? this.remade(this.message, { ...this.options, side }) : this;
  }

  /** The same error in other words. */
  saying(message: string): CacheError {
    return this.remade(message, this.options);
  }

  toJSON(): PlainCacheError {
    const { cause: _, ...details } = this.options;
    return { code: this.code, message: this.message, ...details };
  }

  /** What it was made of. A class with more fields adds them here and in `remade`. */
  protected get options(): CacheErrorOptions {
    const { hint, side, wrong, expected, found, field, cause } = this;
    return { hint, side, wrong, expected, found, field, cause };
  }

  protected remade(message: string, options: CacheErrorOptions): CacheError {
    return new CacheError(this.code, message, options);
  }
}

const EXIT_CODES = {
  FAILED: 1,
  USAGE: 2,
  NOT_FOUND: 3,
  CORRUPT: 4,
  BUSY: 5,
  UNREACHABLE: 1,
  DENIED: 1,
  ABORTED: 130,
} as const satisfies Record<ErrorCode, number>;

/** The exit code of the command for whatever was thrown. */
export function exitCode(error: unknown): number {
  return error instanceof CacheError ? EXIT_CODES[error.code] : EXIT_CODES.FAILED;
}

/**
 * Whether an error says that a service could not be asked, and nothing of what is there. Whoever collects what is wrong
 * with a cache must not take it for damage.
 */
export function isOutOfReach(error: unknown): boolean {
  return error instanceof CacheError && (error.code === 'UNREACHABLE' || error.code === 'DENIED');
}

/**
 * Runs an exported call, and says of whatever ends it once its signal is aborted that this is why.
 *
 * @throws CacheError ABORTED, whose cause is the signal's reason
 */
export async function abortable<T>(signal: AbortSignal | undefined, run: () => Promise<T>): Promise<T> {
  try {
    signal?.throwIfAborted();
    return await run();
  } catch (error) {
    if (signal?.aborted !== true) throw error;
    const { reason } = signal as { readonly reason: unknown };
    throw new CacheError('ABORTED', reason instanceof Error ? reason.message : 'the call was aborted', {
      cause: reason,
    });
  }
}

/** Whether an error carries one of these codes of the operating system (`ENOENT`, `ENOSPC`, …), or any when none is named. */
export function isSystemError(error: unknown, ...codes: readonly string[]): error is NodeJS.ErrnoException {
  if (!(error instanceof Error) || !('code' in error)) return false;
  return codes.length === 0 ? 'syscall' in error : codes.includes(systemCode(error as NodeJS.ErrnoException));
}

/** The code of an error of the operating system: Node calls those that libuv has no name for, as EDQUOT, by their number. */
export function systemCode({ code, errno }: NodeJS.ErrnoException): string {
  const name = String(code);
  if (errno === undefined || !name.startsWith('Unknown system error')) return name;
  return Object.entries(constants.errno).find(([, number]) => number === -errno)?.[0] ?? name;
}
