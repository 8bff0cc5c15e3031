import { createHash, randomBytes } from 'node:crypto';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { ExecutionContext } from 'ava';
import { ENTRY_VERSION } from '../../src/backend/config/gha/cache-keys.js';
import { listening } from './servers.js';

/** An entry of the service, or one that is being uploaded. */
export interface FakeEntry {
  readonly id: number;
  readonly key: string;
  readonly version: string;
  /** The scope of GitHub that it is in. */
  readonly ref: string;
  bytes: Buffer;
  isDone: boolean;
  /** In milliseconds since 1970. */
  created: number;
  accessed: number;
  readonly blocks: Map<string, Buffer>;
}

/** A request to the fake service. */
export interface GhaSeen {
  readonly method: string;
  readonly url: URL;
  readonly headers: IncomingMessage['headers'];
  readonly body: Buffer;
  /** The method of Twirp, or the method and the path. */
  readonly what: string;
  /** How many requests of this kind came before. */
  readonly before: number;
  /** The key that a request of version 2 names. */
  readonly key: string;
}

/** Answers a request in another way than the service does; false to let the service answer. */
export type GhaFault = (seen: GhaSeen, answer: ServerResponse, fake: FakeGha) => boolean | undefined;

export interface FakeScope {
  readonly Scope: string;
  readonly Permission: number;
}

export const MAIN: FakeScope = { Scope: 'refs/heads/main', Permission: 3 };
/** The scopes of a pull request: its own, and those that it only reads. */
export const PULL: readonly FakeScope[] = [
  { Scope: 'refs/heads/main', Permission: 1 },
  { Scope: 'refs/pull/7/merge', Permission: 3 },
];

/** A token as GitHub gives one to a job. Nobody checks its signature. */
export function tokenOf(
  scopes: readonly FakeScope[] = [MAIN],
  claims: Readonly<Record<string, unknown>> = {},
  header: Readonly<Record<string, unknown>> = { alg: 'RS256', typ: 'JWT' },
): string {
  const now = Math.floor(Date.now() / 1000);
  const body = { ac: JSON.stringify(scopes), nbf: now - 300, exp: now + 3600, ...claims };
  const part = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url');
  return `${part(header)}.${part(body)}.${Buffer.from('signature of the tests').toString('base64url')}`;
}

const TWIRP = '/twirp/github.actions.results.api.v1.CacheService/';
const V1 = '/_apis/artifactcache/';
export const REPOSITORY = 'team/app';
export const GH_TOKEN = 'ghs_token_of_the_tests';

/** The cache service of GitHub in both versions, its block blobs and its REST API, for faults that no real one produces. */
export class FakeGha {
  entries: FakeEntry[] = [];
  /** Such as `CreateCacheEntry index-…`. */
  readonly seen: string[] = [];
  readonly all: GhaSeen[] = [];
  host = '';
  /** In the REST API. */
  repository = REPOSITORY;
  fault: GhaFault = () => false;
  defaultBranch = 'main';
  /** Of the addresses that count at present. */
  #signature = randomBytes(20).toString('hex');
  #next = 1;
  #clock = Date.now();

  static async start(t: ExecutionContext, fault?: GhaFault): Promise<FakeGha> {
    const fake = new FakeGha();
    if (fault !== undefined) fake.fault = fault;
    const server = fake.server();
    fake.host = await listening(t, server);
    t.teardown(() => server.closeAllConnections());
    return fake;
  }

  /** A server for it, which does not listen yet. Whoever has it listen sets `host`. */
  server(): Server {
    return createServer((request, answer) => void this.handle(request, answer));
  }

  /** The option string of a cache. */
  at(scope = 'buildkit', { version = 2, token = tokenOf(), more = '' } = {}): string {
    const url = version === 2 ? `url_v2=http://${this.host}/` : `url=http://${this.host}/,version=1`;
    return `type=gha,${url},token=${token},scope=${scope}${more}`;
  }

  /** The addresses that were given out do not count any more. */
  expire(): void {
    this.#signature = randomBytes(20).toString('hex');
  }

