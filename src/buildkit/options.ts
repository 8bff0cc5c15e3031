import { checkCall } from '../calls.js';
import { CacheError, type Side } from '../errors.js';
import { ATTRIBUTES, type CacheType, ENVIRONMENT, NAMES, SECRETS } from './attributes.js';
import { checkAttributes, didYouMean, PATH_ATTRIBUTE } from './check-attributes.js';
import { formatCsvField, parseCsvLine } from './csv.js';
import { isOptionString, isPath, parseFlag } from './values.js';

export type { CacheType } from './attributes.js';

/** A parsed option string: names in lower case, unchanged values, and the values from the environment. */
export interface CacheOptions {
  readonly type: CacheType;
  /** The attributes that have an effect. */
  readonly attributes: Readonly<Record<string, string>>;
  /** A sentence for each attribute that BuildKit ignores, which is left out here; unset without such attributes. */
  readonly notes?: readonly string[];
}

/** Called with notes about an option string, such as an attribute without effect. */
export type OnNote = (note: string) => void;

/**
 * Reads the value of buildctl's `--import-cache` or buildx's `--cache-from`
 * (cmd/buildctl/build/importcache.go). A path that starts with `/`, `./` or `../` means `type=local,src=PATH`.
 *
 * @throws CacheError USAGE
 */
export function parseImport(text: string, env: NodeJS.ProcessEnv = process.env): CacheOptions {
  checkCall('parseImport', { text });
  const options = parseOptions(text, 'import', env);
  // client/solve.go: with a digest, which takes precedence, the tag has no effect.
  if (options.attributes['tag'] === '') {
    throw new CacheError('USAGE', 'tag= is not possible', {
      hint: 'it needs a value; leave it out for latest',
      side: 'import',
    });
  }
  // cache/remotecache/s3/s3.go, newImporter, reads the first name; azblob reads all names.
  if (options.type !== 's3' || options.attributes['name']?.includes(';') !== true) return options;
  return withNote(options, 'name= has no effect after the first ";": an import of type=s3 reads one name');
}

/**
 * Reads the value of buildctl's `--export-cache` or buildx's `--cache-to` (cmd/buildctl/build/exportcache.go). A path means
 * `type=local,dest=PATH`. An absent mode stays absent.
 *
 * @throws CacheError USAGE
 */
export function parseExport(text: string, env: NodeJS.ProcessEnv = process.env): CacheOptions {
  checkCall('parseExport', { text });
  const meant = optionsBehindPath(text, 'export');
  if (meant !== undefined) throw meant;
  const options = parseOptions(text, 'export', env);
  checkCombinations(options);
  // client/ociindex: an empty tag is written, and no import finds it by a tag.
  if (options.attributes['tag'] !== '') return options;
  return withNote(options, 'tag= is empty: this cache can be imported by its digest only');
}

function withNote(options: CacheOptions, note: string): CacheOptions {
  return { ...options, notes: [...(options.notes ?? []), note] };
}

/**
 * Checks a path. A path is taken whole, so that `./cache,tag=main` is the name of a folder, which is rarely meant.
 *
 * @returns the error for a path with attributes; undefined for other texts
 */
export function optionsBehindPath(text: string, side: Side): CacheError | undefined {
  const name = isPath(text)
    ? [...text.matchAll(/,([^,=]+)=/g)]
        .map(([, key = '']) => key.toLowerCase())
        .find((key) => Object.hasOwn(ATTRIBUTES.local[side], key))
    : undefined;
  if (name === undefined) return undefined;
  const key = PATH_ATTRIBUTE[side];
  return new CacheError('USAGE', `${text} is a path, and ${name}= is part of the path`, {
    hint: `write type=local,${key}=${text}; quotes make it a path: ${formatOptions({ type: 'local', attributes: { [key]: text } })}`,
    side,
  });
}

/** The option string for these options, for messages and results: secrets are `***`. */
export function shownOptions({ type, attributes }: CacheOptions): string {
  const shown = Object.entries(attributes).map(([key, value]) => [key, shownValue(key, value)] as const);
  return formatOptions({ type, attributes: Object.fromEntries(shown) });
}

/** The attributes whose values have a secret. */
export function secretsIn({ attributes }: CacheOptions): string[] {
  return Object.entries(attributes).flatMap(([name, value]) => (shownValue(name, value) === value ? [] : name));
}

/**
 * The options without secrets that build tools find in the environment themselves, such as the token of GitHub Actions: in an
 * option string, all users of the machine could read them.
 */
export function withoutFoundSecrets(options: CacheOptions, env: NodeJS.ProcessEnv = process.env): CacheOptions {
  const variables = ENVIRONMENT[options.type] ?? {};
  const isFound = (name: string, value: string) => SECRETS.has(name) && env[variables[name] ?? ''] === value;
  const left = Object.entries(options.attributes).filter(([name, value]) => !isFound(name, value));
  return { ...options, attributes: Object.fromEntries(left) };
}

