import { access } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type * as sdk from '@aws-sdk/client-s3';
import type { S3Client, S3ClientConfig } from '@aws-sdk/client-s3';
import type { Side } from '../../../errors.js';
import type { HttpClient } from '../../../net/http/http.js';
import { Backoff, RETRY_POLICY, type RetryPolicy, TransientError } from '../../../net/http/retry.js';
import { Secrets } from '../../../net/http/secrets.js';
import {
  describeS3,
  isCredentialsError,
  isExpired,
  isThrottled,
  isWrongRegion,
  refusalOf,
  type S3Refusal,
  type S3Request,
} from './s3-error.js';
import { keptCredentials } from './s3-credentials.js';
import { type SdkHandlerOptions, type SdkRequest, sendFor } from './s3-handler.js';

type Sdk = typeof sdk;

/** How a bucket is reached: the attributes of type=s3 with their defaults. */
export interface S3Settings {
  readonly bucket: string;
  readonly region: string;
  readonly endpoint: string | undefined;
  readonly pathStyle: boolean;
  /** Undefined for the official client's own search: environment, profiles, web identity, SSO, containers, instances. */
  readonly keys:
    | { readonly accessKeyId: string; readonly secretAccessKey: string; readonly sessionToken?: string }
    | undefined;
  /** How many attempts a request gets; undefined for the default. */
  readonly attempts: number | undefined;
  /** Whether one throttled request slows down all others. */
  readonly adaptive: boolean;
}

/** One request, made again for each attempt. */
export interface S3Call<T> {
  readonly purpose: string;
  /** The right that it takes. */
  readonly action: string;
  readonly send: (client: S3Client, sdk: Sdk, options: SdkHandlerOptions) => Promise<T>;
  /** How long nothing may move, in milliseconds. */
  readonly timeout?: number | undefined;
}

/** Sources of credentials that are named: where one of them fails, nothing is read without credentials instead. */
const NAMED_SOURCES = [
  'AWS_ACCESS_KEY_ID',
  'AWS_PROFILE',
  'AWS_WEB_IDENTITY_TOKEN_FILE',
  'AWS_CONTAINER_CREDENTIALS_RELATIVE_URI',
  'AWS_CONTAINER_CREDENTIALS_FULL_URI',
];
const UNASKED = 'no instance was asked for them yet';
const SILENT = { trace: ignore, debug: ignore, info: ignore, warn: ignore, error: ignore };

/** The refusal of a request, beside the error that a caller throws for it. */
export class S3Failure extends Error {
  /** What the client threw. */
  override readonly cause: unknown;
  /** The same in words. */
  readonly described: unknown;

  constructor(cause: unknown, described: unknown) {
    super('refused');
    this.cause = cause;
    this.described = described;
  }
}

/**
 * Requests to one bucket over the official client, which signs them and finds credentials. Retries are ours: the client
 * repeats no request whose body is a stream, and prints what it thinks of it.
 */
export class S3Connection {
  readonly name: string;
  /** The service, and who asks it. */
  readonly service: string;
  readonly settings: S3Settings;
  readonly side: Side;
  /** Whether the service has answered a question about this bucket, so that the bucket is known to be there. */
  isKnown = false;
  readonly #http: HttpClient;
  readonly #policy: RetryPolicy | undefined;
  readonly #secrets = new Secrets();
  readonly #tried = new Set<string>();
  #region: string;
  #client: Promise<S3Client> | undefined;
  #isFirst = true;
  /** Why requests are sent without credentials, where they are. */
  #anonymous: string | undefined;
  /** Whether only an instance is left to ask for credentials, and was not asked yet. */
  #isInstanceLeft: Promise<boolean> | undefined;
  /** Before which time no request is sent, in milliseconds since 1970. */
  #notBefore = 0;

  constructor(settings: S3Settings, http: HttpClient, side: Side, policy: RetryPolicy | undefined) {
    this.settings = settings;
    this.name = `s3://${settings.bucket}`;
    this.service = `s3 ${settings.endpoint ?? 'of AWS'} ${settings.keys?.accessKeyId ?? ''}`;
    this.side = side;
    this.#http = http;
    this.#region = settings.region;
    const { attempts } = settings;
    this.#policy = attempts === undefined ? policy : { ...(policy ?? RETRY_POLICY), attempts };
    this.#addSecrets(settings.keys);
  }

