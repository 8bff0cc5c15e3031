import { chmodSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { CacheError } from '../../../src/errors.js';
import { dockerCredentials } from '../../../src/net/registry/docker-credentials.js';
import { bkcache } from '../../support/command.js';
import { temporary } from '../../support/fixtures.js';
import { clientFor, HEAD, isProbe, startServer } from '../../support/servers.js';

const base64 = (text: string) => Buffer.from(text).toString('base64');

/** A folder with a config.json and a credential helper, and the variables that lead there. */
function environment(t: ExecutionContext, config: object | string, helper = ''): NodeJS.ProcessEnv {
  const folder = temporary(t);
  writeFileSync(join(folder, 'config.json'), typeof config === 'string' ? config : JSON.stringify(config));
  const program = join(folder, 'docker-credential-tests');
  writeFileSync(program, `#!/bin/sh\nprintf '%s\\n' "$@" >"${folder}/args"\ncat >"${folder}/stdin"\n${helper}\n`);
  chmodSync(program, 0o755);
  return { DOCKER_CONFIG: folder, PATH: `${folder}:${process.env['PATH'] ?? ''}` };
}

test('entries of config.json are found by every name that Docker gives them', async (t) => {
  const auth = base64('me:pass:word');
  const mine = { username: 'me', password: 'pass:word' };
  const cases: [string, object][] = [
    ['registry.test', { 'registry.test': { auth } }],
    ['registry.test', { 'https://registry.test': { auth } }],
    ['registry.test', { 'https://registry.test/v2/': { auth } }],
    ['registry.test:5000', { 'http://registry.test:5000/v1/': { auth } }],
    ['registry.test', { 'registry.test': { username: 'me', password: 'pass:word' } }],
    ['docker.io', { 'https://index.docker.io/v1/': { auth } }],
    ['docker.io', { 'index.docker.io': { auth } }],
  ];
  for (const [registry, auths] of cases) {
    t.deepEqual(await dockerCredentials(registry, environment(t, { auths })), { credentials: mine }, registry);
  }
  const tokens = { 'a.test': { auth, identitytoken: 'identity' }, 'b.test': { registrytoken: 'bearer' } };
  const env = environment(t, { auths: tokens });
  t.deepEqual(await dockerCredentials('a.test', env), { credentials: { identityToken: 'identity' } });
  t.deepEqual(await dockerCredentials('b.test', env), { credentials: { registryToken: 'bearer' } });
  for (const other of ['c.test', 'registry.test:5001', 'docker.io'])
    t.deepEqual(await dockerCredentials(other, env), {});
});

test('nobody logged in is no problem', async (t) => {
  t.deepEqual(await dockerCredentials('a.test', { DOCKER_CONFIG: join(temporary(t), 'none') }), {});
  t.deepEqual(await dockerCredentials('a.test', environment(t, {})), {});
  t.deepEqual(await dockerCredentials('a.test', environment(t, { auths: { 'a.test': {} } })), {});
});

test('a helper is asked on its stdin, and nothing of it is on a command line', async (t) => {
  const answer = `echo '{"ServerURL":"a.test","Username":"me","Secret":"secret"}'`;
  for (const [config, registry, asked] of [
    [{ credHelpers: { 'a.test': 'tests' } }, 'a.test', 'a.test'],
    [{ credsStore: 'tests' }, 'b.test', 'b.test'],
    [{ credsStore: 'tests' }, 'docker.io', 'https://index.docker.io/v1/'],
    [{ credsStore: 'other', credHelpers: { 'a.test': 'tests' } }, 'a.test', 'a.test'],
  ] as const) {
    const env = environment(t, config, answer);
    t.deepEqual(await dockerCredentials(registry, env), { credentials: { username: 'me', password: 'secret' } });
    const folder = env['DOCKER_CONFIG'] ?? '';
    t.is(readFileSync(join(folder, 'args'), 'utf8'), 'get\n');
    t.is(readFileSync(join(folder, 'stdin'), 'utf8'), asked);
  }
  const token = environment(t, { credsStore: 'tests' }, `echo '{"Username":"<token>","Secret":"identity"}'`);
  t.deepEqual(await dockerCredentials('a.test', token), { credentials: { identityToken: 'identity' } });
});

test('a helper that has nothing, is not there or fails leaves an entry of config.json, or says why', async (t) => {
  const nothing = 'echo credentials not found in native keychain; exit 1';
  t.deepEqual(await dockerCredentials('a.test', environment(t, { credsStore: 'tests' }, nothing)), {});
  const auths = { 'a.test': { auth: base64('me:secret') } };
  const both = environment(t, { credsStore: 'tests', auths }, nothing);
  t.deepEqual(await dockerCredentials('a.test', both), { credentials: { username: 'me', password: 'secret' } });
  const cases: [object, string, RegExp][] = [
    [{ credsStore: 'missing' }, '', /docker-credential-missing.* is not installed/],
    [{ credsStore: 'tests' }, 'echo secret; exit 3', /failed with exit code 3$/],
    [{ credsStore: 'tests' }, 'echo secret', /did not answer with credentials$/],
    [{ credsStore: '../tests' }, '', /is not the name of a program/],
  ];
  for (const [config, helper, problem] of cases) {
    const env = environment(t, config, helper);
    const found = await dockerCredentials('a.test', env);
    t.is(found.credentials, undefined);
    t.regex(found.problem ?? '', problem);
  }
  const untouched = environment(t, { credsStore: '../tests' });
  await dockerCredentials('a.test', untouched);
  t.false(existsSync(join(untouched['DOCKER_CONFIG'] ?? '', 'args')));
});

test('a config.json that cannot be read is never quoted', async (t) => {
  for (const text of ['{"auths":{"a.test":{"auth":"c2VjcmV0"}', '{"auths":{"a.test":"c2VjcmV0"}}']) {
    const error = await t.throwsAsync(dockerCredentials('a.test', environment(t, text)), { instanceOf: CacheError });
    t.notRegex(`${error.message} ${error.hint} ${error.stack}`, /c2VjcmV0/);
  }
});

test('a config.json that is a folder is named, and is no failure of the network', async (t) => {
  const folder = temporary(t);
  mkdirSync(join(folder, 'config.json'));
  const message = `cannot read ${join(folder, 'config.json')}: it is not a file`;
  const error = await t.throwsAsync(dockerCredentials('a.test', { DOCKER_CONFIG: folder }), { message });
  t.like(error, { code: 'DENIED' });
  const { host, seen } = await startServer(t, (incoming, answer) => {
    answer.writeHead(isProbe(incoming) ? 200 : 401, { 'www-authenticate': 'Basic realm="x"' }).end();
  });
  const lookUp = () => dockerCredentials('a.test', { DOCKER_CONFIG: folder });
  await t.throwsAsync(clientFor(t, host, { lookUp }).request(HEAD), { instanceOf: CacheError, message });
  t.deepEqual(seen, ['GET /v2/', 'HEAD /v2/team/cache/manifests/main']);
});

test('nothing, null and names in another case are read as Docker reads them', async (t) => {
  for (const text of [
    '',
    '\n',
    ' \t',
    'null',
    '{}',
    '{"auths":null}',
    '{"auths":{"other.test":null},"credHelpers":null}',
  ])
    t.deepEqual(await dockerCredentials('a.test', environment(t, text)), {}, text);
  t.deepEqual(await dockerCredentials('a.test', environment(t, { auths: { 'a.test': null } })), {});
  const mine = { credentials: { username: 'me', password: 'secret' } };
  const auth = base64('me:secret');
  for (const config of [
    { Auths: { 'a.test': { Auth: auth } } },
    { auths: { 'a.test': { auth, username: 'other', password: null } } },
    { auths: { 'a.test': { auth } }, credHelpers: { 'a.test': '' }, credsStore: 'missing' },
    { auths: { 'a.test': { auth } }, credHelpers: { 'a.test': null }, credsStore: 'missing' },
  ]) {
    t.deepEqual(await dockerCredentials('a.test', environment(t, config)), mine);
  }
});

test('DOCKER_AUTH_CONFIG comes first, and what it does not have is in config.json', async (t) => {
  const entry = (text: string) => ({ auth: base64(text) });
  const env = environment(t, { auths: { 'a.test': entry('file:one'), 'b.test': entry('file:two') } });
  env['DOCKER_AUTH_CONFIG'] = JSON.stringify({ auths: { 'a.test': entry('variable:three') }, credsStore: 'missing' });
  t.deepEqual(await dockerCredentials('a.test', env), { credentials: { username: 'variable', password: 'three' } });
  t.deepEqual(await dockerCredentials('b.test', env), { credentials: { username: 'file', password: 'two' } });
  t.deepEqual(await dockerCredentials('c.test', env), {});
  env['DOCKER_AUTH_CONFIG'] = '{"auths":';
  t.deepEqual(await dockerCredentials('b.test', env), { credentials: { username: 'file', password: 'two' } });
  const { problem = '' } = await dockerCredentials('c.test', env);
  t.is(problem, 'DOCKER_AUTH_CONFIG is not a Docker configuration');
});

test('a password may be any bytes, and goes to the registry as they are', async (t) => {
  const bytes = Buffer.from([0xe9, 0xff, 0x3a, 0x00, 0x80]);
  const auth = Buffer.concat([Buffer.from('me:'), bytes, Buffer.from([0, 0])]).toString('base64');
  const env = environment(t, { auths: { 'a.test': { auth }, 'b.test': { auth: base64('no colon') } } });
  const found = await dockerCredentials('a.test', env);
  t.true(Buffer.from(found.credentials?.password ?? '').equals(bytes));
  const { host } = await startServer(t, (incoming, answer) => {
    const [, sent = ''] = incoming.headers.authorization?.split(' ') ?? [];
    const isRight = Buffer.from(sent, 'base64').equals(Buffer.concat([Buffer.from('me:'), bytes]));
    answer.writeHead(isProbe(incoming) || isRight ? 200 : 401, { 'www-authenticate': 'Basic realm="x"' }).end();
  });
  t.is((await clientFor(t, host, { lookUp: () => Promise.resolve(found) }).request(HEAD)).status, 200);
  const { problem = '' } = await dockerCredentials('b.test', env);
  t.regex(problem, /^the entry for b\.test in .*config\.json cannot be read$/);
});

test('a password on stdin may be any bytes', async (t) => {
  const bytes = Buffer.from([0xe9, 0xff, 0x0a]);
  const { host } = await startServer(t, (incoming, answer) => {
    const [, sent = ''] = incoming.headers.authorization?.split(' ') ?? [];
    const isRight = Buffer.from(sent, 'base64').equals(Buffer.concat([Buffer.from('me:'), bytes]));
    if (!isProbe(incoming) && !isRight) answer.setHeader('www-authenticate', 'Basic realm="x"');
    answer.writeHead(isProbe(incoming) ? 200 : isRight ? 404 : 401).end();
  });
  for (const end of ['\n', '\r\n']) {
    const input = Buffer.concat([bytes, Buffer.from(end)]);
    const { code, stderr } = await bkcache(['resolve', `${host}/x`, '--username', 'me', '--password-stdin'], {}, input);
    t.is(code, 3, stderr);
  }
});
