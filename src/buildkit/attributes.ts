import type { Side } from '../errors.js';

export type CacheType = 'local' | 'registry' | 'inline' | 's3' | 'azblob' | 'gha';

/** What the value of an attribute has to look like. */
export type AttributeKind =
  | 'text'
  | 'prefix'
  | 'flag'
  | 'count'
  | 'digest'
  | 'duration'
  | 'mode'
  | 'compression'
  | 'level'
  | 'force'
  | 'retry'
  | 'version';

export type Attributes = Readonly<Record<string, AttributeKind>>;

const COMPRESSION: Attributes = {
  compression: 'compression',
  'compression-level': 'level',
  'force-compression': 'force',
};
const MANIFEST: Attributes = { 'image-manifest': 'flag', 'oci-mediatypes': 'flag' };
const EXPORT: Attributes = { mode: 'mode', 'ignore-error': 'flag' };

const S3: Attributes = {
  bucket: 'text',
  region: 'text',
  prefix: 'prefix',
  blobs_prefix: 'prefix',
  manifests_prefix: 'prefix',
  name: 'text',
  endpoint_url: 'text',
  use_path_style: 'flag',
  access_key_id: 'text',
  secret_access_key: 'text',
  session_token: 'text',
  disable_accept_encoding: 'flag',
  retry_mode: 'retry',
  retry_max_attempts: 'count',
};
const AZBLOB: Attributes = {
  account_url: 'text',
  account_name: 'text',
  container: 'text',
  prefix: 'prefix',
  blobs_prefix: 'prefix',
  manifests_prefix: 'prefix',
  name: 'text',
  secret_access_key: 'text',
};
const GHA: Attributes = {
  scope: 'text',
  url: 'text',
  url_v2: 'text',
  token: 'text',
  version: 'version',
  timeout: 'duration',
};
const REGISTRY: Attributes = { ref: 'text', 'registry.insecure': 'flag' };

/**
 * The attributes that each type knows: cache/remotecache/{local,registry,inline,s3,azblob,gha}, and docs/ of BuildKit.
 * `inline` needs to be told of the image here, which a build has at hand.
 */
export const ATTRIBUTES: Readonly<Record<CacheType, Readonly<Record<Side, Attributes>>>> = {
  local: {
    import: { src: 'text', digest: 'digest', tag: 'text' },
    export: { dest: 'text', tag: 'text', reset: 'flag', ...EXPORT, ...MANIFEST, ...COMPRESSION },
  },
  registry: { import: REGISTRY, export: { ...REGISTRY, ...EXPORT, ...MANIFEST, ...COMPRESSION } },
  inline: {
    import: { ...REGISTRY, src: 'text', digest: 'digest', tag: 'text' },
    export: { ...REGISTRY, dest: 'text', tag: 'text', ...EXPORT },
  },
  s3: { import: S3, export: { ...S3, touch_refresh: 'duration', upload_parallelism: 'count', ...EXPORT } },
  azblob: { import: AZBLOB, export: { ...AZBLOB, ...EXPORT } },
  gha: { import: GHA, export: { ...GHA, ghtoken: 'text', repository: 'text', ...EXPORT } },
};

/** The attributes that a type cannot do without: of each group, one. */
export const REQUIRED: Readonly<Record<CacheType, Readonly<Record<Side, readonly (readonly string[])[]>>>> = {
  local: { import: [['src']], export: [['dest']] },
  registry: { import: [['ref']], export: [['ref']] },
  inline: { import: [['ref', 'src']], export: [['ref', 'dest']] },
  s3: { import: [['bucket'], ['region']], export: [['bucket'], ['region']] },
  azblob: { import: [['account_url']], export: [['account_url']] },
  gha: { import: [['url', 'url_v2'], ['token']], export: [['url', 'url_v2'], ['token']] },
};

/** Where the build tools take an attribute from when the string does not name it. */
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
