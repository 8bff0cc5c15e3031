import { isRepository } from '../../oci/reference.js';
import type { Answer, Handler, Request } from '../request.js';
import { jsonAnswer } from '../request.js';
import type { Uploads } from '../uploads.js';
import { answerBlob, deleteBlob } from './blobs.js';
import { answerManifest, deleteManifest, putManifest } from './manifests.js';
import { answerReferrers } from './referrers.js';
import { CHALLENGE, notSupported, refusal } from './refusals.js';
import type { RegistryStore } from './registry-store.js';
import { answerTags } from './tags.js';
import { beginUpload, useUpload } from './upload-requests.js';

/** What the handlers of a registry work on. */
export interface RegistryContext {
  readonly store: RegistryStore;
  readonly uploads: Uploads;
}

/** A request for something in a repository; `target` is a tag, a digest or the id of an upload. */
export type RepositoryHandler = (
  context: RegistryContext,
  request: Request,
  repository: string,
  target: string,
) => Promise<Answer>;

type Methods = Readonly<Record<string, RepositoryHandler>>;

const ENDPOINTS: readonly (readonly [RegExp, Methods])[] = [
  [/^(.+)\/blobs\/uploads\/?()$/, { POST: beginUpload }],
  [
    /^(.+)\/blobs\/uploads\/([^/]+)$/,
    { GET: useUpload, HEAD: useUpload, PATCH: useUpload, PUT: useUpload, DELETE: useUpload },
  ],
  [/^(.+)\/blobs\/([^/]+)$/, { GET: answerBlob, HEAD: answerBlob, DELETE: deleteBlob }],
  [
    /^(.+)\/manifests\/([^/]+)$/,
    { GET: answerManifest, HEAD: answerManifest, PUT: putManifest, DELETE: deleteManifest },
  ],
  [/^(.+)\/tags\/(list)$/, { GET: answerTags, HEAD: answerTags }],
  [/^(.+)\/referrers\/([^/]+)$/, { GET: answerReferrers, HEAD: answerReferrers }],
];

/** The headers of every answer of a registry. Docker's clients look for the first. */
const HEADERS = { 'docker-distribution-api-version': 'registry/2.0', 'x-content-type-options': 'nosniff' };

/** A registry over a store: OCI distribution-spec 1.1. It answers what stands below `/v2/`. */
export function registryHandler(context: RegistryContext): Handler {
  return async (request) => {
    const answer = await route(context, request);
    return { ...answer, headers: { ...HEADERS, ...answer.headers } };
  };
}

async function route(context: RegistryContext, request: Request): Promise<Answer> {
  const path = decoded(request.path).replace(/^\/v2\/?/, '');
  if (path === '') return answerSupport(request);
  for (const [pattern, methods] of ENDPOINTS) {
    const [, repository, target] = pattern.exec(path) ?? [];
    if (repository === undefined || target === undefined) continue;
    if (!isRepository(repository)) throw refusal(400, 'NAME_INVALID', 'this is not the name of a repository');
    const handle = Object.hasOwn(methods, request.method) ? methods[request.method] : undefined;
    if (handle === undefined) throw notSupported(request.method, Object.keys(methods));
    return handle(context, request, repository, target);
  }
  throw refusal(404, 'NAME_UNKNOWN', 'a registry has nothing at this path');
}

/** distribution-spec, "Determining Support"; clients ask here whether a token is valid. */
async function answerSupport({ method, access }: Request): Promise<Answer> {
  if (method !== 'GET' && method !== 'HEAD') throw notSupported(method, ['GET', 'HEAD']);
  if (!access.isSomebody) throw refusal(401, 'UNAUTHORIZED', 'a token is needed', CHALLENGE);
  return jsonAnswer(200, {});
}

/** Some clients write the colon of a digest as %3A. */
function decoded(path: string): string {
  try {
    return decodeURIComponent(path);
  } catch {
    throw refusal(400, 'NAME_INVALID', 'the path is not valid');
  }
}
