import * as v from 'valibot';
import { type Answer, type Handler, jsonAnswer, type Request } from '../request.js';
import { documentIn, type GhaContext, isKey, originFor, twirpRefusal, writtenScope } from './context.js';
import type { Rejection } from './gha-store.js';

// Version 2: Twirp with JSON (actions/toolkit, packages/cache, its generated CacheService). Names of fields come
// as snake_case and as camelCase, 64-bit numbers as numbers and as text.

const PATH = '/twirp/github.actions.results.api.v1.CacheService/';

const key = v.pipe(v.string(), v.check(isKey));
const version = v.pipe(v.string(), v.minLength(1), v.maxLength(512));
const keySchema = v.object({ key, version });
const findSchema = v.object({ key, version, restore_keys: v.optional(v.pipe(v.array(key), v.maxLength(10)), []) });
const sizeSchema = v.object({
  key,
  version,
  size_bytes: v.union([v.number(), v.pipe(v.string(), v.regex(/^\d{1,15}$/))]),
});

type Method = (context: GhaContext, request: Request, body: unknown) => Promise<Answer>;

const METHODS: Readonly<Record<string, Method>> = {
  CreateCacheEntry: create,
  FinalizeCacheEntryUpload: finalize,
  GetCacheEntryDownloadURL: find,
};

/** The cache service of GitHub, version 2. */
export function twirpHandler(context: GhaContext): Handler {
  return async (request) => {
    if (request.access.scopes.length === 0) {
      throw twirpRefusal(401, 'unauthenticated', 'a token with scopes is needed: bkcache serve --gha --print-env');
    }
    const name = request.path.startsWith(PATH) ? request.path.slice(PATH.length) : '';
    const method = Object.hasOwn(METHODS, name) ? METHODS[name] : undefined;
    if (method === undefined || request.method !== 'POST')
      throw twirpRefusal(404, 'bad_route', 'there is no such method');
    const body = await documentIn(request, () => twirpRefusal(413, 'invalid_argument', 'the request is too large'));
    return method(context, request, snakeCased(body));
  };
}

async function create(context: GhaContext, request: Request, body: unknown): Promise<Answer> {
  const entry = parsed(keySchema, body);
  const ref = scopeFor(context, request);
  const reservation = await context.reservations.reserve({ ...entry, ref });
  if (reservation === 'taken') throw twirpRefusal(409, 'already_exists', 'cache entry already exists');
  if (reservation === 'full') throw twirpRefusal(429, 'resource_exhausted', 'too many uploads are open');
  const url = context.urls.sign(originFor(context, request), 'write', reservation.id);
  return jsonAnswer(200, { ok: true, signed_upload_url: url });
}

async function finalize(context: GhaContext, request: Request, body: unknown): Promise<Answer> {
  const { size_bytes: text, ...entry } = parsed(sizeSchema, body);
  const ref = scopeFor(context, request);
  const reservation = context.reservations.ofKey({ ...entry, ref });
  if (reservation === undefined) throw twirpRefusal(404, 'not_found', 'there is no such upload');
  if (reservation.upload.size !== Number(text)) {
    throw twirpRefusal(400, 'invalid_argument', 'the upload has another size, or was not committed');
  }
  const rejection = await context.reservations.commit(reservation);
  if (rejection !== undefined) throw twirpRefusal(412, 'failed_precondition', REJECTIONS[rejection]);
  return jsonAnswer(200, { ok: true, entry_id: `${reservation.number}` });
}

async function find({ store, urls, ...context }: GhaContext, request: Request, body: unknown): Promise<Answer> {
  const { key: first, restore_keys: others, version: wanted } = parsed(findSchema, body);
  const found = await store.find(request.access, [...new Set([first, ...others])], wanted);
  if (found === undefined) {
    return { ...jsonAnswer(200, { ok: false, signed_download_url: '', matched_key: '' }), found: false };
  }
  const url = urls.sign(originFor({ store, urls, ...context }, request), 'read', found.digest);
  return { ...jsonAnswer(200, { ok: true, signed_download_url: url, matched_key: found.key }), found: true };
}

/** Why an entry is not stored, in words. */
export const REJECTIONS: Readonly<Record<Rejection, string>> = {
  digest: 'the bytes are not those of the digest in the key',
  format: 'the index is no cache of BuildKit',
  'missing blobs': 'the index names blobs that this scope does not have',
};

/** The scope to write to. @throws Refusal */
function scopeFor({ isReadOnly }: GhaContext, request: Request): string {
  const ref = writtenScope(request);
  if (ref !== undefined && !isReadOnly) return ref;
  throw twirpRefusal(403, 'permission_denied', 'cache write denied: token has no writable scopes');
}

function parsed<Schema extends v.GenericSchema>(schema: Schema, body: unknown): v.InferOutput<Schema> {
  const result = v.safeParse(schema, body);
  if (result.success) return result.output;
  throw twirpRefusal(400, 'invalid_argument', 'the request lacks a field, or a field is not valid');
}

function snakeCased(body: unknown): unknown {
  if (typeof body !== 'object' || body === null || Array.isArray(body)) return body;
  const name = (text: string) => text.replaceAll(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
  return Object.fromEntries(Object.entries(body).map(([field, value]) => [name(field), value as unknown]));
}
