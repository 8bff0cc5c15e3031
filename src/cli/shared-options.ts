import { MAX_LAYER_SIZE, WINDOW_MEMORY } from '../codec/limits.js';
import { DEFAULT_LAYOUT_SETTINGS, type LayoutSettings } from '../layout/settings.js';
import { parseCount, parseDuration, parseSize, parseText } from './quantities.js';
import type { Table, Words } from './verb.js';

// The units of default values, which are those of the library: in milliseconds, and in bytes.
const SECOND = 1000;
const GIB = 1024 ** 3;

/** The folder, bucket or repository of GitHub that a verb works on. */
export const BUCKET_WORD = {
  folder: {
    type: 'value',
    read: parseText,
    names: 'folder or bucket',
    describe: 'An OCI layout, or the import string of a bucket or type=gha; the store when left out',
  },
} as const satisfies Words;

/** The cache that a verb reads. */
export const CACHE_WORD = {
  cache: { type: 'value', read: parseText, required: true, names: 'cache', describe: 'An import string or a path' },
} as const satisfies Words;

/** Options of several verbs, defined once so that they read and behave the same. */
export const IMPORT_OPTION = {
  'import-cache': {
    type: 'value',
    read: parseText,
    list: true,
    required: true,
    names: 'cache',
    describe: 'Source: the string that buildctl, buildx and envd take, or a path; several become one cache',
  },
} as const satisfies Table;

export const EXPORT_OPTION = {
  'export-cache': {
    type: 'value',
    read: parseText,
    list: true,
    required: true,
    names: 'cache',
    describe: 'Target: the string that buildctl, buildx and envd take, or a path; may be given several times',
  },
} as const satisfies Table;

export const STORE_OPTION = {
  store: { type: 'value', read: parseText, describe: 'Folder of the store [$BKCACHE_STORE, or in ~/.cache]' },
} as const satisfies Table;

export const JSON_OPTION = {
  json: { type: 'flag', default: false, describe: 'One JSON document on stdout' },
} as const satisfies Table;

/** Where bytes go; `-o` is its short form. */
export const OUTPUT_OPTION = { type: 'value', read: parseText, short: 'o', default: '-' } as const;

/** Options of all verbs that open caches; `registryAccess` reads them. */
export const REGISTRY_OPTIONS = {
  'registry-ca': {
    type: 'value',
    read: parseText,
    describe: "PEM file with certificate authorities to trust in addition to the system's",
  },
  username: { type: 'value', read: parseText, describe: 'User of the registry [what "docker login" left]' },
  'password-stdin': { type: 'flag', default: false, describe: 'Read the password of the registry from stdin' },
} as const satisfies Table;

export const LOCK_OPTION = {
  'lock-timeout': {
    type: 'value',
    read: parseDuration,
    default: `${DEFAULT_LAYOUT_SETTINGS.lockTimeout / SECOND}s`,
    describe: 'How long to wait for a build or another bkcache that holds the lock of a folder',
  },
} as const satisfies Table;

/** For verbs that write to folders. */
export const LAYOUT_OPTIONS = {
  ...LOCK_OPTION,
  fsync: {
    type: 'flag',
    default: true,
    describe: 'Make the result survive a power cut; --no-fsync is faster, for folders that are thrown away',
  },
} as const satisfies Table;

/** For verbs that change a folder in place. */
export const FOLDER_OPTIONS = {
  ...STORE_OPTION,
  ...LAYOUT_OPTIONS,
  'dry-run': { type: 'flag', default: false, describe: 'Only say what would be done' },
} as const satisfies Table;

export const LAYER_OPTION = {
  'max-layer-size': {
    type: 'value',
    read: parseSize,
    default: `${MAX_LAYER_SIZE / GIB}GiB`,
    describe: 'Fail on a layer that decompresses to more than this',
  },
  'window-memory': {
    type: 'value',
    read: parseSize,
    default: `${WINDOW_MEMORY / GIB}GiB`,
    describe: 'Memory for the windows of all zstd layers that are read at once',
  },
} as const satisfies Table;

export const WORK_OPTIONS = {
  quiet: { type: 'flag', default: false, describe: 'No progress, no summary' },
  concurrency: {
    type: 'value',
    read: parseCount(1, 256),
    describe: 'Layers in parallel [number of cores; 8 with a registry]',
  },
} as const satisfies Table;

export const TRANSFER_OPTIONS = {
  ...JSON_OPTION,
  ...REGISTRY_OPTIONS,
  ...WORK_OPTIONS,
  hardlink: {
    type: 'flag',
    default: false,
    describe: 'Hard-link unchanged blobs from the import instead of copying them',
  },
  ...LAYER_OPTION,
  ...LAYOUT_OPTIONS,
  heal: {
    type: 'flag',
    default: false,
    describe: 'Read the blobs that the target already has, and replace damaged blobs',
  },
  'allow-oversize': { type: 'flag', default: false, describe: 'Write a config over 1 MiB, which BuildKit refuses' },
} as const satisfies Table;

/** The settings of layouts in the options. */
export function layoutSettings(argv: {
  readonly 'lock-timeout': number;
  readonly fsync?: boolean;
}): Pick<LayoutSettings, 'lockTimeout' | 'durable'> {
  return { lockTimeout: argv['lock-timeout'], durable: argv.fsync ?? true };
}
