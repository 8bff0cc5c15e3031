import { CacheError, type Side } from '../../../errors.js';
import type { HttpClient } from '../../../net/http/http.js';
import { Backoff, type RetryPolicy, TransientError } from '../../../net/http/retry.js';
import { Secrets } from '../../../net/http/secrets.js';
import { accessOf, type AzblobClient, type AzblobSettings, openClient } from './azblob-client.js';
import { type AzblobRefusal, type AzblobRight, describeAzblob, isUnknownUser, refusalOf } from './azblob-error.js';
import { AzblobTransport } from './azblob-transport.js';

/** One request, made again for each attempt. */
export interface AzblobCall<T> {
  readonly purpose: string;
  readonly right: AzblobRight;
  readonly send: (client: AzblobClient) => Promise<T>;
  /** Whether the request needs the container, so that one that is missing is made. */
  readonly makesContainer?: true;
}

/** Variables whose values no message shows. */
const SECRET_VARIABLES = ['AZURE_CLIENT_SECRET', 'AZURE_PASSWORD', 'AZURE_CLIENT_CERTIFICATE_PASSWORD'];
/** The refusal of a request, with the error that a caller throws for it. */
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
  /** The account, within which Azure copies blobs: a key or an identity for the copy is one for its source, too. */
  readonly service: string;
  readonly side: Side;
  readonly transport: AzblobTransport;
  readonly #settings: AzblobSettings;
  readonly #policy: RetryPolicy | undefined;
  readonly #secrets = new Secrets();
  #client: Promise<AzblobClient> | undefined;
  #made: Promise<void> | undefined;

  constructor(settings: AzblobSettings, http: HttpClient, side: Side, policy: RetryPolicy | undefined) {
    this.name = `${settings.accountUrl}/${settings.container}`;
    this.service = `azblob ${settings.accountUrl}`;
    this.side = side;
    this.transport = new AzblobTransport(http);
    this.#settings = settings;
    this.#policy = policy;
    this.#secrets.add(settings.key);
    this.#secrets.add(new URLSearchParams(settings.sas).get('sig') ?? undefined);
    for (const name of SECRET_VARIABLES) this.#secrets.add(process.env[name]);
  }

  /** The address of a blob, with the SAS that was given: it allows Azure to read the blob for a copy. */
  addressOf(key: string): string {
    const { sas } = this.#settings;
    return `${this.name}/${encodeURIComponent(key)}${sas === undefined ? '' : `?${sas}`}`;
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
      const client = this.#connect();
      try {
        return await call.send(await client);
      } catch (error) {
        signal?.throwIfAborted();
        const refusal = refusalOf(error);
        if (refusal?.code === 'ContainerNotFound' && call.makesContainer === true && !isContainerMade) {
          isContainerMade = true;
          await (this.#made ??= this.#makeContainer(signal));
          continue;
        }
        if (refusal !== undefined && isUnknownUser(refusal) && !isRenewed && accessOf(this.#settings) === 'search') {
          isRenewed = true;
          // Another request may have been faster.
          if (this.#client === client) this.#client = undefined;
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
      access: accessOf(this.#settings),
      validity: { from: timeOf(query.get('st')), until: timeOf(query.get('se')) },
    });
  }

  /** Makes the container. Another writer may make it at the same time. */
  async #makeContainer(signal: AbortSignal | undefined): Promise<void> {
    try {
      await this.ask(
        {
          purpose: 'make the container',
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
    this.#client ??= openClient(this.#settings, { transport: this.transport, secrets: this.#secrets, side: this.side });
    return this.#client;
  }
}

/** What the client takes to give a request up. */
export function abortedBy(signal: AbortSignal | undefined): { readonly abortSignal?: AbortSignal } {
  return signal === undefined ? {} : { abortSignal: signal };
}

function timeOf(text: string | null): number | undefined {
  const time = text === null ? Number.NaN : Date.parse(text);
  return Number.isNaN(time) ? undefined : time;
}
