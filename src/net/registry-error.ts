import * as v from 'valibot';
import type { HttpResponse } from './http.js';

/** What a registry said when it refused: distribution-spec, "Error Codes". */
export interface RegistryFault {
  /** Such as MANIFEST_INVALID; undefined when it did not answer in the registries' form. */
  readonly code: string | undefined;
  readonly text: string;
}

/** The most of an error that is read, in bytes; and shown, in characters. */
const BODY_LIMIT = 64 * 1024;
const TEXT_LIMIT = 500;

const faultSchema = v.object({
  errors: v.pipe(
    v.array(v.object({ code: v.nullish(v.string()), message: v.nullish(v.string()), detail: v.optional(v.unknown()) })),
    v.minLength(1),
  ),
});

/** Reads what a registry says of a refusal. */
export async function faultOf({ body, headers, status }: HttpResponse): Promise<RegistryFault> {
  const text = await readSome(body);
  const parsed = v.safeParse(v.pipe(v.string(), v.parseJson(), faultSchema), text);
  if (parsed.success) {
    const [first] = parsed.output.errors;
    const said = parsed.output.errors.map(({ code, message, detail }) => [code, message, detailText(detail)]);
    const lines = said.map((parts) => parts.filter((part) => part !== undefined && part !== null && part !== ''));
    return { code: first?.code ?? undefined, text: printable(lines.map((parts) => parts.join(': ')).join('; ')) };
  }
  const isPage = /html/.test(headers['content-type'] ?? '');
  const said = isPage ? '' : printable(text);
  return { code: undefined, text: said === '' ? `HTTP ${status}` : `HTTP ${status}: ${said}` };
}

function detailText(detail: unknown): string | undefined {
  if (detail === undefined || detail === null || detail === '') return undefined;
  const text = typeof detail === 'string' ? detail : JSON.stringify(detail);
  return text === '{}' || text === '[]' ? undefined : text;
}

async function readSome(body: AsyncIterable<Uint8Array>): Promise<string> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  try {
    for await (const chunk of body) {
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
