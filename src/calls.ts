import * as v from 'valibot';
import { CacheError } from './errors.js';
import { nearest } from './nearest.js';

// The arguments of the exported functions, checked at run time. Types cannot check ranges, and callers may be JavaScript:
// NaN or a misspelt option name must not delete anything.

/** The build tools that `importArguments` writes flags for. */
export const TOOLS = ['buildctl', 'buildx', 'envd'] as const;

const NO_OBJECT = 'takes an object';
const text = is(isText, 'takes a text that is not empty');
const texts = is((value) => Array.isArray(value) && value.every(isText), 'takes an array of texts that are not empty');
const flag = is((value) => typeof value === 'boolean', 'takes true or false');
const count = is((value) => isWhole(value, 0), 'takes a whole number from 0 on');
const bytes = is((value) => isWhole(value, 0), 'takes a whole number of bytes');
const milliseconds = is((value) => isWhole(value, 0), 'takes a whole number of milliseconds');
const concurrency = is((value) => isWhole(value, 1, 256), 'takes a whole number from 1 to 256');
const listener = is((value) => typeof value === 'function', 'takes a function');
const signal = is(isSignal, 'takes an AbortSignal');
const tool = is((value) => TOOLS.some((one) => one === value), `takes one of ${TOOLS.join(', ')}`);
const quarantine = is((value) => value === 'copy' || value === 'mark', 'takes copy or mark');
const sample = is(isSample, 'takes { part, of }, { share } or { bytes }');
const layout = options({ lockTimeout: milliseconds, durable: flag, heal: flag });
const password = is((value) => isText(value) || value instanceof Uint8Array, 'takes a text or bytes');
const user = { username: text, password };
const registry = options({ ca: text, ...user, import: options(user), export: options(user) });

const reading = { registry, layout, signal, onNote: listener };
const working = { ...reading, concurrency, maxLayerSize: bytes, windowMemory: bytes, onProgress: listener };
const keeping = { ...working, hardlink: flag, allowOversize: flag };
const packing = {
  ...working,
  allowOversize: flag,
  mode: is((value) => ['min', 'max'].some((one) => one === value), 'takes min or max'),
  compression: text,
  compressionLevel: is((value) => Number.isSafeInteger(value), 'takes a whole number'),
  forceCompression: flag,
  have: texts,
  split: is((value) => isWhole(value, 1), 'takes a whole number of bytes'),
  onWrite: listener,
};
const checking = { ...working, deep: flag };
const changing = { layout, signal, dryRun: flag };
const freeing = { ...changing, registry, onNote: listener };
const verifying = options({ ...checking, sample });

/** The arguments of each function, in order. */
const CALLS = {
  copyCache: { options: v.strictObject({ ...optional(keeping), imports: texts, exports: texts }, NO_OBJECT) },
  importCache: { store: text, name: text, imports: texts, options: options(keeping) },
  exportCache: { store: text, name: text, exports: texts, options: options(keeping) },
  removeCache: { store: text, name: text, options: options(changing) },
  storePath: { named: v.optional(text) },
  packCaches: {
    options: v.strictObject(
      { ...optional(packing), imports: texts, output: is(isOutput, 'takes a text or a stream') },
      NO_OBJECT,
    ),
  },
  unpackCaches: {
    options: v.strictObject(
      {
        ...optional({ ...keeping, into: text, store: text, exports: texts }),
        bundle: is(isInput, 'takes an array of texts, or a stream'),
      },
      NO_OBJECT,
    ),
  },
  listLayers: { texts, options: options(reading) },
  resolveCache: { text, options: options(reading) },
  importArguments: {
    texts,
    tool,
    onMissing: listener,
    options: options(reading),
  },
  inspectCache: { text, options: options(reading) },
  listFiles: { text, options: options({ ...reading, layers: texts, paths: texts, find: text }) },
  explainCaches: { imported: text, written: text, options: options(reading) },
  catCache: { text, what: text, options: options({ ...reading, layer: text }) },
  listCaches: { text, options: options(reading) },
  parseImport: { text },
  parseExport: { text },
  formatOptions: { type: text, attributes: is(isAttributes, 'takes an object of texts') },
  verifyCache: { text, options: verifying },
  verifyFolder: { folder: text, options: verifying },
  repairFolder: { folder: text, options: options({ ...checking, from: texts, dryRun: flag }) },
  collectGarbage: {
    folder: text,
    options: options({ ...freeing, grace: milliseconds, manifestsPrefixes: texts, quarantine, force: flag }),
  },
  touchCaches: {
    place: text,
    options: options({ registry, signal, olderThan: milliseconds, names: flag, dryRun: flag }),
  },
  prune: {
    folder: text,
    options: options({
      ...freeing,
      maxAge: milliseconds,
      keepLast: count,
      untag: texts,
      keep: texts,
      maxSize: bytes,
      fitImportLimit: flag,
      grace: milliseconds,
    }),
  },
} as const satisfies Readonly<Record<string, Readonly<Record<string, v.GenericSchema>>>>;

