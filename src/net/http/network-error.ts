import { CacheError, type Side } from '../../errors.js';
import { TransientError } from './retry.js';

/** Error codes of the system in plain words. */
const MEANINGS: Readonly<Record<string, string>> = {
  ECONNREFUSED: 'nothing listens there',
  ENOTFOUND: 'there is no such host',
  EAI_AGAIN: 'the name could not be looked up',
  ECONNRESET: 'the connection was cut',
  ECONNABORTED: 'the connection was cut',
  EPIPE: 'the connection was cut',
  EHOSTUNREACH: 'the host cannot be reached',
  ENETUNREACH: 'the network cannot be reached',
};

/**
 * The codes of failures that a retry may overcome. HPE_ is a response that is no HTTP; ERR_SSL_…BAD_RECORD_MAC is a broken
 * record within a connection.
 */
const TRANSIENT =
  /^(?:ECONNREFUSED|ECONNRESET|ECONNABORTED|EPIPE|ETIMEDOUT|EAI_AGAIN|E(?:HOST|NET)(?:UNREACH|DOWN)|HPE_\w+|ERR_SSL_\w*BAD_RECORD_MAC|ERR_STREAM_PREMATURE_CLOSE)$/;

const CERTIFICATE =
  /^(?:CERT_|UNABLE_TO_|DEPTH_ZERO|SELF_SIGNED|ERR_TLS_CERT|HOSTNAME_MISMATCH|INVALID_CA|INVALID_PURPOSE)/;

/** How often a host is tried that has never answered. */
const UNREACHED_ATTEMPTS = 2;

/** A host other than the registry: a proxy, a token server, or a host that the registry named. */
export interface Peer {
  /** Such as `the proxy proxy.example.com:3128`. */
  readonly name: string;
  /** The hint for a host that does not answer. */
  readonly hint: string;
}

/** What the hints call a service, and the options that concern it. */
export interface ServiceWords {
  /** For a host that does not answer. */
  readonly address: string;
  /** For a certificate that is not trusted. */
  readonly certificate: string;
  /** For a server that does not speak TLS. */
  readonly plain: string;
}

const REGISTRY_WORDS: ServiceWords = {
  address: 'check the name and the port of the registry',
  certificate: 'name the file of the authority that signed it with --registry-ca, or use registry.insecure=true',
  plain: 'registry.insecure=true allows plain HTTP',
};

/** A request without a usable response. Its cause is the system's error, or the refusal of a proxy. */
export class ConnectionError extends Error {
  /** The host that failed, if it is not the registry. */
  readonly peer: Peer | undefined;
  /** Whether the host has answered a request before. */
  readonly wasReached: boolean;
  override readonly cause: Error;

  constructor(cause: Error, peer?: Peer, wasReached = false) {
    super(cause.message);
    this.cause = cause;
    this.peer = peer;
    this.wasReached = wasReached;
  }
}

/**
 * A handler for `catch` that adds the name of another host to a connection error: the host that the service named.
 *
 * @param name - for messages
 * @param by - what a message calls the service
 */
export function onTheWayTo(name: string, by = 'the registry'): (error: unknown) => never {
  return (error) => {
    if (!(error instanceof ConnectionError) && codeOf(error) === undefined) throw error;
    // A failure after the response is a plain error of the system.
    const { cause, peer, wasReached } =
      error instanceof ConnectionError ? error : { cause: error as Error, peer: undefined, wasReached: true };
    const hint = `${by} names that host, which may be reachable only from another network`;
    throw new ConnectionError(cause, peer ? { ...peer, name: `${name}: ${peer.name}` } : { name, hint }, wasReached);
  };
}

/** The error for an idle connection. */
export function timedOut(timeout: number): Error {
  return Object.assign(new Error(`nothing moved for ${timeout / 1000} s`), { code: 'ETIMEDOUT', stalled: timeout });
}

/** The error for a connection that ended without an answer. */
export function cutOff(): Error {
  return Object.assign(new Error('it ended without an answer'), { code: 'ECONNRESET' });
}

/** The code of an error of the system or of Node. */
export function codeOf(error: unknown): string | undefined {
  const cause = error instanceof ConnectionError ? error.cause : error;
  return cause instanceof Error && 'code' in cause && typeof cause.code === 'string' ? cause.code : undefined;
}

/** Whether the server answered a TLS handshake without TLS. */
export function speaksNoTls(error: unknown): boolean {
  const cause = error instanceof ConnectionError ? error.cause : error;
  if (!(cause instanceof Error) || !/^(?:EPROTO|ERR_SSL_)/.test(codeOf(cause) ?? '')) return false;
  return /wrong version number|packet length too long|unknown protocol|http request/i.test(cause.message);
}

/**
 * The error for a connection that failed or broke off. Most are transient; an unknown host, a wrong certificate and a
 * host that has never answered are not. Errors that are not about a connection come back as they are.
 *
 * @param what - the service and the purpose of the request
 * @param words - for the hints
 */
export function describeFailure(error: unknown, what: string, side: Side, words = REGISTRY_WORDS): unknown {
  if (!(error instanceof ConnectionError)) {
    return errorFor(error, what, { side, peer: undefined, wasReached: true, words });
  }
  const { cause, peer, wasReached } = error;
  const where = peer === undefined ? what : `${what}: ${peer.name}`;
  if (cause instanceof CacheError) return cause.saying(`${where}: ${cause.message}`).on(side);
  return errorFor(cause, where, { side, peer, wasReached, words });
}

interface FailureContext {
  readonly side: Side;
  readonly peer: Peer | undefined;
  readonly words: ServiceWords;
}

function errorFor(
  error: unknown,
  what: string,
  { side, peer, wasReached, words }: FailureContext & { readonly wasReached: boolean },
): unknown {
  if (error instanceof CacheError) return error;
  const code = codeOf(error);
  if (!(error instanceof Error) || code === undefined) return error;
  const options = { side, cause: error };
  if (CERTIFICATE.test(code)) {
    return new CacheError('UNREACHABLE', `${what}: its certificate is not trusted: ${error.message} (${code})`, {
      ...options,
      hint: words.certificate,
    });
  }
  if (code === 'EPROTO' || (code.startsWith('ERR_SSL_') && !TRANSIENT.test(code)))
    return tlsFailure(error, what, { side, peer, words });
  const message = `${what}: ${MEANINGS[code] ?? error.message} (${code})`;
  if (code === 'ENOTFOUND' || (code === 'ECONNREFUSED' && !wasReached)) {
    const hint = peer?.hint ?? words.address;
    return new CacheError('UNREACHABLE', message, { ...options, hint });
  }
  if (!TRANSIENT.test(code)) return new CacheError('UNREACHABLE', message, options);
  return new TransientError(message, {
    ...options,
    ...('stalled' in error && typeof error.stalled === 'number' ? { stalled: error.stalled } : {}),
    ...(code === 'ETIMEDOUT' && !wasReached ? { attempts: UNREACHED_ATTEMPTS } : {}),
  });
}

function tlsFailure(error: Error, what: string, { side, peer, words }: FailureContext): CacheError {
  const reason = 'reason' in error && typeof error.reason === 'string' ? error.reason : error.message.trim();
  if (!speaksNoTls(error)) {
    return new CacheError('UNREACHABLE', `${what}: the TLS handshake failed: ${reason}`, { side, cause: error });
  }
  return new CacheError('UNREACHABLE', `${what}: it does not speak TLS (${codeOf(error)})`, {
    side,
    cause: error,
    hint: peer === undefined ? words.plain : undefined,
  });
}
