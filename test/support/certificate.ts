import { join } from 'node:path';
import { output } from './process.js';

/** The files of a key and of its certificate, which nobody but itself vouches for. */
export interface Certificate {
  readonly key: string;
  readonly certificate: string;
}

/** Makes a certificate for this machine and for `registry.test`. */
export async function makeCertificate(folder: string): Promise<Certificate> {
  const [key, certificate] = [join(folder, 'server.key'), join(folder, 'server.crt')];
  const names = 'subjectAltName=DNS:localhost,DNS:registry.test,IP:127.0.0.1';
  const form = ['-x509', '-newkey', 'rsa:2048', '-nodes', '-days', '1', '-subj', '/CN=tests', '-addext', names];
  await output('openssl', ['req', ...form, '-keyout', key, '-out', certificate], 'apt-get install openssl');
  return { key, certificate };
}
