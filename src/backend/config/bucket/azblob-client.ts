import type * as sdk from '@azure/storage-blob';
import type { BlockBlobClient, ContainerClient, Pipeline } from '@azure/storage-blob';
import type { TokenCredential } from '@azure/identity';
import { CacheError, type Side } from '../../../errors.js';
import type { Secrets } from '../../../net/http/secrets.js';
import type { AzblobTransport } from './azblob-transport.js';

/** How a container is reached: the attributes of type=azblob with their defaults. */
export interface AzblobSettings {
  /** Of the account, without a SAS and without a slash at its end. */
  readonly accountUrl: string;
  readonly accountName: string;
  readonly container: string;
  /** A key of the account. */
  readonly key: string | undefined;
  /** The query of a shared access signature, without `?`. */
  readonly sas: string | undefined;
}

/** The official client, with what was found of its credentials. */
export interface AzblobClient {
  readonly container: ContainerClient;
  blob(key: string): BlockBlobClient;
}

/** What the client sends with, and who has to know of its credentials. */
interface ClientContext {
  readonly transport: AzblobTransport;
  readonly secrets: Secrets;
  readonly side: Side;
}

/** The version of the protocol that BuildKit speaks: services that know no later one are in use. */
const PROTOCOL = '2024-11-04';
/** Variables that say how much the client prints. */
const LOG_VARIABLES = ['AZURE_LOG_LEVEL', 'TYPESPEC_RUNTIME_LOG_LEVEL'];

/** What allows the requests: a key comes before a SAS. */
export function accessOf({ key, sas }: AzblobSettings): 'key' | 'sas' | 'search' {
  if (key !== undefined) return 'key';
  return sas === undefined ? 'search' : 'sas';
}

/**
 * Makes the official client for one container. It repeats no request.
 *
 * @throws CacheError USAGE for variables with which no search for an identity begins
 */
export async function openClient(settings: AzblobSettings, context: ClientContext): Promise<AzblobClient> {
  const { AnonymousCredential, BlockBlobClient, ContainerClient, newPipeline, StorageSharedKeyCredential } =
    await load();
  const { accountUrl, accountName, container, key, sas } = settings;
  const access = accessOf(settings);
  const credential =
    access === 'key'
      ? new StorageSharedKeyCredential(accountName, key ?? '')
      : access === 'sas'
        ? new AnonymousCredential()
        : await search(context);
  const options = { httpClient: context.transport, retryOptions: { maxTries: 1 } };
  const pipeline = withProtocol(newPipeline(credential, options));
  const query = access === 'sas' ? `?${sas}` : '';
  const url = `${accountUrl}/${container}`;
  return {
    container: new ContainerClient(`${url}${query}`, pipeline),
    // As BuildKit escapes a key, and so that no part of it is taken for a folder.
    blob: (name) => new BlockBlobClient(`${url}/${encodeURIComponent(name)}${query}`, pipeline),
  };
}

/** Has a client speak BuildKit's version of the protocol, and not its own. */
export function withProtocol(pipeline: Pipeline): Pipeline {
  pipeline.factories.push({
    create: (next) => ({
      sendRequest(request) {
        request.headers.set('x-ms-version', PROTOCOL);
        return next.sendRequest(request);
      },
    }),
  });
  return pipeline;
}

/** The official client's own search: environment, workload and managed identities, and the tools of Azure. */
async function search({ transport, secrets, side }: ClientContext): Promise<TokenCredential> {
  const { DefaultAzureCredential } = await import('@azure/identity');
  const begin = () => {
    try {
      return new DefaultAzureCredential({ httpClient: transport.forCredentials() });
    } catch (error) {
      if (!(error instanceof Error)) throw error;
      throw new CacheError('USAGE', `the search for an identity of Azure cannot begin: ${error.message}`, {
        hint: 'check AZURE_TOKEN_CREDENTIALS and the other variables of Azure',
        side,
        cause: error,
      });
    }
  };
  const found = begin();
  return {
    async getToken(...request) {
      const token = await found.getToken(...request);
      secrets.add(token.token);
      return token;
    },
  };
}

let loaded: Promise<typeof sdk> | undefined;

/** Loaded at first use: most caches are not in Azure. */
function load(): Promise<typeof sdk> {
  loaded ??= loadQuietly();
  return loaded;
}

/** Nothing of the client reaches stdout or stderr, whatever its variables and DEBUG say. */
async function loadQuietly(): Promise<typeof sdk> {
  const levels = LOG_VARIABLES.map((name) => [name, process.env[name]] as const);
  // It reads them once, and complains of a level that it does not know.
  for (const name of LOG_VARIABLES) delete process.env[name];
  try {
    const [client, { AzureLogger }] = await Promise.all([import('@azure/storage-blob'), import('@azure/logger')]);
    AzureLogger.log = () => undefined;
    return client;
  } finally {
    for (const [name, level] of levels) if (level !== undefined) process.env[name] = level;
  }
}
