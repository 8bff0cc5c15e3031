import { isLoopback } from '../../oci/reference.js';
import { discard, type HttpClient } from '../http/http.js';
import { codeOf, speaksNoTls } from '../http/network-error.js';
import { proxyFor } from '../http/proxy.js';

/** Docker Hub's API has another name than the registry: distribution/reference, normalize.go. */
const HUB_API = 'registry-1.docker.io';

/** The host of a registry's API, and its port where one is named. */
export function apiHost(registry: string): string {
  return registry === 'docker.io' ? HUB_API : registry;
}

/**
 * Where a registry is: HTTPS, but for registries on this machine and those that are called insecure, which are asked
 * what they speak. A registry on this machine is expected to speak plain HTTP, as Docker and BuildKit do.
 *
 * A connection that breaks says nothing of that, and is thrown for the next attempt to ask again: a moment's trouble
 * neither decides for the rest of the operation nor sends credentials in plain text.
 */
export async function findAddress(
  { registry, insecure }: { readonly registry: string; readonly insecure: boolean },
  http: HttpClient,
  signal: AbortSignal | undefined,
): Promise<URL> {
  const secure = new URL(`https://${apiHost(registry)}`);
  const plain = new URL(`http://${apiHost(registry)}`);
  const probe = async (base: URL): Promise<number> => {
    const response = await http.send({ method: 'GET', url: new URL('/v2/', base), signal });
    discard(response);
    return response.status;
  };
  // Each scheme has a port of its own where none is named.
  // Where only plain HTTP has a proxy, that may be all that knows the name.
  const isProxyName = (error: unknown) =>
    /^(?:ENOTFOUND|EAI_AGAIN)$/.test(codeOf(error) ?? '') && proxyFor(plain) !== undefined;
  const isOtherPort = (error: unknown) => codeOf(error) === 'ECONNREFUSED' && !/:\d+$/.test(registry);
  if (isLoopback(registry)) return (await speaksPlain()) ? plain : secure;
  return !insecure || (await speaksTls()) ? secure : plain;

  async function speaksTls(): Promise<boolean> {
    try {
      await probe(secure);
      return true;
    } catch (error) {
      if (speaksNoTls(error) || isOtherPort(error) || isProxyName(error)) return false;
      throw error;
    }
  }

  async function speaksPlain(): Promise<boolean> {
    try {
      // What servers that expect TLS say to plain HTTP.
      return (await probe(plain)) !== 400;
    } catch (error) {
      if (isOtherPort(error) || codeOf(error)?.startsWith('HPE_') === true) return false;
      // Others just cut the connection; so does a network. An answer over TLS is the proof.
      if (codeOf(error) === 'ECONNRESET' && (await probe(secure).catch(() => undefined)) !== undefined) return false;
      throw error;
    }
  }
}
