/** What went wrong, as far as a caller can act on it. */
export type ErrorCode = 'FAILED' | 'USAGE' | 'NOT_FOUND' | 'CORRUPT' | 'BUSY' | 'ABORTED';

/** Which end of a copy an error belongs to. */
export type Side = 'import' | 'export';

export interface CacheErrorOptions {
  /** What to do next, in one sentence. */
  readonly hint?: string | undefined;
  readonly side?: Side | undefined;
  /** What should have been there, where something was compared, and what was: a digest, a number of bytes. */
  readonly expected?: string | undefined;
  readonly found?: string | undefined;
  readonly cause?: unknown;
}

/** Every error that bkcache raises on purpose. Anything else that escapes is a defect of bkcache. */
export class CacheError extends Error {
  override readonly name = 'CacheError';
  readonly code: ErrorCode;
  readonly hint: string | undefined;
  readonly side: Side | undefined;
  readonly expected: string | undefined;
  readonly found: string | undefined;

  constructor(code: ErrorCode, message: string, options: CacheErrorOptions = {}) {
    super(message, options.cause === undefined ? {} : { cause: options.cause });
    this.code = code;
    this.hint = options.hint;
    this.side = options.side;
    this.expected = options.expected;
    this.found = options.found;
  }
}

const EXIT_CODES = {
  FAILED: 1,
  USAGE: 2,
  NOT_FOUND: 3,
  CORRUPT: 4,
  BUSY: 5,
  ABORTED: 130,
} as const satisfies Record<ErrorCode, number>;

/** The exit code of the command for whatever was thrown. */
export function exitCode(error: unknown): number {
  return error instanceof CacheError ? EXIT_CODES[error.code] : EXIT_CODES.FAILED;
}

/** Whether an error carries one of these codes of the operating system (`ENOENT`, `ENOSPC`, …), or any when none is named. */
export function isSystemError(error: unknown, ...codes: readonly string[]): error is NodeJS.ErrnoException {
  if (!(error instanceof Error) || !('code' in error)) return false;
  return codes.length === 0 ? 'syscall' in error : codes.includes(String(error.code));
}
