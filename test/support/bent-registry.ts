import { readdirSync, readFileSync } from 'node:fs';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { join } from 'node:path';
import { setImmediate as tick } from 'node:timers/promises';
import type { ExecutionContext } from 'ava';
import { fixture } from './fixtures.js';
import { digestOfBytes } from './layers.js';
import { startServer } from './servers.js';

/** A request to a registry, its body read, and the answer to it. */
export interface Exchange {
  readonly method: string;
  /** The path, without `/v2/REPOSITORY`. */
  readonly path: string;
  readonly query: URLSearchParams;
  readonly body: Buffer;
  readonly incoming: IncomingMessage;
  readonly answer: ServerResponse;
}

export interface BentRegistry {
  readonly host: string;
  /** The repository, as an import and an export have it. */
  readonly ref: string;
  readonly blobs: Map<string, Buffer>;
  readonly manifests: Map<string, { readonly type: string; readonly bytes: Buffer }>;
  readonly tags: Map<string, string>;
  /** Method and path of every request, in order. */
  readonly seen: string[];
  /** Answers in its place where it returns true. */
  bend: (exchange: Exchange) => boolean | Promise<boolean>;
}

/** An error in the form of registries. */
export function fault(answer: ServerResponse, status: number, code: string, message = 'no'): true {
  answer.writeHead(status, { 'content-type': 'application/json' });
  answer.end(JSON.stringify({ errors: [{ code, message }] }));
  return true;
}

/**
 * A registry in memory, for what a real one does not do on demand: a test bends its answers.
 *
 * @param folder - a fixture that it has
 */
export async function startBentRegistry(t: ExecutionContext, folder?: string): Promise<BentRegistry> {
  const uploads = new Map<string, Buffer[]>();
  let count = 0;
  const { host, seen } = await startServer(t, (incoming, answer) => {
    void respond(incoming, answer).catch((error: unknown) => t.log(error));
  });
  const registry: BentRegistry = {
    host,
    ref: `type=registry,ref=${host}/team/cache`,
    blobs: new Map(),
    manifests: new Map(),
    tags: new Map(),
    seen,
    bend: () => false,
  };
  if (folder !== undefined) fill(registry, fixture(folder));
  return registry;

  async function respond(incoming: IncomingMessage, answer: ServerResponse): Promise<void> {
    const chunks: Buffer[] = [];
    try {
      for await (const chunk of incoming) chunks.push(chunk as Buffer);
    } catch {
      return;
    }
    const url = new URL(incoming.url ?? '', 'http://tests');
    const path = url.pathname.replace(/^\/v2\/(?:[^/]+\/[^/]+\/)?/, '');
    const { method = '' } = incoming;
    const exchange = { method, path, query: url.searchParams, body: Buffer.concat(chunks), incoming, answer };
    if (!(await registry.bend(exchange))) plain(exchange);
    await tick();
  }

  function plain({ method, path, query, body, incoming, answer }: Exchange): void {
    const [kind = '', name = '', id = ''] = path.split('/');
    if (path === '') answer.end('{}');
    else if (kind === 'tags') answer.end(JSON.stringify({ tags: [...registry.tags.keys()] }));
    else if (kind === 'manifests' && method === 'PUT') {
      const digest = digestOfBytes(body);
      registry.manifests.set(digest, { type: incoming.headers['content-type'] ?? '', bytes: body });
      if (!name.includes(':')) registry.tags.set(name, digest);
      answer.writeHead(201).end();
    } else if (kind === 'manifests' && method === 'DELETE') {
      // Few registries delete a tag alone.
      if (!name.includes(':')) return void fault(answer, 405, 'UNSUPPORTED');
      registry.manifests.delete(name);
      for (const [tag, digest] of registry.tags) if (digest === name) registry.tags.delete(tag);
      answer.writeHead(202).end();
    } else if (kind === 'manifests') {
      const digest = registry.tags.get(name) ?? name;
      const found = registry.manifests.get(digest);
      if (found === undefined) return void fault(answer, 404, 'MANIFEST_UNKNOWN');
      send(answer, found.bytes, { 'content-type': found.type, 'docker-content-digest': digest });
    } else if (name === 'uploads') upload({ method, id, query, body, answer });
    else {
      const found = registry.blobs.get(name);
      if (found === undefined) return void fault(answer, 404, 'BLOB_UNKNOWN');
      const [, from, to] = /^bytes=(\d+)-(\d*)$/.exec(incoming.headers.range ?? '') ?? [];
      if (from === undefined) return send(answer, found, {});
      const part = found.subarray(Number(from), to === '' || to === undefined ? undefined : Number(to) + 1);
      const range = `bytes ${from}-${Number(from) + part.length - 1}/${found.length}`;
      if (part.length === 0) answer.writeHead(416).end();
      else send(answer, part, { 'content-range': range }, 206);
    }
    return undefined;
  }

  function upload({
    method,
    id,
    query,
    body,
    answer,
  }: Pick<Exchange, 'method' | 'query' | 'body' | 'answer'> & { id: string }) {
    const parts = method === 'POST' ? [] : uploads.get(id);
    if (parts === undefined) return fault(answer, 404, 'BLOB_UPLOAD_UNKNOWN');
    const open = method === 'POST' ? `${++count}` : id;
    if (method !== 'GET') parts.push(body);
    uploads.set(open, parts);
    const size = parts.reduce((sum, { length }) => sum + length, 0);
    const headers = { location: `/v2/team/cache/blobs/uploads/${open}`, range: `0-${size - 1}` };
    if (method !== 'PUT') return answer.writeHead(method === 'GET' ? 204 : 202, headers).end();
    const blob = Buffer.concat(parts);
    if (digestOfBytes(blob) !== query.get('digest')) return fault(answer, 400, 'DIGEST_INVALID');
    registry.blobs.set(digestOfBytes(blob), blob);
    return answer.writeHead(201).end();
  }
}

function send(answer: ServerResponse, bytes: Buffer, headers: Record<string, string>, status = 200): void {
  answer.writeHead(status, { 'content-length': bytes.length, ...headers }).end(bytes);
}

function fill(registry: BentRegistry, folder: string): void {
  for (const name of readdirSync(join(folder, 'blobs', 'sha256')))
    registry.blobs.set(`sha256:${name}`, readFileSync(join(folder, 'blobs', 'sha256', name)));
  const index = JSON.parse(readFileSync(join(folder, 'index.json'), 'utf8')) as {
    manifests: { digest: string; mediaType: string; annotations?: Record<string, string> }[];
  };
  for (const { digest, mediaType, annotations } of index.manifests) {
    registry.manifests.set(digest, { type: mediaType, bytes: registry.blobs.get(digest) ?? Buffer.alloc(0) });
    registry.tags.set(annotations?.['org.opencontainers.image.ref.name'] ?? 'latest', digest);
  }
}
