import { type Action, type Grant, ALL, isRepositoryPattern } from '../serve/access.js';
import { isLocal, isLocalHost, type ListenAddress, originOf, parseListen, parseOrigin } from '../serve/address.js';
import { DEFAULT_LIMITS } from '../serve/limits.js';
import { CacheError } from '../errors.js';
import { parseChoice, parseCount, parseDuration, parseFolder, parseSize, parseText } from './quantities.js';
import { LAYOUT_OPTIONS, layoutSettings } from './shared-options.js';
import type { Log } from '../serve/log.js';
import type { Serving } from '../serve/serve.js';
import { verb } from './verb.js';

const DEFAULT_SCOPE = 'refs/heads/main';
/** How long a token is valid, in milliseconds. */
const DEFAULT_LIFETIME = 90 * 86_400_000;

const OPTIONS = {
  store: { type: 'value', read: parseFolder, describe: 'Folder of the store [$BKCACHE_STORE, or in ~/.cache]' },
  registry: { type: 'flag', default: false, describe: 'Serve the store as an OCI registry' },
  gha: { type: 'flag', default: false, describe: 'Serve the store as the cache service of GitHub; needs --token-file' },
  'max-size': {
    type: 'value',
    read: parseSize,
    describe: 'What the entries of --gha may need together; the least recently used go first',
  },
  listen: {
    type: 'value',
    read: parseListen,
    default: '127.0.0.1:5000',
    describe: 'Address and port; addresses that others can reach need --token-file, or --public --read-only',
  },
  url: { type: 'value', read: parseOrigin, describe: 'The address that clients see, such as https://cache.example' },
  'read-only': { type: 'flag', default: false, describe: 'Nobody may write' },
  public: {
    type: 'flag',
    default: false,
    describe: 'Everybody may read; caches hold sources, and often secrets. Needs --read-only',
  },
  'token-file': {
    type: 'value',
    read: parseText,
    describe: 'The key that signs tokens; made when missing. Clients need a token then',
  },
  'print-token': {
    type: 'value',
    read: parseChoice('read', 'write'),
    describe: 'Print a token to read, or to read and write, and serve nothing',
  },
  repositories: {
    type: 'value',
    read: parseRepositories,
    describe: 'For --print-token: the repositories that it is for, such as team/app,shared/* [all]',
  },
  'print-env': {
    type: 'flag',
    default: false,
    describe: 'Print the environment that a build needs for --gha, and serve nothing',
  },
  scope: {
    type: 'value',
    read: parseRef,
    describe: `For --print-env: the branch or pull request that the build writes to [${DEFAULT_SCOPE}]`,
  },
  reads: { type: 'value', read: parseRef, list: true, describe: 'For --print-env: a scope that it may read as well' },
  'read-scope': { type: 'flag', default: false, describe: 'For --print-env: the build may only read its scope' },
  expires: {
    type: 'value',
    read: parseDuration,
    describe: 'For --print-token and --print-env: how long it is valid [90d]',
  },
  'tls-cert': { type: 'value', read: parseText, describe: 'PEM file with the certificate, and those above it' },
  'tls-key': { type: 'value', read: parseText, describe: 'PEM file with the key of the certificate' },
  'max-blob-size': {
    type: 'value',
    read: parseSize,
    default: `${DEFAULT_LIMITS.maxBlobSize / 1024 ** 3}GiB`,
    describe: 'The largest blob that is taken',
  },
  'keep-free': {
    type: 'value',
    read: parseSize,
    default: `${DEFAULT_LIMITS.keepFree / 1024 ** 3}GiB`,
    describe: 'Refuse uploads that leave less than this free on the disk',
  },
  'max-uploads': {
    type: 'value',
    read: parseCount(1, 100_000),
    default: `${DEFAULT_LIMITS.maxUploads}`,
    describe: 'Uploads that may be open at once',
  },
  'max-connections': {
    type: 'value',
    read: parseCount(1, 100_000),
    default: `${DEFAULT_LIMITS.maxConnections}`,
    describe: 'Connections that may be open at once',
  },
  quiet: { type: 'flag', default: false, describe: 'No log of the requests' },
  ...LAYOUT_OPTIONS,
} as const;

