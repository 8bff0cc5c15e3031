import { checkCall } from '../calls.js';
import { CacheError, type Side } from '../errors.js';
import { nearest } from '../nearest.js';
import { type AttributeKind, ATTRIBUTES, type CacheType, ENVIRONMENT, NAMES, REQUIRED } from './attributes.js';
import { formatCsvField, parseCsvLine } from './csv.js';
import { isOptionString, isPath, parseFlag, validate } from './values.js';
import { whyWithoutEffect } from './without-effect.js';

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

const PATH_ATTRIBUTE: Readonly<Record<Side, string>> = { import: 'src', export: 'dest' };

function otherSide(side: Side): Side {
  return side === 'import' ? 'export' : 'import';
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
  // Deprecated since BuildKit 0.4, and still supported.
  if (!isOptionString(text)) return checkAttributes('registry', { ref: text }, side, env);
  const attributes: Record<string, string> = Object.create(null) as Record<string, string>;
  for (const field of parseCsvLine(text)) {
    const cut = field.indexOf('=');
    if (cut === -1) {
      throw new CacheError('USAGE', `${JSON.stringify(field)} has no "="`, {
        hint: 'an option string looks like type=local,src=PATH; a value with a comma needs quotes: "src=a,b"',
        side,
      });
    }
    const name = field.slice(0, cut).toLowerCase();
    if (name in attributes) throw doubled(name, side);
    attributes[name] = field.slice(cut + 1);
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

/** The error for an attribute that is given twice. BuildKit silently takes the last value. */
function doubled(name: string, side: Side): CacheError {
  const hint =
    side === 'import'
      ? 'name it once; several caches become one with an --import-cache for each'
      : 'name it once; several exports have an --export-cache each';
  return new CacheError('USAGE', `${name}= is given twice in one option string`, { hint, side });
}

function didYouMean(word: string, names: readonly string[]): string {
  const name = nearest(word, names);
  return name === undefined ? '' : `did you mean ${name}? `;
}

const TYPES = Object.keys(ATTRIBUTES);

function isType(text: string): text is CacheType {
  return Object.hasOwn(ATTRIBUTES, text);
}

function checkAttributes(
  type: CacheType,
  named: Readonly<Record<string, string>>,
  side: Side,
  env: NodeJS.ProcessEnv,
): CacheOptions {
  const notes: string[] = [];
  const known: Record<string, string> = {};
  for (const [name, value] of Object.entries(named)) {
    const kind = kindOf(type, side, name);
    if (kind === undefined) {
      notes.push(`${name}= has no effect on an ${side} of type=${type}`);
      continue;
    }
    const why = validate(name, value, kind, side);
    if (why === undefined) known[name] = value;
    // Attributes with loose values are never secrets.
    else notes.push(`${name}=${value} has no effect: ${why}`);
  }
  const attributes = { ...fromEnvironment(type, env, known), ...known };
  checkRequired(type, side, attributes, named);
  const effective = Object.entries(attributes).filter(([name]) => {
    const why = Object.hasOwn(known, name) ? whyWithoutEffect(type, side, name, attributes) : undefined;
    if (why !== undefined) notes.push(`${name}= has no effect: ${why}`);
    return why === undefined;
  });
  return { type, attributes: Object.fromEntries(effective), ...(notes.length === 0 ? {} : { notes }) };
}

/**
 * The form of an attribute's value.
 *
 * @returns undefined for an attribute of another type or of the other side, which BuildKit ignores
 * @throws CacheError USAGE for an unknown attribute: BuildKit ignores it too, but it is probably misspelt
 */
function kindOf(type: CacheType, side: Side, name: string): AttributeKind | undefined {
  const known = ATTRIBUTES[type][side];
  if (Object.hasOwn(known, name)) return known[name];
  if (NAMES.has(name)) return undefined;
  throw new CacheError('USAGE', `type=${type} knows no attribute ${JSON.stringify(name)} on ${side}`, {
    hint: `${didYouMean(name, Object.keys(known))}it knows ${Object.keys(known).join(', ')}`,
    side,
  });
}

function checkRequired(
  type: CacheType,
  side: Side,
  attributes: Readonly<Record<string, string>>,
  named: Readonly<Record<string, string>>,
): void {
  for (const group of REQUIRED[type][side]) {
    if (group.some((name) => (attributes[name] ?? '') !== '')) continue;
    const variables = group.flatMap((name) => ENVIRONMENT[type]?.[name] ?? []);
    const isOtherSide = group.includes(PATH_ATTRIBUTE[side]) && Object.hasOwn(named, PATH_ATTRIBUTE[otherSide(side)]);
    const hint = isOtherSide ? 'an import has src=, and an export dest=' : `name it, or set ${variables.join(' or ')}`;
    throw new CacheError('USAGE', `type=${type} needs ${group.map((name) => `${name}=`).join(' or ')} on ${side}`, {
      ...(isOtherSide || variables.length > 0 ? { hint } : {}),
      side,
    });
  }
}

function fromEnvironment(
  type: CacheType,
  env: NodeJS.ProcessEnv,
  named: Readonly<Record<string, string>>,
): Record<string, string> {
  const found: Record<string, string> = {};
  for (const [name, variable] of Object.entries(ENVIRONMENT[type] ?? {})) {
    const value = env[variable];
    if (value !== undefined && value !== '') found[name] = value;
  }
  if (type === 'gha') chooseService(found, env, named['version']);
  return found;
}

/**
 * Chooses between the two services of GitHub: the variable or version=2 switches the new service on, and the old service falls
 * back to the URL of the new service (loadGithubEnv in cmd/buildctl/build/util.go).
 */
function chooseService(found: Record<string, string>, env: NodeJS.ProcessEnv, version: string | undefined): void {
  const { url_v2: results } = found;
  if (results === undefined) return;
  found['url'] ??= results;
  const isNew = version === undefined ? parseFlag(env['ACTIONS_CACHE_SERVICE_V2'] ?? '') === true : version === '2';
  if (!isNew) delete found['url_v2'];
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
