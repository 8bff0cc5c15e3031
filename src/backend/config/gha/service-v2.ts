import * as v from 'valibot';
import { CacheError } from '../../../errors.js';
import { sendBlocks } from './block-upload.js';
import { ENTRY_VERSION } from './cache-keys.js';
import type { CacheService, Reservation } from './cache-service.js';
import { entryUrl } from './entry-url.js';
import type { GhaAnswer, GhaConnection } from './gha-connection.js';
import { describeRefusal, GhaFailure, type GhaRefusal, isReserved, notTheService } from './gha-error.js';

// Version 2 of the service, that of github.com: Twirp with JSON, and blobs of Azure. go-actions-cache, cache_v2.go.

const SERVICE = 'twirp/github.actions.results.api.v1.CacheService';

/** Whether the service did it; `message` says why not: actions/toolkit, packages/cache. */
const answered = { ok: v.optional(v.boolean(), false), message: v.nullish(v.string()) };
const createdSchema = v.looseObject({ ...answered, signed_upload_url: v.nullish(v.string()) });
const finalizedSchema = v.looseObject(answered);
const foundSchema = v.looseObject({
  ...answered,
  signed_download_url: v.nullish(v.string()),
  matched_key: v.nullish(v.string()),
});

export function serviceV2(connection: GhaConnection, base: URL): CacheService {
  const ask = (method: string, value: object, purpose: string, signal: AbortSignal | undefined, makesEntry?: true) =>
    connection.ask(
      {
        method: 'POST',
        url: new URL(`${base.href.replace(/\/$/, '')}/${SERVICE}/${method}`),
        headers: { 'content-type': 'application/json', accept: 'application/json' },
        body: Buffer.from(JSON.stringify(value)),
        purpose,
        ...(makesEntry === true ? { makesEntry } : {}),
      },
      signal,
    );
  const read = <Schema extends v.GenericSchema>(schema: Schema, { json, status }: GhaAnswer, purpose: string) => {
    const parsed = v.safeParse(schema, json);
    if (parsed.success) return parsed.output;
    throw notTheService(connection.about(purpose), { status, body: JSON.stringify(json) ?? '' });
  };
  /** The error for an answer that says no, though its status says yes. */
  const no = (message: string | null | undefined, status: number, purpose: string): GhaFailure => {
    const refusal: GhaRefusal = { status, code: '', text: message ?? 'it says no, and not why', isFormal: true };
    const { message: words, hint } = describeRefusal(refusal, connection.about(purpose));
    return new GhaFailure(refusal, new CacheError('DENIED', words, { side: connection.side, hint }), false);
  };

  return {
    async find(key, signal) {
      const purpose = `look for ${key}`;
      try {
        const value = { key, restore_keys: [key], version: ENTRY_VERSION };
        const answer = await ask('GetCacheEntryDownloadURL', value, purpose, signal);
        const { ok, signed_download_url: url, matched_key: matched } = read(foundSchema, answer, purpose);
        return ok && url && matched ? { key: matched, url: entryUrl(connection, base, url) } : undefined;
      } catch (error) {
        if (error instanceof GhaFailure && error.refusal.code === 'not_found') return undefined;
        throw error;
      }
    },
    async reserve(key, signal) {
      const purpose = `reserve ${key}`;
      try {
        const answer = await ask('CreateCacheEntry', { key, version: ENTRY_VERSION }, purpose, signal, true);
        const { ok, signed_upload_url: url, message } = read(createdSchema, answer, purpose);
        if (!ok || !url) throw no(message, answer.status, purpose);
        return reservation(key, entryUrl(connection, base, url));
      } catch (error) {
        if (!(error instanceof GhaFailure)) throw error;
        if (isReserved(error.refusal)) return error.mayBeOwn ? 'own' : 'taken';
        throw error.described;
      }
    },
  };

  function reservation(key: string, url: URL): Reservation {
    return {
      send: (bytes, size, signal) => sendBlocks({ connection, namedBy: base, url, key, size }, bytes, signal),
      async commit(size, signal) {
        const purpose = `end the upload of ${key}`;
        const value = { key, size_bytes: size, version: ENTRY_VERSION };
        const answer = await ask('FinalizeCacheEntryUpload', value, purpose, signal);
        const { ok, message } = read(finalizedSchema, answer, purpose);
        if (!ok) throw no(message, answer.status, purpose);
      },
    };
  }
}