export const serve = verb({
  name: 'serve',
  describe: 'Serve the store to builders and other tools',
  words: {},
  options: OPTIONS,
  examples: [
    ['For builds on this machine', 'bkcache serve --registry'],
    ['For reading by anybody in the network', 'bkcache serve --registry --listen :5000 --read-only --public'],
    ['For builds with type=gha', 'bkcache serve --gha --token-file ./key --max-size 50GB'],
    ['A token for a builder', 'bkcache serve --token-file ./key --print-token write --repositories team/*'],
  ],
  async run(argv) {
    refuseMisplaced(argv);
    if (argv['print-token'] !== undefined) return printToken(argv, argv['print-token']);
    if (argv['print-env']) return printEnv(argv);
    if (!argv.registry && !argv.gha) {
      throw new CacheError('USAGE', 'serve needs to know what to serve', { hint: 'add --registry, --gha, or both' });
    }
    if (argv.gha && argv['token-file'] === undefined) {
      throw new CacheError('USAGE', '--gha needs --token-file: scopes are in tokens', {
        hint: 'name a file for the key',
      });
    }
    if (argv['max-size'] !== undefined && !argv.gha) {
      throw new CacheError('USAGE', '--max-size is for --gha', {
        hint: '"bkcache prune" keeps other caches to a size',
      });
    }
    refuseOpenDoor(argv);
    const [{ serve }, { storePath }, { openLog }, { DEFAULT_LAYOUT_SETTINGS }] = await Promise.all([
      import('../serve/serve.js'),
      import('../operations/store.js'),
      import('../serve/log.js'),
      import('../layout/settings.js'),
    ]);
    const log = openLog();
    const store = storePath(argv.store);
    const serving = await serve({
      store,
      layout: { ...DEFAULT_LAYOUT_SETTINGS, ...layoutSettings(argv) },
      services: { registry: argv.registry, gha: argv.gha },
      url: argv.url,
      maxSize: argv['max-size'],
      listen: argv.listen,
      tls: await tlsOf(argv),
      tokens: argv['token-file'] === undefined ? undefined : await openTokens(argv['token-file']),
      isReadOnly: argv['read-only'],
      isPublic: argv.public,
      limits: {
        ...DEFAULT_LIMITS,
        maxBlobSize: argv['max-blob-size'],
        keepFree: argv['keep-free'],
        maxUploads: argv['max-uploads'],
        maxConnections: argv['max-connections'],
      },
      onError: (error) => log.error(error instanceof Error ? (error.stack ?? error.message) : String(error)),
      onRequest: argv.quiet ? () => undefined : log.request,
    });
    const as = [...(argv.registry ? ['as a registry'] : []), ...(argv.gha ? ['as a cache service'] : [])].join(' and ');
    const how = argv['read-only'] ? ', read-only' : '';
    process.stderr.write(`serving ${store} ${as} at ${argv.url?.origin ?? serving.origin}${how}\n`);
    const reload = () => void renew(argv, serving, log);
    if (argv['tls-cert'] !== undefined) process.on('SIGHUP', reload);
    await untilStopped();
    process.stderr.write('stopping: requests that run may end; stop again to end them now\n');
    await serving.stop();
    log.flush();
  },
});

interface Door {
  readonly listen: ListenAddress;
  readonly url: URL | undefined;
  readonly public: boolean;
  readonly 'read-only': boolean;
  readonly 'token-file': string | undefined;
}

/** Refuses to let everybody in without being told to. */
function refuseOpenDoor({
  listen,
  url,
  public: isPublic,
  'read-only': isReadOnly,
  'token-file': tokenFile,
}: Door): void {
  if (isPublic && !isReadOnly) {
    throw new CacheError('USAGE', '--public needs --read-only', {
      hint: 'everybody could write to the store otherwise; --token-file gives tokens to those who may',
    });
  }
  // Behind an address of others there is a proxy on this machine.
  const isForOthers = !isLocal(listen) || (url !== undefined && !isLocalHost(url.host));
  if (!isForOthers || isPublic || tokenFile !== undefined) return;
  throw new CacheError('USAGE', 'other machines can reach this address, and everybody could read and write', {
    hint: 'add --token-file FILE; or --public --read-only, if nothing in these caches is secret',
  });
}

/** Options of the tokens that are printed. */
interface Printed {
  readonly 'print-token': Action | undefined;
  readonly 'print-env': boolean;
  readonly repositories: readonly string[] | undefined;
  readonly scope: string | undefined;
  readonly reads: readonly string[] | undefined;
  readonly 'read-scope': boolean;
  readonly expires: number | undefined;
}

/** Refuses options that would mean nothing. */
function refuseMisplaced(argv: Printed): void {
  const [token, env] = [argv['print-token'] !== undefined, argv['print-env']];
  if (token && env) {
    throw new CacheError('USAGE', '--print-token and --print-env are for different tokens', { hint: 'leave one out' });
  }
  const only = (isMeant: boolean, isGiven: boolean, names: string, wanted: string) => {
    if (isGiven && !isMeant) throw new CacheError('USAGE', `${names} for ${wanted}`, { hint: `add ${wanted}` });
  };
  only(token, argv.repositories !== undefined, '--repositories is', '--print-token');
  const isScoped = argv.scope !== undefined || argv.reads !== undefined || argv['read-scope'];
  only(env, isScoped, '--scope, --reads and --read-scope are', '--print-env');
  only(token || env, argv.expires !== undefined, '--expires is', '--print-token or --print-env');
}

