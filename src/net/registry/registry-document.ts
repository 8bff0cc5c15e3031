import { collect } from '../../bytes/collect.js';
import { limited } from '../../bytes/limited.js';
import { CacheError } from '../../errors.js';
import { decoded } from '../http/content-encoding.js';
import { discard } from '../http/http.js';
import { ConnectionError } from '../http/network-error.js';
import { withRetries } from '../http/retry.js';
import type { RegistryClient } from './registry-client.js';
import type { RegistryRequest, RegistryResponse, RequestContext } from './registry-request.js';

/**
 * Requests a document, and reads all of it. A connection that breaks while the body is read is a reason to retry.
 *
 * @param limit - the largest document, in bytes
 * @returns the response, and the bytes; no bytes for an accepted status outside 200 to 299
 * @throws CacheError as `RegistryClient.request` does; UNREACHABLE for a document over the limit
 */
export async function fetchDocument(
  client: RegistryClient,
  request: RegistryRequest,
  limit: number,
): Promise<{ readonly response: RegistryResponse; readonly bytes: Buffer | undefined }> {
  const attempt = async () => {
    const response = await client.request({ ...request, retry: false });
    if (response.status >= 200 && response.status < 300) {
      return { response, bytes: await readAll(client, response, request, limit) };
    }
    discard(response);
    return { response, bytes: undefined };
  };
  return withRetries(attempt, { policy: client.policy, signal: request.signal });
}

async function readAll(
  client: RegistryClient,
  response: RegistryResponse,
  context: RequestContext,
  limit: number,
): Promise<Buffer> {
  const tooLarge = () => {
    const error = new CacheError('UNREACHABLE', `its answer has over ${limit} bytes`);
    return new ConnectionError(error, undefined, true);
  };
  try {
    return await collect(limited(decoded(response), limit, tooLarge));
  } catch (error) {
    throw client.failure(error, context, response.url);
  }
}