/** The value of an attribute without what is secret in it: all of it, the signature of a SAS, the password of an address. */
function shownValue(name: string, value: string): string {
  if (SECRETS.has(name)) return '***';
  if (!value.includes('://')) return value;
  return value
    .replace(/:\/\/[^/?#]*@/, '://***@')
    .replaceAll(/([?&](?:sig|[\w-]*(?:token|signature))=)[^&#]*/gi, '$1***');
}

/** The option string for these options. */
export function formatOptions({ type, attributes }: CacheOptions): string {
  checkCall('formatOptions', { type, attributes });
  const fields = [`type=${type}`, ...Object.entries(attributes).map(([key, value]) => `${key}=${value}`)];
  return fields.map(formatCsvField).join(',');
}

/** The value of a boolean attribute; undefined when absent. An empty `force-compression=` means true. */
export function flag({ attributes }: CacheOptions, name: string): boolean | undefined {
  const value = attributes[name];
  if (value === '' && name === 'force-compression') return true;
  return value === undefined ? undefined : parseFlag(value);
}

/** The compression of an export's layers. The caller chooses defaults for absent values. */
interface CompressionOptions {
  readonly compression?: 'uncompressed' | 'gzip' | 'estargz' | 'zstd';
  readonly level?: number;
  readonly force: boolean;
}

/** The attributes for compression: util/compression/attrs.go. */
export function compressionOptions(options: CacheOptions): CompressionOptions {
  const { attributes } = options;
  const compression = attributes['compression'] as CompressionOptions['compression'];
  const level = attributes['compression-level'];
  return {
    ...(compression === undefined ? {} : { compression }),
    ...(level === undefined ? {} : { level: Number(level) }),
    force: flag(options, 'force-compression') === true,
  };
}

function parseOptions(text: string, side: Side, env: NodeJS.ProcessEnv): CacheOptions {
  if (isPath(text)) return { type: 'local', attributes: { [PATH_ATTRIBUTE[side]]: text } };
  checkHasType(text, side);
  // Deprecated since BuildKit 0.4, and still supported.
  if (!isOptionString(text)) return checkAttributes('registry', { ref: text }, side, env);
  const attributes: Record<string, string> = Object.create(null) as Record<string, string>;
  let before = '';
  for (const field of parseCsvLine(text)) {
    const cut = field.indexOf('=');
    if (cut === -1) {
      // A secret may have a comma.
      const shown = SECRETS.has(before) ? `what follows the comma in ${before}=` : JSON.stringify(field);
      throw new CacheError('USAGE', `${shown} has no "="`, {
        hint: 'an option string looks like type=local,src=PATH; a value with a comma needs quotes: "src=a,b"',
        side,
      });
    }
    const name = field.slice(0, cut).toLowerCase();
    if (name in attributes) throw doubled(name, side);
    attributes[name] = field.slice(cut + 1);
    before = name;
  }
  // Messages never quote the whole string: it may contain a token or a secret key.
  const { type = '', ...others } = attributes;
  if (!isType(type)) {
    throw new CacheError(
      'USAGE',
      type === '' ? 'the option string has no type' : `there is no cache type ${JSON.stringify(type)}`,
      {
        hint: `${didYouMean(type, TYPES)}the types are ${TYPES.join(', ')}`,
        side,
      },
    );
  }
  return checkAttributes(type, others, side, env);
}

/**
 * Refuses an option string that lacks its type: no path or reference has such a part, and messages would show its secret.
 *
 * @throws CacheError USAGE
 */
export function checkHasType(text: string, side: Side): void {
  const name = /(?:^|,)\s*(\w+)=/.exec(text)?.[1]?.toLowerCase();
  if (isPath(text) || isOptionString(text) || name === undefined || !NAMES.has(name)) return;
  throw new CacheError('USAGE', `there is ${name}=, and the option string has no type`, {
    hint: `it begins with type=; the types are ${TYPES.join(', ')}; a folder with such a name begins with ./ or /`,
    side,
  });
}

/** The error for an attribute that is given twice. BuildKit silently takes the last value. */
function doubled(name: string, side: Side): CacheError {
  const hint =
    side === 'import'
      ? 'name it once; several caches become one with an --import-cache for each'
      : 'name it once; several exports have an --export-cache each';
  return new CacheError('USAGE', `${name}= is given twice in one option string`, { hint, side });
}

const TYPES = Object.keys(ATTRIBUTES);

function isType(text: string): text is CacheType {
  return Object.hasOwn(ATTRIBUTES, text);
}

/** Refuses the combinations that BuildKit refuses: cache/remotecache/export.go, and compress/gzip of Go. */
function checkCombinations(options: CacheOptions): void {
  const { compression = 'gzip', level = 0 } = compressionOptions(options);
  if ((compression === 'gzip' || compression === 'estargz') && (level < -2 || level > 9)) {
    throw new CacheError('USAGE', `compression-level=${level} is not possible`, {
      hint: `${compression} takes -2 to 9: -2 is Huffman coding alone, -1 the default, 0 stores`,
      side: 'export',
    });
  }
  if (flag(options, 'oci-mediatypes') === false && flag(options, 'image-manifest') === true) {
    throw new CacheError('USAGE', 'image-manifest=true needs OCI media types, and oci-mediatypes=false', {
      hint: 'leave out one of the two',
      side: 'export',
    });
  }
}
