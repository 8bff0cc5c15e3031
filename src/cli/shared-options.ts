import type { InferredOptionTypes, Options } from 'yargs';

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

export const TRANSFER_OPTIONS = {
  ...JSON_OPTION,
  ...REGISTRY_OPTIONS,
  quiet: { type: 'boolean', default: false, describe: 'No progress, no summary' },
  concurrency: {
    type: 'string',
    requiresArg: true,
    describe: 'Layers at once [as many as there are cores; 8 with a registry]',
  },
  hardlink: { type: 'boolean', default: false, describe: 'Share files with the import where nothing changes' },
  'allow-oversize': { type: 'boolean', default: false, describe: 'Write a config over 1 MiB, which BuildKit refuses' },
} as const satisfies Record<string, Options>;

export type Arguments<T extends Record<string, Options>> = InferredOptionTypes<T>;
