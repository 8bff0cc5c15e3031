import test, { type ExecutionContext } from 'ava';
import { locate, openStore } from '../../../src/backend/backends.js';
import type { CacheStore } from '../../../src/backend/cache-store.js';
import { parseImport } from '../../../src/buildkit/options.js';
import { CacheError } from '../../../src/errors.js';
import { OCI_INDEX } from '../../../src/oci/media-types.js';
import { sha256 } from '../../../src/oci/digest.js';
import { collectGarbage } from '../../../src/operations/gc.js';
import { prune } from '../../../src/operations/prune/prune.js';
import { repairFolder } from '../../../src/operations/repair/repair.js';
import { verifyFolder } from '../../../src/operations/verify/verify.js';
import { Session } from '../../../src/session.js';
import { type BentRegistry, fault, startBentRegistry } from '../../support/bent-registry.js';

/** A registry with the caches main and feature. */
async function start(t: ExecutionContext): Promise<{ registry: BentRegistry; store: CacheStore }> {
  const registry = await startBentRegistry(t, 'grown');
  const session = new Session();
  t.teardown(() => session[Symbol.asyncDispose]());
  const store = await openStore(await locate(parseImport(registry.ref), 'import', session), session);
  return { registry, store };
}

const digestOf = ({ tags }: BentRegistry, tag: string) => tags.get(tag) ?? '';
const deletes = ({ seen }: BentRegistry) => seen.filter((request) => request.startsWith('DELETE'));

test('a tag is deleted by the digest of its manifest, with the names that go as well', async (t) => {
  const { registry, store } = await start(t);
  const main = digestOf(registry, 'main');
  registry.tags.set('also-main', main);
  await store.remove?.(['main', 'also-main']);
  t.deepEqual([...registry.tags.keys()], ['feature']);
  t.deepEqual(deletes(registry), [`DELETE /v2/team/cache/manifests/${main}`]);
});

test('a manifest that another tag needs is not deleted: the tag is, or nothing where the registry refuses that', async (t) => {
  const { registry, store } = await start(t);
  const main = digestOf(registry, 'main');
  registry.tags.set('also-main', main);
  const error = await t.throwsAsync(store.remove?.(['main']) ?? Promise.resolve(), { instanceOf: CacheError });
  t.like(error, { code: 'DENIED' });
  t.regex(error?.message ?? '', /cannot delete the tag main: UNSUPPORTED/);
  t.regex(error?.hint ?? '', /another tag needs the same manifest/);
  t.true(registry.manifests.has(main));
  registry.bend = ({ method, path, answer }) => {
    if (method !== 'DELETE') return false;
    registry.tags.delete(path.slice('manifests/'.length));
    answer.writeHead(202).end();
    return true;
  };
  await store.remove?.(['main']);
  t.deepEqual([...registry.tags.keys()].toSorted(), ['also-main', 'feature']);
  t.true(registry.manifests.has(main));
});

test('a manifest that an index under another tag lists is not deleted', async (t) => {
  const { registry, store } = await start(t);
  const main = digestOf(registry, 'main');
  const { type: mediaType = '', bytes } = registry.manifests.get(main) ?? {};
  const manifests = [{ mediaType, digest: main, size: bytes?.length }];
  const index = Buffer.from(JSON.stringify({ schemaVersion: 2, mediaType: OCI_INDEX, manifests }));
  registry.manifests.set(sha256(index), { type: OCI_INDEX, bytes: index });
  registry.tags.set('several', sha256(index));
  const error = await t.throwsAsync(store.remove?.(['main']) ?? Promise.resolve(), { instanceOf: CacheError });
  t.is(error?.code, 'DENIED');
  t.true(registry.manifests.has(main));
  await store.remove?.(['several', 'main']);
  t.deepEqual([...registry.tags.keys()], ['feature']);
});

test('a registry that deletes nothing says how that is enabled', async (t) => {
  const { registry, store } = await start(t);
  registry.bend = ({ method, answer }) => method === 'DELETE' && fault(answer, 405, 'UNSUPPORTED');
  const error = await t.throwsAsync(store.remove?.(['main']) ?? Promise.resolve(), { instanceOf: CacheError });
  t.is(error?.code, 'DENIED');
  t.regex(error?.hint ?? '', /REGISTRY_STORAGE_DELETE_ENABLED=true/);
  t.is(registry.tags.size, 2);
});

test('nothing is deleted where a name is missing, or a tag cannot be read', async (t) => {
  const { registry, store } = await start(t);
  const missing = await t.throwsAsync(store.remove?.(['main', 'nope']) ?? Promise.resolve(), {
    instanceOf: CacheError,
  });
  t.like(missing, { code: 'NOT_FOUND' });
  registry.bend = ({ path, answer }) => path === 'manifests/feature' && fault(answer, 403, 'DENIED');
  const unclear = await t.throwsAsync(store.remove?.(['main']) ?? Promise.resolve(), { instanceOf: CacheError });
  t.like(unclear, { code: 'DENIED' });
  t.regex(unclear?.message ?? '', /nothing was deleted, since it is not known which manifest the tag feature needs/);
  t.deepEqual(deletes(registry), []);
});

test('what a registry cannot do is refused before it is asked, with what does it instead', async (t) => {
  const { registry } = await start(t);
  const refused = {
    gc: () => collectGarbage(registry.ref),
    prune: () => prune(registry.ref, { maxAge: 1 }),
    repair: () => repairFolder(registry.ref),
  };
  for (const [verb, run] of Object.entries(refused)) {
    const error = await t.throwsAsync(run(), { instanceOf: CacheError });
    t.is(error.code, 'USAGE');
    t.is(error.message, `${verb} cannot work on ${registry.host}/team/cache`);
    t.regex(error.hint ?? '', verb === 'repair' ? /copy the caches into a folder/ : /a registry frees blobs itself/);
  }
  t.deepEqual(registry.seen, []);
});

test('a whole repository is verified, and a missing blob comes with a command for its tag', async (t) => {
  const { registry } = await start(t);
  t.like(await verifyFolder(registry.ref), { sound: true, tags: 2, target: registry.ref });
  const { bytes = Buffer.of() } = registry.manifests.get(digestOf(registry, 'feature')) ?? {};
  const { layers } = JSON.parse(bytes.toString()) as { layers: { digest: string }[] };
  registry.blobs.delete(layers.at(-1)?.digest ?? '');
  const { sound, findings } = await verifyFolder(registry.ref);
  t.false(sound);
  t.like(findings[0], { kind: 'missing', tags: ['feature'] });
  t.is(findings[0]?.repair, `bkcache copy --import-cache OPTS --export-cache ${registry.ref}:feature`);
});