type Calls = typeof CALLS;
type Named<Schema> = Schema extends { readonly entries: infer Entries } ? keyof Entries : never;
/** Arguments whose options all occur in CALLS; a new option that is missing there does not compile. */
type Known<Call, Given> = {
  readonly [Name in keyof Given]: Name extends 'options' & keyof Call
    ? Exclude<keyof Given[Name], Named<Call[Name]>> extends never
      ? Given[Name]
      : never
    : Given[Name];
};

/**
 * Checks the arguments of an exported function, before the function does anything.
 *
 * @throws CacheError USAGE
 */
export function checkCall<Name extends keyof Calls, Given extends Readonly<Record<keyof Calls[Name], unknown>>>(
  name: Name,
  given: Given & Known<Calls[Name], Given>,
): void {
  for (const [argument, schema] of Object.entries(CALLS[name])) {
    const result = v.safeParse(schema, given[argument as keyof Given], { abortEarly: true });
    if (!result.success) throw wrongCall(name, argument, schema, result.issues[0]);
  }
}

function wrongCall(name: string, argument: string, schema: v.GenericSchema, issue: v.BaseIssue<unknown>): CacheError {
  const keys = (issue.path ?? []).map(({ key }) => String(key));
  const place = [...(argument === 'options' && keys.length > 0 ? [] : [argument]), ...keys].join('.');
  const isKey = issue.type === 'strict_object' && keys.length > 0;
  if (isKey && issue.expected === 'never') {
    const near = nearest(keys.at(-1) ?? '', namesIn(schema, keys.slice(0, -1)));
    const hint = near === undefined ? undefined : `did you mean ${near}?`;
    return new CacheError('USAGE', `${name} has no option ${place}`, { hint });
  }
  if (isKey || issue.input === undefined) return new CacheError('USAGE', `${name} needs ${place}`);
  // The message does not show texts, since a text may be a secret.
  const shown = typeof issue.input === 'string' ? '' : `, not ${issue.received}`;
  return new CacheError('USAGE', `${name}: ${place} ${issue.message}${shown}`);
}

/** The names of the options in a schema, or in a nested schema. */
function namesIn(schema: v.GenericSchema, path: readonly string[]): string[] {
  const [first, ...others] = path;
  const inner = 'wrapped' in schema ? (schema.wrapped as v.GenericSchema) : schema;
  const entries = 'entries' in inner ? (inner.entries as Readonly<Record<string, v.GenericSchema>>) : {};
  const next = first === undefined ? undefined : entries[first];
  return next === undefined ? Object.keys(entries) : namesIn(next, others);
}

function is(test: (value: unknown) => boolean, message: string): v.CustomSchema<unknown, string> {
  return v.custom(test, message);
}

/** An object of options, each of them optional. */
function options<const Entries extends v.ObjectEntries>(entries: Entries) {
  return v.strictObject(optional(entries), NO_OBJECT);
}

function optional<const Entries extends v.ObjectEntries>(
  entries: Entries,
): { readonly [Name in keyof Entries]: v.OptionalSchema<Entries[Name], undefined> } {
  const all = Object.entries(entries).map(([name, schema]) => [name, v.optional(schema)] as const);
  return Object.fromEntries(all) as { [Name in keyof Entries]: v.OptionalSchema<Entries[Name], undefined> };
}

function isText(value: unknown): value is string {
  return typeof value === 'string' && value !== '' && !value.includes('\0');
}

/** A path, or a stream; also one of a library, where `instanceof` fails. */
function isOutput(value: unknown): boolean {
  return isText(value) || (typeof value === 'object' && value !== null && 'write' in value && 'end' in value);
}

/** Paths, or a stream. */
function isInput(value: unknown): boolean {
  if (Array.isArray(value)) return value.length > 0 && value.every((one) => isText(one));
  return typeof value === 'object' && value !== null && Symbol.asyncIterator in value;
}

function isAttributes(value: unknown): boolean {
  return typeof value === 'object' && value !== null && Object.values(value).every((one) => typeof one === 'string');
}

function isWhole(value: unknown, least: number, most = Number.MAX_SAFE_INTEGER): value is number {
  return Number.isSafeInteger(value) && Number(value) >= least && Number(value) <= most;
}

/** An AbortSignal; also from another realm or a library, where `instanceof` fails. */
function isSignal(value: unknown): boolean {
  return (
    typeof value === 'object' &&
    value !== null &&
    'aborted' in value &&
    'addEventListener' in value &&
    typeof value.addEventListener === 'function'
  );
}

function isSample(value: unknown): boolean {
  if (typeof value !== 'object' || value === null) return false;
  const { part, of, share, bytes: most, ...others } = value as Readonly<Record<string, unknown>>;
  if (Object.keys(others).length > 0) return false;
  const given = Object.values(value).length;
  if (part !== undefined) return given === 2 && isWhole(of, 1) && isWhole(part, 1, of);
  if (share !== undefined) return given === 1 && typeof share === 'number' && share > 0 && share <= 1;
  return given === 1 && isWhole(most, 0);
}