/** A scope of GitHub's cache. @throws CacheError USAGE */
function parseRef(text: string, option: string): string {
  if (/^refs\/[\x21-\x7e]{1,240}$/.test(text)) return text;
  throw new CacheError('USAGE', `${option} takes a ref such as refs/heads/main, not ${JSON.stringify(text)}`);
}

async function printEnv(argv: {
  readonly 'token-file': string | undefined;
  readonly url: URL | undefined;
  readonly listen: ListenAddress;
  readonly 'tls-cert': string | undefined;
  readonly scope: string | undefined;
  readonly reads: readonly string[] | undefined;
  readonly 'read-scope': boolean;
  readonly expires: number | undefined;
}): Promise<void> {
  const file = argv['token-file'];
  if (file === undefined) {
    throw new CacheError('USAGE', '--print-env needs --token-file', { hint: 'name the file that the server uses' });
  }
  if (argv.url === undefined && !isLocal(argv.listen)) {
    throw new CacheError('USAGE', '--print-env needs --url', { hint: 'name the address that builds see' });
  }
  const scope = argv.scope ?? DEFAULT_SCOPE;
  const origin = argv.url?.origin ?? originOf(argv.listen, argv['tls-cert'] === undefined ? 'http' : 'https');
  const scopes = [
    { ref: scope, mayWrite: !argv['read-scope'] },
    ...(argv.reads ?? []).filter((ref) => ref !== scope).map((ref) => ({ ref, mayWrite: false })),
  ];
  const token = (await openTokens(file)).sign([], argv.expires ?? DEFAULT_LIFETIME, { scopes });
  const lines = {
    ACTIONS_CACHE_URL: `${origin}/`,
    ACTIONS_RESULTS_URL: `${origin}/`,
    ACTIONS_CACHE_SERVICE_V2: 'true',
    ACTIONS_RUNTIME_TOKEN: token,
  };
  process.stdout.write(
    Object.entries(lines)
      .map(([name, value]) => `${name}=${value}\n`)
      .join(''),
  );
}

/** Reads a list of repositories. @throws CacheError USAGE */
function parseRepositories(text: string, option: string): readonly string[] {
  const repositories = text.split(',');
  if (repositories.every(isRepositoryPattern)) return repositories;
  throw new CacheError('USAGE', `${option} takes names such as team/app or team/*, not ${JSON.stringify(text)}`);
}

async function printToken(
  {
    'token-file': file,
    repositories = [ALL],
    expires = DEFAULT_LIFETIME,
  }: {
    readonly 'token-file': string | undefined;
    readonly repositories: readonly string[] | undefined;
    readonly expires: number | undefined;
  },
  action: Action,
): Promise<void> {
  if (file === undefined) {
    throw new CacheError('USAGE', '--print-token needs --token-file', { hint: 'name the file that the server uses' });
  }
  const grant: Grant = { action, repositories };
  const tokens = await openTokens(file);
  process.stdout.write(`${tokens.sign([grant], expires)}\n`);
}

async function openTokens(file: string) {
  const { tokensIn } = await import('../serve/key-file.js');
  return tokensIn(file);
}

async function tlsOf(argv: { readonly 'tls-cert': string | undefined; readonly 'tls-key': string | undefined }) {
  const [cert, key] = [argv['tls-cert'], argv['tls-key']];
  if (cert === undefined && key === undefined) return undefined;
  if (cert === undefined || key === undefined) {
    throw new CacheError('USAGE', '--tls-cert and --tls-key belong together', { hint: 'name both, or neither' });
  }
  const { readUserFile } = await import('../net/http/user-file.js');
  return { cert: await readUserFile(cert), key: await readUserFile(key) };
}

/** Reads a renewed certificate. With files that cannot be used, the old one stays. */
async function renew(argv: Parameters<typeof tlsOf>[0], serving: Serving, log: Log): Promise<void> {
  try {
    const tls = await tlsOf(argv);
    if (tls !== undefined) serving.renew(tls);
    log.info('the certificate was read again');
  } catch (error) {
    log.error(`the certificate was not read again: ${error instanceof Error ? error.message : String(error)}`);
  }
}

/** The next signal after this ends the process at once, as signals do. */
async function untilStopped(): Promise<void> {
  const signals = ['SIGTERM', 'SIGINT'] as const;
  await new Promise<void>((resolve) => {
    const stop = () => {
      for (const name of signals) process.off(name, stop);
      resolve();
    };
    for (const name of signals) process.on(name, stop);
  });
}
