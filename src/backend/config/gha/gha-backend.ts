import type { CacheOptions } from '../../../buildkit/options.js';
import { CacheError, type Side } from '../../../errors.js';
import type { Session } from '../../../session.js';
import type { Backend } from '../../backend.js';
import { checkLifetime, writableScope } from './actions-token.js';
import type { GhaConnection } from './gha-connection.js';
import type { GhaPlace } from './gha-place.js';
import { checkMode, type GhaSettings, ghaSettings, nameOf, type RestSettings, restSettings } from './gha-settings.js';
import type { GithubRest } from './github-rest.js';

/** A cache of GitHub Actions: `type=gha`. */
export const ghaBackend: Backend = {
  async locate(options, side) {
    const settings = settingsOn(options, side);
    restSettings(options);
    const name = nameOf(settings);
    const ref = side === 'export' ? writableScope(settings.access) : undefined;
    return { options, name, selection: settings.scope, key: ref === undefined ? name : `${name} of ${ref}` };
  },
  async source(at, session) {
    const { ghaSource } = await import('./gha-source.js');
    const given = restSettings(at.options);
    const rest = given && (await openRest(given, session, 'import'));
    return ghaSource(await openPlace(ghaSettings(at.options), session, 'import'), rest);
  },
  async target(at, session) {
    if (session.layout.heal) {
      throw new CacheError('USAGE', '--heal replaces blobs in folders, and entries of GitHub never change', {
        hint: 'leave --heal out',
        side: 'export',
      });
    }
    const settings = ghaSettings(at.options);
    const place = await openPlace(settings, session, 'export');
    const ref = writableScope(settings.access);
    if (ref === undefined) throw readOnly(settings);
    const given = restSettings(at.options);
    const rest = given && (await openRest(given, session, 'export'));
    const { ghaTarget } = await import('./gha-target.js');
    return ghaTarget(place, { name: at.name, ref, rest });
  },
  async store(at, session) {
    const settings = ghaSettings(at.options);
    const place = await openPlace(settings, session, 'import');
    const given = restSettings(at.options, { isPlace: true });
    const rest = given && (await openRest(given, session, 'import'));
    const { ghaStore } = await import('./gha-store.js');
    return ghaStore(place, () => rest ?? noRest(), at.options);
  },
};

function noRest(): never {
  throw new CacheError(
    'USAGE',
    'the caches of a repository are listed by the REST API of GitHub, which needs a token',
    {
      hint: 'set GITHUB_REPOSITORY and GITHUB_TOKEN (in a step: GITHUB_TOKEN: ${{ github.token }}), or name repository= and ghtoken=',
      side: 'import',
    },
  );
}

/** GitHub resets its limit for requests each hour. */
const REST_TIMEOUT = 65 * 60_000;

/** @throws CacheError USAGE, with its side */
function settingsOn(options: CacheOptions, side: Side): GhaSettings {
  try {
    return ghaSettings(options);
  } catch (error) {
    throw error instanceof CacheError ? error.on(side) : error;
  }
}

function readOnly({ access: { scopes } }: GhaSettings): CacheError {
  const names = scopes.map(({ scope }) => scope).join(', ');
  return new CacheError('DENIED', `the token of this job may only read: ${names || 'it names no scope'}`, {
    hint: 'pull requests of forks and events such as pull_request_target get such a token; export where a branch is built, or use ignore-error=true',
    side: 'export',
  });
}

/** @throws CacheError DENIED for a token that does not count now, and a job that may not do this */
async function openPlace(settings: GhaSettings, session: Session, side: Side): Promise<GhaPlace> {
  checkMode(side);
  checkLifetime(settings.access, side);
  const [{ GhaPlace }, { serviceV1 }, { serviceV2 }] = await Promise.all([
    import('./gha-place.js'),
    import('./service-v1.js'),
    import('./service-v2.js'),
  ]);
  const { url, isV2, token, timeout } = settings;
  const connection = await connect({ url, token, timeout }, session, side);
  const service = isV2 ? serviceV2(connection, url) : serviceV1(connection, url);
  const isBlind = process.env['ACTIONS_CACHE_MODE'] === 'write-only';
  return new GhaPlace(settings, connection, service, { note: (text) => session.note(text), isBlind });
}

async function openRest({ api, token, repository }: RestSettings, session: Session, side: Side): Promise<GithubRest> {
  const { GithubRest } = await import('./github-rest.js');
  const url = new URL(api);
  return new GithubRest(await connect({ url, token, timeout: REST_TIMEOUT }, session, side), api, repository);
}

async function connect(
  { url, token, timeout }: { readonly url: URL; readonly token: string; readonly timeout: number },
  session: Session,
  side: Side,
): Promise<GhaConnection> {
  const [{ GhaConnection }, { Pace, entryLimit }] = await Promise.all([
    import('./gha-connection.js'),
    import('./pace.js'),
  ]);
  const http = await session.http({ verify: true });
  // Imports and exports of one service keep to one clock.
  const pace = await session.once(`pace ${url.host}`, () => {
    const note = (text: string) => session.note(text);
    return Promise.resolve(new Pace({ name: url.host, limit: entryLimit(url), note }));
  });
  return new GhaConnection({ http, name: url.host, side, token, pace, timeout, policy: session.retryPolicy });
}
