import { type Digest, isKnownAlgorithm, splitDigest } from '../../oci/digest.js';
import { type Answer, announcedLength, header, type Request } from '../request.js';
import type { OpenUpload } from '../uploads.js';
import { digestIn, expectWrite, keptSize } from './blobs.js';
import { notSupported, refusal } from './refusals.js';
import type { RegistryContext, RepositoryHandler } from './registry.js';
import type { RegistryWriter } from './registry-store.js';

/** When to come back, in seconds, after too many uploads were open. */
const RETRY_AFTER = '10';

/** The part of the store that is written to. @throws Refusal 401, 403, and 405 for a store that is served read-only */
export function writerFor({ store }: RegistryContext, request: Request, repository: string): RegistryWriter {
  if (store.writer === undefined) throw notSupported('writing: this server is read-only', ['GET', 'HEAD']);
  expectWrite(request, repository);
  return store.writer;
}

/** A digest that can be checked. @throws Refusal 400 */
function checkableDigest(text: string): Digest {
  const digest = digestIn(text);
  if (isKnownAlgorithm(splitDigest(digest)[0])) return digest;
  throw refusal(400, 'DIGEST_INVALID', 'only sha256 and sha512 can be checked');
}

/** Begins an upload, or mounts a blob, or takes it whole: distribution-spec, "Pushing blobs", "Mounting a blob". */
export const beginUpload: RepositoryHandler = async (context, request, repository) => {
  const writer = writerFor(context, request, repository);
  const [mount, whole] = [request.query.get('mount'), request.query.get('digest')];
  if (mount !== null) {
    const digest = digestIn(mount);
    if (await isMounted(context, request, { repository, digest })) return created(repository, digest);
  }
  const digest = whole === null || mount !== null ? undefined : checkableDigest(whole);
  const algorithm = request.query.get('digest-algorithm') ?? (digest === undefined ? 'sha256' : splitDigest(digest)[0]);
  if (!isKnownAlgorithm(algorithm)) throw refusal(400, 'DIGEST_INVALID', 'only sha256 and sha512 can be checked');
  const size = digest === undefined ? undefined : announcedLength(request);
  const opened = await context.uploads.begin(repository, () => writer.begin(algorithm, size));
  if (opened === undefined) {
    throw refusal(429, 'TOOMANYREQUESTS', 'too many uploads are open', { 'retry-after': RETRY_AFTER });
  }
  if (digest === undefined) return accepted(opened);
  try {
    await opened.upload.append(request.body);
    return await finished(opened, { writer, digest });
  } finally {
    await context.uploads.end(opened);
  }
};

/** Takes the blob of another repository, which the caller has to be allowed to read. */
async function isMounted(
  { store }: RegistryContext,
  request: Request,
  blob: { readonly repository: string; readonly digest: Digest },
): Promise<boolean> {
  const from = request.query.get('from');
  if (from !== null && !request.access.mayRead(from)) return false;
  return (await keptSize(store, request, blob)) !== undefined;
}

/** Requests at an open upload: distribution-spec, "Pushing a blob in chunks", "Cancel a blob upload". */
export const useUpload: RepositoryHandler = async (context, request, repository, id) => {
  const writer = writerFor(context, request, repository);
  const answer = await context.uploads.use(repository, id, (opened) => {
    switch (request.method) {
      case 'PATCH':
        return appended(opened, request);
      case 'PUT':
        return closed(context, request, { opened, writer });
      case 'DELETE':
        return cancelled(context, opened);
      default:
        return Promise.resolve(progress(opened, 204));
    }
  });
  if (answer === undefined) throw refusal(404, 'BLOB_UPLOAD_UNKNOWN', 'there is no such upload, or it has expired');
  return answer;
};

async function appended(opened: OpenUpload, request: Request): Promise<Answer> {
  await append(opened, request);
  return progress(opened, 202);
}

async function closed(
  context: RegistryContext,
  request: Request,
  { opened, writer }: { readonly opened: OpenUpload; readonly writer: RegistryWriter },
): Promise<Answer> {
  const text = request.query.get('digest');
  if (text === null) throw refusal(400, 'DIGEST_INVALID', 'the last request of an upload needs ?digest=');
  const digest = checkableDigest(text);
  await append(opened, request);
  try {
    return await finished(opened, { writer, digest });
  } finally {
    await context.uploads.end(opened);
  }
}

async function cancelled({ uploads }: RegistryContext, opened: OpenUpload): Promise<Answer> {
  await uploads.end(opened);
  return { status: 204 };
}

/** Adds a chunk, which has to begin where the last one ended. */
async function append({ upload, repository, id }: OpenUpload, request: Request): Promise<void> {
  const text = header(request, 'content-range');
  const length = announcedLength(request);
  if (text === undefined) return upload.append(request.body);
  // Some clients write the unit of HTTP, which the distribution-spec leaves out.
  const [, first, last] = /^(?:bytes[ =])?(\d+)-(\d+)(?:\/(?:\d+|\*))?$/.exec(text) ?? [];
  if (first === undefined) throw refusal(400, 'BLOB_UPLOAD_INVALID', 'Content-Range is not of the form FIRST-LAST');
  const [start, end] = [Number(first), Number(last) + 1];
  if (start !== upload.size) {
    const message = `the next chunk begins at ${upload.size}, and not at ${start}`;
    throw refusal(416, 'BLOB_UPLOAD_INVALID', message, headersOf({ upload, repository, id }));
  }
  if (length !== undefined && length !== end - start) {
    throw refusal(400, 'SIZE_INVALID', 'Content-Range and Content-Length differ');
  }
  await upload.append(request.body);
  if (upload.size !== end) throw refusal(400, 'SIZE_INVALID', `${upload.size - start} bytes came, not ${end - start}`);
}

async function finished(
  { upload, repository }: OpenUpload,
  { writer, digest }: { readonly writer: RegistryWriter; readonly digest: Digest },
): Promise<Answer> {
  if (!(await upload.finish(digest))) {
    throw refusal(400, 'DIGEST_INVALID', 'the bytes that came have another digest');
  }
  // Not before: who knows the digest alone may not see the blob. The upload has a lease until it ends.
  await writer.keep(repository, digest);
  return created(repository, digest);
}

function created(repository: string, digest: Digest): Answer {
  const location = `/v2/${repository}/blobs/${digest}`;
  return { status: 201, headers: { location, 'docker-content-digest': digest, 'content-length': '0' } };
}

function accepted(opened: OpenUpload): Answer {
  return progress(opened, 202);
}

function progress(opened: OpenUpload, status: 202 | 204): Answer {
  return { status, headers: { ...headersOf(opened), ...(status === 202 ? { 'content-length': '0' } : {}) } };
}

/** The end of the range is that of the last byte. Of an upload without bytes it is 0 as well: there is no other form. */
function headersOf({ upload: { size }, repository, id }: OpenUpload): Readonly<Record<string, string>> {
  return {
    location: `/v2/${repository}/blobs/uploads/${id}`,
    range: `0-${Math.max(0, size - 1)}`,
    'docker-upload-uuid': id,
  };
}
