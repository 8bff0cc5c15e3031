import { listBlobs } from '../layout/blobs/blob-list.js';
import { exists } from '../layout/files/durable.js';
import { createLayout } from '../layout/create-layout.js';
import { markStore } from '../layout/index/last-used.js';
import { indexPath } from '../layout/index/index-read.js';
import { type Layout, openLayout } from '../layout/layout.js';
import type { LayoutSettings } from '../layout/settings.js';
import type { ListenAddress } from './address.js';
import { App } from './app.js';
import { FolderGha } from './folder/folder-gha.js';
import { FolderRegistry } from './folder/folder-registry.js';
import { blockBlobHandler } from './gha/block-blobs.js';
import type { GhaContext } from './gha/context.js';
import { Reservations } from './gha/reservations.js';
import { artifactCacheHandler } from './gha/service-v1.js';
import { twirpHandler } from './gha/service-v2.js';
import { SignedUrls } from './gha/signed-urls.js';
import type { ServerLimits } from './limits.js';
import { Metrics } from './metrics.js';
import { registryHandler } from './registry/registry.js';
import type { Handler } from './request.js';
import { type RequestLog, type RunningServer, startServer } from './server.js';
import type { Tokens } from './tokens.js';
import { Uploads } from './uploads.js';

/** How often leases and uploads are looked at, in milliseconds. */
const TEND_EVERY = 60_000;

export interface ServeOptions {
  /** What is served: an OCI registry, and the cache service of GitHub, which needs tokens. */
  readonly services: { readonly registry: boolean; readonly gha: boolean };
  /** The address that clients see; undefined where the Host of each request tells. */
  readonly url?: URL | undefined;
  /** What the entries of the cache service may need together, in bytes. */
  readonly maxSize?: number | undefined;
  /** A folder of caches. It is made where it is missing, and may be written to. */
  readonly store: string;
  readonly layout: LayoutSettings;
  readonly listen: ListenAddress;
  readonly tls?: { readonly cert: string; readonly key: string } | undefined;
  /** Left out for a server that asks nobody: it then answers to this machine only, unless it is public. */
  readonly tokens?: Tokens | undefined;
  readonly isReadOnly: boolean;
  readonly isPublic: boolean;
  readonly limits: ServerLimits;
  readonly onRequest: (line: RequestLog) => void;
  /** Is told of what fails beside requests. */
  readonly onError: (error: unknown) => void;
}

/** A server that runs, and the store that it serves. */
export type Serving = Pick<RunningServer, 'origin' | 'stop' | 'renew'>;

/**
 * Serves a folder of caches.
 *
 * @throws CacheError NOT_FOUND, CORRUPT for the folder; USAGE, FAILED for the address
 */
export async function serve(options: ServeOptions): Promise<Serving> {
  const { isReadOnly, isPublic, tokens, limits, listen, tls } = options;
  const layout = await openStore(options);
  const services = [
    ...(options.services.registry ? [serveRegistry(layout, options)] : []),
    ...(options.services.gha && tokens !== undefined ? [serveGha(layout, options, tokens)] : []),
  ];
  const metrics = new Metrics();
  const routes = services.flatMap((service) => service.routes);
  const app = new App({ routes, tokens, isPublic, isReadOnly, isLocal: tokens === undefined && !isPublic, metrics });
  const close = async () => {
    for (const service of services) await service[Symbol.asyncDispose]();
    await layout[Symbol.asyncDispose]();
  };
  let server: RunningServer;
  try {
    server = await startServer({ app, listen, tls, limits, metrics, log: options.onRequest });
  } catch (error) {
    await close();
    throw error;
  }
  metrics.from({
    storeSize: () => sizeOf(layout),
    openUploads: () => services.reduce((sum, service) => sum + service.openUploads(), 0),
    connections: () => server.connections(),
  });
  // An expiry that fails is tried again a minute later.
  const tend = () => void Promise.all(services.map((service) => service.expire())).catch(options.onError);
  const tending = setInterval(tend, TEND_EVERY);
  return {
    origin: server.origin,
    renew: (renewed) => server.renew(renewed),
    async stop() {
      clearInterval(tending);
      await server.stop();
      await close();
    },
  };
}

/** A protocol that is served. Disposal ends its uploads and leases. */
interface Service extends AsyncDisposable {
  readonly routes: readonly (readonly [path: string, Handler])[];
  openUploads(): number;
  expire(): Promise<void>;
}

function serveRegistry(layout: Layout, { isReadOnly, limits }: ServeOptions): Service {
  const store = new FolderRegistry(layout, isReadOnly ? undefined : limits);
  const uploads = new Uploads(limits);
  return {
    routes: [['/v2', registryHandler({ store, uploads })]],
    openUploads: () => uploads.count,
    async expire() {
      await uploads.expire();
      await store.expire();
    },
    async [Symbol.asyncDispose]() {
      await uploads[Symbol.asyncDispose]();
      await store[Symbol.asyncDispose]();
    },
  };
}

function serveGha(
  layout: Layout,
  { isReadOnly, limits, maxSize, url, tls, onError }: ServeOptions,
  tokens: Tokens,
): Service {
  const store = new FolderGha(layout, { ...limits, maxSize }, { isReadOnly, onError });
  const reservations = new Reservations(store, limits.maxUploads);
  const context: GhaContext = {
    store,
    reservations,
    urls: new SignedUrls(tokens),
    origin: url?.origin,
    scheme: tls === undefined ? 'http' : 'https',
    isReadOnly,
  };
  return {
    routes: [
      ['/twirp', twirpHandler(context)],
      ['/_apis', artifactCacheHandler(context)],
      ['/bkcache', blockBlobHandler(context)],
    ],
    openUploads: () => reservations.count,
    async expire() {
      await reservations.expire();
      await store.expire();
    },
    async [Symbol.asyncDispose]() {
      await reservations[Symbol.asyncDispose]();
      await store[Symbol.asyncDispose]();
    },
  };
}

async function openStore({ store, layout: settings, isReadOnly }: ServeOptions): Promise<Layout> {
  if (isReadOnly) return openLayout(store, settings);
  const layout = await createLayout(store, settings);
  // A new folder is a store, which records uses; a folder that builds export to stays what it is.
  if (!(await exists(indexPath(layout)))) await markStore(layout);
  return layout;
}

async function sizeOf({ root }: Layout): Promise<number> {
  let size = 0;
  for await (const { stats } of listBlobs(root)) size += stats.size;
  return size;
}
