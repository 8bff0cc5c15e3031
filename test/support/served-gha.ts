import { join } from 'node:path';
import type { ExecutionContext } from 'ava';
import { createLayout } from '../../src/layout/create-layout.js';
import { DEFAULT_LAYOUT_SETTINGS } from '../../src/layout/settings.js';
import { ENTRY_VERSION } from '../../src/backend/config/gha/cache-keys.js';
import { App } from '../../src/serve/app.js';
import type { ScopeGrant } from '../../src/serve/access.js';
import { FolderGha } from '../../src/serve/folder/folder-gha.js';
import { blockBlobHandler } from '../../src/serve/gha/block-blobs.js';
import { Reservations } from '../../src/serve/gha/reservations.js';
import { artifactCacheHandler } from '../../src/serve/gha/service-v1.js';
import { twirpHandler } from '../../src/serve/gha/service-v2.js';
import { SignedUrls } from '../../src/serve/gha/signed-urls.js';
import { Metrics } from '../../src/serve/metrics.js';
import { newKey, Tokens } from '../../src/serve/tokens.js';
import { collect } from '../../src/bytes/collect.js';
import { temporary } from './fixtures.js';
import { LIMITS } from './served.js';

export const MAIN: ScopeGrant = { ref: 'refs/heads/main', mayWrite: true };
/** A pull request: it writes to its own scope, and reads that of the default branch. */
export const PULL: readonly ScopeGrant[] = [
  { ref: 'refs/heads/main', mayWrite: false },
  { ref: 'refs/pull/7/merge', mayWrite: true },
];

interface Reply {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | readonly string[]>>;
  readonly body: Buffer;
  readonly json: Readonly<Record<string, unknown>>;
}

interface Asked {
  readonly body?: Uint8Array | string;
  readonly headers?: Readonly<Record<string, string>>;
}

/** A cache service of GitHub over a folder, asked without a socket. */
export class ServedGha {
  readonly folder: string;
  readonly store: FolderGha;
  readonly reservations: Reservations;
  readonly tokens: Tokens;
  readonly urls: SignedUrls;
  readonly #app: App;

  private constructor(folder: string, store: FolderGha, isReadOnly: boolean) {
    this.folder = folder;
    this.store = store;
    this.tokens = new Tokens(newKey(), 'key');
    this.urls = new SignedUrls(this.tokens);
    this.reservations = new Reservations(store, 100);
    const { reservations, urls } = this;
    const context = { store, reservations, urls, origin: 'http://cache.test', scheme: 'http' as const, isReadOnly };
    this.#app = new App({
      routes: [
        ['/twirp', twirpHandler(context)],
        ['/_apis', artifactCacheHandler(context)],
        ['/bkcache', blockBlobHandler(context)],
      ],
      tokens: this.tokens,
      isPublic: false,
      isReadOnly,
      isLocal: false,
      metrics: new Metrics(),
    });
  }

  static async open(
    t: ExecutionContext,
    {
      folder = join(temporary(t), 'store'),
      maxSize,
      isReadOnly = false,
    }: { folder?: string; maxSize?: number; isReadOnly?: boolean } = {},
  ): Promise<ServedGha> {
    const layout = await createLayout(folder, { ...DEFAULT_LAYOUT_SETTINGS, durable: false });
    const store = new FolderGha(
      layout,
      { ...LIMITS, maxSize },
      { isReadOnly, onError: (error) => t.fail(String(error)) },
    );
    const served = new ServedGha(folder, store, isReadOnly);
    t.teardown(async () => {
      await served.reservations[Symbol.asyncDispose]();
      await store[Symbol.asyncDispose]();
      await layout[Symbol.asyncDispose]();
    });
    return served;
  }

  token(scopes: readonly ScopeGrant[] = [MAIN]): string {
    return this.tokens.sign([], 60_000, { scopes });
  }

  async ask(method: string, url: string, { body = '', headers = {} }: Asked = {}): Promise<Reply> {
    const [path = '', query = ''] = url.replace('http://cache.test', '').split('?');
    const bytes = Buffer.from(body as string);
    const { answer } = await this.#app.answer({
      method,
      path,
      query: new URLSearchParams(query),
      headers: { host: 'cache.test', ...headers },
      body: (async function* () {
        if (bytes.length > 0) yield bytes;
      })(),
    });
    const read =
      answer.body === undefined || answer.body instanceof Uint8Array ? answer.body : await collect(answer.body.bytes());
    if (answer.body !== undefined && !(answer.body instanceof Uint8Array)) await answer.body[Symbol.asyncDispose]();
    const text = Buffer.from(read ?? '');
    return { status: answer.status, headers: answer.headers ?? {}, body: text, json: jsonIn(text) };
  }

  async twirp(method: string, value: object, scopes?: readonly ScopeGrant[]): Promise<Reply> {
    return this.ask('POST', `/twirp/github.actions.results.api.v1.CacheService/${method}`, {
      body: JSON.stringify(value),
      headers: { authorization: `Bearer ${this.token(scopes)}` },
    });
  }

  /** Saves an entry by version 2, and returns the status of the step that ended it. */
  async save(
    key: string,
    bytes: Uint8Array | string,
    { scopes, version = ENTRY_VERSION }: SaveOptions = {},
  ): Promise<number> {
    const created = await this.twirp('CreateCacheEntry', { key, version }, scopes);
    if (created.status !== 200) return created.status;
    const put = await this.ask('PUT', String(created.json['signed_upload_url']), { body: bytes });
    if (put.status !== 201) return put.status;
    const size = Buffer.byteLength(bytes);
    return (await this.twirp('FinalizeCacheEntryUpload', { key, version, size_bytes: size }, scopes)).status;
  }

  /** The key and bytes that answer a look-up; undefined for none. */
  async load(
    key: string,
    { scopes, version = ENTRY_VERSION, restore = [] }: SaveOptions & { readonly restore?: readonly string[] } = {},
  ): Promise<readonly [key: string, bytes: Buffer] | undefined> {
    const { json } = await this.twirp('GetCacheEntryDownloadURL', { key, version, restore_keys: restore }, scopes);
    if (json['ok'] !== true) return undefined;
    const got = await this.ask('GET', String(json['signed_download_url']));
    return [String(json['matched_key']), got.body];
  }
}

interface SaveOptions {
  readonly scopes?: readonly ScopeGrant[];
  readonly version?: string;
}

function jsonIn(bytes: Buffer): Readonly<Record<string, unknown>> {
  try {
    return JSON.parse(bytes.toString()) as Record<string, unknown>;
  } catch {
    return {};
  }
}
