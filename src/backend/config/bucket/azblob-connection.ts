import type * as sdk from '@azure/storage-blob';
import type { BlockBlobClient, ContainerClient, Pipeline } from '@azure/storage-blob';
import type { TokenCredential } from '@azure/identity';
import { CacheError, type Side } from '../../../errors.js';
import type { HttpClient } from '../../../net/http/http.js';
import { Backoff, type RetryPolicy, TransientError } from '../../../net/http/retry.js';
import { Secrets } from '../../../net/http/secrets.js';
import { type AzblobRefusal, type AzblobRight, describeAzblob, isUnknownUser, refusalOf } from './azblob-error.js';
import { AzblobTransport } from './azblob-transport.js';

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

/** One request, made again for each attempt. */
export interface AzblobCall<T> {
  readonly purpose: string;
  readonly right: AzblobRight;
  readonly send: (client: AzblobClient) => Promise<T>;
  /** Whether the request needs the container, so that one that is missing is made. */
  readonly makesContainer?: true;
}

/** The official client, with what was found of its credentials. */
export interface AzblobClient {
  readonly container: ContainerClient;
  blob(key: string): BlockBlobClient;
}

/** The version of the protocol that BuildKit speaks: services that know no later one are in use. */
const PROTOCOL = '2024-11-04';
/** Variables whose values no message shows. */
const SECRET_VARIABLES = ['AZURE_CLIENT_SECRET', 'AZURE_PASSWORD', 'AZURE_CLIENT_CERTIFICATE_PASSWORD'];

/** Variables that say how much the client prints. */
const LOG_VARIABLES = ['AZURE_LOG_LEVEL', 'TYPESPEC_RUNTIME_LOG_LEVEL'];

/** The refusal of a request, beside the error that a caller throws for it. */
export class AzblobFailure extends Error {
  readonly refusal: AzblobRefusal;
  /** The same in words. */
  readonly described: CacheError;

  constructor(refusal: AzblobRefusal, described: CacheError) {
    super('refused');
    this.refusal = refusal;
    this.described = described;
  }
}

/** Requests to one container over the official client, which signs them and finds credentials. Retries are ours. */
export class AzblobConnection {
  /** The address of the container. */
  readonly name: string;
  readonly side: Side;
  readonly transport: AzblobTransport;
  readonly #settings: AzblobSettings;
  readonly #policy: RetryPolicy | undefined;
  readonly #secrets = new Secrets();
  #client: Promise<AzblobClient> | undefined;
  #made: Promise<void> | undefined;

  constructor(settings: AzblobSettings, http: HttpClient, side: Side, policy: RetryPolicy | undefined) {
    this.name = `${settings.accountUrl}/${settings.container}`;
    this.side = side;
    this.transport = new AzblobTransport(http);
    this.#settings = settings;
    this.#policy = policy;
    this.#secrets.add(settings.key);
    this.#secrets.add(new URLSearchParams(settings.sas).get('sig') ?? undefined);
    for (const name of SECRET_VARIABLES) this.#secrets.add(process.env[name]);
  }

