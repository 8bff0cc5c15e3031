import test, { type ExecutionContext } from 'ava';
import { sha256 } from '../../src/oci/digest.js';
import { OCI_INDEX, OCI_MANIFEST } from '../../src/oci/media-types.js';
import type { Action } from '../../src/serve/access.js';
import { newKey, Tokens } from '../../src/serve/tokens.js';
import { ServedFolder } from '../support/served.js';

const tokens = new Tokens(newKey(), 'key');

function as(action: Action, ...repositories: readonly string[]) {
  return { authorization: `Bearer ${tokens.sign([{ action, repositories }], 60_000)}` };
}

/** A store with the images of two teams. */
async function twoTeams(t: ExecutionContext) {
  const open = await ServedFolder.open(t);
  for (const team of ['a', 'b']) await open.pushImage(`${team}/app`, 'v1', { layers: [`of ${team}`] });
  return ServedFolder.open(t, { folder: open.folder, tokens });
}

test('without a token every request is 401, with a challenge that every client understands', async (t) => {
  const served = await twoTeams(t);
  for (const [method, path] of [
    ['GET', '/v2/'],
    ['GET', '/v2/a/app/manifests/v1'],
    ['HEAD', `/v2/a/app/blobs/${sha256('of a')}`],
    ['GET', '/v2/a/app/tags/list'],
    ['GET', `/v2/a/app/referrers/${sha256('x')}`],
    ['POST', '/v2/a/app/blobs/uploads/'],
    ['PUT', '/v2/a/app/manifests/v1'],
    ['DELETE', '/v2/a/app/manifests/v1'],
    ['DELETE', `/v2/a/app/blobs/${sha256('of a')}`],
    ['GET', '/metrics'],
  ] as const) {
    const reply = await served.ask(method, path);
    t.is(reply.status, 401, path);
    t.regex(String(reply.headers['www-authenticate']), /^Basic realm="/, path);
  }
  t.is((await served.ask('GET', '/healthz')).status, 200);
});

test('a wrong token is 401 everywhere, also where nobody is asked for one', async (t) => {
  const headers = {
    authorization: `Bearer ${new Tokens(newKey(), 'key').sign([{ action: 'write', repositories: ['*'] }], 60_000)}`,
  };
  const served = await twoTeams(t);
  t.is((await served.ask('GET', '/v2/', { headers })).status, 401);
  t.is((await served.ask('GET', '/v2/a/app/manifests/v1', { headers })).status, 401);
});

test('a token to read reads and never writes', async (t) => {
  const served = await twoTeams(t);
  const headers = as('read', '*');
  t.is((await served.ask('GET', '/v2/a/app/manifests/v1', { headers })).status, 200);
  t.is((await served.ask('GET', '/metrics', { headers })).status, 200);
  for (const [method, path] of [
    ['POST', '/v2/a/app/blobs/uploads/'],
    ['POST', `/v2/a/app/blobs/uploads/?mount=${sha256('of b')}&from=b/app`],
    ['PUT', '/v2/a/app/manifests/v1'],
    ['DELETE', '/v2/a/app/manifests/v1'],
  ] as const) {
    const reply = await served.ask(method, path, { headers });
    t.deepEqual([reply.status, reply.codes], [403, ['DENIED']], path);
  }
});

test('a token for some repositories neither reads nor writes others, by no way', async (t) => {
  const served = await twoTeams(t);
  const headers = as('write', 'a/*');
  const status = async (method: string, path: string, body = '') =>
    (await served.ask(method, path, { headers, body })).status;
  t.is(await status('GET', '/v2/a/app/manifests/v1'), 200);
  t.is(await status('GET', `/v2/a/app/blobs/${sha256('of a')}`), 200);
  t.is(await status('GET', '/v2/b/app/manifests/v1'), 403);
  t.is(await status('GET', '/v2/b/app/tags/list'), 403);
  t.is(await status('GET', `/v2/b/app/blobs/${sha256('of b')}`), 403);
  // The blob is in the store, and its digest is known.
  t.is(await status('GET', `/v2/a/app/blobs/${sha256('of b')}`), 404);
  t.is(await status('HEAD', `/v2/a/app/blobs/${sha256('of b')}`), 404);
  t.is(await status('HEAD', `/v2/a/app/blobs/${sha256('of b')}`), 404);
  t.is(await status('POST', `/v2/a/app/blobs/uploads/?mount=${sha256('of b')}&from=b/app`), 202);
  t.is(await status('POST', `/v2/a/app/blobs/uploads/?mount=${sha256('of b')}&from=a/app`), 202);
  t.is(await status('POST', `/v2/a/app/blobs/uploads/?mount=${sha256('of b')}`), 202);
  const config = { mediaType: 'x', digest: sha256('{}'), size: 2 };
  const layers = [{ mediaType: 'x', digest: sha256('of b'), size: 4 }];
  const stolen = JSON.stringify({ schemaVersion: 2, mediaType: OCI_MANIFEST, config, layers });
  t.is(await status('PUT', '/v2/a/app/manifests/stolen', stolen), 400);
  t.is(await status('GET', `/v2/a/app/blobs/${sha256('of b')}`), 404);
  t.is(await status('GET', '/metrics'), 403);
  // Who has the bytes may push them.
  t.is(await status('POST', `/v2/a/app/blobs/uploads/?digest=${sha256('of b')}`, 'of b'), 201);
  t.is(await status('GET', `/v2/a/app/blobs/${sha256('of b')}`), 200);
});

test('a digest alone gives nobody a blob: neither a failed upload nor any field of a manifest does', async (t) => {
  const served = await twoTeams(t);
  const headers = as('write', 'a/*');
  const ask = async (method: string, path: string, body = '') => served.ask(method, path, { headers, body });
  const victim = sha256('of b');
  const stranger = await ask('POST', `/v2/a/app/blobs/uploads/?digest=${victim}`, 'wrong bytes');
  t.is(stranger.status, 400);
  const location = String((await ask('POST', '/v2/a/app/blobs/uploads/')).headers['location']);
  t.is((await ask('PUT', `${location}?digest=${victim}`, 'wrong bytes')).status, 400);
  await ask('HEAD', `/v2/a/app/blobs/${victim}`);

  const manifestOfB = (await ServedFolder.open(t, { folder: served.folder })).ask('GET', '/v2/b/app/manifests/v1');
  const { body } = await manifestOfB;
  const theirs = { mediaType: OCI_MANIFEST, digest: sha256(body), size: body.length };
  const config = { mediaType: 'x', digest: sha256('{}'), size: 2 };
  const foreign = 'application/vnd.oci.image.layer.nondistributable.v1.tar';
  const own = { schemaVersion: 2, mediaType: OCI_MANIFEST, config, layers: [] as object[] };
  const index = { schemaVersion: 2, mediaType: OCI_INDEX, manifests: [] as object[] };
  await ask('POST', `/v2/a/app/blobs/uploads/?digest=${sha256('{}')}`, '{}');
  const push = async (document: object) => ask('PUT', '/v2/a/app/manifests/stolen', JSON.stringify(document));
  // A subject may be missing, and so may layers that are not distributed: the pushes succeed, and open nothing.
  t.is((await push({ ...own, subject: theirs })).status, 201);
  t.is((await push({ ...index, subject: theirs })).status, 201);
  t.is((await push({ ...own, 'x-other': theirs, annotations: { digest: victim } })).status, 201);
  t.is((await push({ ...own, layers: [{ mediaType: foreign, digest: victim, size: 4 }] })).status, 201);
  // A manifest that was pushed as a blob has not been looked at.
  const smuggled = JSON.stringify({ ...own, layers: [{ mediaType: 'x', digest: victim, size: 4 }] });
  t.is((await ask('POST', `/v2/a/app/blobs/uploads/?digest=${sha256(smuggled)}`, smuggled)).status, 201);
  const inner = { mediaType: OCI_MANIFEST, digest: sha256(smuggled), size: smuggled.length };
  t.is((await push({ ...index, manifests: [inner] })).status, 400);
  t.is((await push({ ...index, manifests: [theirs] })).status, 400);
  const nested = JSON.stringify({ ...index, manifests: [inner] });
  t.is((await ask('POST', `/v2/a/app/blobs/uploads/?digest=${sha256(nested)}`, nested)).status, 201);
  const outer = { mediaType: OCI_INDEX, digest: sha256(nested), size: nested.length };
  t.is((await push({ ...index, manifests: [outer] })).status, 400);

  for (const path of [
    `/v2/a/app/blobs/${victim}`,
    `/v2/a/app/blobs/${theirs.digest}`,
    `/v2/a/app/manifests/${theirs.digest}`,
  ]) {
    t.is((await ask('GET', path)).status, 404, path);
    t.is((await ask('HEAD', path)).status, 404, path);
  }
  t.is((await ask('POST', `/v2/a/x/blobs/uploads/?mount=${victim}&from=a/app`)).status, 202);
});

test('a mount between repositories of a token works', async (t) => {
  const served = await twoTeams(t);
  const headers = as('write', 'a/*', 'b/app');
  const url = `/v2/a/other/blobs/uploads/?mount=${sha256('of b')}&from=b/app`;
  t.is((await served.ask('POST', url, { headers })).status, 201);
});

test('a read-only server writes nothing, whatever the token', async (t) => {
  const open = await twoTeams(t);
  const served = await ServedFolder.open(t, { folder: open.folder, tokens, isReadOnly: true });
  const headers = as('write', '*');
  t.is((await served.ask('GET', '/v2/a/app/manifests/v1', { headers })).status, 200);
  for (const [method, path] of [
    ['POST', '/v2/a/app/blobs/uploads/'],
    ['PUT', '/v2/a/app/manifests/v1'],
    ['DELETE', '/v2/a/app/manifests/v1'],
  ] as const) {
    t.is((await served.ask(method, path, { headers })).status, 405, path);
  }
});

test('a public server lets everybody read', async (t) => {
  const open = await twoTeams(t);
  const served = await ServedFolder.open(t, { folder: open.folder, isPublic: true, isReadOnly: true });
  t.is((await served.ask('GET', '/v2/a/app/manifests/v1', { headers: { host: 'cache.example' } })).status, 200);
  t.is((await served.ask('POST', '/v2/a/app/blobs/uploads/')).status, 405);
});

test('a server that asks nobody answers to names of this machine, and not to pages in browsers', async (t) => {
  const served = await ServedFolder.open(t, { isLocal: true });
  const status = async (headers: Record<string, string>) => (await served.ask('GET', '/v2/', { headers })).status;
  for (const host of ['localhost', 'localhost:5000', '127.0.0.1:5000', '[::1]:5000', 'LOCALHOST:5000']) {
    t.is(await status({ host }), 200, host);
  }
  for (const host of ['evil.example', 'evil.example:5000', '127.0.0.1.evil.example', 'localhost.evil.example', '']) {
    t.is(await status({ host }), 421, host);
  }
  t.is(await status({ origin: 'https://evil.example' }), 403);
  t.is(await status({ origin: 'null' }), 403);
});

test('new requests are refused when the server stops', async (t) => {
  const served = await ServedFolder.open(t);
  served.app.stop();
  const { status, headers } = await served.ask('GET', '/v2/');
  t.deepEqual([status, headers['connection']], [503, 'close']);
  t.is((await served.ask('GET', '/healthz')).status, 503);
});
