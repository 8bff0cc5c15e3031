import { CacheError } from '../errors.js';
import { unquote } from './go-strings.js';
import { stringEnd } from './json.js';

/** encoding/json, decode.go (maxNestingDepth). */
const DEPTH_LIMIT = 10_000;
/** How much of a wrong value a message shows, in characters. */
const FOUND_LIMIT = 200;

/** The character codes of JSON syntax. */
export const CODE = {
  quote: 0x22,
  backslash: 0x5c,
  comma: 0x2c,
  colon: 0x3a,
  bracket: 0x5b,
  bracketEnd: 0x5d,
  brace: 0x7b,
  braceEnd: 0x7d,
  minus: 0x2d,
  n: 0x6e,
  t: 0x74,
  f: 0x66,
} as const;

/**
 * JSON text with a read position: the tokens of encoding/json (scanner.go), one after another. The text is Latin-1, one
 * character for each byte; strings with bytes outside ASCII are decoded as UTF-8.
 */
export class JsonInput {
  readonly text: string;
  readonly #where: string;
  #at = 0;
  #depth = 0;
  /** Whether the last string was ASCII without escapes. */
  #isPlain = true;

  /** @param where - the file or blob of the document, for messages */
  constructor(bytes: Uint8Array, where: string) {
    this.text = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('latin1');
    this.#where = where;
  }

  /** The offset after the last token; after `next`, the offset of the next token. */
  get at(): number {
    return this.#at;
  }

  /** The first character of the next token, without reading it; NaN at the end. */
  next(): number {
    for (let code = this.text.charCodeAt(this.#at); ; code = this.text.charCodeAt(++this.#at)) {
      if (code !== 0x20 && code !== 0x0a && code !== 0x0d && code !== 0x09) return code;
    }
  }

  /** Reads a character that must be the next token. */
  expect(code: number): void {
    if (this.next() !== code) throw this.#syntax();
    this.#at++;
  }

  /** Reads the start of an object or list. */
  open(code: number): void {
    this.expect(code);
    if (++this.#depth > DEPTH_LIMIT) {
      throw new CacheError('CORRUPT', `${this.#where} is nested more than ${DEPTH_LIMIT} levels deep`);
    }
  }

  /**
   * Whether another member or item follows in the open object or list. Reads the comma, or the end.
   *
   * @param isFirst - whether no member or item was read yet
   */
  more(end: number, isFirst: boolean): boolean {
    const code = this.next();
    if (code === end) {
      this.#at++;
      this.#depth--;
      return false;
    }
    if (isFirst) return true;
    if (code !== CODE.comma) throw this.#syntax();
    this.#at++;
    return true;
  }

  /** Reads a key and its colon. */
  key(): string {
    const key = this.string();
    this.expect(CODE.colon);
    return key;
  }

  string(): string {
    const raw = this.rawString();
    return this.#isPlain ? raw : unquote(raw);
  }

  /** Reads a string. @returns the raw text between its quotes */
  rawString(): string {
    const start = this.#string();
    return this.text.slice(start + 1, this.#at - 1);
  }

  /** Reads a string. @returns the offset of its first quote */
  #string(): number {
    const { text } = this;
    if (this.next() !== CODE.quote) throw this.#syntax();
    const start = this.#at;
    this.#isPlain = true;
    for (let at = start + 1; ; at++) {
      const code = text.charCodeAt(at);
      if (code === CODE.quote) {
        this.#at = at + 1;
        return start;
      }
      if (code >= 0x20 && code < 0x80 && code !== CODE.backslash) continue;
      if (code < 0x20 || Number.isNaN(code)) throw this.#syntaxAt(at);
      this.#isPlain = false;
      if (code === CODE.backslash) at = this.#escape(at);
    }
  }

  /** @returns the last character of an escape */
  #escape(at: number): number {
    const kind = this.text[at + 1] ?? '';
    if (kind === 'u' && /^[\da-fA-F]{4}$/.test(this.text.slice(at + 2, at + 6))) return at + 5;
    if (kind === '' || !'bfnrt\\/"'.includes(kind)) throw this.#syntaxAt(at + 1);
    return at + 1;
  }

  /** Reads a number. @returns its text */
  number(): string {
    const { text } = this;
    const start = this.#at;
    const integer = text.charCodeAt(start) === CODE.minus ? start + 1 : start;
    let at = text[integer] === '0' ? integer + 1 : this.#digits(integer);
    if (text[at] === '.') at = this.#digits(at + 1);
    if (text[at] === 'e' || text[at] === 'E') {
      at = this.#digits(text[at + 1] === '+' || text[at + 1] === '-' ? at + 2 : at + 1);
    }
    this.#at = at;
    return text.slice(start, at);
  }

