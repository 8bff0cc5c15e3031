import * as v from 'valibot';
import { CacheError, type CacheErrorOptions } from '../../errors.js';
import { decoded } from '../http/content-encoding.js';
import type { HttpRequest, HttpResponse } from '../http/http.js';
import { isTransient, TransientError } from '../http/retry.js';

/** The reason that a registry gives for a refusal: distribution-spec, "Error Codes". */
interface Reason {
  /** Whether the reason has the form of the specification: codes, such as MANIFEST_INVALID, with messages. */
  readonly isFormal: boolean;
  readonly text: string;
}

/** How much of a response is read, in bytes; and how much of its text is shown, in characters. */
const BODY_LIMIT = 64 * 1024;
const TEXT_LIMIT = 500;

const errorsSchema = v.object({
  errors: v.pipe(
    v.array(v.object({ code: v.nullish(v.string()), message: v.nullish(v.string()), detail: v.optional(v.unknown()) })),
    v.minLength(1),
  ),
});

/**
 * Reads the reason of a refusal.
 *
 * @param isSecret - whether a text contains a secret
 * @returns undefined when the response has no text that can be shown
 */
export async function reasonIn(
  response: HttpResponse,
  isSecret: (text: string) => boolean,
): Promise<Reason | undefined> {
  const said = await readSome(response);
  if (isSecret(said)) return undefined;
  const parsed = v.safeParse(v.pipe(v.string(), v.parseJson(), errorsSchema), said);
  const isPage = !parsed.success && /html/.test(response.headers['content-type'] ?? '');
  const text = parsed.success ? textOfErrors(parsed.output) : isPage ? '' : said;
  // Parsing has removed escapes that may have hidden a secret.
  const line = isSecret(text) ? '' : printable(text);
  return line === '' ? undefined : { isFormal: parsed.success, text: line };
}

/** The status in an error of `refusal`, as its cause. */
class RefusedStatus extends Error {
  readonly status: number;

  constructor(status: number) {
    super(`HTTP ${status}`);
    this.status = status;
  }
}

/** The HTTP status that an error of `refusal` is about; undefined for other errors. */
export function statusOf(error: unknown): number | undefined {
  return error instanceof CacheError && error.cause instanceof RefusedStatus ? error.cause.status : undefined;
}

/**
 * The error for a response with a status that the caller does not handle.
 *
 * @param retryAfter - the pause that the response asks for, in milliseconds
 */
export function refusalError(
  message: string,
  {
    method,
    status,
    retryAfter,
    ...details
  }: CacheErrorOptions & {
    readonly method: HttpRequest['method'];
    readonly status: number;
    readonly retryAfter: number | undefined;
  },
): CacheError {
  const options = { ...details, cause: new RefusedStatus(status) };
  if (isTransient(status)) return new TransientError(message, { ...options, retryAfter });
  // A 404 to a request that writes refuses what was sent; nothing that was requested is missing.
  if (status === 404 && (method === 'GET' || method === 'HEAD')) return new CacheError('NOT_FOUND', message, options);
  // A status below 400, such as a redirect without a target, is no refusal, and the response cannot be used.
  return new CacheError(status >= 400 ? 'DENIED' : 'UNREACHABLE', message, options);
}

/** A refusal in one line. */
export function refusalText(status: number, reason: Reason | undefined): string {
  if (reason === undefined) return `HTTP ${status}`;
  return reason.isFormal ? `${reason.text} (HTTP ${status})` : `HTTP ${status}: ${reason.text}`;
}

function textOfErrors({ errors }: v.InferOutput<typeof errorsSchema>): string {
  const said = errors.map(({ code, message, detail }) => [code, message, detailText(detail)]);
  const lines = said.map((parts) => parts.filter((part) => part !== undefined && part !== null && part !== ''));
  return lines.map((parts) => parts.join(': ')).join('; ');
}

function detailText(detail: unknown): string | undefined {
  if (detail === undefined || detail === null || detail === '') return undefined;
  const text = typeof detail === 'string' ? detail : JSON.stringify(detail);
  return text === '{}' || text === '[]' ? undefined : text;
}

async function readSome(response: HttpResponse): Promise<string> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  try {
    for await (const chunk of decoded(response)) {
      chunks.push(chunk);
      size += chunk.length;
      if (size >= BODY_LIMIT) break;
    }
  } catch {
    // The part that arrived is enough: the status is an error already.
  }
  return Buffer.concat(chunks).toString('utf8').trim();
}

/** The text of a server, safe for a terminal and a log. */
function printable(text: string): string {
  const line = text.replace(/[\p{Cc}\s]+/gu, ' ').trim();
  return line.length > TEXT_LIMIT ? `${line.slice(0, TEXT_LIMIT)}…` : line;
}
