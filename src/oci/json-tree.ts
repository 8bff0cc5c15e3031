import { CODE, JsonInput } from './json-input.js';

/** JSON of any kind. Numbers, `true`, `false` and `null` are undefined, since no caller needs them. */
export type JsonTree = string | JsonMembers | readonly JsonTree[] | undefined;

/** An object with all its members, also several with one name. */
export class JsonMembers {
  readonly entries: readonly JsonMember[];

  constructor(entries: readonly JsonMember[]) {
    this.entries = entries;
  }
}

type JsonMember = readonly [name: string, value: JsonTree];

/** An object or list that is not read to its end yet. */
interface OpenNode {
  readonly isObject: boolean;
  /** The name of the next member. */
  name: string;
  readonly entries: JsonMember[];
}

/**
 * Reads JSON of any kind, without recursion.
 *
 * @throws CacheError CORRUPT
 */
export function parseTree(bytes: Uint8Array, where: string): JsonTree {
  const input = new JsonInput(bytes, where);
  const open: OpenNode[] = [];
  for (;;) {
    let value: JsonTree;
    const code = input.next();
    if (code === CODE.brace || code === CODE.bracket) {
      input.open(code);
      open.push({ isObject: code === CODE.brace, name: '', entries: [] });
    } else {
      if (input.isString()) value = input.string();
      else input.skip();
      open.at(-1)?.entries.push([open.at(-1)?.name ?? '', value]);
    }
    for (let last = open.at(-1); last !== undefined && !hasMore(input, last); last = open.at(-1)) {
      open.pop();
      value = last.isObject ? new JsonMembers(last.entries) : last.entries.map(([, item]) => item);
      open.at(-1)?.entries.push([open.at(-1)?.name ?? '', value]);
    }
    if (open.length > 0) continue;
    input.end();
    return value;
  }
}

/** Whether another item or member follows; reads the name of the member. */
function hasMore(input: JsonInput, open: OpenNode): boolean {
  const hasMore = input.more(open.isObject ? CODE.braceEnd : CODE.bracketEnd, open.entries.length === 0);
  if (hasMore && open.isObject) open.name = input.key();
  return hasMore;
}
