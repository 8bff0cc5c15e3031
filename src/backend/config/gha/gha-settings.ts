import type { CacheOptions } from '../../../buildkit/options.js';
import { parseGoDuration } from '../../../buildkit/values.js';
import { CacheError } from '../../../errors.js';
import { type ActionsToken, readActionsToken } from './actions-token.js';

/** How a cache of GitHub Actions is reached: the attributes of type=gha with their defaults. */
export interface GhaSettings {
  /** Of the cache service, without a slash at its end. */
  readonly url: URL;
  readonly isV2: boolean;
  /** The name of the cache. */
  readonly scope: string;
  readonly token: string;
  readonly access: ActionsToken;
  /** How long one request may wait since the service takes no more of them, in milliseconds. */
  readonly timeout: number;
}

const DEFAULT_TIMEOUT = 10 * 60_000;
/** What go-actions-cache makes of a time of 0. */
const ZERO_TIMEOUT = 5 * 60_000;
const RESULTS_HOST = 'results-receiver.actions.githubusercontent.com';

/**
 * The attributes with the defaults of cache/remotecache/gha/gha.go, getConfig.
 *
 * @throws CacheError USAGE for an address or a token that is none
 */
export function ghaSettings({ attributes }: CacheOptions): GhaSettings {
  const { scope = 'buildkit', token = '', timeout = '' } = attributes;
  const { address, isV2 } = serviceIn(attributes);
  if (!/^https?:\/\//.test(address) || !URL.canParse(address)) {
    throw new CacheError('USAGE', 'url= or url_v2= is not an address', {
      hint: 'GitHub gives it in ACTIONS_RESULTS_URL or ACTIONS_CACHE_URL; it looks like https://HOST/…',
    });
  }
  const url = new URL(address.replace(/\/+$/, ''));
  if (url.username !== '' || url.password !== '' || url.search !== '') {
    throw new CacheError('USAGE', 'the address of a cache service has no user and no "?"', {
      hint: 'what may be done is in token=',
    });
  }
  if (!isV2 && scope.includes(',')) {
    throw new CacheError('USAGE', `scope=${scope} has a comma, at which version 1 of the service cuts keys`, {
      hint: 'use another name, or a service of version 2',
    });
  }
  const limit = parseGoDuration(timeout) ?? DEFAULT_TIMEOUT;
  return {
    url,
    isV2,
    scope,
    token,
    access: readActionsToken(token),
    timeout: limit === 0 ? ZERO_TIMEOUT : Math.max(0, limit),
  };
}

/** How GitHub's REST API is reached: with another token than the cache service. */
export interface RestSettings {
  /** Without a slash at its end. */
  readonly api: string;
  readonly token: string;
  /** Such as `team/app`. */
  readonly repository: string;
}

/**
 * The attributes for the REST API; undefined where they are not given.
 *
 * @param isPlace - for all caches of a repository, as which the variables of a job count as well
 * @throws CacheError USAGE for a repository or an address that is none
 */
export function restSettings(
  { attributes }: CacheOptions,
  { isPlace = false } = {},
  env: NodeJS.ProcessEnv = process.env,
): RestSettings | undefined {
  const variables = isPlace ? env : {};
  const { ghtoken: token = variables['GITHUB_TOKEN'] ?? '', repository = variables['GITHUB_REPOSITORY'] ?? '' } =
    attributes;
  if (token === '' || repository === '') return undefined;
  if (!/^[\w.-]+\/[\w.-]+$/.test(repository)) {
    throw new CacheError('USAGE', `repository=${repository} is not the name of a repository`, {
      hint: 'it looks like OWNER/NAME',
    });
  }
  const api = (env['GITHUB_API_URL'] || 'https://api.github.com').replace(/\/+$/, '');
  if (!/^https?:\/\//.test(api) || !URL.canParse(api)) {
    throw new CacheError('USAGE', 'GITHUB_API_URL is not an address', { hint: 'it looks like https://api.github.com' });
  }
  return { api, token, repository };
}

/** Chooses the service as BuildKit's daemon does. */
function serviceIn({ url = '', url_v2: urlV2 = '', version = '0' }: CacheOptions['attributes']) {
  const number = Number(version);
  if (number !== 1 && urlV2 !== '') return { address: urlV2, isV2: true };
  return { address: url, isV2: number === 0 ? url.includes(RESULTS_HOST) : number > 1 };
}

/** What a message calls a cache of the service. */
export function nameOf({ url, scope }: Pick<GhaSettings, 'url' | 'scope'>): string {
  return `gha://${url.host}${url.pathname.replace(/\/$/, '')}/${scope}`;
}

/**
 * Checks what the workflow allows its job: the variable that the runner sets for `cache-mode`.
 *
 * @throws CacheError DENIED
 */
export function checkMode(side: 'import' | 'export', env: NodeJS.ProcessEnv = process.env): void {
  const mode = env['ACTIONS_CACHE_MODE'] ?? '';
  const forbids = side === 'import' ? ['none', 'write-only'] : ['none', 'read'];
  if (!forbids.includes(mode)) return;
  const what = side === 'import' ? 'read caches' : 'write caches';
  throw new CacheError('DENIED', `ACTIONS_CACHE_MODE=${mode}: this job may not ${what}`, {
    hint: 'cache-mode in the workflow says what a job may do; events such as pull_request_target only read by default',
    side,
  });
}