  /** Adds an entry as another client would have written it. */
  add(key: string, bytes: Uint8Array, { ref = MAIN.Scope, version = ENTRY_VERSION, isDone = true } = {}): FakeEntry {
    // A clock that never stands still: of two entries one is the newer one.
    const created = (this.#clock = Math.max(this.#clock + 1, Date.now()));
    const entry = {
      id: this.#next++,
      key,
      version,
      ref,
      bytes: Buffer.from(bytes),
      isDone,
      created,
      accessed: created,
    };
    this.entries.push({ ...entry, blocks: new Map() });
    return this.entries.at(-1) as FakeEntry;
  }

  keys(prefix = ''): string[] {
    return this.entries.filter(({ key, isDone }) => isDone && key.startsWith(prefix)).map(({ key }) => key);
  }

  /** The newest index of a cache, as text. */
  index(scope = 'buildkit', ref = MAIN.Scope): string | undefined {
    const hash = createHash('sha256').update(ref).digest('hex').slice(0, 8);
    return this.entries
      .findLast(({ key, isDone }) => isDone && key.startsWith(`index-${scope}-1-${hash}#`))
      ?.bytes.toString();
  }

  /** The entry that answers a look-up in the scopes of a token: an exact key wins, then the newest. */
  find(scopes: readonly FakeScope[], keys: readonly string[], version: string): FakeEntry | undefined {
    for (const key of keys) {
      // Its own scope is the one that it may write.
      for (const { Scope } of scopes.toSorted((a, b) => b.Permission - a.Permission)) {
        const there = this.entries.filter((one) => one.isDone && one.version === version && one.ref === Scope);
        const found =
          there.find((one) => one.key === key) ??
          there.filter((one) => one.key.startsWith(key)).toSorted((a, b) => b.created - a.created)[0];
        if (found !== undefined) return found;
      }
    }
    return undefined;
  }

  /** Answers a request, also one that came to another server. */
  async handle(request: IncomingMessage, answer: ServerResponse): Promise<void> {
    const url = new URL(request.url ?? '', `http://${this.host}`);
    const chunks: Uint8Array[] = [];
    for await (const chunk of request as AsyncIterable<Uint8Array>) chunks.push(chunk);
    const body = Buffer.concat(chunks);
    const what = url.pathname.startsWith(TWIRP)
      ? url.pathname.slice(TWIRP.length)
      : `${request.method} ${url.pathname}${url.searchParams.has('comp') ? ` ${url.searchParams.get('comp')}` : ''}`;
    const before = this.all.filter((one) => one.what === what).length;
    const key = keyIn(body);
    const seen = { method: request.method ?? '', url, headers: request.headers, body, what, before, key };
    this.seen.push(key === '' ? what : `${what} ${key}`);
    this.all.push(seen);
    if (this.fault(seen, answer, this) !== true) this.serve(seen, answer);
  }

  serve(seen: GhaSeen, answer: ServerResponse): void {
    const { pathname } = seen.url;
    if (pathname.startsWith('/blob/')) return this.#blob(seen, answer);
    if (pathname.startsWith('/repos/')) return this.#rest(seen, answer);
    const scopes = scopesIn(seen.headers.authorization);
    if (scopes === undefined) return json(answer, 401, { code: 'unauthenticated', msg: 'token is not valid' });
    if (pathname.startsWith(TWIRP)) return this.#twirp(seen, scopes, answer);
    if (pathname.startsWith(V1)) return this.#v1(seen, scopes, answer);
    answer.writeHead(404).end('no such page');
  }

  #twirp({ what, body }: GhaSeen, scopes: readonly FakeScope[], answer: ServerResponse): void {
    const asked = JSON.parse(body.toString()) as Record<'key' | 'version', string> & Record<string, unknown>;
    const { key, version, restore_keys: more = [], size_bytes: size } = asked;
    if (what === 'GetCacheEntryDownloadURL') {
      const found = this.find(scopes, [key, ...(more as string[])], version);
      if (found === undefined) return json(answer, 200, { ok: false, signed_download_url: '', matched_key: '' });
      found.accessed = Date.now();
      return json(answer, 200, { ok: true, signed_download_url: this.#address(found), matched_key: found.key });
    }
    if (what === 'CreateCacheEntry') {
      const entry = this.#reserve(scopes, key, version);
      if (entry === 'denied') {
        const message = 'cache write denied: token has no writable scopes';
        return json(answer, 200, { ok: false, signed_upload_url: '', message });
      }
      if (entry === undefined) return json(answer, 409, { code: 'already_exists', msg: 'cache entry already exists' });
      return json(answer, 200, { ok: true, signed_upload_url: this.#address(entry) });
    }
    if (what === 'FinalizeCacheEntryUpload') {
      const entry = this.entries.find((one) => one.key === key && one.version === version && !one.isDone);
      if (entry === undefined || entry.bytes.length !== Number(size)) {
        return json(answer, 400, { code: 'invalid_argument', msg: 'the sizes differ' });
      }
      entry.isDone = true;
      return json(answer, 200, { ok: true, entry_id: `${entry.id}` });
    }
    return json(answer, 404, { code: 'bad_route', msg: `no handler for ${what}` });
  }

  #v1({ method, url, body, headers }: GhaSeen, scopes: readonly FakeScope[], answer: ServerResponse): void {
    const path = url.pathname.slice(V1.length);
    if (method === 'GET') {
      const keys = (url.searchParams.get('keys') ?? '').split(',');
      const found = this.find(scopes, keys, url.searchParams.get('version') ?? '');
      if (found === undefined) return void answer.writeHead(204).end();
      found.accessed = Date.now();
      return json(answer, 200, { cacheKey: found.key, scope: found.ref, archiveLocation: this.#address(found) });
    }
    const entry = this.entries.find(({ id }) => path === `caches/${id}`);
    if (method === 'POST' && entry === undefined) {
      const { key, version } = JSON.parse(body.toString()) as { key: string; version: string };
      const made = this.#reserve(scopes, key, version);
      if (made === 'denied') return json(answer, 403, { message: 'cache write denied: token has no writable scopes' });
      if (made !== undefined) return json(answer, 201, { cacheId: made.id });
      const typeKey = 'ArtifactCacheItemAlreadyExistsException';
      return json(answer, 409, { message: `Cache already exists. Scope: ${scopes[0]?.Scope}`, typeKey });
    }
    if (entry === undefined || entry.isDone) return json(answer, 400, { message: 'no such upload', typeKey: 'X' });
    if (method === 'PATCH') {
      const [, start = '0', end = '0'] = /^bytes (\d+)-(\d+)\/\*$/.exec(headers['content-range'] ?? '') ?? [];
      if (Number(end) - Number(start) + 1 !== body.length) return json(answer, 400, { message: 'the range is wrong' });
      const bytes = Buffer.alloc(Math.max(entry.bytes.length, Number(end) + 1));
      entry.bytes.copy(bytes);
      body.copy(bytes, Number(start));
      entry.bytes = bytes;
      return void answer.writeHead(204).end();
    }
    if ((JSON.parse(body.toString()) as { size: number }).size !== entry.bytes.length) {
      return json(answer, 400, { message: 'the sizes differ' });
    }
    entry.isDone = true;
    return void answer.writeHead(204).end();
  }

  #blob({ method, url, headers, body }: GhaSeen, answer: ServerResponse): void {
    const entry = this.entries.find(({ id }) => url.pathname === `/blob/${id}`);
    if (url.searchParams.get('sig') !== `${this.#signature}=+/`) return azure(answer, 403, 'AuthenticationFailed');
    if (entry === undefined) return azure(answer, 404, 'BlobNotFound');
    if (method === 'GET') {
      const [, from, to] = /^bytes=(\d+)-(\d*)$/.exec(headers.range ?? '') ?? [];
      if (from !== undefined && Number(from) >= entry.bytes.length) return azure(answer, 416, 'InvalidRange');
      const part = entry.bytes.subarray(Number(from ?? 0), to === undefined || to === '' ? undefined : Number(to) + 1);
      const range =
        from === undefined
          ? {}
          : { 'content-range': `bytes ${from}-${Number(from) + part.length - 1}/${entry.bytes.length}` };
      return void answer
        .writeHead(from === undefined ? 200 : 206, { ...range, 'content-length': part.length })
        .end(part);
    }
    const comp = url.searchParams.get('comp');
    if (Number(headers['content-length']) !== body.length) return azure(answer, 411, 'MissingContentLengthHeader');
    if (comp === 'block') entry.blocks.set(url.searchParams.get('blockid') ?? '', body);
    else if (comp === 'blocklist') {
      const ids = [...body.toString().matchAll(/<Latest>([^<]*)<\/Latest>/g)].map(([, id = '']) => id);
      const blocks = ids.map((id) => entry.blocks.get(id));
      if (blocks.includes(undefined)) return azure(answer, 400, 'InvalidBlockList');
      entry.bytes = Buffer.concat(blocks as Buffer[]);
    } else if (headers['x-ms-blob-type'] !== 'BlockBlob') return azure(answer, 400, 'InvalidHeaderValue');
    else entry.bytes = body;
    answer.writeHead(201, { 'x-ms-request-id': 'a-request' }).end();
  }

  #rest({ method, url, headers }: GhaSeen, answer: ServerResponse): void {
    if (headers.authorization !== `Bearer ${GH_TOKEN}`) return json(answer, 401, { message: 'Bad credentials' });
    const path = url.pathname.replace(`/repos/${this.repository}`, '');
    if (path === '') return json(answer, 200, { default_branch: this.defaultBranch });
    const [, id] = /^\/actions\/caches\/(\d+)$/.exec(path) ?? [];
    if (method === 'DELETE' && id !== undefined) {
      const at = this.entries.findIndex((one) => one.id === Number(id));
      if (at === -1) return json(answer, 404, { message: 'Not Found' });
      this.entries.splice(at, 1);
      return void answer.writeHead(204).end();
    }
    if (method !== 'GET' || path !== '/actions/caches') return json(answer, 404, { message: 'Not Found' });
    const query = (name: string) => url.searchParams.get(name) ?? '';
    const found = this.entries.filter(
      ({ key, ref, isDone }) => isDone && key.startsWith(query('key')) && (query('ref') === '' || ref === query('ref')),
    );
    const isOldFirst = query('sort') === 'created_at' && query('direction') === 'asc';
    const sorted = found.toSorted((a, b) => (isOldFirst ? a.created - b.created : b.accessed - a.accessed));
    const size = Number(query('per_page') || 30);
    const start = (Number(query('page') || 1) - 1) * size;
    const page = sorted.slice(start, start + size).map((one) => ({
      id: one.id,
      ref: one.ref,
      key: one.key,
      version: one.version,
      last_accessed_at: new Date(one.accessed).toISOString(),
      created_at: new Date(one.created).toISOString(),
      size_in_bytes: one.bytes.length,
    }));
    return json(answer, 200, { total_count: found.length, actions_caches: page });
  }

  /** Makes an entry in the last scope that may be written, as the service does with those of a token. */
  #reserve(scopes: readonly FakeScope[], key: string, version: string): FakeEntry | 'denied' | undefined {
    const ref = scopes.findLast(({ Permission }) => (Permission & 2) !== 0)?.Scope;
    if (ref === undefined) return 'denied';
    const isThere = this.entries.some((one) => one.key === key && one.version === version && one.ref === ref);
    return isThere ? undefined : this.add(key, Buffer.of(), { ref, version, isDone: false });
  }

  #address({ id }: FakeEntry): string {
    return `http://${this.host}/blob/${id}?se=2026-11-27&sig=${encodeURIComponent(`${this.#signature}=+/`)}`;
  }
}

function keyIn(body: Buffer): string {
  try {
    return (JSON.parse(body.toString()) as { key?: string }).key ?? '';
  } catch {
    return '';
  }
}

function scopesIn(authorization = ''): readonly FakeScope[] | undefined {
  try {
    const claims = Buffer.from(authorization.split('.')[1] ?? '', 'base64url').toString();
    return JSON.parse((JSON.parse(claims) as { ac: string }).ac) as FakeScope[];
  } catch {
    return undefined;
  }
}

/** Answers with JSON. */
export function json(
  answer: ServerResponse,
  status: number,
  value: object,
  headers: Record<string, string> = {},
): void {
  answer.writeHead(status, { 'content-type': 'application/json', ...headers }).end(JSON.stringify(value));
}

function azure(answer: ServerResponse, status: number, code: string): void {
  answer
    .writeHead(status, { 'content-type': 'application/xml' })
    .end(`<?xml version="1.0" encoding="utf-8"?><Error><Code>${code}</Code><Message>No.</Message></Error>`);
}
