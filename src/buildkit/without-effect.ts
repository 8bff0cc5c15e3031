import type { Side } from '../errors.js';
import type { CacheType } from './attributes.js';

type Values = Readonly<Record<string, string>>;

/** An attribute that has no effect together with certain other attributes. */
interface Rule {
  readonly types: readonly CacheType[];
  /** Both sides when absent. */
  readonly side?: Side;
  readonly name: string;
  readonly when: (values: Values) => boolean;
  readonly why: string;
}

const isSet = (value: string | undefined) => value !== undefined && value !== '';
const isVersion1 = ({ version = '' }: Values) => Number(version) === 1;

const RULES: readonly Rule[] = [
  // client/solve.go, parseCacheOptions
  {
    types: ['local', 'inline'],
    side: 'import',
    name: 'tag',
    when: ({ digest }) => isSet(digest),
    why: 'digest= comes first',
  },
  // util/compression/uncompressed.go
  {
    types: ['local', 'registry', 's3', 'azblob'],
    side: 'export',
    name: 'compression-level',
    when: ({ compression }) => compression === 'uncompressed',
    why: 'compression=uncompressed has no levels',
  },
  // cache/remotecache/inline/inline.go: it reads no attributes
  {
    types: ['inline'],
    side: 'export',
    name: 'mode',
    when: ({ mode }) => mode === 'max',
    why: 'an inline cache has only the layers of its image; type=registry writes a cache without an image',
  },
  {
    types: ['inline'],
    name: 'registry.insecure',
    when: ({ ref }) => !isSet(ref),
    why: 'the image is in a folder',
  },
  // cache/remotecache/s3/s3.go: getConfig reads it on both sides
  {
    types: ['s3'],
    side: 'import',
    name: 'upload_parallelism',
    when: () => true,
    why: 'it is about exports',
  },
  // newS3Client
  {
    types: ['s3'],
    name: 'use_path_style',
    when: ({ endpoint_url: endpoint }) => !isSet(endpoint),
    why: 'it needs endpoint_url=',
  },
  {
    types: ['s3'],
    name: 'access_key_id',
    when: ({ secret_access_key: secret }) => !isSet(secret),
    why: 'it needs secret_access_key=',
  },
  {
    types: ['s3'],
    name: 'secret_access_key',
    when: ({ access_key_id: id }) => !isSet(id),
    why: 'it needs access_key_id=',
  },
  {
    types: ['s3'],
    name: 'session_token',
    when: ({ access_key_id: id, secret_access_key: secret }) => !isSet(id) || !isSet(secret),
    why: 'it needs access_key_id= and secret_access_key=',
  },
  // cache/remotecache/gha/gha.go, getConfig
  { types: ['gha'], name: 'url_v2', when: isVersion1, why: 'version=1 takes url=' },
  {
    types: ['gha'],
    name: 'url',
    when: (values) => isSet(values['url_v2']) && !isVersion1(values),
    why: 'url_v2= comes first',
  },
  {
    types: ['gha'],
    side: 'export',
    name: 'ghtoken',
    when: ({ repository }) => !isSet(repository),
    why: 'it needs repository=',
  },
  {
    types: ['gha'],
    side: 'export',
    name: 'repository',
    when: ({ ghtoken }) => !isSet(ghtoken),
    why: 'it needs ghtoken=',
  },
];

/**
 * Why an attribute has no effect together with the others.
 *
 * @param values - all attributes, including those from the environment
 * @returns undefined when it has an effect
 */
export function whyWithoutEffect(type: CacheType, side: Side, name: string, values: Values): string | undefined {
  return RULES.find(
    (rule) => rule.name === name && rule.types.includes(type) && (rule.side ?? side) === side && rule.when(values),
  )?.why;
}
