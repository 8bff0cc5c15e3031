import { createHash } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { join } from 'node:path';
import type { ExecutionContext } from 'ava';
import { s3Store } from '../../src/backend/config/bucket/s3.js';
import { S3Connection, type S3Settings } from '../../src/backend/config/bucket/s3-connection.js';
import type { ObjectStore } from '../../src/backend/config/bucket/object-store.js';
import type { Side } from '../../src/errors.js';
import { HttpClient } from '../../src/net/http/http.js';
import { fixture } from './fixtures.js';
import { HASTY, listening } from './servers.js';

/** A request to the fake service. */
export interface S3Seen {
  readonly method: string;
  /** Without the bucket, decoded. */
  readonly key: string;
  readonly query: URLSearchParams;
  readonly headers: IncomingMessage['headers'];
  readonly body: Buffer;
  /** How many requests of this method and key came before. */
  readonly before: number;
}

/** Answers a request in another way than the service does; false to let the service answer. */
export type S3Fault = (seen: S3Seen, answer: ServerResponse, store: FakeS3) => boolean;

/** A service that speaks as much of S3 as bkcache does, for faults that a real one does not produce. */
export class FakeS3 {
  readonly objects = new Map<string, Buffer>();
  /** Sizes of objects that are too large to be here, in bytes. */
  readonly sizes = new Map<string, number>();
  readonly uploads = new Map<string, Map<number, Buffer>>();
  readonly uploadKeys = new Map<string, string>();
  /** Keys of objects that are not deleted. */
  readonly locked = new Set<string>();
  isVersioned = false;
  /** How many bytes of other objects uploads have. */
  readonly copied = new Map<string, number>();
  /** Such as `PUT blobs/x`. */
  readonly seen: string[] = [];
  readonly all: S3Seen[] = [];
  /** When objects were written by a request, in milliseconds since 1970. */
  readonly written = new WeakMap<Buffer, number>();
  host = '';
  /** How many connections were made to it. */
  connections = 0;
  fault: S3Fault = () => false;
  #ids = 0;

  static async start(
    t: ExecutionContext,
    fault?: S3Fault,
    make: (listener: (request: IncomingMessage, answer: ServerResponse) => void) => Server = (listener) =>
      createServer(listener),
  ): Promise<FakeS3> {
    const fake = new FakeS3();
    if (fault !== undefined) fake.fault = fault;
    const server = make((request, answer) => void fake.#answer(request, answer));
    server.on('connection', () => fake.connections++);
    fake.host = await listening(t, server);
    t.teardown(() => server.closeAllConnections());
    return fake;
  }

  /** Puts the bucket that BuildKit has written into it. @returns the string of the bucket */
  fill(): string {
    for (const folder of ['blobs', 'manifests']) {
      for (const name of readdirSync(join(fixture('s3-bucket'), folder))) {
        this.objects.set(`${folder}/${name}`, readFileSync(join(fixture('s3-bucket'), folder, name)));
      }
    }
    const access = 'access_key_id=AKIAEXAMPLE,secret_access_key=hush-hush-hush';
    return `type=s3,bucket=bucket,region=us-east-1,endpoint_url=http://${this.host},use_path_style=true,${access}`;
  }

  /** The driver for a bucket of this service. */
  open(t: ExecutionContext, more: Partial<S3Settings> = {}, side: Side = 'import'): ObjectStore {
    const http = new HttpClient({ verify: true });
    t.teardown(() => http[Symbol.asyncDispose]());
    return s3Store(new S3Connection({ ...this.settings, ...more }, http, side, HASTY));
  }

  get settings(): S3Settings {
    return {
      bucket: 'bucket',
      region: 'us-east-1',
      endpoint: `http://${this.host}`,
      pathStyle: true,
      keys: { accessKeyId: 'AKIAEXAMPLE', secretAccessKey: 'a secret of the tests' },
      attempts: undefined,
      adaptive: false,
    };
  }

  async #answer(request: IncomingMessage, answer: ServerResponse): Promise<void> {
    // Not a URL, which would resolve `..`.
    const [path = '', query = ''] = (request.url ?? '').split('?');
    const chunks: Uint8Array[] = [];
    for await (const chunk of request as AsyncIterable<Uint8Array>) chunks.push(chunk);
    const key = decodeURIComponent(path.replace(/^\/bucket\/?/, ''));
    const line = `${request.method} ${key}`;
    const seen: S3Seen = {
      method: request.method ?? '',
      key,
      query: new URLSearchParams(query),
      headers: request.headers,
      body: Buffer.concat(chunks),
      before: this.seen.filter((known) => known === line).length,
    };
    this.seen.push(line);
    this.all.push(seen);
    if (!this.fault(seen, answer, this)) this.serve(seen, answer);
  }

