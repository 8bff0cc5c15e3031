import { CacheError, type Side } from '../../../errors.js';
import { codeOf, ConnectionError, describeFailure, type ServiceWords } from '../../../net/http/network-error.js';
import { isTransient, retryAfterOf, TransientError } from '../../../net/http/retry.js';
import type { Secrets } from '../../../net/http/secrets.js';

/** What S3 says of a request that it does not do. */
export interface S3Refusal {
  /** S3's own name, such as `NoSuchKey`; empty where the answer has none. */
  readonly code: string;
  readonly status: number | undefined;
  readonly text: string;
  /** The region that the answer names. */
  readonly region: string | undefined;
  readonly headers: Readonly<Record<string, string>>;
}

/** What was asked for, for messages. */
export interface S3Request {
  /** Such as `s3://bucket`. */
  readonly name: string;
  readonly bucket: string;
  readonly region: string;
  readonly side: Side;
  /** Such as `read blobs/sha256:…`. */
  readonly purpose: string;
  /** The right that the request takes, such as `s3:GetObject`. */
  readonly action: string;
  readonly secrets: Secrets;
  /** Why the request was sent without credentials. */
  readonly anonymous: string | undefined;
}

const WORDS: ServiceWords = {
  address: 'check region= and endpoint_url=',
  certificate: 'name the file of the authority that signed it with --registry-ca',
  plain: 'endpoint_url=http://… allows plain HTTP',
};

/** Codes for which S3 wants a request again, whatever their status is. */
const THROTTLED = new Set(['SlowDown', 'Throttling', 'ThrottlingException', 'RequestLimitExceeded', 'TooManyRequests']);
const AGAIN = new Set(['InternalError', 'RequestTimeout', 'ServiceUnavailable', 'OperationAborted', 'Busy']);
/** Codes of credentials that have run out. */
const EXPIRED = new Set(['ExpiredToken', 'ExpiredTokenException', 'TokenRefreshRequired']);
const WRONG_REGION = new Set(['PermanentRedirect', 'TemporaryRedirect', 'AuthorizationHeaderMalformed', '301', '307']);

/** Reads an error of the official client; undefined for one that is no answer of S3. */
export function refusalOf(error: unknown): S3Refusal | undefined {
  if (!(error instanceof Error) || error instanceof CacheError || error instanceof ConnectionError) return undefined;
  const metadata = fieldOf(error, '$metadata');
  const status = fieldOf(metadata, 'httpStatusCode');
  const response = fieldOf(error, '$response');
  const headers = (fieldOf(response, 'headers') ?? {}) as Readonly<Record<string, string>>;
  if (typeof status !== 'number') return undefined;
  const isNamed = !['Error', 'UnknownError', 'Unknown', 'SyntaxError', 'TypeError'].includes(error.name);
  const region = headers['x-amz-bucket-region'] ?? fieldOf(error, 'Region') ?? fieldOf(error, 'region');
  return {
    code: isNamed && error.name !== String(status) ? error.name : '',
    status,
    text: isNamed && error.message !== 'UnknownError' ? error.message : '',
    region: typeof region === 'string' && region !== '' ? region : undefined,
    headers,
  };
}

function fieldOf(value: unknown, name: string): unknown {
  return typeof value === 'object' && value !== null ? (value as Readonly<Record<string, unknown>>)[name] : undefined;
}

export function isThrottled({ code, status }: S3Refusal): boolean {
  return THROTTLED.has(code) || status === 503 || status === 429;
}

export function isExpired({ code }: S3Refusal): boolean {
  return EXPIRED.has(code);
}

/** Whether there is no such object. */
export function isMissing({ code, status }: S3Refusal): boolean {
  return code === 'NoSuchKey' || code === 'NotFound' || (status === 404 && code === '');
}

/** Whether the bucket, or the region that requests are signed for, is another one. */
export function isWrongRegion({ code, status }: S3Refusal): boolean {
  return WRONG_REGION.has(code) || status === 301 || status === 307;
}

/** Whether the refusal may hide that there is no such object: S3 says so only to those who may list the bucket. */
export function isForbidden({ code, status }: S3Refusal): boolean {
  return code === 'AccessDenied' || code === 'AllAccessDisabled' || (status === 403 && code === '');
}

