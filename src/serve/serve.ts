import { listBlobs } from '../layout/blobs/blob-list.js';
import { exists } from '../layout/files/durable.js';
import { createLayout } from '../layout/create-layout.js';
import { markStore } from '../layout/index/last-used.js';
import { indexPath } from '../layout/index/index-read.js';
import { type Layout, openLayout } from '../layout/layout.js';
import type { LayoutSettings } from '../layout/settings.js';
import type { ListenAddress } from './address.js';
import { App } from './app.js';
import { FolderRegistry } from './folder/folder-registry.js';
import type { ServerLimits } from './limits.js';
import { Metrics } from './metrics.js';
import { registryHandler } from './registry/registry.js';
import { type RequestLog, type RunningServer, startServer } from './server.js';
import type { Tokens } from './tokens.js';
import { Uploads } from './uploads.js';

/** How often leases and uploads are looked at, in milliseconds. */
const TEND_EVERY = 60_000;

export interface ServeOptions {
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
}

/** A server that runs, and the store that it serves. */
export type Serving = Pick<RunningServer, 'origin' | 'stop' | 'renew'>;

/**
 * Serves a folder of caches as a registry.
 *
 * @throws CacheError NOT_FOUND, CORRUPT for the folder; USAGE, FAILED for the address
 */
export async function serve(options: ServeOptions): Promise<Serving> {
  const { isReadOnly, isPublic, tokens, limits, listen, tls } = options;
  const layout = await openStore(options);
  const store = new FolderRegistry(layout, isReadOnly ? undefined : limits);
  const uploads = new Uploads(limits);
  const metrics = new Metrics();
  const app = new App({
    routes: [['/v2', registryHandler({ store, uploads })]],
    tokens,
    isPublic,
    isReadOnly,
    isLocal: tokens === undefined && !isPublic,
    metrics,
  });
  const close = async () => {
    await uploads[Symbol.asyncDispose]();
    await store[Symbol.asyncDispose]();
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
    openUploads: () => uploads.count,
    connections: () => server.connections(),
  });
  // An expiry that fails is tried again a minute later.
  const tend = () => void Promise.all([uploads.expire(), store.expire()]).catch(() => undefined);
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
