import { checkCall } from '../calls.js';
import { CacheError, type Side } from '../errors.js';
import { nearest } from '../nearest.js';
import { type AttributeKind, ATTRIBUTES, type CacheType, ENVIRONMENT, NAMES, REQUIRED } from './attributes.js';
import { formatCsvField, parseCsvLine } from './csv.js';
import { isOptionString, isPath, parseFlag, validate } from './values.js';
import { whyWithoutEffect } from './without-effect.js';

export type { CacheType } from './attributes.js';

/** A cache option string, taken apart: names in lower case, values as they are, the environment's filled in. */
export interface CacheOptions {
  readonly type: CacheType;
  /** Those that have an effect. */
  readonly attributes: Readonly<Record<string, string>>;
  /** A sentence for each attribute that BuildKit takes and ignores, and which was left out here; unset when there is none. */
  readonly notes?: readonly string[];
}

/** Is told what somebody should know who wrote an option string, such as that an attribute in it has no effect. */
export type OnNote = (note: string) => void;

/**
 * Reads what `--import-cache` of buildctl, or `--cache-from` of buildx, takes
 * (cmd/buildctl/build/importcache.go). A path that starts with `/`, `./` or `../` stands for `type=local,src=PATH`.
 *
 * @throws CacheError USAGE
 */
export function parseImport(text: string, env: NodeJS.ProcessEnv = process.env): CacheOptions {
  checkCall('parseImport', { text });
  const options = parseOptions(text, 'import', env);
  // client/solve.go: beside a digest, which comes first, it has no effect.
  if (options.attributes['tag'] === '') {
    throw new CacheError('USAGE', 'tag= is not possible', {
      hint: 'it needs a value; leave it out for latest',
      side: 'import',
    });
  }
  // cache/remotecache/s3/s3.go, newImporter: azblob reads all of them.
  if (options.type !== 's3' || options.attributes['name']?.includes(';') !== true) return options;
  return withNote(options, 'name= has no effect behind the first ";": an import of type=s3 reads one name');
}

/**
 * Reads what `--export-cache` of buildctl, or `--cache-to` of buildx, takes (cmd/buildctl/build/exportcache.go). A
 * path stands for `type=local,dest=PATH`. An absent mode stays absent.
 *
 * @throws CacheError USAGE
 */
export function parseExport(text: string, env: NodeJS.ProcessEnv = process.env): CacheOptions {
  checkCall('parseExport', { text });
  const meant = optionsBehindPath(text, 'export');
  if (meant !== undefined) throw meant;
  const options = parseOptions(text, 'export', env);
  checkCombinations(options);
  // client/ociindex: written all the same, and never found by a tag.
  if (options.attributes['tag'] !== '') return options;
  return withNote(options, 'tag= is empty: this cache can be imported by its digest only');
}

function withNote(options: CacheOptions, note: string): CacheOptions {
  return { ...options, notes: [...(options.notes ?? []), note] };
}

/**
 * A path is taken whole, so that `./cache,tag=main` is the name of a folder, and hardly ever meant.
 *
 * @returns the error for a path with options behind it; undefined for anything else
 */
export function optionsBehindPath(text: string, side: Side): CacheError | undefined {
  const name = isPath(text)
    ? [...text.matchAll(/,([^,=]+)=/g)]
        .map(([, key = '']) => key.toLowerCase())
        .find((key) => Object.hasOwn(ATTRIBUTES.local[side], key))
    : undefined;
  if (name === undefined) return undefined;
  const key = PATH_ATTRIBUTE[side];
  return new CacheError('USAGE', `${text} is a path, which ${name}= would be a part of`, {
    hint: `write type=local,${key}=${text}; quotes make it a path: ${formatOptions({ type: 'local', attributes: { [key]: text } })}`,
    side,
  });
}

const PATH_ATTRIBUTE: Readonly<Record<Side, string>> = { import: 'src', export: 'dest' };

function otherSide(side: Side): Side {
  return side === 'import' ? 'export' : 'import';
}

/** The string that reads as these options. */
export function formatOptions({ type, attributes }: CacheOptions): string {
  checkCall('formatOptions', { type, attributes });
  const fields = [`type=${type}`, ...Object.entries(attributes).map(([key, value]) => `${key}=${value}`)];
  return fields.map(formatCsvField).join(',');
}

/** A boolean attribute; undefined when it is not named. An empty `force-compression=` means true. */
export function flag({ attributes }: CacheOptions, name: string): boolean | undefined {
  const value = attributes[name];
  if (value === '' && name === 'force-compression') return true;
  return value === undefined ? undefined : parseFlag(value);
}

/** How the layers of an export are to be compressed; what is absent is left to the caller. */
export interface CompressionOptions {
  readonly compression?: 'uncompressed' | 'gzip' | 'estargz' | 'zstd';
  readonly level?: number;
  readonly force: boolean;
}

/** What the attributes say of compression: util/compression/attrs.go. */
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
  // Deprecated since BuildKit 0.4, and still understood by it.
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
  // The messages never quote the whole string: it may hold a token or a secret key.
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

/** BuildKit takes the last of two, and says nothing. */
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
    // What is loose is never a secret.
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
 * @returns undefined for an attribute of another type or of the other side, which BuildKit ignores
 * @throws CacheError USAGE for one that nobody knows: BuildKit ignores that, too, and it is a slip
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
 * The new service has to be switched on, by the variable or by version=2, and the old one falls back on its address:
 * loadGithubEnv in cmd/buildctl/build/util.go.
 */
function chooseService(found: Record<string, string>, env: NodeJS.ProcessEnv, version: string | undefined): void {
  const { url_v2: results } = found;
  if (results === undefined) return;
  found['url'] ??= results;
  const isNew = version === undefined ? parseFlag(env['ACTIONS_CACHE_SERVICE_V2'] ?? '') === true : version === '2';
  if (!isNew) delete found['url_v2'];
}

/** The combinations that BuildKit refuses: cache/remotecache/export.go, and compress/gzip of Go. */
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
      hint: 'leave one of the two out',
      side: 'export',
    });
  }
}
