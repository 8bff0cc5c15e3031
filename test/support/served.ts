import { join } from 'node:path';
import type { ExecutionContext } from 'ava';
import { createLayout } from '../../src/layout/create-layout.js';
import { DEFAULT_LAYOUT_SETTINGS } from '../../src/layout/settings.js';
import { type Digest, sha256 } from '../../src/oci/digest.js';
import { OCI_MANIFEST } from '../../src/oci/media-types.js';
import { App, type AppOptions } from '../../src/serve/app.js';
import { FolderRegistry } from '../../src/serve/folder/folder-registry.js';
import { DEFAULT_LIMITS, type ServerLimits } from '../../src/serve/limits.js';
import { Metrics } from '../../src/serve/metrics.js';
import { registryHandler } from '../../src/serve/registry/registry.js';
import type { Answer } from '../../src/serve/request.js';
import { Uploads } from '../../src/serve/uploads.js';
import { collect } from '../../src/bytes/collect.js';
import { temporary } from './fixtures.js';

/** Tests need no free disk. */
export const LIMITS: ServerLimits = { ...DEFAULT_LIMITS, keepFree: 0 };

/** What a test asks. */
export interface Question {
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: Uint8Array | string | AsyncIterable<Uint8Array>;
}

/** An answer, read to its end. */
export interface Reply {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | readonly string[]>>;
  readonly body: Buffer;
  /** The codes of the errors in it. */
  readonly codes: readonly string[];
}

/** A registry that is asked without a socket. */
export class ServedFolder {
  readonly folder: string;
  readonly app: App;
  readonly store: FolderRegistry;
  readonly uploads: Uploads;

  private constructor(folder: string, app: App, { store, uploads }: { store: FolderRegistry; uploads: Uploads }) {
    this.folder = folder;
    this.app = app;
    this.store = store;
    this.uploads = uploads;
  }

  static async open(
    t: ExecutionContext,
    {
      folder = join(temporary(t), 'store'),
      limits = {},
      ...options
    }: Partial<Omit<AppOptions, 'routes' | 'metrics'>> & {
      readonly folder?: string;
      readonly limits?: Partial<ServerLimits>;
    } = {},
  ): Promise<ServedFolder> {
    const all = { ...LIMITS, ...limits };
    const layout = await createLayout(folder, { ...DEFAULT_LAYOUT_SETTINGS, durable: false });
    const store = new FolderRegistry(layout, options.isReadOnly === true ? undefined : all);
    const uploads = new Uploads(all);
    const routes = [['/v2', registryHandler({ store, uploads })]] as const;
    const defaults = { isPublic: false, isReadOnly: false, isLocal: false };
    const app = new App({ ...defaults, ...options, routes, metrics: new Metrics() });
    t.teardown(async () => {
      await uploads[Symbol.asyncDispose]();
      await store[Symbol.asyncDispose]();
      await layout[Symbol.asyncDispose]();
    });
    return new ServedFolder(folder, app, { store, uploads });
  }

  async ask(method: string, url: string, { headers = {}, body = '' }: Question = {}): Promise<Reply> {
    const [path = '', query = ''] = url.split('?');
    const { answer } = await this.app.answer({
      method,
      path,
      query: new URLSearchParams(query),
      headers: { host: 'localhost:5000', ...headers },
      body: typeof body === 'string' || body instanceof Uint8Array ? once(Buffer.from(body)) : body,
    });
    const bytes = await bytesOf(answer);
    return { status: answer.status, headers: answer.headers ?? {}, body: bytes, codes: codesIn(bytes) };
  }

  /** Pushes a blob whole. */
  async pushBlob(repository: string, bytes: Uint8Array | string): Promise<Digest> {
    const digest = sha256(bytes);
    const { status } = await this.ask('POST', `/v2/${repository}/blobs/uploads/?digest=${digest}`, { body: bytes });
    if (status !== 201) throw new Error(`the push of a blob was answered with ${status}`);
    return digest;
  }

  /** Pushes an image of some layers, and returns the digest of its manifest. */
  async pushImage(repository: string, reference: string, image: ImageOptions = {}): Promise<Digest> {
    const bytes = await this.imageManifest(repository, image);
    const reply = await this.putManifest(repository, reference, bytes);
    if (reply.status !== 201) throw new Error(`the push was answered with ${reply.status}: ${reply.body.toString()}`);
    return sha256(bytes);
  }

  /** Pushes the blobs of an image, and returns its manifest. */
  async imageManifest(repository: string, { layers = ['a layer'], ...fields }: ImageOptions = {}): Promise<string> {
    const descriptors: object[] = [];
    for (const text of layers) {
      const digest = await this.pushBlob(repository, text);
      descriptors.push({ mediaType: 'application/vnd.oci.image.layer.v1.tar', digest, size: Buffer.byteLength(text) });
    }
    const digest = await this.pushBlob(repository, '{}');
    const config = { mediaType: 'application/vnd.example.config', digest, size: 2 };
    return JSON.stringify({ schemaVersion: 2, mediaType: OCI_MANIFEST, config, layers: descriptors, ...fields });
  }

  async putManifest(repository: string, reference: string, body: string, headers = {}): Promise<Reply> {
    const { mediaType } = JSON.parse(body) as { mediaType?: string };
    const type = mediaType === undefined ? {} : { 'content-type': mediaType };
    return this.ask('PUT', `/v2/${repository}/manifests/${reference}`, { body, headers: { ...type, ...headers } });
  }

  /** Opens an upload, and returns its location. */
  async open(repository: string, query = ''): Promise<string> {
    const { status, headers } = await this.ask('POST', `/v2/${repository}/blobs/uploads/${query}`);
    if (status !== 202) throw new Error(`an upload was answered with ${status}`);
    return String(headers['location']);
  }
}

/** An image of a test. Other fields go into its manifest. */
export interface ImageOptions {
  readonly layers?: readonly string[];
  readonly [field: string]: unknown;
}

async function* once(bytes: Buffer): AsyncGenerator<Uint8Array, void, undefined> {
  if (bytes.length > 0) yield bytes;
}

async function bytesOf({ body }: Answer): Promise<Buffer> {
  if (body === undefined) return Buffer.alloc(0);
  if (body instanceof Uint8Array) return Buffer.from(body);
  try {
    return await collect(body.bytes());
  } finally {
    await body[Symbol.asyncDispose]();
  }
}

function codesIn(bytes: Buffer): readonly string[] {
  try {
    const { errors } = JSON.parse(bytes.toString()) as { errors?: { code: string }[] };
    return (errors ?? []).map(({ code }) => code);
  } catch {
    return [];
  }
}
