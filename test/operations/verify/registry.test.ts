import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { copyCache } from '../../../src/operations/copy/copy.js';
import { CacheError } from '../../../src/errors.js';
import { inspectCache } from '../../../src/operations/inspect.js';
import { listCaches } from '../../../src/operations/list.js';
import { verifyText } from '../../../src/report/text/verify.js';
import { verifyCache } from '../../../src/operations/verify/verify.js';
import { loadFixture, fixture, importOf } from '../../support/fixtures.js';
import { startServer } from '../../support/servers.js';

type Change = (bytes: Buffer, isManifest: boolean) => Buffer | number;

/** A registry that has the cache of a fixture, in which a test changes one blob. */
async function startCache(t: ExecutionContext, change: Change) {
  const { graph, saved } = await loadFixture('max-gzip');
  const [layer] = graph.descriptors.keys();
  const manifest = saved?.documents[1];
  if (layer === undefined || manifest === undefined) throw new Error('there is no layer in this fixture');
  const { host } = await startServer(t, ({ method, url = '' }, answer) => {
    if (url === '/v2/') return void answer.end();
    if (url.includes('/tags/list')) return void answer.end('{"tags":["main"]}');
    const name = url.split('/').at(-1) ?? '';
    const isManifest = url.includes('/manifests/');
    const digest = isManifest ? manifest.descriptor.digest : name;
    const bytes = readFileSync(join(fixture('max-gzip'), 'blobs', ...digest.split(':')));
    const wrong = method === 'GET' && (isManifest || name === layer) ? change(bytes, isManifest) : bytes;
    if (typeof wrong === 'number') return void answer.writeHead(wrong).end();
    const type = isManifest ? manifest.descriptor.mediaType : 'application/octet-stream';
    const headers = { 'content-type': type, 'content-length': wrong.length, 'docker-content-digest': digest };
    return void answer.writeHead(200, headers).end(wrong);
  });
  return { ref: `type=registry,ref=${host}/team/cache:main`, layer };
}

const broken: Change = (bytes, isManifest) => (isManifest ? bytes : Buffer.from(bytes.map((byte) => byte ^ 1)));

test('a damaged blob in a registry has no command that would mend it', async (t) => {
  const { ref, layer } = await startCache(t, broken);
  const result = await verifyCache(ref);
  t.like(result, { sound: false, findings: { length: 1 } });
  t.like(result.findings[0], { kind: 'damaged', digest: layer, repair: undefined });
  t.regex(verifyText(result), /\n {2}hint: a registry keeps what it has under a digest/);
  const healing = copyCache({ imports: [importOf('max-gzip')], exports: [ref], layout: { heal: true } });
  const error = await t.throwsAsync(healing, { instanceOf: CacheError, message: /--heal/ });
  t.like(error, { code: 'USAGE', side: 'export' });
});

test('a missing blob in a registry comes with the next copy', async (t) => {
  const { ref } = await startCache(t, (bytes, isManifest) => (isManifest ? bytes : 404));
  const { findings } = await verifyCache(ref);
  t.like(findings, {
    length: 1,
    0: {
      kind: 'missing',
      wrong: 'missing',
      effect: 'build-fails',
      repair: `bkcache copy --import-cache OPTS --export-cache ${ref}`,
    },
  });
});

test('a registry that refuses to be read is an error, and neither damage nor a row without numbers', async (t) => {
  const { ref } = await startCache(t, () => 403);
  const blobs = await startCache(t, (bytes, isManifest) => (isManifest ? bytes : 403));
  for (const run of [listCaches(ref), verifyCache(ref), verifyCache(blobs.ref), inspectCache(blobs.ref)]) {
    const error = await t.throwsAsync(run, { instanceOf: CacheError, message: /HTTP 403/ });
    t.like(error, { code: 'DENIED', side: 'import' });
  }
  const { ref: damaged } = await startCache(t, (bytes) => Buffer.from(bytes.map((byte) => byte ^ 1)));
  const [row] = await listCaches(damaged);
  t.regex(row?.problem ?? '', /is damaged/);
});
