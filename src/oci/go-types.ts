import { decodeBase64, folded } from './go-strings.js';
import { CODE, isDigit, JsonInput } from './json-input.js';
import { JsonText } from './json.js';

/**
 * A Go type, and how encoding/json reads into a variable of the type (decode.go): keys match in any case, `null` leaves the
 * variable unchanged, integers have no fraction, and the second of two equal keys is read on top of the first value.
 */
export interface GoType<V, Zero = V> {
  /** The zero value of the type. */
  zero(): Zero;
  /** @param before - the value of the variable before reading */
  read(input: JsonInput, before: V | Zero): V;
}

/**
 * Reads a document as json.Unmarshal does.
 *
 * @param where - the file or blob of the document, for the message
 * @throws CacheError CORRUPT for a document that Go refuses; it names the field
 */
export function parseGo<V, Zero>(type: GoType<V, Zero>, bytes: Uint8Array, where: string): V {
  const input = new JsonInput(bytes, where);
  const value = type.read(input, type.zero());
  input.end();
  return value;
}

export const string: GoType<string> = {
  zero: () => '',
  read(input, before) {
    const code = input.next();
    if (code === CODE.quote) return input.string();
    if (input.isNull()) return before;
    throw input.mismatch('a string');
  },
};

export const bool: GoType<boolean> = {
  zero: () => false,
  read(input, before) {
    const code = input.next();
    if (input.isNull()) return before;
    if (code !== CODE.t && code !== CODE.f) throw input.mismatch('true or false');
    input.literal(code === CODE.t ? 'true' : 'false');
    return code === CODE.t;
  },
};

const INT64_MIN = -(2n ** 63n);
const INT64_MAX = 2n ** 63n - 1n;

/**
 * A 64-bit integer. A number over 2^53 becomes the nearest double: no valid index or size is so large.
 */
export const int: GoType<number> = {
  zero: () => 0,
  read(input, before) {
    const code = input.next();
    if (input.isNull()) return before;
    if (code !== CODE.minus && !isDigit(code)) throw input.mismatch('a whole number');
    const start = input.at;
    const text = input.number();
    const value = Number(text);
    if (/^-?\d+$/.test(text) && (Number.isSafeInteger(value) || isInt64(BigInt(text)))) return value + 0;
    throw input.invalid(start, text, 'not a whole number of 64 bits');
  },
};

function isInt64(value: bigint): boolean {
  return value >= INT64_MIN && value <= INT64_MAX;
}

/** []byte: base64, or a list of numbers. */
export const bytes: GoType<Uint8Array | undefined> = {
  zero: () => undefined,
  read(input) {
    const code = input.next();
    if (input.isNull()) return undefined;
    if (code === CODE.bracket) return Uint8Array.from(list(byte).read(input, []));
    if (code !== CODE.quote) throw input.mismatch('base64');
    const start = input.at;
    const text = input.string();
    const decoded = decodeBase64(text);
    if (decoded === undefined) throw input.invalid(start, JSON.stringify(text), 'not base64');
    return decoded;
  },
};

const byte: GoType<number> = {
  zero: () => 0,
  read(input, before) {
    const start = (input.next(), input.at);
    const value = int.read(input, before);
    if (value < 0 || value > 255) throw input.invalid(start, `${value}`, 'not a byte');
    return value;
  },
};

/** The zero value of a slice. */
export const EMPTY: readonly never[] = Object.freeze([]);

/** A slice. */
export function list<V, Zero>(type: GoType<V, Zero>): GoType<readonly V[]> {
  return {
    zero: () => EMPTY,
    read(input, before) {
      const code = input.next();
      if (input.isNull()) return EMPTY;
      if (code !== CODE.bracket) throw input.mismatch('a list');
      const items: V[] = [];
      input.open(CODE.bracket);
      while (input.more(CODE.bracketEnd, items.length === 0)) {
        items.push(type.read(input, before[items.length] ?? type.zero()));
      }
      return items;
    },
  };
}

/** map[string]string; undefined is the nil map. */
export const stringMap: GoType<Readonly<Record<string, string>> | undefined> = {
  zero: () => undefined,
  read(input, before) {
    const code = input.next();
    if (input.isNull()) return undefined;
    if (code !== CODE.brace) throw input.mismatch('an object');
    const map: Record<string, string> = { ...before };
    input.open(CODE.brace);
    for (let isFirst = true; input.more(CODE.braceEnd, isFirst); isFirst = false) {
      setOwn(map, input.key(), string.read(input, ''));
    }
    return map;
  },
};

/** A field that may be absent: undefined when absent. */
export function present<V, Zero>(type: GoType<V, Zero>): GoType<V | undefined> {
  return { zero: () => undefined, read: (input, before) => type.read(input, before ?? type.zero()) };
}

/** A pointer: undefined is nil. */
export function pointer<V, Zero>(type: GoType<V, Zero>): GoType<V | undefined> {
  return {
    zero: () => undefined,
    read: (input, before) => (input.isNull() ? undefined : type.read(input, before ?? type.zero())),
  };
}

/** A field whose value is checked, and kept as JSON text; undefined for `null`. */
export function kept<V, Zero>(type: GoType<V, Zero>): GoType<JsonText | undefined> {
  return {
    zero: () => undefined,
    read(input) {
      if (input.isNull()) return undefined;
      const start = input.at;
      type.read(input, type.zero());
      return new JsonText(input.text.slice(start, input.at));
    },
  };
}

/** A property, and the type of its field. */
type FieldOf<V> = { [K in keyof V]-?: readonly [property: K, type: Pick<GoType<V[K]>, 'read'>] }[keyof V];

/**
 * A struct. `zero` makes the object that fields are read into; undefined fields are left out.
 *
 * @param fields - the property and the type of each field, by its name in JSON
 * @param other - called with each field that Go skips
 */
export function struct<V extends object>(
  zero: () => V,
  fields: Readonly<Record<string, FieldOf<V>>>,
  other?: (value: V, name: string, text: JsonText) => void,
): GoType<V> {
  const exact = new Map<string, FieldOf<V>>(Object.entries(fields));
  const inAnyCase = new Map([...exact].map(([name, field]) => [folded(name), field]));
  return {
    zero,
    read(input, before) {
      const code = input.next();
      if (input.isNull()) return before;
      if (code !== CODE.brace) throw input.mismatch('an object');
      input.open(CODE.brace);
      for (let isFirst = true; input.more(CODE.braceEnd, isFirst); isFirst = false) {
        const name = input.key();
        const field = exact.get(name) ?? inAnyCase.get(folded(name));
        if (field === undefined) {
          const text = input.skip();
          other?.(before, name, new JsonText(text));
          continue;
        }
        const [property, type] = field;
        const value = type.read(input, before[property]);
        if (value === undefined) delete before[property];
        else before[property] = value;
      }
      return before;
    },
  };
}

/**
 * A type with a check of its values.
 *
 * @param check - throws the error of `input.invalid`; `start` is the offset of the value
 */
export function checked<Zero, V extends Zero>(
  type: GoType<Zero>,
  check: (value: Zero, input: JsonInput, start: number) => asserts value is V,
): GoType<V, Zero> {
  return {
    zero: () => type.zero(),
    read(input, before) {
      input.next();
      const start = input.at;
      const value = type.read(input, before);
      check(value, input, start);
      return value;
    },
  };
}

/** Sets a property of an object whose names come from data; `__proto__` is a name like any other. */
export function setOwn<V>(target: Record<string, V>, name: string, value: V): void {
  if (name !== '__proto__') target[name] = value;
  else Object.defineProperty(target, name, { value, enumerable: true, writable: true, configurable: true });
}