  backoff(): Backoff {
    return new Backoff(this.#policy);
  }

  /** As `ask`, and throws the error of a refusal in words. */
  async request<T>(call: AzblobCall<T>, signal: AbortSignal | undefined): Promise<T> {
    try {
      return await this.ask(call, signal);
    } catch (error) {
      throw error instanceof AzblobFailure ? error.described : error;
    }
  }

  /**
   * Sends a request, again where that may help.
   *
   * @throws AzblobFailure where Azure refuses it and the caller is to look why; CacheError
   */
  async ask<T>(call: AzblobCall<T>, signal: AbortSignal | undefined): Promise<T> {
    const backoff = this.backoff();
    let isRenewed = false;
    let isContainerMade = false;
    for (;;) {
      signal?.throwIfAborted();
      try {
        return await call.send(await this.#connect());
      } catch (error) {
        signal?.throwIfAborted();
        const refusal = refusalOf(error);
        if (refusal?.code === 'ContainerNotFound' && call.makesContainer === true && !isContainerMade) {
          isContainerMade = true;
          await (this.#made ??= this.#makeContainer(signal));
          continue;
        }
        if (refusal !== undefined && isUnknownUser(refusal) && !isRenewed && this.#access === 'search') {
          isRenewed = true;
          this.#client = undefined;
          continue;
        }
        const described = this.describe(error, call);
        if (described instanceof TransientError) await backoff.wait(described, signal);
        else if (refusal !== undefined && described instanceof CacheError) throw new AzblobFailure(refusal, described);
        else throw described;
      }
    }
  }

  /** The error for a request that failed. */
  describe(error: unknown, { purpose, right }: Pick<AzblobCall<unknown>, 'purpose' | 'right'>): unknown {
    const { container, accountName, sas } = this.#settings;
    const query = new URLSearchParams(sas);
    return describeAzblob(error, {
      name: this.name,
      container,
      accountName,
      side: this.side,
      purpose,
      right,
      secrets: this.#secrets,
      access: this.#access,
      validity: { from: timeOf(query.get('st')), until: timeOf(query.get('se')) },
    });
  }

  get #access(): 'key' | 'sas' | 'search' {
    const { key, sas } = this.#settings;
    if (key !== undefined) return 'key';
    return sas === undefined ? 'search' : 'sas';
  }

  /** Makes the container. Another writer may make it at the same time. */
  async #makeContainer(signal: AbortSignal | undefined): Promise<void> {
    try {
      await this.ask(
        {
          purpose: `make the container`,
          right: 'container',
          send: ({ container }) => container.create(abortedBy(signal)),
        },
        signal,
      );
    } catch (error) {
      this.#made = undefined;
      if (!(error instanceof AzblobFailure)) throw error;
      if (error.refusal.code !== 'ContainerAlreadyExists') throw error.described;
    }
  }

  #connect(): Promise<AzblobClient> {
    this.#client ??= this.#open();
    return this.#client;
  }

  async #open(): Promise<AzblobClient> {
    const { ContainerClient, BlockBlobClient, ...client } = await load();
    const pipeline = await this.#pipeline(client);
    const { sas, key } = this.#settings;
    const query = sas === undefined || key !== undefined ? '' : `?${sas}`;
    return {
      container: new ContainerClient(`${this.name}${query}`, pipeline),
      // As BuildKit escapes a key, and so that no part of it is taken for a folder.
      blob: (name) => new BlockBlobClient(`${this.name}/${encodeURIComponent(name)}${query}`, pipeline),
    };
  }

  async #pipeline({
    AnonymousCredential,
    newPipeline,
    StorageSharedKeyCredential,
  }: Pick<typeof sdk, 'AnonymousCredential' | 'newPipeline' | 'StorageSharedKeyCredential'>): Promise<Pipeline> {
    const { accountName, key } = this.#settings;
    const access = this.#access;
    const credential =
      access === 'key'
        ? new StorageSharedKeyCredential(accountName, key ?? '')
        : access === 'sas'
          ? new AnonymousCredential()
          : await this.#search();
    return withProtocol(newPipeline(credential, { httpClient: this.transport, retryOptions: { maxTries: 1 } }));
  }

  /**
   * The official client's own search: environment, workload and managed identities, and the tools of Azure.
   *
   * @throws CacheError USAGE for variables with which it does not begin
   */
  async #search(): Promise<TokenCredential> {
    const { DefaultAzureCredential } = await import('@azure/identity');
    const found = this.#begin(() => new DefaultAzureCredential({ httpClient: this.transport.forCredentials() }));
    const secrets = this.#secrets;
    return {
      async getToken(...request) {
        const token = await found.getToken(...request);
        secrets.add(token?.token);
        return token;
      },
    };
  }

  #begin(make: () => TokenCredential): TokenCredential {
    try {
      return make();
    } catch (error) {
      if (!(error instanceof Error)) throw error;
      throw new CacheError('USAGE', `the search for an identity of Azure cannot begin: ${error.message}`, {
        hint: 'check AZURE_TOKEN_CREDENTIALS and the other variables of Azure',
        side: this.side,
        cause: error,
      });
    }
  }
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

/** What the client takes to give a request up. */
export function abortedBy(signal: AbortSignal | undefined): { readonly abortSignal?: AbortSignal } {
  return signal === undefined ? {} : { abortSignal: signal };
}

function timeOf(text: string | null): number | undefined {
  const time = text === null ? Number.NaN : Date.parse(text);
  return Number.isNaN(time) ? undefined : time;
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
