import type { Answer, AnswerHeaders, AnswerStream, Request } from './request.js';
import { header } from './request.js';

/** Something that can be read in parts, and is open until it is disposed of. */
export interface OpenContent extends AsyncDisposable {
  /** In bytes. */
  readonly size: number;
  /** Bytes `start` up to, and not including, `end`. */
  read(start: number, end: number): AsyncIterable<Uint8Array>;
}

/** A part of some content: bytes `start` up to, and not including, `end`. */
export interface Part {
  readonly start: number;
  readonly end: number;
}

/**
 * The part that a Range header asks for (RFC 9110, section 14.1.2).
 *
 * @returns undefined for the whole: without a header, for other units, for several ranges, and for what is no range
 */
export function partOf(text: string | undefined, size: number): Part | 'unsatisfiable' | undefined {
  const [, first = '', last = ''] = /^bytes= *(\d*)-(\d*) *$/i.exec(text ?? '') ?? [];
  if (first === '' && last === '') return undefined;
  if (first === '') {
    const length = Math.min(Number(last), size);
    return length === 0 ? 'unsatisfiable' : { start: size - length, end: size };
  }
  const start = Number(first);
  const end = last === '' ? size : Math.min(Number(last) + 1, size);
  return start >= end ? 'unsatisfiable' : { start, end };
}

/** Whether one of the entity tags in If-Match or If-None-Match is this one (RFC 9110, section 13.1). */
export function matches(condition: string, tag: string): boolean {
  return condition
    .split(',')
    .map((one) => one.trim().replace(/^W\//, ''))
    .some((one) => one === '*' || one === tag);
}

/**
 * Answers GET and HEAD with content that never changes under its entity tag: conditions and ranges as RFC 9110 has them.
 *
 * @param open - is disposed of by the answer
 * @param tag - the entity tag, in quotes
 */
export async function contentAnswer(
  request: Request,
  open: OpenContent,
  { tag, ...headers }: AnswerHeaders & { readonly tag: string },
): Promise<Answer> {
  const { size } = open;
  const known = { ...headers, etag: tag, 'accept-ranges': 'bytes' };
  const without = async (status: number, more: AnswerHeaders = {}): Promise<Answer> => {
    await open[Symbol.asyncDispose]();
    return { status, headers: { ...known, ...more }, found: true };
  };
  const [ifMatch, ifNoneMatch] = [header(request, 'if-match'), header(request, 'if-none-match')];
  if (ifMatch !== undefined && !matches(ifMatch, tag)) return without(412, { 'content-length': '0' });
  if (ifNoneMatch !== undefined && matches(ifNoneMatch, tag)) return without(304);
  if (request.method === 'HEAD') return without(200, { 'content-length': `${size}` });
  const ifRange = header(request, 'if-range');
  const asked = ifRange === undefined || ifRange === tag ? header(request, 'range') : undefined;
  const part = partOf(asked, size);
  if (part === 'unsatisfiable') return without(416, { 'content-range': `bytes */${size}`, 'content-length': '0' });
  const { start, end } = part ?? { start: 0, end: size };
  const body: AnswerStream = {
    bytes: () => open.read(start, end),
    [Symbol.asyncDispose]: () => open[Symbol.asyncDispose](),
  };
  const length = { 'content-length': `${end - start}` };
  if (part === undefined) return { status: 200, headers: { ...known, ...length }, body, found: true };
  const range = { 'content-range': `bytes ${start}-${end - 1}/${size}` };
  return { status: 206, headers: { ...known, ...length, ...range }, body, found: true };
}