  serve({ method, key, query, headers, body }: S3Seen, answer: ServerResponse): void {
    const etag = (bytes: Uint8Array) => `"${createHash('md5').update(bytes).digest('hex')}"`;
    const upload = query.get('uploadId');
    if (query.has('list-type')) return this.#list(query, answer);
    if (query.has('versioning')) {
      const status = this.isVersioned ? '<Status>Enabled</Status>' : '';
      return xml(answer, 200, `<VersioningConfiguration>${status}</VersioningConfiguration>`);
    }
    if (query.has('object-lock')) return refuse(answer, 404, 'ObjectLockConfigurationNotFoundError');
    if (query.has('delete')) return this.#deleteAll(body.toString(), answer);
    if (query.has('uploads') && method === 'GET') return this.#listUploads(query, answer);
    if (query.has('uploads')) {
      const id = `upload-${this.#ids++}`;
      this.uploads.set(id, new Map());
      this.uploadKeys.set(id, key);
      return xml(
        answer,
        200,
        `<InitiateMultipartUploadResult><UploadId>${id}</UploadId></InitiateMultipartUploadResult>`,
      );
    }
    if (upload !== null && method === 'DELETE') {
      this.uploads.delete(upload);
      return void answer.writeHead(204).end();
    }
    if (upload !== null && method === 'PUT') {
      const parts = this.uploads.get(upload);
      if (parts === undefined) return refuse(answer, 404, 'NoSuchUpload');
      const range = /^bytes=(\d+)-(\d+)$/.exec(String(headers['x-amz-copy-source-range']));
      if (range !== null) {
        const [, first, last] = range.map(Number);
        this.copied.set(upload, (this.copied.get(upload) ?? 0) + (last ?? 0) - (first ?? 0) + 1);
        parts.set(Number(query.get('partNumber')), body);
        return xml(answer, 200, `<CopyPartResult><ETag>${etag(body)}</ETag></CopyPartResult>`);
      }
      parts.set(Number(query.get('partNumber')), body);
      return void answer.writeHead(200, { etag: etag(body) }).end();
    }
    if (upload !== null && method === 'GET') return this.#listParts(upload, query, answer);
    if (upload !== null) {
      const parts = this.uploads.get(upload);
      if (parts === undefined) return refuse(answer, 404, 'NoSuchUpload');
      const numbers = [...parts.keys()].toSorted((a, b) => a - b);
      this.#write(key, Buffer.concat(numbers.map((number) => parts.get(number) ?? Buffer.of())));
      this.uploads.delete(upload);
      const copied = this.copied.get(upload);
      if (copied !== undefined) this.sizes.set(key, copied);
      return xml(answer, 200, `<CompleteMultipartUploadResult><ETag>"x-1"</ETag></CompleteMultipartUploadResult>`);
    }
    const source = headers['x-amz-copy-source'];
    if (method === 'PUT' && typeof source === 'string') {
      const from = this.objects.get(sourceKey(source));
      if (from === undefined) return refuse(answer, 404, 'NoSuchKey');
      this.#write(key, Buffer.from(from));
      return xml(answer, 200, `<CopyObjectResult><ETag>${etag(from)}</ETag></CopyObjectResult>`);
    }
    if (method === 'PUT') {
      this.#write(key, body);
      return void answer.writeHead(200, { etag: etag(body) }).end();
    }
    if (method === 'DELETE') {
      this.objects.delete(key);
      return void answer.writeHead(204).end();
    }
    const found = this.objects.get(key);
    if (found === undefined)
      return method === 'HEAD'
        ? void answer.writeHead(404, { 'content-length': 0 }).end()
        : refuse(answer, 404, 'NoSuchKey');
    const [, from, to] = /^bytes=(\d+)-(\d*)$/.exec(headers.range ?? '') ?? [];
    const part = found.subarray(Number(from ?? 0), to === undefined || to === '' ? undefined : Number(to) + 1);
    const range =
      from === undefined ? {} : { 'content-range': `bytes ${from}-${Number(from) + part.length - 1}/${found.length}` };
    const known = {
      'content-length': this.sizes.get(key) ?? part.length,
      'last-modified': new Date(this.#dateOf(found)).toUTCString(),
      etag: etag(found),
      ...range,
    };
    answer.writeHead(from === undefined ? 200 : 206, known).end(method === 'HEAD' ? undefined : part);
  }

  /** In pages of two parts. */
  #listParts(upload: string, query: URLSearchParams, answer: ServerResponse): void {
    const parts = this.uploads.get(upload);
    if (parts === undefined) return refuse(answer, 404, 'NoSuchUpload');
    const after = Number(query.get('part-number-marker') ?? 0);
    const left = [...parts].filter(([number]) => number > after).toSorted(([a], [b]) => a - b);
    const listed = left.slice(0, 2).map(([number, bytes]) => {
      const hash = createHash('md5').update(bytes).digest('hex');
      return `<Part><PartNumber>${number}</PartNumber><ETag>&quot;${hash}&quot;</ETag><Size>${bytes.length}</Size></Part>`;
    });
    const next = left.length > 2 ? `<NextPartNumberMarker>${left[1]?.[0]}</NextPartNumberMarker>` : '';
    xml(
      answer,
      200,
      `<ListPartsResult><UploadId>${upload}</UploadId><IsTruncated>${left.length > 2}</IsTruncated>${next}${listed.join('')}</ListPartsResult>`,
    );
  }

