import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { createServer as createSecureServer } from 'node:https';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import type { ObjectStore } from '../../../../src/backend/config/bucket/object-store.js';
import { s3Store } from '../../../../src/backend/config/bucket/s3.js';
import { S3Connection } from '../../../../src/backend/config/bucket/s3-connection.js';
import { collect } from '../../../../src/bytes/collect.js';
import type { CacheError, Side } from '../../../../src/errors.js';
import { makeCertificate } from '../../../support/certificate.js';
import { bkcache } from '../../../support/command.js';
import { loginWithSso, RoutedHttp, startCredentialSources, userOfAws } from '../../../support/credential-sources.js';
import { FakeS3, refuse } from '../../../support/fake-s3.js';
import { temporary } from '../../../support/fixtures.js';
import { HASTY, listening } from '../../../support/servers.js';

// Each test has variables of its own, so that they run one after the other.
const BEFORE = { ...process.env };
test.after.always(() => {
  process.env = BEFORE;
});

function setEnv(more: NodeJS.ProcessEnv): void {
  const others = Object.entries(BEFORE).filter(([name]) => !name.startsWith('AWS_'));
  process.env = { ...Object.fromEntries(others), ...more };
}

/** A bucket that is reached with the credentials that a search finds, over connections that tell where they lead. */
function openSearching(
  t: ExecutionContext,
  fake: FakeS3,
  sources: string,
  side: Side = 'export',
): { readonly store: ObjectStore; readonly http: RoutedHttp } {
  const http = new RoutedHttp(sources);
  t.teardown(() => http[Symbol.asyncDispose]());
  return { http, store: s3Store(new S3Connection({ ...fake.settings, keys: undefined }, http, side, HASTY)) };
}

/** The id of the key that a request was signed with. */
const idOf = (authorization = '') => /Credential=([^/]*)/.exec(authorization)?.[1];
const lastId = (fake: FakeS3) => idOf(fake.all.at(-1)?.headers.authorization);

test.serial('a profile is used, the one of AWS_PROFILE, and its session token', async (t) => {
  const credentials = [
    '[default]\naws_access_key_id = AKIADEFAULT\naws_secret_access_key = hush',
    '[ci]\naws_access_key_id = AKIACI\naws_secret_access_key = hush\naws_session_token = the token',
  ].join('\n');
  const fake = await FakeS3.start(t);
  const found = userOfAws(temporary(t), { credentials });
  setEnv(found);
  await openSearching(t, fake, 'x').store.remove('key');
  t.is(lastId(fake), 'AKIADEFAULT');
  setEnv({ ...found, AWS_PROFILE: 'ci' });
  await openSearching(t, fake, 'x').store.remove('key');
  t.is(lastId(fake), 'AKIACI');
  t.is(fake.all.at(-1)?.headers['x-amz-security-token'], 'the token');
});

test.serial('a web identity is exchanged at STS, over the connections of the operation', async (t) => {
  const home = temporary(t);
  mkdirSync(home, { recursive: true });
  writeFileSync(join(home, 'token'), 'a token of the identity');
  setEnv({
    ...userOfAws(home, {}),
    AWS_ROLE_ARN: 'arn:aws:iam::123456789012:role/ci',
    AWS_WEB_IDENTITY_TOKEN_FILE: join(home, 'token'),
    AWS_REGION: 'us-east-1',
  });
  const [fake, sources] = await Promise.all([FakeS3.start(t), startCredentialSources(t)]);
  const { store, http } = openSearching(t, fake, sources.host);
  await store.remove('key');
  t.is(lastId(fake), 'ASIA1');
  t.true(http.hosts.some((host) => host.startsWith('sts.')));
});

test.serial(
  'a login with SSO is used, over the connections of the operation, and one that ran out says so',
  async (t) => {
    const home = temporary(t);
    const url = 'https://team.awsapps.com/start';
    const sso = `sso_start_url = ${url}\nsso_region = us-east-1\nsso_account_id = 123456789012\nsso_role_name = ci`;
    setEnv({ ...userOfAws(home, { config: `[profile team]\n${sso}\n` }), AWS_PROFILE: 'team' });
    const [fake, sources] = await Promise.all([FakeS3.start(t), startCredentialSources(t)]);
    loginWithSso(home, url, new Date(Date.now() + 3_600_000));
    const { store, http } = openSearching(t, fake, sources.host);
    await store.remove('key');
    t.is(lastId(fake), 'ASIA1');
    t.true(http.hosts.some((host) => host.startsWith('portal.sso.')));
    loginWithSso(home, url, new Date(Date.now() - 1000));
    const error = await t.throwsAsync<CacheError>(openSearching(t, fake, sources.host).store.remove('key'));
    t.is(error.code, 'DENIED');
    t.regex(error.message, /expired/);
  },
);

test.serial(
  'the credentials of an instance and of a container are used, by a reader after an attempt without',
  async (t) => {
    const [fake, sources] = await Promise.all([FakeS3.start(t), startCredentialSources(t)]);
    fake.objects.set('key', Buffer.from('x'));
    const none = { AWS_SHARED_CREDENTIALS_FILE: '/nonexistent', AWS_CONFIG_FILE: '/nonexistent' };
    setEnv({ ...none, AWS_EC2_METADATA_SERVICE_ENDPOINT: `http://${sources.host}` });
    await openSearching(t, fake, 'x').store.remove('other');
    t.is(lastId(fake), 'ASIA1');
    fake.fault = ({ headers }, answer) => {
      if (headers.authorization !== undefined) return false;
      refuse(answer, 403, 'AccessDenied');
      return true;
    };
    const { store } = openSearching(t, fake, 'x', 'import');
    const all = await Promise.all([1, 2, 3].map(() => store.read('key', 10)));
    t.true(all.every(({ state }) => state === 'there'));
    t.is(lastId(fake), 'ASIA2');
    t.is(sources.given(), 2, 'once for all requests');
    setEnv({ ...none, AWS_CONTAINER_CREDENTIALS_FULL_URI: `http://${sources.host}/container` });
    await openSearching(t, fake, 'x', 'import').store.read('key', 10);
    t.is(lastId(fake), 'ASIA3');
  },
);