  #digits(start: number): number {
    let at = start;
    while (isDigit(this.text.charCodeAt(at))) at++;
    if (at === start) throw this.#syntaxAt(at);
    return at;
  }

  /** Reads `null`, `true` or `false`. */
  literal(word: string): void {
    if (!this.text.startsWith(word, this.#at)) throw this.#syntax();
    this.#at += word.length;
  }

  /** Reads `null` if it is the next value. */
  isNull(): boolean {
    if (this.next() !== CODE.n) return false;
    this.literal('null');
    return true;
  }

  /** Whether a string is the next value. */
  isString(): boolean {
    return this.next() === CODE.quote;
  }

  /** Reads a value of any kind. @returns its text */
  skip(): string {
    this.next();
    const start = this.#at;
    const ends: number[] = [];
    let isFirst = true;
    for (;;) {
      const end = ends.at(-1);
      if (end !== undefined) {
        if (!this.more(end, isFirst)) {
          ends.pop();
          isFirst = false;
          if (ends.length === 0) return this.text.slice(start, this.#at);
          continue;
        }
        if (end === CODE.braceEnd) this.#keyPassed();
      }
      const opened = this.#skipStart();
      isFirst = opened !== undefined;
      if (opened !== undefined) ends.push(opened);
      else if (ends.length === 0) return this.text.slice(start, this.#at);
    }
  }

  #keyPassed(): void {
    this.#string();
    this.expect(CODE.colon);
  }

  /** Reads a scalar, or the start of an object or list. @returns the character that ends the object or list */
  #skipStart(): number | undefined {
    const code = this.next();
    if (code === CODE.brace || code === CODE.bracket) {
      this.open(code);
      return code === CODE.brace ? CODE.braceEnd : CODE.bracketEnd;
    }
    if (code === CODE.quote) this.#string();
    else if (code === CODE.n) this.literal('null');
    else if (code === CODE.t) this.literal('true');
    else if (code === CODE.f) this.literal('false');
    else if (code === CODE.minus || isDigit(code)) this.number();
    else throw this.#syntax();
    return undefined;
  }

  /** Checks that only spaces follow. */
  end(): void {
    if (!Number.isNaN(this.next())) throw this.#syntax();
  }

  /** The error for a next value of the wrong kind. */
  mismatch(expected: string): CacheError {
    this.next();
    const start = this.#at;
    // `skip` throws the error for invalid JSON first.
    const found = shortened(this.skip());
    return this.#error(fieldAt(this.text, start), `expected ${expected} but found ${found}`, expected, found);
  }

  /**
   * The error for a value of the right kind that is invalid.
   *
   * @param start - the offset of the value, or of the object with the value in `field`
   * @param found - the value, for the message
   */
  invalid(start: number, found: string, fault: string, field?: string): CacheError {
    const path = fieldAt(this.text, start);
    const shown = shortened(found);
    const name = field === undefined ? path : path === '' ? field : `${path}.${field}`;
    return this.#error(name, `${shown} is ${fault}`, fault, shown);
  }

  #error(field: string, message: string, expected: string, found: string): CacheError {
    const where = field === '' ? 'the document' : field;
    return new CacheError('CORRUPT', `${this.#where}: ${where}: ${message}`, { field, expected, found });
  }

  #syntax(): CacheError {
    return this.#syntaxAt(this.#at);
  }

  #syntaxAt(at: number): CacheError {
    const { text } = this;
    if (text.startsWith('\u00ef\u00bb\u00bf')) {
      return new CacheError('CORRUPT', `${this.#where} is not JSON: it begins with a byte order mark`, {
        hint: 'BuildKit refuses it; save it as UTF-8 without a byte order mark',
      });
    }
    const isEnd = at >= text.length;
    const fault = isEnd ? 'unexpected end' : `unexpected ${JSON.stringify(text[at])} at byte ${at}`;
    const hint = text.trim() === '' ? 'the file is empty' : 'the file was probably cut short or overwritten';
    return new CacheError('CORRUPT', `${this.#where} is not JSON: ${fault}`, { hint });
  }
}

export function isDigit(code: number): boolean {
  return code >= 0x30 && code <= 0x39;
}

function shortened(text: string): string {
  return text.length > FOUND_LIMIT ? `${text.slice(0, FOUND_LIMIT)}…` : text;
}

/** The keys and indexes of an offset in JSON, such as `layers.0.blob`. The text before the offset must be valid. */
function fieldAt(text: string, place: number): string {
  const path: (string | number)[] = [];
  for (let at = 0; at < place; at++) {
    const character = text[at];
    const last = path.at(-1);
    if (character === '{') path.push('');
    else if (character === '[') path.push(0);
    else if (character === '}' || character === ']') path.pop();
    else if (character === ',' && typeof last === 'number') path[path.length - 1] = last + 1;
    else if (character === '"') {
      const end = stringEnd(text, at);
      if (typeof last === 'string' && /^\s*:/.test(text.slice(end, end + FOUND_LIMIT))) {
        path[path.length - 1] = unquote(text.slice(at + 1, end - 1));
      }
      at = end - 1;
    }
  }
  return path.filter((part) => part !== '').join('.');
}
