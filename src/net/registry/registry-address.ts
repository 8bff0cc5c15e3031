import { isLoopback } from '../../oci/reference.js';
import { discard, type HttpClient } from '../http/http.js';
import { codeOf, speaksNoTls } from '../http/network-error.js';
import { proxyFor } from '../http/proxy.js';

/** The API of docker.io has another host name: distribution/reference, normalize.go. */
const HUB_API = 'registry-1.docker.io';

/** The host of a registry's API, with the port if the name has a port. */
export function apiHost(registry: string): string {
  return registry === 'docker.io' ? HUB_API : registry;
}

/**
 * The base URL of a registry: HTTPS, except for registries on this machine and insecure registries, which are probed. A
 * registry on this machine is expected to speak plain HTTP, as Docker and BuildKit expect.
 *
 * A broken connection decides nothing: it is thrown, and the next attempt probes again. So a short failure does not send
 * credentials in plain text for the rest of the operation.
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
  // Where only plain HTTP has a proxy, perhaps only the proxy can look up the name.
  const isProxyName = (error: unknown) =>
    // Without a port in the name, each scheme has its own default port.
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
      // Servers that expect TLS answer plain HTTP with 400.
      return (await probe(plain)) !== 400;
    } catch (error) {
      if (isOtherPort(error) || codeOf(error)?.startsWith('HPE_') === true) return false;
      // Other servers cut the connection, as a network may do. Only a response over TLS proves TLS.
      if (codeOf(error) === 'ECONNRESET' && (await probe(secure).catch(() => undefined)) !== undefined) return false;
      throw error;
    }
  }
}