test.serial('what anyone may read is read without waiting for an instance', async (t) => {
  const fake = await FakeS3.start(t);
  fake.objects.set('key', Buffer.from('x'));
  let asked = 0;
  const silent = createServer(() => asked++);
  const host = await listening(t, silent);
  t.teardown(() => silent.closeAllConnections());
  setEnv({
    AWS_SHARED_CREDENTIALS_FILE: '/nonexistent',
    AWS_CONFIG_FILE: '/nonexistent',
    AWS_EC2_METADATA_SERVICE_ENDPOINT: `http://${host}`,
  });
  const { store } = openSearching(t, fake, 'x', 'import');
  t.is(String(await collect(store.content('key', 1).open())), 'x');
  t.is((await store.read('missing', 10)).state, 'missing');
  t.is(asked, 0);
  t.true(fake.all.every(({ headers }) => headers.authorization === undefined));
});

test.serial('credentials that have run out are taken again, once for all requests', async (t) => {
  const [fake, sources] = await Promise.all([FakeS3.start(t), startCredentialSources(t)]);
  setEnv({ ...userOfAws(temporary(t), {}), AWS_CONTAINER_CREDENTIALS_FULL_URI: `http://${sources.host}/container` });
  const { store } = openSearching(t, fake, 'x');
  await store.remove('key');
  fake.fault = ({ method, headers }, answer) => {
    if (idOf(headers.authorization) !== 'ASIA1') return false;
    if (method === 'HEAD') answer.writeHead(400).end();
    else refuse(answer, 400, 'ExpiredToken');
    return true;
  };
  await Promise.all(['a', 'b', 'c', 'd'].map((key) => store.remove(key)));
  t.is(sources.given(), 2);
  t.is((await store.head('a')).state, 'missing');
  // A service that takes no credentials at all is not asked for ever.
  fake.fault = (_, answer) => {
    refuse(answer, 400, 'ExpiredToken');
    return true;
  };
  const error = await t.throwsAsync<CacheError>(store.remove('a'));
  t.is(error.code, 'DENIED');
  t.regex(error.hint ?? '', /have run out/);
});

test.serial('credentials whose time is over are not used: others are taken first', async (t) => {
  const [fake, sources] = await Promise.all([FakeS3.start(t), startCredentialSources(t, 1)]);
  setEnv({ ...userOfAws(temporary(t), {}), AWS_CONTAINER_CREDENTIALS_FULL_URI: `http://${sources.host}/container` });
  const { store } = openSearching(t, fake, 'x');
  for (const key of ['a', 'b']) await store.remove(key);
  t.true(sources.given() >= 2);
  t.not(lastId(fake), 'ASIA1');
});

test.serial('a source that is named and fails is an error of a reader too, with its reason', async (t) => {
  const fake = await FakeS3.start(t);
  setEnv({ ...userOfAws(temporary(t), {}), AWS_PROFILE: 'nobody' });
  const error = await t.throwsAsync<CacheError>(openSearching(t, fake, 'x', 'import').store.read('key', 10));
  t.is(error.code, 'DENIED');
  t.regex(error.message, /no credentials.*nobody/);
  t.is(fake.seen.length, 0);
});

test.serial('nothing of the official client reaches stdout or stderr', async (t) => {
  const fake = await FakeS3.start(t);
  const at = fake.fill().replace(/,access_key_id=.*/, '');
  // Both a profile and keys: the client has something to say of that.
  const env = {
    ...userOfAws(temporary(t), {
      config: '[profile ci]\nregion = eu-west-1\nretry_mode = adaptive\n',
      credentials: '[ci]\naws_access_key_id = AKIACI\naws_secret_access_key = hush\n',
    }),
    AWS_PROFILE: 'ci',
    AWS_ACCESS_KEY_ID: 'AKIAENV',
    AWS_SECRET_ACCESS_KEY: 'hush',
    AWS_SDK_LOAD_CONFIG: '1',
    NODE_DEBUG: '',
  };
  const { code, stdout, stderr } = await bkcache(['resolve', `${at},name=tiny`], env);
  t.is(code, 0, stderr);
  t.regex(stdout, /^\{[^\n]*\}\n$/);
  t.is(stderr, '');
  t.is(lastId(fake), 'AKIACI');
});

test.serial('the file of --registry-ca is trusted here too, and a server that it does not sign is named', async (t) => {
  const { key, certificate } = await makeCertificate(temporary(t));
  const options = { key: readFileSync(key), cert: readFileSync(certificate) };
  const fake = await FakeS3.start(t, undefined, (listener) => createSecureServer(options, listener));
  const at = `${fake.fill().replace('http://', 'https://')},name=tiny`;
  const trusted = await bkcache(['resolve', at, '--registry-ca', certificate]);
  t.is(trusted.code, 0, trusted.stderr);
  const refused = await bkcache(['resolve', at]);
  t.is(refused.code, 1);
  t.regex(refused.stderr, /--registry-ca/);
});
