import type { Side } from '../errors.js';
import { CacheError } from '../errors.js';
import { TransientError } from './retry.js';

/** What the system's error codes mean to somebody who does not know them. */
const MEANINGS: Readonly<Record<string, string>> = {
  ECONNREFUSED: 'nothing listens there',
  ENOTFOUND: 'there is no such host',
  EAI_AGAIN: 'the name could not be looked up',
  ECONNRESET: 'the connection was cut',
  EPIPE: 'the connection was cut',
  ETIMEDOUT: 'the connection timed out',
  EPROTO: 'it does not speak TLS',
  EHOSTUNREACH: 'the host cannot be reached',
  ENETUNREACH: 'the network cannot be reached',
};

const CERTIFICATE =
  /^(?:CERT_|UNABLE_TO_|DEPTH_ZERO|SELF_SIGNED|ERR_TLS_CERT|HOSTNAME_MISMATCH|INVALID_CA|INVALID_PURPOSE)/;

/**
 * The error for a connection that failed or broke off. Most are worth another attempt; a wrong name, a wrong
 * certificate, and a server that was never there are not. What is no failure of a connection comes back as it is.
 *
 * @param what - the registry and what cannot be done
 */
export function describeFailure(
  error: unknown,
  what: string,
  { side, wasReached }: { readonly side: Side; readonly wasReached: boolean },
): unknown {
  if (error instanceof CacheError || !(error instanceof Error)) return error;
  const code = 'code' in error && typeof error.code === 'string' ? error.code : undefined;
  if (code === undefined) return error;
  const options = { side, cause: error };
  if (CERTIFICATE.test(code)) {
    return new CacheError('FAILED', `${what}: its certificate is not trusted: ${error.message} (${code})`, {
      ...options,
      hint: 'name the file of the authority that signed it with --registry-ca, or use registry.insecure=true',
    });
  }
  const message = `${what}: ${MEANINGS[code] ?? error.message} (${code})`;
  if (code === 'EPROTO') {
    return new CacheError('FAILED', message, { ...options, hint: 'registry.insecure=true allows plain HTTP' });
  }
  const isFinal = code === 'ENOTFOUND' || (code === 'ECONNREFUSED' && !wasReached);
  if (!isFinal) return new TransientError(message, options);
  return new CacheError('FAILED', message, { ...options, hint: 'check the name and the port of the registry' });
}
