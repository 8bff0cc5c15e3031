import type { IncomingHttpHeaders } from 'node:http';
import type { Access } from './access.js';

/** A request as handlers see it: no handler knows of a socket. */
export interface Request {
  readonly method: string;
  /** The path as it was sent, without the query. */
  readonly path: string;
  readonly query: URLSearchParams;
  readonly headers: IncomingHttpHeaders;
  /** The bytes of the body, which are read once. They end early, with an error, when the client goes away. */
  readonly body: AsyncIterable<Uint8Array>;
  /** What the caller may do. */
  readonly access: Access;
}

/** Headers of an answer; several values make several lines. */
export type AnswerHeaders = Readonly<Record<string, string | readonly string[]>>;

/** The answer of a handler. */
export interface Answer {
  readonly status: number;
  readonly headers?: AnswerHeaders;
  /** Bytes in memory, or a stream whose length stands in `content-length`. The server sends none of them for HEAD. */
  readonly body?: Uint8Array | AnswerStream;
  /** Whether something that was asked for was here, for the metrics. Left out for other requests. */
  readonly found?: boolean;
}

/** Bytes that are read while they are sent. Disposal closes what they are read from, sent or not. */
export interface AnswerStream extends AsyncDisposable {
  bytes(): AsyncIterable<Uint8Array>;
}

/** Answers a request. A thrown `Refusal` is an answer, too. */
export type Handler = (request: Request) => Promise<Answer>;

/** An answer that ends a handler at once. */
export class Refusal extends Error {
  override readonly name = 'Refusal';
  readonly answer: Answer;

  constructor(answer: Answer, message: string) {
    super(message);
    this.answer = answer;
  }
}

/** Thrown by a body whose client has sent less than it announced, or nothing for too long. */
export class ClientGone extends Error {
  override readonly name = 'ClientGone';
}

/** A document in JSON. */
export function jsonAnswer(status: number, value: unknown, headers: AnswerHeaders = {}): Answer {
  const body = Buffer.from(JSON.stringify(value));
  return { status, headers: { 'content-type': 'application/json', ...headers }, body };
}

/** A line of text. */
export function textAnswer(status: number, text: string, headers: AnswerHeaders = {}): Answer {
  return {
    status,
    headers: { 'content-type': 'text/plain; charset=utf-8', ...headers },
    body: Buffer.from(`${text}\n`),
  };
}

/** The only value of a header. */
export function header({ headers }: Request, name: string): string | undefined {
  const value = headers[name];
  return Array.isArray(value) ? value.join(', ') : value;
}

/** The length that the client announces, in bytes; undefined for a body of unknown length. */
export function announcedLength(request: Request): number | undefined {
  const text = header(request, 'content-length');
  return text === undefined ? undefined : Number(text);
}
