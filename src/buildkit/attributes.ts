import type { Side } from '../errors.js';

export type CacheType = 'local' | 'registry' | 'inline' | 's3' | 'azblob' | 'gha' | 'bundle';

/**
 * The form of an attribute's value. A value that BuildKit ignores is accepted without effect; a value that BuildKit refuses is
 * an error.
 */
export type AttributeKind =
  /** Not empty. */
  | 'text'
  /** Any text; an empty value differs from an absent attribute, whose default may be `blobs/`. */
  | 'any'
  /** Any text; an empty value has no effect. */
  | 'optional'
  /** Go's booleans. */
  | 'flag'
  /** Go's booleans; another value has no effect. */
  | 'loose flag'
  /** Go's booleans; empty is true. */
  | 'force'
  /** A whole number from 1 on. */
  | 'count'
  /** A whole number of 64 bits. */
  | 'number'
  /** Empty has no effect. */
  | 'digest'
  | 'duration'
  /** A duration; another value has no effect. */
  | 'loose duration'
  /** min or max; another value has no effect. */
  | 'mode'
  | 'compression'
  | 'retry';

type Attributes = Readonly<Record<string, AttributeKind>>;

const COMPRESSION: Attributes = {
  compression: 'compression',
  'compression-level': 'number',
  'force-compression': 'force',
};
const MANIFEST: Attributes = { 'image-manifest': 'flag', 'oci-mediatypes': 'flag' };
const EXPORT: Attributes = { mode: 'mode', 'ignore-error': 'loose flag' };

const S3: Attributes = {
  bucket: 'text',
  region: 'text',
  prefix: 'any',
  blobs_prefix: 'any',
  manifests_prefix: 'any',
  name: 'any',
  endpoint_url: 'optional',
  use_path_style: 'loose flag',
  access_key_id: 'optional',
  secret_access_key: 'optional',
  session_token: 'optional',
  disable_accept_encoding: 'loose flag',
  retry_mode: 'retry',
  retry_max_attempts: 'count',
  upload_parallelism: 'count',
};
const AZBLOB: Attributes = {
  account_url: 'text',
  account_name: 'text',
  container: 'text',
  prefix: 'any',
  blobs_prefix: 'any',
  manifests_prefix: 'any',
  name: 'any',
  secret_access_key: 'optional',
};
const GHA: Attributes = {
  scope: 'any',
  url: 'text',
  url_v2: 'text',
  token: 'text',
  version: 'number',
  timeout: 'duration',
};
/** BuildKit reads them on exports alone; here they also lead to all caches of a repository. */
const GITHUB_API: Attributes = { ghtoken: 'optional', repository: 'optional' };
const REGISTRY: Attributes = { ref: 'text', 'registry.insecure': 'flag' };

/**
 * The attributes of each type: cache/remotecache/{local,registry,inline,s3,azblob,gha}, and docs/ of BuildKit. `inline` has
 * attributes for its image here; in a build the image is known. `bundle` is a type of bkcache, whose attributes are those of `local`.
 */
export const ATTRIBUTES: Readonly<Record<CacheType, Readonly<Record<Side, Attributes>>>> = {
  local: {
    import: { src: 'text', digest: 'digest', tag: 'any' },
    export: { dest: 'text', tag: 'any', reset: 'flag', ...EXPORT, ...MANIFEST, ...COMPRESSION },
  },
  registry: { import: REGISTRY, export: { ...REGISTRY, ...EXPORT, ...MANIFEST, ...COMPRESSION } },
  inline: {
    import: { ...REGISTRY, src: 'text', digest: 'digest', tag: 'any' },
    export: { ...REGISTRY, dest: 'text', tag: 'text', ...EXPORT },
  },
  // BuildKit ignores compression= in both, and writes new layers as gzip.
  s3: { import: S3, export: { ...S3, touch_refresh: 'loose duration', ...EXPORT, ...COMPRESSION } },
  azblob: { import: AZBLOB, export: { ...AZBLOB, ...EXPORT, ...COMPRESSION } },
  gha: { import: { ...GHA, ...GITHUB_API }, export: { ...GHA, ...GITHUB_API, ...EXPORT } },
  // Of bkcache alone: BuildKit has no such type.
  bundle: {
    import: { src: 'text', digest: 'digest', tag: 'any' },
    export: { dest: 'text', tag: 'text', ...EXPORT, ...MANIFEST, ...COMPRESSION },
  },
};

/** Whether the caches of a type have a manifest: then an export says which one. Others are in an image, or a bare cacheconfig. */
export function hasManifest(type: CacheType): boolean {
  return Object.keys(MANIFEST).every((name) => name in ATTRIBUTES[type].export);
}

/** Attributes whose values nobody may see. */
export const SECRETS: ReadonlySet<string> = new Set([
  'access_key_id',
  'secret_access_key',
  'session_token',
  'token',
  'ghtoken',
]);

/** The attributes of all types. BuildKit ignores an attribute of another type or of the other side. */
export const NAMES: ReadonlySet<string> = new Set(
  Object.values(ATTRIBUTES).flatMap((sides) => Object.values(sides).flatMap((known) => Object.keys(known))),
);

/** The required attributes of a type: one of each group. */
export const REQUIRED: Readonly<Record<CacheType, Readonly<Record<Side, readonly (readonly string[])[]>>>> = {
  local: { import: [['src']], export: [['dest']] },
  registry: { import: [['ref']], export: [['ref']] },
  inline: { import: [['ref', 'src']], export: [['ref', 'dest']] },
  s3: { import: [['bucket'], ['region']], export: [['bucket'], ['region']] },
  azblob: { import: [['account_url']], export: [['account_url']] },
  gha: { import: [['url', 'url_v2'], ['token']], export: [['url', 'url_v2'], ['token']] },
  bundle: { import: [['src']], export: [['dest']] },
};

/** The environment variables that build tools read for attributes that are absent from the string. */
export const ENVIRONMENT: Readonly<Partial<Record<CacheType, Readonly<Record<string, string>>>>> = {
  gha: { url: 'ACTIONS_CACHE_URL', url_v2: 'ACTIONS_RESULTS_URL', token: 'ACTIONS_RUNTIME_TOKEN' },
  s3: { bucket: 'AWS_BUCKET', region: 'AWS_REGION' },
  azblob: {
    account_url: 'BUILDKIT_AZURE_STORAGE_ACCOUNT_URL',
    account_name: 'BUILDKIT_AZURE_STORAGE_ACCOUNT_NAME',
    container: 'BUILDKIT_AZURE_STORAGE_CONTAINER',
    prefix: 'BUILDKIT_AZURE_STORAGE_PREFIX',
  },
};
