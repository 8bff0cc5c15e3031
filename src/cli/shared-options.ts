import type { Options } from 'yargs';
import type { LayoutSettings } from '../layout/layout.js';
import { parseDuration } from './quantities.js';

/** Options that several verbs have, in one place so that they read and behave alike. */
export const IMPORT_OPTION = {
  'import-cache': {
    type: 'string',
    array: true,
    nargs: 1,
    demandOption: true,
    requiresArg: true,
    describe: 'Where from: what buildctl, buildx and envd take, or a path; several become one cache',
  },
} as const satisfies Record<string, Options>;

export const EXPORT_OPTION = {
  'export-cache': {
    type: 'string',
    array: true,
    nargs: 1,
    demandOption: true,
    requiresArg: true,
    describe: 'Where to: what buildctl, buildx and envd take, or a path; may be given several times',
  },
} as const satisfies Record<string, Options>;

export const STORE_OPTION = {
  store: { type: 'string', requiresArg: true, describe: 'Folder of the store [$BKCACHE_STORE, or in ~/.cache]' },
} as const satisfies Record<string, Options>;

export const JSON_OPTION = {
  json: { type: 'boolean', default: false, describe: 'One JSON document on stdout' },
} as const satisfies Record<string, Options>;

/** Of all verbs that open caches; `registryAccess` reads them. */
export const REGISTRY_OPTIONS = {
  'registry-ca': {
    type: 'string',
    requiresArg: true,
    describe: "PEM file with authorities to trust beside the system's",
  },
  username: { type: 'string', requiresArg: true, describe: 'User of the registry [what "docker login" left]' },
  'password-stdin': { type: 'boolean', default: false, describe: 'Read the password of the registry from stdin' },
} as const satisfies Record<string, Options>;

export const LOCK_OPTION = {
  'lock-timeout': {
    type: 'string',
    requiresArg: true,
    default: '10s',
    describe: 'How long to wait for a build or another bkcache that holds the lock of a folder',
  },
} as const satisfies Record<string, Options>;

/** For verbs that write to folders. */
export const LAYOUT_OPTIONS = {
  ...LOCK_OPTION,
  fsync: {
    type: 'boolean',
    default: true,
    describe: 'Make it survive a power cut; --no-fsync is faster, for folders that are thrown away',
  },
} as const satisfies Record<string, Options>;

/** For verbs that change a folder in place. */
export const FOLDER_OPTIONS = {
  ...STORE_OPTION,
  ...LAYOUT_OPTIONS,
  'dry-run': { type: 'boolean', default: false, describe: 'Only say what would be done' },
} as const satisfies Record<string, Options>;

export const GRACE_OPTION = {
  grace: {
    type: 'string',
    requiresArg: true,
    default: '1h',
    describe: 'Leave alone what was written in this time, since a build may need it soon',
  },
} as const satisfies Record<string, Options>;

export const LAYER_OPTION = {
  'max-layer-size': {
    type: 'string',
    requiresArg: true,
    default: '128GiB',
    describe: 'Give up on a layer that unpacks to more',
  },
} as const satisfies Record<string, Options>;

export const WORK_OPTIONS = {
  quiet: { type: 'boolean', default: false, describe: 'No progress, no summary' },
  concurrency: {
    type: 'string',
    requiresArg: true,
    describe: 'Layers at once [as many as there are cores; 8 with a registry]',
  },
} as const satisfies Record<string, Options>;

export const TRANSFER_OPTIONS = {
  ...JSON_OPTION,
  ...REGISTRY_OPTIONS,
  ...WORK_OPTIONS,
  hardlink: { type: 'boolean', default: false, describe: 'Share files with the import where nothing changes' },
  ...LAYER_OPTION,
  ...LAYOUT_OPTIONS,
  heal: {
    type: 'boolean',
    default: false,
    describe: 'Read blobs that are in the target already, and replace those that are damaged',
  },
  'allow-oversize': { type: 'boolean', default: false, describe: 'Write a config over 1 MiB, which BuildKit refuses' },
} as const satisfies Record<string, Options>;

/** What the options say of how a folder is used. */
export function layoutSettings(argv: {
  readonly 'lock-timeout': string;
  readonly fsync?: boolean;
}): Pick<LayoutSettings, 'lockTimeout' | 'durable'> {
  return { lockTimeout: parseDuration(argv['lock-timeout'], '--lock-timeout'), durable: argv.fsync ?? true };
}
