import { folded, unquote } from './go-strings.js';
import { goJsonOf, stringEnd } from './json.js';

/**
 * A value for a path of keys and list indexes; a missing last key is added. Keys match in any case, as Go matches fields;
 * names of annotations match exactly.
 */
export interface JsonEdit {
  readonly path: readonly (string | number)[];
  readonly value: unknown;
}

/**
 * Changes values in JSON, and keeps every other byte: spaces, the order of keys, the form of numbers, and unknown fields. An
 * added key is placed before the first key that sorts after it, as Go sorts map keys, with the spacing of its neighbours.
 *
 * @param json - bytes that `parseGo` has accepted
 * @throws RangeError for a path that does not exist
 */
export function editJson(json: Uint8Array, edits: readonly JsonEdit[]): Buffer {
  // Latin-1 maps every byte to one character and back. The syntax of JSON is ASCII.
  const text = Buffer.from(json).toString('latin1');
  const splices = edits.map((edit) => spliceFor(text, edit)).toSorted((a, b) => a.start - b.start);
  const parts: string[] = [];
  let at = 0;
  for (const { start, end, insert } of splices) {
    parts.push(text.slice(at, start), insert);
    at = end;
  }
  return Buffer.from(parts.join('') + text.slice(at), 'latin1');
}

/**
 * The texts of the values in an object or list, in order, with their keys or indexes.
 *
 * @param text - JSON that `parseGo` has accepted, as Latin-1 characters
 */
export function valueTexts(text: string): (readonly [key: string | number, text: string])[] {
  return Array.from(membersOf(text, skipSpace(text, 0)), ({ key, valueStart, end }) => [
    key,
    text.slice(valueStart, end),
  ]);
}

interface Splice {
  readonly start: number;
  readonly end: number;
  readonly insert: string;
}

/** The offsets of a key and its value, or of an item of a list. */
interface Member {
  readonly key: string | number;
  readonly start: number;
  readonly keyEnd: number;
  readonly valueStart: number;
  readonly end: number;
}

function spliceFor(text: string, { path, value }: JsonEdit): Splice {
  const insert = goJsonOf(value).toString('latin1');
  let at = skipSpace(text, 0);
  for (const [depth, key] of path.entries()) {
    const members = [...membersOf(text, at)];
    // The last of several equal keys counts, in Go as in JavaScript.
    const found = members.findLast((member) => isSame(member.key, key, path[depth - 1]));
    if (found !== undefined) {
      if (depth === path.length - 1) return { start: found.valueStart, end: found.end, insert };
      at = found.valueStart;
    } else if (depth === path.length - 1 && typeof key === 'string' && text[at] === '{') {
      return addition(text, at, members, key, insert);
    } else {
      break;
    }
  }
  throw new RangeError(`there is no ${path.join('.')} in this JSON`);
}

function isSame(a: string | number, b: string | number, parent: string | number | undefined): boolean {
  if (a === b || typeof a === 'number' || typeof b === 'number') return a === b;
  return parent !== 'annotations' && folded(a) === folded(b);
}

function addition(text: string, at: number, members: readonly Member[], key: string, value: string): Splice {
  const name = goJsonOf(key).toString('latin1');
  const next = members.find((member) => member.key > key);
  const neighbour = next ?? members.at(-1);
  if (neighbour === undefined) return { start: at + 1, end: at + 1, insert: `${name}:${value}` };
  const member = `${name}${text.slice(neighbour.keyEnd, neighbour.valueStart)}${value}`;
  const space = spaceBefore(text, neighbour.start);
  const place = next === undefined ? neighbour.end : neighbour.start;
  return { start: place, end: place, insert: next === undefined ? `,${space}${member}` : `${member},${space}` };
}

function* membersOf(text: string, start: number): Generator<Member> {
  const isObject = text[start] === '{';
  if (!isObject && text[start] !== '[') return;
  let at = skipSpace(text, start + 1);
  for (let index = 0; text[at] !== '}' && text[at] !== ']'; index++) {
    const keyEnd = isObject ? stringEnd(text, at) : at;
    const key = isObject ? unquote(text.slice(at + 1, keyEnd - 1)) : index;
    const valueStart = isObject ? skipSpace(text, skipSpace(text, keyEnd) + 1) : at;
    const end = endOfValue(text, valueStart);
    yield { key, start: at, keyEnd, valueStart, end };
    at = skipSpace(text, end);
    if (text[at] === ',') at = skipSpace(text, at + 1);
  }
}

function endOfValue(text: string, start: number): number {
  if (text[start] === '"') return stringEnd(text, start);
  if (text[start] !== '{' && text[start] !== '[') return searchFrom(/[,\]}\s]|$/g, text, start);
  let depth = 0;
  for (let at = start; ; at = searchFrom(/["[\]{}]/g, text, at)) {
    const character = text[at];
    if (character === '"') {
      at = stringEnd(text, at);
      continue;
    }
    depth += character === '{' || character === '[' ? 1 : -1;
    at++;
    if (depth === 0) return at;
  }
}

function skipSpace(text: string, start: number): number {
  return searchFrom(/[^ \t\n\r]|$/g, text, start);
}

function spaceBefore(text: string, end: number): string {
  let start = end;
  while (' \t\n\r'.includes(text[start - 1] ?? 'x')) start--;
  return text.slice(start, end);
}

function searchFrom(pattern: RegExp, text: string, start: number): number {
  pattern.lastIndex = start;
  return pattern.exec(text)?.index ?? text.length;
}
