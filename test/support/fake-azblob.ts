import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { ExecutionContext } from 'ava';
import { azblobStore } from '../../src/backend/config/bucket/azblob.js';
import type { AzblobSettings } from '../../src/backend/config/bucket/azblob-client.js';
import { AzblobConnection } from '../../src/backend/config/bucket/azblob-connection.js';
import type { ObjectStore } from '../../src/backend/config/bucket/object-store.js';
import type { Side } from '../../src/errors.js';
import { HttpClient } from '../../src/net/http/http.js';
import { HASTY, listening } from './servers.js';

/** A request to the fake service. */
export interface AzblobSeen {
  readonly method: string;
  /** Without account and container, decoded. */
  readonly key: string;
  /** As it was sent. */
  readonly path: string;
  readonly query: URLSearchParams;
  readonly headers: IncomingMessage['headers'];
  readonly body: Buffer;
  /** How many requests of this method and key came before. */
  readonly before: number;
}

/** Answers a request in another way than the service does; false to let the service answer. */
export type AzblobFault = (seen: AzblobSeen, answer: ServerResponse, store: FakeAzblob) => boolean;

interface FakeBlob {
  readonly bytes: Buffer;
  readonly etag: string;
  /** In milliseconds since 1970; whole seconds. */
  readonly modified: number;
  readonly metadata: Readonly<Record<string, string>>;
}

/** A service that speaks as much of Azure Blob Storage as bkcache does, for faults that a real one does not produce. */
export class FakeAzblob {
  readonly blobs = new Map<string, FakeBlob>();
  /** Blocks by the keys of their blobs, of all writers, before they are committed. */
  readonly blocks = new Map<string, Map<string, Buffer>>();
  /** Such as `PUT blobs/x`. */
  readonly seen: string[] = [];
  readonly all: AzblobSeen[] = [];
  hasContainer = true;
  /** Blobs that are in an archive. */
  readonly archived = new Set<string>();
  host = '';
  /** How many connections were made to it. */
  connections = 0;
  fault: AzblobFault = () => false;
  #etags = 0;

  static async start(
    t: ExecutionContext,
    fault?: AzblobFault,
    make: (listener: Parameters<typeof createServer>[1]) => Server = (listener) =>
      createServer(listener ?? (() => undefined)),
  ): Promise<FakeAzblob> {
    const fake = new FakeAzblob();
    if (fault !== undefined) fake.fault = fault;
    const server = make((request: IncomingMessage, answer: ServerResponse) => void fake.#answer(request, answer));
    server.on('connection', () => fake.connections++);
    fake.host = await listening(t, server);
    t.teardown(() => server.closeAllConnections());
    return fake;
  }

  /** The driver for a container of this service. */
  open(
    t: ExecutionContext,
    { ca, ...more }: Partial<AzblobSettings> & { readonly ca?: string } = {},
    side: Side = 'import',
  ): ObjectStore {
    const http = new HttpClient({ ca, verify: true });
    t.teardown(() => http[Symbol.asyncDispose]());
    const settings: AzblobSettings = {
      accountUrl: `http://${this.host}/account`,
      accountName: 'account',
      container: 'container',
      key: Buffer.from('a secret of the tests').toString('base64'),
      sas: undefined,
      ...more,
    };
    return azblobStore(new AzblobConnection(settings, http, side, HASTY));
  }

  set(key: string, bytes: Uint8Array, modified = Date.now(), metadata: Record<string, string> = {}): void {
    const date = Math.floor(modified / 1000) * 1000;
    this.blobs.set(key, { bytes: Buffer.from(bytes), etag: `"${this.#etags++}"`, modified: date, metadata });
  }

  async #answer(request: IncomingMessage, answer: ServerResponse): Promise<void> {
    const [path = '', query = ''] = (request.url ?? '').split('?');
    const chunks: Uint8Array[] = [];
    for await (const chunk of request as AsyncIterable<Uint8Array>) chunks.push(chunk);
    const key = decodeURIComponent(path.replace(/^\/account\/container\/?/, ''));
    const line = `${request.method} ${key}`;
    const seen: AzblobSeen = {
      method: request.method ?? '',
      key,
      path,
      query: new URLSearchParams(query),
      headers: request.headers,
      body: Buffer.concat(chunks),
      before: this.seen.filter((known) => known === line).length,
    };
    this.seen.push(line);
    this.all.push(seen);
    if (!this.fault(seen, answer, this)) this.serve(seen, answer);
  }

