import type { LayoutSettings } from '../layout/layout.js';
import { count, parseAge, parseDuration, parseFolder, parseSize, parseText } from './quantities.js';
import type { Table, Words } from './verb.js';

/** The folder that a verb works on. */
export const FOLDER_WORD = {
  folder: { type: 'value', read: parseFolder, names: 'folder', describe: 'An OCI layout; the store when left out' },
} as const satisfies Words;

/** The cache that a verb reads. */
export const CACHE_WORD = {
  cache: { type: 'value', read: parseText, required: true, names: 'cache', describe: 'An import string or a path' },
} as const satisfies Words;

/** Options that several verbs have, in one place so that they read and behave alike. */
export const IMPORT_OPTION = {
  'import-cache': {
    type: 'value',
    read: parseText,
    list: true,
    required: true,
    names: 'cache',
    describe: 'Where from: what buildctl, buildx and envd take, or a path; several become one cache',
  },
} as const satisfies Table;

export const EXPORT_OPTION = {
  'export-cache': {
    type: 'value',
    read: parseText,
    list: true,
    required: true,
    names: 'cache',
    describe: 'Where to: what buildctl, buildx and envd take, or a path; may be given several times',
  },
} as const satisfies Table;

export const STORE_OPTION = {
  store: { type: 'value', read: parseText, describe: 'Folder of the store [$BKCACHE_STORE, or in ~/.cache]' },
} as const satisfies Table;

export const JSON_OPTION = {
  json: { type: 'flag', default: false, describe: 'One JSON document on stdout' },
} as const satisfies Table;

/** Of all verbs that open caches; `registryAccess` reads them. */
export const REGISTRY_OPTIONS = {
  'registry-ca': {
    type: 'value',
    read: parseText,
    describe: "PEM file with authorities to trust beside the system's",
  },
  username: { type: 'value', read: parseText, describe: 'User of the registry [what "docker login" left]' },
  'password-stdin': { type: 'flag', default: false, describe: 'Read the password of the registry from stdin' },
} as const satisfies Table;

export const LOCK_OPTION = {
  'lock-timeout': {
    type: 'value',
    read: parseDuration,
    default: '10s',
    describe: 'How long to wait for a build or another bkcache that holds the lock of a folder',
  },
} as const satisfies Table;

/** For verbs that write to folders. */
export const LAYOUT_OPTIONS = {
  ...LOCK_OPTION,
  fsync: {
    type: 'flag',
    default: true,
    describe: 'Make it survive a power cut; --no-fsync is faster, for folders that are thrown away',
  },
} as const satisfies Table;

/** For verbs that change a folder in place. */
export const FOLDER_OPTIONS = {
  ...STORE_OPTION,
  ...LAYOUT_OPTIONS,
  'dry-run': { type: 'flag', default: false, describe: 'Only say what would be done' },
} as const satisfies Table;

export const GRACE_OPTION = {
  grace: {
    type: 'value',
    read: parseAge,
    default: '1h',
    describe: 'Leave alone what was written in this time, since a build may need it soon',
  },
} as const satisfies Table;

export const LAYER_OPTION = {
  'max-layer-size': {
    type: 'value',
    read: parseSize,
    default: '128GiB',
    describe: 'Give up on a layer that decompresses to more',
  },
  'window-memory': {
    type: 'value',
    read: parseSize,
    default: '1GiB',
    describe: 'Memory for the windows of all zstd layers that are read at once',
  },
} as const satisfies Table;

export const WORK_OPTIONS = {
  quiet: { type: 'flag', default: false, describe: 'No progress, no summary' },
  concurrency: {
    type: 'value',
    read: count(1, 256),
    describe: 'Layers at once [as many as there are cores; 8 with a registry]',
  },
} as const satisfies Table;

export const TRANSFER_OPTIONS = {
  ...JSON_OPTION,
  ...REGISTRY_OPTIONS,
  ...WORK_OPTIONS,
  hardlink: { type: 'flag', default: false, describe: 'Share files with the import where nothing changes' },
  ...LAYER_OPTION,
  ...LAYOUT_OPTIONS,
  heal: {
    type: 'flag',
    default: false,
    describe: 'Read blobs that are in the target already, and replace those that are damaged',
  },
  'allow-oversize': { type: 'flag', default: false, describe: 'Write a config over 1 MiB, which BuildKit refuses' },
} as const satisfies Table;

/** What the options say of how a folder is used. */
export function layoutSettings(argv: {
  readonly 'lock-timeout': number;
  readonly fsync?: boolean;
}): Pick<LayoutSettings, 'lockTimeout' | 'durable'> {
  return { lockTimeout: argv['lock-timeout'], durable: argv.fsync ?? true };
}
