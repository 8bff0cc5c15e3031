import type { CacheOptions } from '../../../buildkit/options.js';
import { CacheError, type Side } from '../../../errors.js';
import type { Session } from '../../../session.js';
import type { Backend } from '../../backend.js';
import { checkLifetime, writableScope } from './actions-token.js';
import type { GhaPlace } from './gha-place.js';
import { checkMode, type GhaSettings, ghaSettings, nameOf } from './gha-settings.js';

/** A cache of GitHub Actions: `type=gha`. */
export const ghaBackend: Backend = {
  async locate(options, side) {
    const settings = settingsOn(options, side);
    const name = nameOf(settings);
    const ref = side === 'export' ? writableScope(settings.access) : undefined;
    return { options, name, selection: settings.scope, key: ref === undefined ? name : `${name} of ${ref}` };
  },
  async source(at, session) {
    const { ghaSource } = await import('./gha-source.js');
    return ghaSource(await openPlace(ghaSettings(at.options), session, 'import'), (text) => session.note(text));
  },
};

/** @throws CacheError USAGE, with its side */
function settingsOn(options: CacheOptions, side: Side): GhaSettings {
  try {
    return ghaSettings(options);
  } catch (error) {
    throw error instanceof CacheError ? error.on(side) : error;
  }
}

/** @throws CacheError DENIED for a token that does not count now, and a job that may not do this */
async function openPlace(settings: GhaSettings, session: Session, side: Side): Promise<GhaPlace> {
  checkMode(side);
  checkLifetime(settings.access, side);
  const [{ GhaConnection }, { Pace, entryLimit }, { GhaPlace }, { serviceV1 }, { serviceV2 }] = await Promise.all([
    import('./gha-connection.js'),
    import('./pace.js'),
    import('./gha-place.js'),
    import('./service-v1.js'),
    import('./service-v2.js'),
  ]);
  const { url, isV2, timeout, token } = settings;
  const http = await session.http({ verify: true });
  const note = (text: string) => session.note(text);
  // Imports and exports of one service keep to one clock.
  const pace = await session.once(`pace ${url.host}`, async () => {
    return Promise.resolve(new Pace({ name: url.host, limit: entryLimit(url), note }));
  });
  const policy = session.retryPolicy;
  const connection = new GhaConnection({ http, name: url.host, side, token, pace, timeout, policy });
  return new GhaPlace(settings, connection, isV2 ? serviceV2(connection, url) : serviceV1(connection, url));
}
