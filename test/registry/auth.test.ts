import { chmodSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import test, { type ExecutionContext } from 'ava';
import { registryRepository } from '../../src/backend/registry/registry-repository.js';
import { copyCache } from '../../src/operations/copy/copy.js';
import { CacheError } from '../../src/errors.js';
import { registryClient } from '../../src/backend/registry/session-client.js';
import { Session } from '../../src/session.js';
import type { Digest } from '../../src/oci/digest.js';
import { bkcache } from '../support/command.js';
import { startFaultProxy } from '../support/fault-proxy.js';
import { importOf, temporary } from '../support/fixtures.js';
import { HASTY } from '../support/servers.js';
import { placeIn, startTestRegistry, type TestRegistry, USER, withRegistries } from './places.js';
import { hasBlob } from '../support/repositories.js';

const ABSENT = { digest: `sha256:${'0'.repeat(64)}` as Digest, size: 1 };

withRegistries(() => {
  let passwords: TestRegistry;
  let tokens: TestRegistry;
  test.before(async () => {
    [passwords, tokens] = await Promise.all([startTestRegistry('htpasswd'), startTestRegistry('token')]);
  });
  test.after.always(() => Promise.all([passwords.stop(), tokens.stop()]));

  /** A folder for DOCKER_CONFIG. */
  function config(t: ExecutionContext, content: object): string {
    const folder = temporary(t);
    writeFileSync(join(folder, 'config.json'), JSON.stringify(content));
    return folder;
  }

  const auth = Buffer.from(`${USER.username}:${USER.password}`).toString('base64');

  for (const [name, registry] of [
    ['passwords', () => passwords],
    ['tokens', () => tokens],
  ] as const) {
    test(`${name}: what docker login left is enough, in every form`, async (t) => {
      const { host } = registry();
      const helpers = temporary(t);
      const program = join(helpers, 'docker-credential-tests');
      const answer = JSON.stringify({ Username: USER.username, Secret: USER.password });
      writeFileSync(program, `#!/bin/sh\ncat >/dev/null\necho '${answer}'\n`);
      chmodSync(program, 0o755);
      const configs = [
        { auths: { [host]: { auth } } },
        { auths: { [`https://${host}/v2/`]: { auth } } },
        { credHelpers: { [host]: 'tests' } },
        { credsStore: 'tests' },
        ...(name === 'tokens' ? [{ auths: { [host]: { identitytoken: USER.identityToken } } }] : []),
      ];
      for (const [index, content] of configs.entries()) {
        const env = { DOCKER_CONFIG: config(t, content), PATH: `${helpers}:${process.env['PATH'] ?? ''}` };
        const args = ['--import-cache', importOf('max-gzip'), '--export-cache', `${host}/private/${name}:${index}`];
        const { code, stderr } = await bkcache(['copy', ...args], env);
        t.is(code, 0, stderr);
      }
    });

    test(`${name}: --username and --password-stdin come before what docker login left`, async (t) => {
      const { host } = registry();
      const wrong = Buffer.from('somebody:else').toString('base64');
      const env = { DOCKER_CONFIG: config(t, { auths: { [host]: { auth: wrong } } }) };
      const to = `${host}/private/given:${name}`;
      const given = ['--username', USER.username, '--password-stdin'];
      const copy = ['copy', '--import-cache', importOf('max-gzip'), '--export-cache', to];
      t.is((await bkcache(copy, env)).code, 1);
      const { code, stderr } = await bkcache([...copy, ...given], env, `${USER.password}\n`);
      t.is(code, 0, stderr);
      for (const verb of ['resolve', 'inspect']) {
        t.is((await bkcache([verb, to, ...given], env, USER.password)).code, 0);
      }
      const listed = await bkcache(['list', `type=registry,ref=${to}`, ...given], env, USER.password);
      t.regex(listed.stdout, new RegExp(name));
      const flags = await bkcache(['import-args', to, ...given], env, USER.password);
      t.is(flags.stdout, `--import-cache\ntype=registry,ref=${to}\n`);
    });

    test(`${name}: a refusal says what to do, and shows no secret`, async (t) => {
      const { host } = registry();
      const secret = 'my-secret-word';
      const encoded = Buffer.from(`somebody:${secret}`).toString('base64');
      const cases: [object, RegExp][] = [
        [{}, /no credentials for .* were found: log in with "docker login/],
        [{ auths: { [host]: { auth: encoded } } }, /refuses the credentials/],
        [{ auths: { [host]: { identitytoken: secret } } }, /credentials/],
        [{ credsStore: 'not-there' }, /docker-credential-not-there.* is not installed/],
      ];
      for (const [content, hint] of cases) {
        const env = { DOCKER_CONFIG: config(t, content) };
        const args = ['--debug', '--import-cache', importOf('max-gzip'), '--export-cache', `${host}/private/no`];
        const { code, stdout, stderr } = await bkcache(['copy', ...args], env);
        t.is(code, 1);
        t.regex(stderr, /^bkcache: export: /m);
        t.regex(stderr, hint);
        t.notRegex(stdout + stderr, new RegExp(`${secret}|${encoded}`));
      }
    });
  }

  test('everybody may read what is public, and a refusal to write says that nobody is logged in', async (t) => {
    const { host, access } = tokens;
    const env = { DOCKER_CONFIG: config(t, {}) };
    const ref = `${host}/public/cache:main`;
    await copyCache({ imports: [importOf('max-gzip')], exports: [`type=registry,ref=${ref}`], registry: access });
    t.is((await bkcache(['inspect', ref], env)).code, 0);
    const args = ['--import-cache', importOf('min-gzip'), '--export-cache', ref];
    t.regex((await bkcache(['copy', ...args], env)).stderr, /docker login/);
  });

  test('a copy asks for a token once for each set of scopes, and for both repositories when it mounts', async (t) => {
    const registry = await startTestRegistry('token');
    t.teardown(() => registry.stop());
    const { host, access, tokens: server } = registry;
    const [from, to] = ['private/from', 'private/to'].map((name) => `type=registry,ref=${host}/${name}`);
    await copyCache({ imports: [importOf('max-gzip')], exports: [from ?? ''], registry: access });
    server?.given.splice(0);
    const { exports } = await copyCache({ imports: [from ?? ''], exports: [to ?? ''], registry: access });
    t.like(exports[0], { actions: { mounted: 6, copied: 0 } });
    t.deepEqual(server?.given, [
      ['repository:private/from:pull'],
      ['repository:private/to:pull,push'],
      ['repository:private/to:pull,push', 'repository:private/from:pull'],
    ]);
  });

  test('a token that expires, or that the registry takes no more, is renewed on the way', async (t) => {
    const registry = await startTestRegistry('token');
    t.teardown(() => registry.stop());
    const server = registry.tokens;
    if (server === undefined) throw new Error('there is no token server');
    // Its answers promise more than the registry keeps.
    Object.assign(server, { life: 2, claimedLife: 300 });
    const { repository } = await placeIn(registry);
    await hasBlob(repository, ABSENT);
    await sleep(2500);
    await Promise.all(Array.from({ length: 10 }, () => hasBlob(repository, ABSENT)));
    t.is(server.given.length, 2);
    Object.assign(server, { life: 300, claimedLife: 1 });
    await sleep(2500);
    await hasBlob(repository, ABSENT);
    await sleep(1000);
    await hasBlob(repository, ABSENT);
    t.is(server.given.length, 4);
  });

  test('a token that is refused in the middle of a copy is changed for another', async (t) => {
    const proxy = await startFaultProxy(tokens.host);
    t.teardown(() => proxy.stop());
    const uses = new Map<string, number>();
    const challenge = `Bearer realm="${tokens.tokens?.realm}",service="registry of the tests",error="invalid_token"`;
    proxy.fault = ({ headers: { authorization = '' } }) => {
      const count = (uses.get(authorization) ?? 0) + 1;
      uses.set(authorization, count);
      return authorization !== '' && count > 8
        ? { kind: 'answer', status: 401, headers: { 'www-authenticate': challenge } }
        : undefined;
    };
    const place = await placeIn({ host: proxy.host, access: tokens.access });
    const { exports } = await copyCache({
      imports: [importOf('max-gzip')],
      exports: [place.exports('a')],
      registry: tokens.access,
    });
    t.like(exports[0], { actions: { copied: 6 } });
    t.true(uses.size > 3);
  });

  test('given credentials are for one registry', async (t) => {
    const copy = copyCache({
      imports: [`type=registry,ref=${tokens.host}/public/cache`],
      exports: [`type=registry,ref=${passwords.host}/cache`],
      registry: tokens.access,
    });
    const error = await t.throwsAsync(copy, { instanceOf: CacheError });
    t.is(error.code, 'USAGE');
  });

  test('a registry that nobody can reach is an error at once', async (t) => {
    const client = await registryClient('127.0.0.1:1', { side: 'import', insecure: false }, new Session({}, HASTY));
    const repository = registryRepository({ client, repository: 'a', side: 'import' });
    const error = await t.throwsAsync(repository.resolve({ tag: 'a' }), { instanceOf: CacheError });
    t.regex(error.message, /nothing listens there \(ECONNREFUSED\)$/);
    t.is(error.side, 'import');
  });
});
