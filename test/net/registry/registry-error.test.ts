import { Readable } from 'node:stream';
import type { IncomingHttpHeaders, IncomingMessage } from 'node:http';
import { gzipSync } from 'node:zlib';
import test from 'ava';
import { reasonIn, refusalText } from '../../../src/net/registry/registry-error.js';
import { Secrets } from '../../../src/net/http/secrets.js';

const textOf = async (body: string | Buffer, headers: IncomingHttpHeaders = {}, secrets = new Secrets()) => {
  const answer = {
    method: 'GET',
    status: 403,
    headers,
    body: Readable.from([Buffer.from(body)]) as IncomingMessage,
  } as const;
  return refusalText(403, await reasonIn(answer, (text) => secrets.isIn(text)));
};

test('what a registry says is read with and without a detail', async (t) => {
  t.is(await textOf('{"errors":[{"code":"DENIED","message":"no"}]}'), 'DENIED: no (HTTP 403)');
  t.is(await textOf('{"errors":[{"code":"DENIED","message":"no","detail":null}]}'), 'DENIED: no (HTTP 403)');
  t.is(await textOf('{"errors":[{"code":"DENIED","detail":{"a":1}}]}'), 'DENIED: {"a":1} (HTTP 403)');
  t.is(await textOf('no'), 'HTTP 403: no');
  t.is(await textOf('{"errors":[{}]}'), 'HTTP 403');
  t.is(await textOf('<html>no</html>', { 'content-type': 'text/html' }), 'HTTP 403');
  t.is(await textOf(gzipSync('no'), { 'content-encoding': 'gzip' }), 'HTTP 403: no');
});

test('an answer that repeats a secret, or a good part of one, is not shown', async (t) => {
  const token = 'eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJzb21lYm9keSJ9.c2lnbmF0dXJl';
  const secrets = new Secrets();
  for (const secret of [token, 'pass"word', 'a secret/with slashes']) secrets.add(secret);
  for (const said of [
    `Authorization: Bearer ${token}`,
    JSON.stringify({ errors: [{ code: 'X', message: `got Bearer ${token}` }] }),
    `{"errors":[{"code":"X","message":"got ${String.raw`\u0065yJhbGciOiJSUzI1NiJ9`}.eyJzdWI"}]}`,
    `bad header ${token.slice(3, 40)}…`,
    JSON.stringify({ errors: [{ code: 'X', detail: { password: 'pass"word' } }] }),
    `/token?password=${encodeURIComponent('a secret/with slashes')}`,
  ]) {
    t.is(await textOf(said, {}, secrets), 'HTTP 403', said);
  }
  t.is(await textOf('the token has expired', {}, secrets), 'HTTP 403: the token has expired');
});