  serve(seen: AzblobSeen, answer: ServerResponse): void {
    const { method, key, query, headers, body } = seen;
    if (query.get('restype') === 'container' && method === 'PUT') {
      if (this.hasContainer) return refuse(answer, 409, 'ContainerAlreadyExists');
      this.hasContainer = true;
      return done(answer, 201);
    }
    if (!this.hasContainer) return refuse(answer, 404, 'ContainerNotFound', { isHead: method === 'HEAD' });
    if (query.get('comp') === 'list') return this.#list(query, answer);
    if (query.get('comp') === 'block') {
      const blocks = this.blocks.get(key) ?? new Map<string, Buffer>();
      const id = query.get('blockid') ?? '';
      if ([...blocks.keys()].some((known) => known.length !== id.length))
        return refuse(answer, 400, 'InvalidBlobOrBlock');
      this.blocks.set(key, blocks.set(id, body));
      return done(answer, 201);
    }
    if (method === 'PUT' && query.get('comp') === 'metadata') return this.#setMetadata(seen, answer);
    if (query.get('comp') === 'blocklist' && method === 'GET') return this.#listBlocks(key, answer);
    if (headers['x-ms-copy-source'] !== undefined) return this.#copy(key, String(headers['x-ms-copy-source']), answer);
    if (method === 'PUT') return this.#put(seen, answer);
    const found = this.blobs.get(key);
    if (found === undefined) return refuse(answer, 404, 'BlobNotFound', { isHead: method === 'HEAD' });
    if (method === 'GET' && this.archived.has(key)) return refuse(answer, 409, 'BlobArchived');
    if (method === 'DELETE') {
      const since = Date.parse(String(headers['if-unmodified-since']));
      if (found.modified > since) return refuse(answer, 412, 'ConditionNotMet');
      this.blobs.delete(key);
      return done(answer, 202);
    }
    const { bytes, etag, modified, metadata } = found;
    const range = headers['x-ms-range'] ?? headers.range;
    const [, from, to] = /^bytes=(\d+)-(\d*)$/.exec(String(range ?? '')) ?? [];
    if (from !== undefined && Number(from) >= bytes.length) return refuse(answer, 416, 'InvalidRange');
    const part = bytes.subarray(Number(from ?? 0), to === undefined || to === '' ? undefined : Number(to) + 1);
    const known = {
      'content-length': part.length,
      'last-modified': new Date(modified).toUTCString(),
      etag,
      ...Object.fromEntries(Object.entries(metadata).map(([name, value]) => [`x-ms-meta-${name}`, value])),
      'x-ms-blob-type': 'BlockBlob',
      ...(this.archived.has(key) ? { 'x-ms-access-tier': 'Archive' } : {}),
      ...(from === undefined
        ? {}
        : { 'content-range': `bytes ${from}-${Number(from) + part.length - 1}/${bytes.length}` }),
    };
    answer.writeHead(from === undefined ? 200 : 206, known).end(method === 'HEAD' ? undefined : part);
  }

