import type { RestError } from '@azure/storage-blob';
import { CacheError, type Side } from '../../../errors.js';
import { codeOf, describeFailure, type ServiceWords } from '../../../net/http/network-error.js';
import { isTransient, retryAfterOf, TransientError } from '../../../net/http/retry.js';
import type { Secrets } from '../../../net/http/secrets.js';

/** What Azure says of a request that it does not do. */
export interface AzblobRefusal {
  /** Azure's own name, such as `BlobNotFound`; empty where the answer has none. */
  readonly code: string;
  readonly status: number;
  readonly text: string;
  /** A header of the answer. */
  readonly header: (name: string) => string | undefined;
}

/** What was asked for, for messages. */
export interface AzblobRequest {
  /** The address of the container. */
  readonly name: string;
  readonly container: string;
  readonly accountName: string;
  readonly side: Side;
  /** Such as `read blobs/sha256:…`. */
  readonly purpose: string;
  readonly right: AzblobRight;
  readonly secrets: Secrets;
  /** What the request was allowed by. */
  readonly access: 'key' | 'sas' | 'search';
  /** From when and until when a SAS is valid, in milliseconds since 1970. */
  readonly validity: Validity;
}

export interface Validity {
  readonly from?: number | undefined;
  readonly until?: number | undefined;
}

/** What a request takes: the letter of a SAS, and the least role. */
export type AzblobRight = keyof typeof RIGHTS;

const RIGHTS = {
  read: 'read blobs (r in a SAS; the role Storage Blob Data Reader)',
  list: 'list blobs (l in a SAS; the role Storage Blob Data Reader)',
  write: 'write blobs (c and w in a SAS; the role Storage Blob Data Contributor)',
  delete: 'delete blobs (d in a SAS; the role Storage Blob Data Contributor)',
  container:
    'make containers, or somebody has to make the container first (c in a SAS of the account; the role Storage Blob Data Contributor)',
} as const;

const WORDS: ServiceWords = {
  address: 'check account_url=',
  certificate: 'name the file of the authority that signed it with --registry-ca',
  plain: 'account_url=http://… allows plain HTTP',
};

/** Codes for which Azure wants a request again, whatever their status is. A container may be gone for a minute after its end. */
const AGAIN = new Set(['ServerBusy', 'InternalError', 'OperationTimedOut', 'ContainerBeingDeleted', 'Md5Mismatch']);
/** Codes of credentials that may not do what was asked, although Azure knows them. */
const FORBIDDEN = new Set([
  'AuthorizationFailure',
  'AuthorizationPermissionMismatch',
  'AuthorizationResourceTypeMismatch',
  'AuthorizationServiceMismatch',
  'InsufficientAccountPermissions',
  'PublicAccessNotPermitted',
  'ResourceNotFound',
]);
/** Codes of a refusal whose reason is that the credentials are wrong, or not valid now. */
const UNKNOWN_USER = new Set(['AuthenticationFailed', 'InvalidAuthenticationInfo', 'NoAuthenticationInformation']);
/** How far a clock may be off before it is named as a reason, in milliseconds. Azure allows 15 minutes. */
const CLOCK_OFF = 5 * 60_000;

/** Reads an error of the official client; undefined for one that is no answer of Azure. */
export function refusalOf(error: unknown): AzblobRefusal | undefined {
  if (!isRestError(error) || error.statusCode === undefined) return undefined;
  const { statusCode: status, code = '', response } = error;
  const header = (name: string) => response?.headers.get(name);
  // The answer to a HEAD has no body, and this header all the same.
  const named = header('x-ms-error-code') ?? (code === 'PARSE_ERROR' ? '' : code);
  const text = (response?.bodyAsText ?? '') === '' || named === '' ? '' : beginningOf(error.message);
  return { code: named, status, text, header };
}

function isRestError(error: unknown): error is RestError {
  return error instanceof Error && error.name === 'RestError';
}

/** Whether these credentials may not learn more. Azure also says so to nobody in particular, of what is private. */
export function isForbidden({ code }: AzblobRefusal): boolean {
  return FORBIDDEN.has(code);
}

/** Whether the credentials themselves are refused. */
export function isUnknownUser({ code }: AzblobRefusal): boolean {
  return UNKNOWN_USER.has(code);
}

/**
 * The error for a request that failed: transient where it is worth another try.
 *
 * @param error - of the official client, or of the connection
 */
export function describeAzblob(error: unknown, request: AzblobRequest): unknown {
  const what = `${request.name}: cannot ${request.purpose}`;
  const described = describedOf(error, what, request);
  if (!(described instanceof CacheError) || !request.secrets.isIn(described.message)) return described;
  return described.saying(`${what}: its answer is not shown, since it repeats a secret`);
}

