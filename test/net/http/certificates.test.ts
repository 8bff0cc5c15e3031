import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'ava';
import { CacheError } from '../../../src/errors.js';
import { trustedCertificates } from '../../../src/net/http/certificates.js';
import { makeCertificate } from '../../support/certificate.js';
import { temporary } from '../../support/fixtures.js';

test('every certificate of a file of the user is one, or the file is named', async (t) => {
  const folder = temporary(t);
  const pem = readFileSync((await makeCertificate(folder)).certificate, 'utf8');
  const path = join(folder, 'ca.pem');
  const trusted = async (text: string) => {
    writeFileSync(path, text);
    return trustedCertificates(path, {});
  };
  t.is((await trusted(`a comment\n${pem}\n${pem}`)).at(-1), `a comment\n${pem}\n${pem}`);
  for (const [text, message] of [
    ['', /ca\.pem has no certificates in PEM form/],
    [pem.replace('MII', 'MIJ'), /ca\.pem: certificate 1 of 1 cannot be read/],
    [pem + pem.replace(/-----END[^]*/, ''), /ca\.pem: certificate 2 of 2 cannot be read/],
  ] as const) {
    const error = await t.throwsAsync(trusted(text), { instanceOf: CacheError, message });
    t.is(error.code, 'USAGE');
  }
});
