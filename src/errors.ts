import { constants } from 'node:os';

/**
 * The kind of an error, for callers that decide by it.
 *
 * - UNREACHABLE: a service did not answer, sent an answer that cannot be used, or is not available now.
 * - DENIED: a service refused a request, or needs credentials that cannot be read.
 */
export type ErrorCode = 'FAILED' | 'USAGE' | 'NOT_FOUND' | 'CORRUPT' | 'BUSY' | 'UNREACHABLE' | 'DENIED' | 'ABORTED';

/** The side of a copy that an error belongs to. */
export type Side = 'import' | 'export';

/** What is wrong with a blob, a document, or a statement of a document about a blob. */
export type Wrong =
  | 'size'
  | 'digest'
  /** The diffID in a descriptor or config: the digest of the uncompressed layer. */
  | 'diffID'
  /** The digest of an eStargz layer's table of contents in a descriptor. */
  | 'toc'
  | 'mediaType'
  | 'createdAt'
  /** The history of an image config. */
  | 'history'
  /** The links and layers of a cacheconfig. */
  | 'graph'
  /** The bytes are not what the media type promises: no JSON, no gzip, fields of other kinds. */
  | 'format'
  /** A manifest that is of two kinds at once. */
  | 'shape'
  /** Zeros behind the end of a gzip stream. */
  | 'padding'
  /** More bytes than the limit. */
  | 'limit'
  | 'missing'
  /** The operating system refuses or fails to read a file. */
  | 'unreadable'
  /** A link or folder in the place of a file. */
  | 'notAFile';

/** The details of an error besides its code and its message. */
export interface ErrorDetails {
  /** What to do next, in one sentence. */
  readonly hint?: string | undefined;
  readonly side?: Side | undefined;
  /** What was compared: the value that a document states, and the value that was found. A digest, a number of bytes. */
  readonly wrong?: Wrong | undefined;
  readonly expected?: string | undefined;
  readonly found?: string | undefined;
  /** The wrong field of a JSON document, such as `layers.0.size`; empty for the whole document. */
  readonly field?: string | undefined;
}

export interface CacheErrorOptions extends ErrorDetails {
  readonly cause?: unknown;
}

/** A CacheError as JSON: without cause and stack. */
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

  /** The same error with a side. An error that has a side keeps that side. */
  on(side: Side): CacheError {
    return this.side === undefined ? this.remade(this.message, { ...this.options, side }) : this;
  }

  /** The same error with another message. */
  saying(message: string): CacheError {
    return this.remade(message, this.options);
  }

  toJSON(): PlainCacheError {
    const { cause: _, ...details } = this.options;
    return { code: this.code, message: this.message, ...details };
  }

  /** The constructor's options. A subclass with more fields adds them here and in `remade`. */
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

/** The exit code of the command for a thrown value. */
export function exitCode(error: unknown): number {
  return error instanceof CacheError ? EXIT_CODES[error.code] : EXIT_CODES.FAILED;
}

/**
 * Whether a service could not be reached or refused the request. Such an error says nothing about the blobs behind the
 * service, and must not count as damage.
 */
export function isOutOfReach(error: unknown): boolean {
  return error instanceof CacheError && (error.code === 'UNREACHABLE' || error.code === 'DENIED');
}

/**
 * Runs an exported call. Every error after the abort of its signal becomes ABORTED.
 *
 * @throws CacheError ABORTED, whose cause is the signal's reason
 */
export async function abortable<T>(signal: AbortSignal | undefined, run: () => Promise<T>): Promise<T> {
  try {
    signal?.throwIfAborted();
    return await run();
  } catch (error) {
    if (signal?.aborted !== true) throw firstError(error);
    const { reason } = signal as { readonly reason: unknown };
    throw new CacheError('ABORTED', reason instanceof Error ? reason.message : 'the call was aborted', {
      cause: reason,
    });
  }
}

/** What ended a block, where closing what the block had open failed as well: `using` throws a SuppressedError then. */
function firstError(error: unknown): unknown {
  const isSuppressed = error instanceof Error && error.name === 'SuppressedError' && 'suppressed' in error;
  return isSuppressed ? firstError(error.suppressed) : error;
}

/** Whether an error has one of these codes of the operating system (`ENOENT`, `ENOSPC`, …); without codes: any of them. */
export function isSystemError(error: unknown, ...codes: readonly string[]): error is NodeJS.ErrnoException {
  if (!(error instanceof Error) || !('code' in error)) return false;
  return codes.length === 0 ? 'syscall' in error : codes.includes(systemCode(error as NodeJS.ErrnoException));
}

/** The code of a system error. For codes unknown to libuv, such as EDQUOT, Node gives only the number. */
export function systemCode({ code, errno }: NodeJS.ErrnoException): string {
  const name = String(code);
  if (errno === undefined || !name.startsWith('Unknown system error')) return name;
  return Object.entries(constants.errno).find(([, number]) => number === -errno)?.[0] ?? name;
}
