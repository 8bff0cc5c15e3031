import * as v from 'valibot';
import { type Answer, type Handler, header, jsonAnswer, Refusal, type Request } from '../request.js';
import { documentIn, type GhaContext, isKey, originFor, writtenScope } from './context.js';
import type { Reservation } from './reservations.js';
import { REJECTIONS } from './service-v2.js';

// Version 1: actions/toolkit, packages/cache, cacheHttpClient; tonistiigi/go-actions-cache, cache.go.

const key = v.pipe(v.string(), v.check(isKey));
const reserveSchema = v.object({ key, version: v.pipe(v.string(), v.minLength(1), v.maxLength(512)) });
const commitSchema = v.object({ size: v.pipe(v.number(), v.safeInteger(), v.minValue(0)) });

/** The cache service of GitHub, version 1. */
export function artifactCacheHandler(context: GhaContext): Handler {
  return async (request) => {
    if (request.access.scopes.length === 0) throw refusal(401, 'Unauthorized', 'a token with scopes is needed');
    const path = request.path.replace(/^\/_apis\/artifactcache\//, '');
    const [, number] = /^caches\/(\d{1,15})$/.exec(path) ?? [];
    if (path === 'cache' && request.method === 'GET') return find(context, request);
    if (path === 'caches' && request.method === 'POST') return reserve(context, request);
    if (number !== undefined && request.method === 'PATCH') return append(context, request, Number(number));
    if (number !== undefined && request.method === 'POST') return commit(context, request, Number(number));
    throw refusal(404, 'NotFound', 'there is no such endpoint');
  };
}

async function find(context: GhaContext, request: Request): Promise<Answer> {
  const keys = (request.query.get('keys') ?? '').split(',');
  const version = request.query.get('version') ?? '';
  if (keys.length > 11 || !keys.every(isKey) || version === '')
    throw refusal(400, 'InvalidArgument', 'keys= or version= is not valid');
  const found = await context.store.find(request.access, keys, version);
  if (found === undefined) return { status: 204, found: false };
  const archiveLocation = context.urls.sign(originFor(context, request), 'read', found.digest);
  const creationTime = new Date(found.created).toISOString();
  const answer = { cacheKey: found.key, scope: found.ref, creationTime, archiveLocation, cacheSize: found.size };
  return { ...jsonAnswer(200, answer), found: true };
}

async function reserve(context: GhaContext, request: Request): Promise<Answer> {
  const entry = parsed(reserveSchema, await bodyOf(request));
  const reservation = await context.reservations.reserve({ ...entry, ref: scopeFor(context, request) });
  if (reservation === 'taken') {
    throw refusal(409, 'ArtifactCacheItemAlreadyExistsException', `Cache already exists. Key: ${entry.key}`);
  }
  if (reservation === 'full') throw refusal(429, 'TooManyUploads', 'too many uploads are open');
  return jsonAnswer(201, { cacheId: reservation.number });
}

/** A chunk, which may come beside others and before those before it. */
async function append(context: GhaContext, request: Request, number: number): Promise<Answer> {
  const reservation = ownReservation(context, request, number);
  const [, first, last] =
    /^bytes (\d{1,15})-(\d{1,15})\/(?:\*|\d+)$/.exec(header(request, 'content-range') ?? '') ?? [];
  const [start, end] = [Number(first), Number(last) + 1];
  if (first === undefined || start >= end) throw refusal(400, 'InvalidArgument', 'Content-Range is not valid');
  const size = await context.reservations.use(reservation, () => reservation.upload.put(`${start}`, request.body));
  if (size !== end - start) throw refusal(400, 'InvalidArgument', 'the chunk is not as long as Content-Range says');
  reservation.starts.add(start);
  return { status: 204 };
}

async function commit(context: GhaContext, request: Request, number: number): Promise<Answer> {
  const reservation = ownReservation(context, request, number);
  const { size } = parsed(commitSchema, await bodyOf(request));
  const ids: string[] = [];
  let at = 0;
  for (const start of [...reservation.starts].toSorted((a, b) => a - b)) {
    if (start !== at) throw refusal(400, 'InvalidArgument', `no chunk begins at ${at}`);
    ids.push(`${start}`);
    at += reservation.upload.sizeOf(`${start}`) ?? 0;
  }
  if (at !== size) throw refusal(400, 'InvalidArgument', `${at} bytes came, and not ${size}`);
  await context.reservations.use(reservation, () => reservation.upload.join(ids));
  const rejection = await context.reservations.commit(reservation);
  if (rejection !== undefined) throw refusal(400, 'InvalidEntry', REJECTIONS[rejection]);
  return { status: 204 };
}

/** The upload of a number, which has to be in the scope of the caller. */
function ownReservation(context: GhaContext, request: Request, number: number): Reservation {
  const ref = scopeFor(context, request);
  const reservation = context.reservations.ofNumber(number);
  if (reservation?.ref === ref) return reservation;
  throw refusal(404, 'NotFound', 'there is no such upload');
}

function scopeFor({ isReadOnly }: GhaContext, request: Request): string {
  const ref = writtenScope(request);
  if (ref !== undefined && !isReadOnly) return ref;
  throw refusal(403, 'AccessDenied', 'cache write denied: token has no writable scopes');
}

function bodyOf(request: Request): Promise<unknown> {
  return documentIn(request, () => refusal(413, 'InvalidArgument', 'the request is too large'));
}

function parsed<Schema extends v.GenericSchema>(schema: Schema, body: unknown): v.InferOutput<Schema> {
  const result = v.safeParse(schema, body);
  if (result.success) return result.output;
  throw refusal(400, 'InvalidArgument', 'the request lacks a field, or a field is not valid');
}

function refusal(status: number, typeKey: string, message: string): Refusal {
  return new Refusal(jsonAnswer(status, { message, typeKey }), message);
}
