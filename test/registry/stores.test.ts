import { randomUUID } from 'node:crypto';
import test from 'ava';
import { locate, openStore } from '../../src/backend/backends.js';
import { parseImport } from '../../src/buildkit/options.js';
import { CacheError } from '../../src/errors.js';
import { copyCache } from '../../src/operations/copy/copy.js';
import { listCaches } from '../../src/operations/list.js';
import { Session } from '../../src/session.js';
import { storeConformance } from '../backend/store-conformance.js';
import { importOf } from '../support/fixtures.js';
import { startTestRegistry, type TestRegistry, withRegistries } from './places.js';

const KINDS = {
  'a registry': 'none',
  'a registry with a token server': 'token',
  'a served folder': 'served',
  'a served folder with tokens': 'served to tokens',
} as const;

const repositoryIn = ({ host }: TestRegistry) => `type=registry,ref=${host}/tests/${randomUUID()}`;

withRegistries(() => {
  for (const [name, kind] of Object.entries(KINDS)) {
    let registry: TestRegistry;
    test.before(async () => {
      registry = await startTestRegistry(kind);
    });
    test.after.always(() => registry.stop());
    storeConformance(name, () => {
      const ref = repositoryIn(registry);
      const at = { place: ref, imports: (tag: string) => `${ref}:${tag}`, exports: (tag: string) => `${ref}:${tag}` };
      return Promise.resolve({ ...at, access: registry.access });
    });
  }

  let fixed: TestRegistry;
  test.before(async () => {
    fixed = await startTestRegistry('none', { deletes: false });
  });
  test.after.always(() => fixed.stop());

  test('a registry that deletes nothing keeps its tags, and the error says how that is enabled', async (t) => {
    const ref = repositoryIn(fixed);
    await copyCache({ imports: [importOf('max-gzip')], exports: [`${ref}:main`] });
    await using session = new Session();
    await using store = await openStore(await locate(parseImport(ref), 'import', session), session);
    const error = await t.throwsAsync(async () => store.remove?.(['main']), { instanceOf: CacheError });
    t.like(error, { code: 'DENIED' });
    t.regex(error.hint ?? '', /REGISTRY_STORAGE_DELETE_ENABLED=true/);
    t.is((await listCaches(ref)).length, 1);
  });

  test('this registry deletes no tag alone: one of two tags of a manifest stays, and so does the manifest', async (t) => {
    const registry = await startTestRegistry('none');
    t.teardown(() => registry.stop());
    const ref = repositoryIn(registry);
    for (const tag of ['one', 'two']) await copyCache({ imports: [importOf('max-gzip')], exports: [`${ref}:${tag}`] });
    await using session = new Session();
    await using store = await openStore(await locate(parseImport(ref), 'import', session), session);
    const error = await t.throwsAsync(async () => store.remove?.(['one']), { instanceOf: CacheError });
    t.is(error.code, 'DENIED');
    t.regex(error.hint ?? '', /another tag needs the same manifest/);
    t.is((await listCaches(ref)).length, 2);
    await store.remove?.(['one', 'two']);
    t.deepEqual(await listCaches(ref), []);
  });
});