function describedOf(error: unknown, what: string, request: AzblobRequest): unknown {
  const { side } = request;
  // Without the client's error as the cause: that has the whole request or answer, and may so have a secret.
  const options = { side };
  const refusal = refusalOf(error);
  if (refusal === undefined) {
    if (isCredentialsError(error)) return noCredentials(error, what, request);
    if (isRestError(error)) return new TransientError(`${what}: its answer is not Azure's`, options);
    return describeFailure(error, what, side, WORDS);
  }
  const { code, status } = refusal;
  const says = `${what}: ${answerOf(refusal)}`;
  if (AGAIN.has(code) || isTransient(status)) {
    return new TransientError(says, { ...options, retryAfter: retryAfterOf(refusal.header('retry-after')) });
  }
  if (status < 300) return new TransientError(`${what}: its answer is not Azure's (HTTP ${status})`, options);
  if (code === '') {
    // Azure names the reason of every refusal: somebody else answered.
    const hint = 'check account_url=, and what stands between this machine and Azure';
    return new CacheError('DENIED', `${what}: its answer is not Azure's (HTTP ${status})`, { ...options, hint });
  }
  if (code === 'ContainerNotFound') {
    return new CacheError(
      'NOT_FOUND',
      `${what}: there is no container ${JSON.stringify(request.container)} (${code})`,
      {
        ...options,
        hint: 'check container= and account_url=; an export makes the container',
      },
    );
  }
  if (code === 'BlobNotFound') return new CacheError('NOT_FOUND', says, options);
  return new CacheError('DENIED', says, { ...options, hint: hintFor(refusal, request) });
}

function answerOf({ code, status, text: said }: AzblobRefusal): string {
  const text = said.replace(/\s+/g, ' ').trim().replace(/\.$/, '').slice(0, 300);
  const named = [code, `HTTP ${status}`].filter((part) => part !== '').join(', ');
  return text === '' || text === code ? named : `${text} (${named})`;
}

function hintFor(refusal: AzblobRefusal, request: AzblobRequest): string | undefined {
  const { code } = refusal;
  switch (code) {
    case 'KeyBasedAuthenticationNotPermitted':
      return 'this account takes no keys: leave out secret_access_key=, and log in with "az login" or another identity';
    case 'AuthorizationSourceIPMismatch':
      return 'the network of this machine may not use the SAS, or the account: see its firewall';
    case 'AuthorizationProtocolMismatch':
      return 'the SAS is for https alone';
    case 'BlobArchived':
    case 'BlobBeingRehydrated':
      return 'the blob is in the archive tier: delete it, or rehydrate it first';
    case 'InvalidBlobOrBlock':
      return 'another program left parts of this blob, with ids of another length; Azure drops them a week later';
    case 'BlobImmutableDueToPolicy':
    case 'BlobImmutableDueToLegalHold':
      return 'a policy of the container forbids to replace blobs, and a name is replaced by each export';
    case 'AccountRequiresHttps':
      return 'account_url= has to begin with https://';
    case 'UnsupportedHeader':
    case 'InvalidHeaderValue':
      return 'this service may be older than the version of the protocol that BuildKit speaks (2024-11-04)';
    default:
      if (isUnknownUser(refusal)) return unknownUserHint(refusal, request);
      // A key of an account may do all: what it may not is for the firewall, or the key is of another account.
      if (code === 'AuthorizationFailure' && request.access === 'key') {
        return `${unknownUserHint(refusal, request)}; or the firewall of the account refuses this machine`;
      }
      return isForbidden(refusal) ? `these credentials need the right to ${RIGHTS[request.right]}` : undefined;
  }
}

function unknownUserHint({ header }: AzblobRefusal, { access, accountName, validity }: AzblobRequest): string {
  const now = Date.now();
  const theirs = Date.parse(header('date') ?? '');
  const clock = Math.abs(theirs - now) > CLOCK_OFF;
  if (clock) {
    return `the service's clock says ${header('date') ?? ''}, and this machine's ${new Date(now).toUTCString()}: set the clock`;
  }
  if (access === 'sas') {
    if ((validity.until ?? Infinity) < now) return 'the SAS in account_url= has run out: make another';
    if ((validity.from ?? 0) > now) return 'the SAS in account_url= is not valid yet';
    return 'the SAS in account_url= is not valid here: check that it is whole, and for this account and container';
  }
  if (access === 'key') {
    return `check secret_access_key=, which has to be a key of the account ${JSON.stringify(accountName)}: account_name= names another account`;
  }
  return 'the identity that was found is of another tenant, or may not use this account: see "az account show"';
}

/** Whether credentials could not be found or taken (@azure/identity). */
export function isCredentialsError(error: unknown): error is Error {
  const names = /^(?:CredentialUnavailable|AggregateAuthentication|Authentication|AuthenticationRequired)Error$/;
  return error instanceof Error && names.test(error.name);
}

function noCredentials(cause: Error, what: string, { side }: AzblobRequest): CacheError {
  const reasons = 'errors' in cause && Array.isArray(cause.errors) ? (cause.errors as unknown[]) : [cause];
  const lines = reasons.flatMap((reason) => (reason instanceof Error ? beginningOf(reason.message) : []));
  const code = codeOf(cause);
  const why = `${lines.join('; ').slice(0, 500)}${code === undefined ? '' : ` (${code})`}`;
  return new CacheError('DENIED', `${what}: there are no credentials: ${why}`, {
    side,
    hint: 'give secret_access_key=, a SAS in account_url=, or set AZURE_CLIENT_ID, AZURE_TENANT_ID and AZURE_CLIENT_SECRET, log in with "az login", or use another source of Azure',
  });
}

/** The first sentence of what the client says: an id of the request and addresses of pages follow. */
function beginningOf(text: string): string {
  return text.split(/\n|\. /)[0] ?? '';
}