  #setMetadata({ key, headers }: AzblobSeen, answer: ServerResponse): void {
    const found = this.blobs.get(key);
    if (found === undefined) return refuse(answer, 404, 'BlobNotFound');
    const match = headers['if-match'];
    if (match !== undefined && match !== found.etag) return refuse(answer, 412, 'ConditionNotMet');
    if (this.archived.has(key)) return refuse(answer, 409, 'BlobArchived');
    const metadata = Object.entries(headers).flatMap(([name, value]) =>
      name.startsWith('x-ms-meta-') ? [[name.slice('x-ms-meta-'.length), String(value)] as const] : [],
    );
    this.set(key, found.bytes, Date.now(), Object.fromEntries(metadata));
    done(answer, 200);
  }

  #put({ key, query, headers, body }: AzblobSeen, answer: ServerResponse): void {
    const found = this.blobs.get(key);
    if (headers['if-none-match'] === '*' && found !== undefined) return refuse(answer, 409, 'BlobAlreadyExists');
    const match = headers['if-match'];
    if (match !== undefined && match !== found?.etag) return refuse(answer, 412, 'ConditionNotMet');
    if (query.get('comp') !== 'blocklist') this.set(key, body);
    else {
      const ids = [...body.toString().matchAll(/<Latest>([^<]*)<\/Latest>/g)].map(([, id = '']) => id);
      const blocks = ids.map((id) => this.blocks.get(key)?.get(id));
      if (!blocks.every((block) => block !== undefined)) return refuse(answer, 400, 'InvalidBlockList');
      this.set(key, Buffer.concat(blocks));
    }
    this.blocks.delete(key);
    this.archived.delete(key);
    done(answer, 201);
  }

  #listBlocks(key: string, answer: ServerResponse): void {
    const blocks = this.blocks.get(key);
    if (blocks === undefined && !this.blobs.has(key)) return refuse(answer, 404, 'BlobNotFound');
    const listed = [...(blocks ?? [])].map(
      ([id, { length }]) => `<Block><Name>${id}</Name><Size>${length}</Size></Block>`,
    );
    xml(
      answer,
      200,
      `<BlockList><CommittedBlocks /><UncommittedBlocks>${listed.join('')}</UncommittedBlocks></BlockList>`,
    );
  }

  #copy(key: string, source: string, answer: ServerResponse): void {
    const [path = ''] = source.split('?');
    const [, from = ''] = /^http:\/\/[^/]+\/account\/container\/(.*)$/.exec(path) ?? [];
    const found = this.blobs.get(decodeURIComponent(from));
    if (found === undefined) return refuse(answer, 404, 'BlobNotFound');
    this.set(key, found.bytes);
    const known = { 'x-ms-copy-id': 'x', 'x-ms-copy-status': 'success' };
    answer.writeHead(202, { etag: '"x"', 'last-modified': new Date().toUTCString(), ...known }).end();
  }

  #list(query: URLSearchParams, answer: ServerResponse): void {
    const prefix = query.get('prefix') ?? '';
    const keys = [...this.blobs.keys()].filter((key) => key.startsWith(prefix)).toSorted();
    const size = 2;
    const start = Number(query.get('marker') ?? 0);
    const blobs = keys.slice(start, start + size).map((key) => {
      const { bytes, modified = 0, etag = '' } = this.blobs.get(key) ?? {};
      const length = bytes?.length ?? 0;
      const tier = this.archived.has(key) ? 'Archive' : 'Hot';
      const name = key.replaceAll('&', '&amp;').replaceAll('<', '&lt;');
      return `<Blob><Name>${name}</Name><Properties><Last-Modified>${new Date(modified).toUTCString()}</Last-Modified><Etag>${etag.replaceAll('"', '')}</Etag><Content-Length>${length}</Content-Length><BlobType>BlockBlob</BlobType><AccessTier>${tier}</AccessTier></Properties></Blob>`;
    });
    const next = start + size < keys.length ? `<NextMarker>${start + size}</NextMarker>` : '<NextMarker />';
    xml(
      answer,
      200,
      `<EnumerationResults ServiceEndpoint="http://${this.host}/account" ContainerName="container"><Blobs>${blobs.join('')}</Blobs>${next}</EnumerationResults>`,
    );
  }
}

function done(answer: ServerResponse, status: number): void {
  answer.writeHead(status, { etag: '"x"', 'last-modified': new Date().toUTCString() }).end();
}

function xml(answer: ServerResponse, status: number, body: string, headers: Record<string, string> = {}): void {
  answer
    .writeHead(status, { 'content-type': 'application/xml', ...headers })
    .end(`<?xml version="1.0" encoding="utf-8"?>${body}`);
}

/** Refuses a request as Azure does: the answer to a HEAD has the code in a header alone. */
export function refuse(
  answer: ServerResponse,
  status: number,
  code: string,
  {
    message = 'No.',
    isHead = false,
    headers = {},
  }: { message?: string; isHead?: boolean; headers?: Record<string, string> } = {},
): void {
  const known = { 'x-ms-error-code': code, ...headers };
  if (isHead) return void answer.writeHead(status, { 'content-length': 0, ...known }).end();
  const text = `${message}\nRequestId:00000000-0000-0000-0000-000000000000\nTime:2026-11-27T00:00:00.0000000Z`;
  xml(answer, status, `<Error><Code>${code}</Code><Message>${text}</Message></Error>`, known);
}
