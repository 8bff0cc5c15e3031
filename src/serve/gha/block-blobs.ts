import { randomUUID } from 'node:crypto';
import { collect } from '../../bytes/collect.js';
import { limited } from '../../bytes/limited.js';
import { isDigest } from '../../oci/digest.js';
import { contentAnswer } from '../content-answer.js';
import { type Answer, type Handler, Refusal, type Request } from '../request.js';
import type { GhaContext } from './context.js';
import type { Reservation } from './reservations.js';

// The operations of Azure's block blobs that clients of the cache use: Put Blob, Put Block, Put Block List, Get Blob, and
// Get Blob Properties.

/** The largest list of blocks, in bytes: 50,000 ids. */
const LIST_LIMIT = 8 * 1024 * 1024;
/** The largest id of a block, in characters: 64 bytes in base64. */
const LONGEST_ID = 128;

/** The blobs to which signed addresses lead. A token is not looked at: the address is what grants. */
export function blockBlobHandler(context: GhaContext): Handler {
  return async (request) => {
    const answer = await route(context, request);
    // BuildKit's client looks for it, and ends its process without.
    return { ...answer, headers: { 'x-ms-request-id': randomUUID(), 'x-ms-version': '2020-10-02', ...answer.headers } };
  };
}

async function route(context: GhaContext, request: Request): Promise<Answer> {
  switch (request.method) {
    case 'GET':
    case 'HEAD':
      return read(context, request);
    case 'PUT':
      return write(context, request);
    default:
      throw refusal(405, 'UnsupportedHttpVerb', 'The resource does not support this verb.');
  }
}

async function read({ store, urls }: GhaContext, request: Request): Promise<Answer> {
  const digest = urls.check(request.path, request.query, 'read');
  if (digest === undefined || !isDigest(digest)) throw denied();
  const open = await store.open(digest);
  if (open === undefined) throw refusal(404, 'BlobNotFound', 'The blob does not exist.');
  // Clients of Azure ask for a part by a header of their own.
  const range = request.headers['x-ms-range'] ?? request.headers.range;
  const { range: _, ...headers } = request.headers;
  const asked = { ...request, headers: { ...headers, ...(typeof range === 'string' ? { range } : {}) } };
  return contentAnswer(asked, open, {
    'content-type': 'application/octet-stream',
    'x-ms-blob-type': 'BlockBlob',
    tag: `"${digest}"`,
  });
}

async function write(context: GhaContext, request: Request): Promise<Answer> {
  const id = context.urls.check(request.path, request.query, 'write');
  const reservation = id === undefined ? undefined : context.reservations.get(id);
  if (id === undefined) throw denied();
  if (reservation === undefined) throw refusal(404, 'BlobNotFound', 'The upload does not exist, or has ended.');
  await context.reservations.use(reservation, () => put(reservation, request));
  return {
    status: 201,
    headers: { 'content-length': '0', etag: `"${randomUUID()}"`, 'last-modified': new Date().toUTCString() },
  };
}

async function put({ upload }: Reservation, request: Request): Promise<void> {
  switch (request.query.get('comp')) {
    case null:
      // No id of a block is empty.
      await upload.put('', request.body);
      await upload.join(['']);
      return;
    case 'block': {
      const block = request.query.get('blockid') ?? '';
      if (block === '' || block.length > LONGEST_ID)
        throw refusal(400, 'InvalidQueryParameterValue', 'The blockid is not valid.');
      await upload.put(block, request.body);
      return;
    }
    case 'blocklist': {
      const tooLarge = () => refusal(413, 'RequestBodyTooLarge', 'The list is too large.');
      const text = (await collect(limited(request.body, LIST_LIMIT, tooLarge))).toString();
      if (!(await upload.join(blocksIn(text)))) {
        throw refusal(400, 'InvalidBlockList', 'The list names a block that does not exist.');
      }
      return;
    }
    default:
      throw refusal(400, 'InvalidQueryParameterValue', 'This operation is not supported.');
  }
}

/** The ids in a list of blocks. An id is base64, and needs no escapes. */
function blocksIn(text: string): readonly string[] {
  if (!/<BlockList\b/.test(text)) throw refusal(400, 'InvalidXmlDocument', 'The list is not valid.');
  return Array.from(text.matchAll(/<(Latest|Uncommitted|Committed)>\s*([^<\s]*)\s*<\/\1>/g), ([, , id = '']) => id);
}

function denied(): Refusal {
  return refusal(403, 'AuthenticationFailed', 'The signature of this address is not valid, or it has run out.');
}

function refusal(status: number, code: string, message: string): Refusal {
  const body = `<?xml version="1.0" encoding="utf-8"?><Error><Code>${code}</Code><Message>${message}</Message></Error>`;
  const headers = { 'content-type': 'application/xml', 'x-ms-error-code': code };
  return new Refusal({ status, headers, body: Buffer.from(body) }, message);
}