  backoff(): Backoff {
    return new Backoff(this.#policy);
  }

  /** As `ask`, and throws the error of a refusal in words. */
  async request<T>(call: S3Call<T>, signal: AbortSignal | undefined): Promise<T> {
    try {
      return await this.ask(call, signal);
    } catch (error) {
      throw error instanceof S3Failure ? error.described : error;
    }
  }

  /**
   * Sends a request, again where that may help.
   *
   * @throws S3Failure where S3 refuses it and the caller is to look why; CacheError
   */
  async ask<T>(call: S3Call<T>, signal: AbortSignal | undefined): Promise<T> {
    const backoff = this.backoff();
    let isRenewed = false;
    let withClock: S3Client | undefined;
    for (;;) {
      // Only the signal ends the pause early.
      const pause = this.#notBefore - Date.now();
      if (pause > 0) await sleep(pause, undefined, { signal }).catch(() => undefined);
      signal?.throwIfAborted();
      const region = this.#region;
      const opened = this.#connect();
      const client = await opened;
      try {
        return await call.send(client, await load(), {
          ...(signal === undefined ? {} : { abortSignal: signal }),
          ...(call.timeout === undefined ? {} : { requestTimeout: call.timeout }),
        });
      } catch (error) {
        signal?.throwIfAborted();
        const refusal = refusalOf(error);
        if (refusal !== undefined && this.#followRegion(region, isWrongRegion(refusal), refusal.region)) continue;
        if (refusal !== undefined && isExpired(refusal) && !isRenewed && this.settings.keys === undefined) {
          isRenewed = true;
          this.#forget(opened);
          continue;
        }
        // The client sets its clock by the answer.
        if (refusal?.code === 'RequestTimeTooSkewed' && withClock !== client) {
          withClock = client;
          continue;
        }
        if (refusal !== undefined && (await this.#mayAskInstance(refusal, opened))) continue;
        if (this.#mayGoWithout(error)) continue;
        const described = this.describe(error, call);
        if (!(described instanceof TransientError)) throw new S3Failure(error, described);
        if (this.settings.adaptive && refusal !== undefined && isThrottled(refusal)) this.#slowDown(described);
        await backoff.wait(described, signal);
      }
    }
  }

  /**
   * What an answer of S3 cannot lack.
   *
   * @throws TransientError for the answer of somebody else, such as a proxy's page
   */
  resultOf(result: string | undefined): string {
    if (result !== undefined && result !== '') return result;
    throw new TransientError(`${this.name}: its answer is not S3's`, { side: this.side, attempts: 3 });
  }

  /** The error for a request that failed. */
  describe(error: unknown, { purpose, action }: Pick<S3Call<unknown>, 'purpose' | 'action'>): unknown {
    const { bucket } = this.settings;
    const request: S3Request = {
      name: this.name,
      bucket,
      region: this.#region,
      side: this.side,
      purpose,
      action,
      secrets: this.#secrets,
      anonymous: this.#anonymous,
    };
    return describeS3(error, request);
  }

  /** Goes on in the region that an answer names. */
  #followRegion(asked: string, isWrong: boolean, named: string | undefined): boolean {
    if (!isWrong) return false;
    // Another request was faster.
    if (asked !== this.#region) return true;
    this.#tried.add(asked);
    if (named === undefined || this.#tried.has(named)) return false;
    this.#region = named;
    this.#client = undefined;
    return true;
  }

  /** Whether a reader without credentials goes on without them: anyone may read some buckets. */
  #mayGoWithout(error: unknown): boolean {
    const isNamed = NAMED_SOURCES.some((name) => (process.env[name] ?? '') !== '');
    if (!isCredentialsError(error) || isNamed || this.side === 'export' || this.#anonymous !== undefined) return false;
    this.#anonymous = `none were found in the environment, in profiles or from an instance (${error.message})`;
    this.#client = undefined;
    return true;
  }

  #addSecrets(keys: S3Settings['keys']): void {
    for (const secret of [keys?.accessKeyId, keys?.secretAccessKey, keys?.sessionToken]) this.#secrets.add(secret);
  }

  /**
   * Where nothing but an instance may have credentials, a reader asks without them first: a machine that is no instance
   * answers late or not at all, and anyone may read some buckets. Then it asks the instance, once for all requests.
   */
  async #mayAskInstance({ status }: S3Refusal, opened: Promise<S3Client>): Promise<boolean> {
    const isRefused = status === 401 || status === 403;
    if (!isRefused || this.#isInstanceLeft === undefined || !(await this.#isInstanceLeft)) return false;
    // Another request may have been faster.
    if (this.#client !== opened) return true;
    if (this.#anonymous !== UNASKED) return false;
    this.#anonymous = undefined;
    this.#forget(opened);
    return true;
  }

  /** Has the next request find credentials again. */
  #forget(opened: Promise<S3Client>): void {
    // Another request may have been faster.
    if (this.#client === opened) this.#client = undefined;
  }

  #slowDown({ retryAfter = 1000 }: TransientError): void {
    this.#notBefore = Math.max(this.#notBefore, Date.now() + Math.min(retryAfter, 20_000));
  }

  #connect(): Promise<S3Client> {
    this.#client ??= this.#open();
    return this.#client;
  }

  async #open(): Promise<S3Client> {
    const [{ S3Client }, { defaultProvider }] = await Promise.all([
      load(),
      import('@aws-sdk/credential-provider-node'),
    ]);
    const { endpoint, pathStyle, keys } = this.settings;
    const http = this.#http;
    this.#isInstanceLeft ??= keys === undefined && this.side === 'import' ? isInstanceLeft() : Promise.resolve(false);
    if (this.#isFirst && (await this.#isInstanceLeft)) this.#anonymous = UNASKED;
    this.#isFirst = false;
    const requestHandler = handlerFor(http);
    const config: S3ClientConfig = {
      region: this.#region,
      ...(endpoint === undefined ? {} : { endpoint, forcePathStyle: pathStyle }),
      // Other services than AWS store the frames of such checksums as part of the object.
      requestChecksumCalculation: 'WHEN_REQUIRED',
      responseChecksumValidation: 'WHEN_REQUIRED',
      maxAttempts: 1,
      followRegionRedirects: false,
      expectContinueHeader: false,
      logger: SILENT,
      requestHandler,
      credentialDefaultProvider: (init: object) => {
        // Some of its requests would go over connections of their own.
        const find = defaultProvider({ ...init, clientConfig: { requestHandler, logger: SILENT } });
        return keptCredentials(async () => {
          const found = await find({ forceRefresh: true });
          this.#addSecrets(found);
          return found;
        });
      },
    };
    if (this.#anonymous !== undefined) {
      const nobody = { accessKeyId: '', secretAccessKey: '' };
      return new S3Client({ ...config, credentials: nobody, signer: { sign: (request) => Promise.resolve(request) } });
    }
    return new S3Client(keys === undefined ? config : { ...config, credentials: keys });
  }
}

/** Has the client send its requests, also those for credentials, over the connections of the operation. */
function handlerFor(http: HttpClient) {
  return {
    metadata: { handlerProtocol: 'http/1.1' },
    async handle(request: SdkRequest, options: SdkHandlerOptions = {}) {
      return { response: await sendFor(http, request, options) };
    },
    updateHttpClientConfig: ignore,
    httpHandlerConfigs: () => ({}),
  };
}

/** Whether neither the environment nor a profile says where credentials are. */
async function isInstanceLeft(): Promise<boolean> {
  if (NAMED_SOURCES.some((name) => (process.env[name] ?? '') !== '')) return false;
  const files = [
    process.env['AWS_SHARED_CREDENTIALS_FILE'] ?? join(homedir(), '.aws', 'credentials'),
    process.env['AWS_CONFIG_FILE'] ?? join(homedir(), '.aws', 'config'),
  ];
  const there = await Promise.allSettled(files.map((file) => access(file)));
  return there.every(({ status }) => status === 'rejected');
}

function ignore(): void {
  // Nothing of the client reaches stdout or stderr.
}

/** Loaded at first use: most caches are not in S3. */
function load(): Promise<Sdk> {
  return import('@aws-sdk/client-s3');
}
