import { X509Certificate } from 'node:crypto';
import * as tls from 'node:tls';
import { CacheError, isSystemError } from '../../errors.js';
import { readUserFile } from './user-file.js';

/** The certificate bundles of systems, in the order in which Go tries them (crypto/x509, root_linux.go, root_bsd.go). */
const BUNDLES = [
  '/etc/ssl/certs/ca-certificates.crt',
  '/etc/pki/tls/certs/ca-bundle.crt',
  '/etc/ssl/ca-bundle.pem',
  '/etc/pki/tls/cacert.pem',
  '/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem',
  '/etc/ssl/cert.pem',
];

const BEGIN = '-----BEGIN CERTIFICATE-----';
const PEM_HINT = `it must contain certificates between "${BEGIN}" and "-----END CERTIFICATE-----"`;

/**
 * The certificates to trust, as PEM: the system's, or Node's own on a system without a readable bundle; the file in
 * NODE_EXTRA_CA_CERTS; and the user's file.
 *
 * @param extra - a PEM file
 * @throws CacheError USAGE for a file without certificates
 */
export async function trustedCertificates(extra?: string, env: NodeJS.ProcessEnv = process.env): Promise<string[]> {
  const more = [env['NODE_EXTRA_CA_CERTS'], extra].filter((path) => path !== undefined && path !== '') as string[];
  const [system, ...others] = await Promise.all([systemCertificates(env), ...more.map(readCertificates)]);
  return [...(system ?? tls.rootCertificates), ...others];
}

async function systemCertificates(env: NodeJS.ProcessEnv): Promise<string[] | undefined> {
  const named = env['SSL_CERT_FILE'];
  for (const path of named === undefined || named === '' ? BUNDLES : [named]) {
    try {
      return [await readUserFile(path)];
    } catch (error) {
      if (!isSystemError(error, 'ENOENT', 'ENOTDIR', 'EACCES')) throw unreadable(path, error);
    }
  }
  // Node 22.15 and later can ask the operating system, which is needed on macOS and Windows.
  const { getCACertificates } = tls as { getCACertificates?: (type: 'system') => string[] };
  return getCACertificates?.('system');
}

function unreadable(path: string, cause: unknown): CacheError {
  return new CacheError('USAGE', `cannot read the certificates in ${path}: ${(cause as Error).message}`, { cause });
}

/** Reads a PEM file. Every block must be a certificate, since OpenSSL silently skips blocks that it cannot read. */
async function readCertificates(path: string): Promise<string> {
  const text = await readUserFile(path, { pipe: true }).catch((cause: unknown) => {
    throw unreadable(path, cause);
  });
  const blocks = text.split(BEGIN).slice(1);
  if (blocks.length === 0) throw new CacheError('USAGE', `${path} has no certificates in PEM form`, { hint: PEM_HINT });
  for (const [index, block] of blocks.entries()) {
    try {
      void new X509Certificate(BEGIN + block);
    } catch (cause) {
      throw new CacheError('USAGE', `${path}: certificate ${index + 1} of ${blocks.length} cannot be read`, {
        hint: PEM_HINT,
        cause,
      });
    }
  }
  return text;
}
