import { type Action, type Grant, ALL, isRepositoryPattern } from '../serve/access.js';
import { isLocal, isLocalHost, type ListenAddress, parseListen, parseOrigin } from '../serve/address.js';
import { DEFAULT_LIMITS } from '../serve/limits.js';
import { CacheError } from '../errors.js';
import { parseChoice, parseCount, parseDuration, parseFolder, parseSize, parseText } from './quantities.js';
import { LAYOUT_OPTIONS, layoutSettings } from './shared-options.js';
import type { Log } from '../serve/log.js';
import type { Serving } from '../serve/serve.js';
import { verb } from './verb.js';

const OPTIONS = {
  store: { type: 'value', read: parseFolder, describe: 'Folder of the store [$BKCACHE_STORE, or in ~/.cache]' },
  registry: { type: 'flag', default: false, describe: 'Serve the store as an OCI registry' },
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
  expires: {
    type: 'value',
    read: parseDuration,
    default: '90d',
    describe: 'For --print-token: how long it is valid',
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
  describe: 'Serve the store to builders and other tools, as a registry',
  words: {},
  options: OPTIONS,
  examples: [
    ['For builds on this machine', 'bkcache serve --registry'],
    ['For reading by anybody in the network', 'bkcache serve --registry --listen :5000 --read-only --public'],
    ['A token for a builder', 'bkcache serve --token-file ./key --print-token write --repositories team/*'],
  ],
  async run(argv) {
    if (argv['print-token'] !== undefined) return printToken(argv, argv['print-token']);
    if (argv.repositories !== undefined) throw needsPrintToken();
    if (!argv.registry) {
      throw new CacheError('USAGE', 'serve needs to know what to serve', { hint: 'add --registry' });
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
      onRequest: argv.quiet ? () => undefined : log.request,
    });
    const how = argv['read-only'] ? ', read-only' : '';
    process.stderr.write(`serving ${store} as a registry at ${argv.url?.origin ?? serving.origin}${how}\n`);
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

function needsPrintToken(): CacheError {
  return new CacheError('USAGE', '--repositories is for --print-token', { hint: 'add --print-token read, or write' });
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
    expires,
  }: {
    readonly 'token-file': string | undefined;
    readonly repositories: readonly string[] | undefined;
    readonly expires: number;
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
