import * as v from 'valibot';
import { decoded } from '../http/content-encoding.js';
import type { HttpResponse } from '../http/http.js';

/** What a registry said when it refused: distribution-spec, "Error Codes". */
export interface Reason {
  /** Whether it came in the registries' form: codes, such as MANIFEST_INVALID, with messages. */
  readonly isFormal: boolean;
  readonly text: string;
}

/** The most of an error that is read, in bytes; and shown, in characters. */
const BODY_LIMIT = 64 * 1024;
const TEXT_LIMIT = 500;

const errorsSchema = v.object({
  errors: v.pipe(
    v.array(v.object({ code: v.nullish(v.string()), message: v.nullish(v.string()), detail: v.optional(v.unknown()) })),
    v.minLength(1),
  ),
});

/**
 * Reads why something was refused.
 *
 * @param isSecret - whether a text has anything in it that must not be shown
 * @returns undefined when the answer says nothing that can be shown
 */
export async function reasonIn(
  response: HttpResponse,
  isSecret: (text: string) => boolean,
): Promise<Reason | undefined> {
  const said = await readSome(response);
  if (isSecret(said)) return undefined;
  const parsed = v.safeParse(v.pipe(v.string(), v.parseJson(), errorsSchema), said);
  const isPage = !parsed.success && /html/.test(response.headers['content-type'] ?? '');
  const text = parsed.success ? textOf(parsed.output) : isPage ? '' : said;
  // What was escaped before may be readable now.
  const line = isSecret(text) ? '' : printable(text);
  return line === '' ? undefined : { isFormal: parsed.success, text: line };
}

/** A refusal in one line. */
export function refusalText(status: number, reason: Reason | undefined): string {
  if (reason === undefined) return `HTTP ${status}`;
  return reason.isFormal ? `${reason.text} (HTTP ${status})` : `HTTP ${status}: ${reason.text}`;
}

function textOf({ errors }: v.InferOutput<typeof errorsSchema>): string {
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
    // What came is all there is to say: the status was an error already.
  }
  return Buffer.concat(chunks).toString('utf8').trim();
}

/** Text of a stranger's, fit for a terminal and a log. */
function printable(text: string): string {
  const line = text.replace(/[\p{Cc}\s]+/gu, ' ').trim();
  return line.length > TEXT_LIMIT ? `${line.slice(0, TEXT_LIMIT)}…` : line;
}