/**
 * The error for a request that failed: transient where it is worth another try.
 *
 * @param error - of the official client, or of the connection
 */
export function describeS3(error: unknown, request: S3Request): unknown {
  const what = `${request.name}: cannot ${request.purpose}`;
  const described = describedOf(error, what, request);
  if (!(described instanceof CacheError) || !request.secrets.isIn(described.message)) return described;
  return described.saying(`${what}: its answer is not shown, since it repeats a secret`);
}

function describedOf(error: unknown, what: string, request: S3Request): unknown {
  const { side } = request;
  const refusal = refusalOf(error);
  if (refusal === undefined) {
    if (isCredentialsError(error)) return noCredentials(error, what, side);
    const failure = describeFailure(error, what, side, WORDS);
    // An answer that the client cannot read.
    const isUnread = failure instanceof Error && !(failure instanceof CacheError) && fieldOf(failure, '$response');
    if (isUnread) return new TransientError(`${what}: its answer is not S3's`, { side });
    return failure;
  }
  const { code, status } = refusal;
  const says = `${what}: ${answerOf(refusal)}`;
  // Without the client's error as the cause: that has the whole request or answer, and may so have a secret.
  const options = { side };
  if (isThrottled(refusal) || AGAIN.has(code) || (status !== undefined && isTransient(status))) {
    return new TransientError(says, { ...options, retryAfter: retryAfterOf(refusal.headers['retry-after']) });
  }
  if (status !== undefined && status < 300) {
    return new TransientError(`${what}: its answer is not S3's (HTTP ${status})`, options);
  }
  if (code === 'NoSuchBucket') {
    return new CacheError('NOT_FOUND', `${what}: there is no bucket ${JSON.stringify(request.bucket)} (${code})`, {
      ...options,
      hint: 'check bucket= and endpoint_url=; a bucket has to be made before it is used',
    });
  }
  if (code === 'NoSuchKey' || status === 404) return new CacheError('NOT_FOUND', says, options);
  return new CacheError('DENIED', says, { ...options, hint: hintFor(refusal, request) });
}

function answerOf({ code, status, text: said }: S3Refusal): string {
  const text = said.replace(/\s+/g, ' ').trim().replace(/\.$/, '').slice(0, 300);
  const named = [code, status === undefined ? '' : `HTTP ${status}`].filter((part) => part !== '').join(', ');
  return text === '' || text === code ? named : `${text} (${named})`;
}

function hintFor(refusal: S3Refusal, request: S3Request): string | undefined {
  const { code, headers } = refusal;
  const { anonymous, region, action } = request;
  if (anonymous !== undefined) {
    return `the request was sent without credentials: ${anonymous}`;
  }
  if (isWrongRegion(refusal)) return `region=${region} is not the region of this bucket`;
  if (isExpired(refusal)) return 'the credentials have run out: log in again, or give others';
  switch (code) {
    case 'InvalidAccessKeyId':
      return 'the service does not know access_key_id: check it, and endpoint_url=';
    case 'SignatureDoesNotMatch':
      return 'check secret_access_key=, which does not belong to this access_key_id, and region=';
    case 'RequestTimeTooSkewed':
    case 'RequestExpired':
      return `the service's clock says ${headers['date'] ?? 'another time'}, and this machine's ${new Date().toUTCString()}: set the clock; or the line is so slow that the request took many minutes`;
    default:
      return isForbidden(refusal) ? `these credentials need the right ${action}` : undefined;
  }
}

/** Whether credentials could not be found or taken (@smithy/property-provider). */
export function isCredentialsError(error: unknown): error is Error {
  return error instanceof Error && /^(?:CredentialsProvider|TokenProvider|Provider)Error$/.test(error.name);
}

function noCredentials(cause: Error, what: string, side: Side): CacheError {
  const why = codeOf(cause) === undefined ? cause.message : `${cause.message} (${codeOf(cause)})`;
  const { AWS_PROFILE: profile = '' } = process.env;
  const where = profile === '' ? '' : `, and AWS_PROFILE is ${JSON.stringify(profile)}`;
  return new CacheError('DENIED', `${what}: there are no credentials: ${why.slice(0, 300)}${where}`, {
    side,
    hint: 'give access_key_id= and secret_access_key=, or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, AWS_PROFILE or another source of AWS',
  });
}
