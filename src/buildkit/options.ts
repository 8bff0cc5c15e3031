import { closest } from 'fastest-levenshtein';
import { CacheError, type Side } from '../errors.js';
import { ATTRIBUTES, type CacheType, ENVIRONMENT, REQUIRED } from './attributes.js';
import { formatCsvField, parseCsvLine } from './csv.js';
import { parseFlag, validate } from './values.js';

export type { CacheType } from './attributes.js';

/** A cache option string, taken apart: names in lower case, values as they are, the environment's filled in. */
export interface CacheOptions {
  readonly type: CacheType;
  readonly attributes: Readonly<Record<string, string>>;
}

/**
 * Reads what `--import-cache` of buildctl, or `--cache-from` of buildx, takes
 * (cmd/buildctl/build/importcache.go). A path that starts with `/`, `./` or `../` stands for `type=local,src=PATH`.
 *
 * @throws CacheError USAGE
 */
export function parseImport(text: string, env: NodeJS.ProcessEnv = process.env): CacheOptions {
  return parse(text, 'import', env);
}

/**
 * Reads what `--export-cache` of buildctl, or `--cache-to` of buildx, takes (cmd/buildctl/build/exportcache.go). A
 * path stands for `type=local,dest=PATH`. An absent mode stays absent.
 *
 * @throws CacheError USAGE
 */
export function parseExport(text: string, env: NodeJS.ProcessEnv = process.env): CacheOptions {
  const meant = optionsBehindPath(text, 'export');
  if (meant !== undefined) throw meant;
  const options = parse(text, 'export', env);
  checkManifestOptions(options);
  return options;
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

function isPath(text: string): boolean {
  return /^(?:\/|\.\.?\/)/.test(text);
}

/** The string that reads as these options. */
export function formatOptions({ type, attributes }: CacheOptions): string {
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
export function compressionOf(options: CacheOptions): CompressionOptions {
  const { attributes } = options;
  const compression = attributes['compression'] as CompressionOptions['compression'];
  const level = attributes['compression-level'];
  return {
    ...(compression === undefined ? {} : { compression }),
    ...(level === undefined ? {} : { level: Number(level) }),
    force: flag(options, 'force-compression') === true,
  };
}

function parse(text: string, side: Side, env: NodeJS.ProcessEnv): CacheOptions {
  if (isPath(text)) return { type: 'local', attributes: { [PATH_ATTRIBUTE[side]]: text } };
  // Deprecated since BuildKit 0.4, and still understood by it.
  if (!text.includes('type=')) return checked('registry', { ref: text }, side, env);
  const attributes: Record<string, string> = Object.create(null) as Record<string, string>;
  for (const field of parseCsvLine(text)) {
    const cut = field.indexOf('=');
    if (cut === -1) {
      throw new CacheError('USAGE', `${JSON.stringify(field)} has no "="`, {
        hint: 'an option string looks like type=local,src=PATH; a value with a comma needs quotes: "src=a,b"',
        side,
      });
    }
    attributes[field.slice(0, cut).toLowerCase()] = field.slice(cut + 1);
  }
  // The messages never quote the whole string: it may hold a token or a secret key.
  const { type = '', ...others } = attributes;
  if (!isType(type)) {
    throw new CacheError(
      'USAGE',
      type === '' ? 'the option string has no type' : `there is no cache type ${JSON.stringify(type)}`,
      {
        hint: `${type === '' ? '' : `did you mean ${closest(type, TYPES)}? `}the types are ${TYPES.join(', ')}`,
        side,
      },
    );
  }
  return checked(type, others, side, env);
}

const TYPES = Object.keys(ATTRIBUTES);

function isType(text: string): text is CacheType {
  return Object.hasOwn(ATTRIBUTES, text);
}

function checked(
  type: CacheType,
  named: Readonly<Record<string, string>>,
  side: Side,
  env: NodeJS.ProcessEnv,
): CacheOptions {
  const known = ATTRIBUTES[type][side];
  for (const [name, value] of Object.entries(named)) {
    const kind = Object.hasOwn(known, name) ? known[name] : undefined;
    if (kind === undefined) {
      throw new CacheError('USAGE', `type=${type} knows no attribute ${JSON.stringify(name)} on ${side}`, {
        hint: `did you mean ${closest(name, Object.keys(known))}? it knows ${Object.keys(known).join(', ')}`,
        side,
      });
    }
    validate(name, value, kind, named['compression'], side);
  }
  const attributes = { ...fromEnvironment(type, env, named), ...named };
  for (const group of REQUIRED[type][side]) {
    if (group.some((name) => (attributes[name] ?? '') !== '')) continue;
    const variables = group.flatMap((name) => ENVIRONMENT[type]?.[name] ?? []);
    throw new CacheError('USAGE', `type=${type} needs ${group.map((name) => `${name}=`).join(' or ')} on ${side}`, {
      ...(variables.length === 0 ? {} : { hint: `name it, or set ${variables.join(' or ')}` }),
      side,
    });
  }
  return { type, attributes };
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

/** The combinations that BuildKit refuses: cache/remotecache/export.go, util/compression. */
function checkManifestOptions(options: CacheOptions): void {
  if (flag(options, 'oci-mediatypes') !== false) return;
  const { compression } = compressionOf(options);
  if (compression === 'zstd' || compression === 'estargz') {
    throw new CacheError('USAGE', `compression=${compression} needs OCI media types, and oci-mediatypes=false`, {
      hint: 'leave oci-mediatypes out, or use compression=gzip',
      side: 'export',
    });
  }
  if (flag(options, 'image-manifest') === true) {
    throw new CacheError('USAGE', 'image-manifest=true needs OCI media types, and oci-mediatypes=false', {
      hint: 'leave one of the two out',
      side: 'export',
    });
  }
}