  /** Services count in seconds. */
  #write(key: string, bytes: Buffer): void {
    this.written.set(bytes, Math.floor(Date.now() / 1000) * 1000);
    this.objects.set(key, bytes);
  }

  #dateOf(bytes: Buffer): number {
    return this.written.get(bytes) ?? Date.UTC(2026, 10, 27);
  }

  #deleteAll(request: string, answer: ServerResponse): void {
    const results = Array.from(request.matchAll(/<Key>([^<]*)<\/Key>/g), ([, key = '']) => {
      if (this.locked.has(key))
        return `<Error><Key>${key}</Key><Code>AccessDenied</Code><Message>It is locked.</Message></Error>`;
      this.objects.delete(key);
      return `<Deleted><Key>${key}</Key></Deleted>`;
    });
    xml(answer, 200, `<DeleteResult>${results.join('')}</DeleteResult>`);
  }

  #listUploads(query: URLSearchParams, answer: ServerResponse): void {
    const prefix = query.get('prefix') ?? '';
    const open = [...this.uploads.keys()].map((id) => [id, this.uploadKeys.get(id) ?? ''] as const);
    const found = open.filter(([, key]) => key.startsWith(prefix));
    const start = Number(query.get('upload-id-marker') ?? 0);
    const page = found.slice(start, start + 2).map(([id, key]) => {
      return `<Upload><Key>${key}</Key><UploadId>${id}</UploadId><Initiated>2026-11-20T00:00:00.000Z</Initiated></Upload>`;
    });
    const isMore = start + 2 < found.length;
    const next = isMore ? `<NextKeyMarker>k</NextKeyMarker><NextUploadIdMarker>${start + 2}</NextUploadIdMarker>` : '';
    xml(
      answer,
      200,
      `<ListMultipartUploadsResult><IsTruncated>${isMore}</IsTruncated>${next}${page.join('')}</ListMultipartUploadsResult>`,
    );
  }

  #list(query: URLSearchParams, answer: ServerResponse): void {
    const prefix = query.get('prefix') ?? '';
    const keys = [...this.objects.keys()].filter((key) => key.startsWith(prefix)).toSorted();
    const size = 2;
    const start = Number(query.get('continuation-token') ?? 0);
    const contents = keys.slice(start, start + size).map((key) => {
      const bytes = this.objects.get(key) ?? Buffer.of();
      const hash = createHash('md5').update(bytes).digest('hex');
      return `<Contents><Key>${encodeURIComponent(key).replaceAll('%20', '+')}</Key><Size>${bytes.length}</Size><ETag>&quot;${hash}&quot;</ETag><LastModified>${new Date(this.#dateOf(bytes)).toISOString()}</LastModified></Contents>`;
    });
    const more = start + size < keys.length;
    const next = more ? `<NextContinuationToken>${start + size}</NextContinuationToken>` : '';
    xml(
      answer,
      200,
      `<ListBucketResult><Name>bucket</Name><EncodingType>url</EncodingType><IsTruncated>${more}</IsTruncated>${next}${contents.join('')}</ListBucketResult>`,
    );
  }
}

/** The key of the source of a copy; those of other buckets begin with `/`. */
function sourceKey(source: string): string {
  return `/${decodeURIComponent(source)}`.replace(/^\/bucket\//, '');
}

function xml(answer: ServerResponse, status: number, body: string): void {
  answer
    .writeHead(status, { 'content-type': 'application/xml' })
    .end(`<?xml version="1.0" encoding="UTF-8"?>\n${body}`);
}

/** Refuses a request as S3 does. */
export function refuse(
  answer: ServerResponse,
  status: number,
  code: string,
  {
    message = 'No.',
    more = '',
    headers = {},
  }: { message?: string; more?: string; headers?: Record<string, string> } = {},
): void {
  answer.writeHead(status, { 'content-type': 'application/xml', ...headers });
  answer.end(`<?xml version="1.0"?>\n<Error><Code>${code}</Code><Message>${message}</Message>${more}</Error>`);
}
