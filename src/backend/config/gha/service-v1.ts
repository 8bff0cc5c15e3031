import * as v from 'valibot';
import { CacheError } from '../../../errors.js';
import { partSize, sendParts } from '../parts.js';
import { ENTRY_VERSION } from './cache-keys.js';
import type { CacheService, Reservation } from './cache-service.js';
import type { GhaCall, GhaConnection } from './gha-connection.js';
import { GhaFailure, isReserved, notTheService } from './gha-error.js';
import { entryUrl } from './entry-url.js';

// Version 1 of the service: GitHub Enterprise Server, and older servers of one's own. go-actions-cache, cache.go.

const ACCEPT = { accept: 'application/json;api-version=6.0-preview.1' };
const JSON_BODY = { ...ACCEPT, 'content-type': 'application/json' };

const entrySchema = v.looseObject({ cacheKey: v.nullish(v.string()), archiveLocation: v.nullish(v.string()) });
/** Go reads names in any case, and servers write both. */
const reservedSchema = v.looseObject({ cacheId: v.optional(v.number()), cacheID: v.optional(v.number()) });

export function serviceV1(connection: GhaConnection, base: URL): CacheService {
  const at = (path: string) => new URL(`${base.href.replace(/\/$/, '')}/_apis/artifactcache/${path}`);
  const post = (path: string, value: object, purpose: string): GhaCall => ({
    method: 'POST',
    url: at(path),
    headers: JSON_BODY,
    body: Buffer.from(JSON.stringify(value)),
    purpose,
  });
  return {
    async find(key, signal) {
      const query = new URLSearchParams({ keys: key, version: ENTRY_VERSION });
      const purpose = `look for ${key}`;
      const { json, status } = await connection.ask(
        { method: 'GET', url: at(`cache?${query.toString()}`), headers: ACCEPT, purpose },
        signal,
      );
      if (json === undefined) return undefined;
      const parsed = v.safeParse(entrySchema, json);
      if (!parsed.success) throw notTheService(connection.about(purpose), { status, body: JSON.stringify(json) });
      const { cacheKey, archiveLocation } = parsed.output;
      if (!cacheKey || !archiveLocation) return undefined;
      return { key: cacheKey, url: entryUrl(connection, base, archiveLocation) };
    },
    async reserve(key, signal) {
      const purpose = `reserve ${key}`;
      try {
        const { json } = await connection.ask(
          { ...post('caches', { key, version: ENTRY_VERSION }, purpose), makesEntry: true },
          signal,
        );
        const parsed = v.safeParse(reservedSchema, json);
        const id = parsed.success ? (parsed.output.cacheId ?? parsed.output.cacheID ?? 0) : 0;
        if (id === 0) throw new CacheError('DENIED', `${connection.name}: cannot ${purpose}: it gives no cacheId`);
        return reservation(key, id);
      } catch (error) {
        if (!(error instanceof GhaFailure)) throw error;
        if (isReserved(error.refusal)) return error.mayBeOwn ? 'own' : 'taken';
        throw error.described;
      }
    },
  };

  function reservation(key: string, id: number): Reservation {
    return {
      async send(bytes, size, signal) {
        const part = partSize(size);
        await sendParts(bytes, part, async (body, number) => {
          const start = (number - 1) * part;
          const range = `bytes ${start}-${start + body.length - 1}/*`;
          const headers = { ...ACCEPT, 'content-type': 'application/octet-stream', 'content-range': range };
          await connection.request(
            { method: 'PATCH', url: at(`caches/${id}`), headers, body, purpose: `send ${key}` },
            signal,
          );
        });
      },
      async commit(size, signal) {
        await connection.ask(post(`caches/${id}`, { size }, `end the upload of ${key}`), signal);
      },
    };
  }
}
