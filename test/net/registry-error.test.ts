import { Readable } from 'node:stream';
import type { IncomingMessage } from 'node:http';
import test from 'ava';
import { faultOf } from '../../src/net/registry-error.js';

const textOf = async (body: string) =>
  (await faultOf({ status: 403, headers: {}, body: Readable.from([Buffer.from(body)]) as IncomingMessage })).text;

test('what a registry says is read with and without a detail', async (t) => {
  t.is(await textOf('{"errors":[{"code":"DENIED","message":"no"}]}'), 'DENIED: no');
  t.is(await textOf('{"errors":[{"code":"DENIED","message":"no","detail":null}]}'), 'DENIED: no');
  t.is(await textOf('{"errors":[{"code":"DENIED","detail":{"a":1}}]}'), 'DENIED: {"a":1}');
  t.is(await textOf('no'), 'HTTP 403: no');
});
