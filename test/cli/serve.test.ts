import { existsSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import test, { type ExecutionContext } from 'ava';
import { sha256 } from '../../src/oci/digest.js';
import { bkcache, startCommand } from '../support/command.js';
import { importOf, temporary } from '../support/fixtures.js';

async function refused(t: ExecutionContext, ...args: readonly string[]): Promise<string> {
  const store = join(temporary(t), 'store');
  const { code, stderr, stdout } = await bkcache(['serve', '--store', store, ...args]);
  t.is(code, 2, stderr);
  t.is(stdout, '');
  t.false(existsSync(store));
  return stderr;
}

/** Starts the command, and waits for its address. */
async function started(t: ExecutionContext, store: string, ...args: readonly string[]) {
  const words = ['serve', '--registry', '--store', store, '--listen', '127.0.0.1:0', '--keep-free', '0', ...args];
  const { child, outcome } = startCommand(words);
  t.teardown(() => child.kill('SIGKILL'));
  let said = '';
  child.stderr.on('data', (chunk: Buffer) => (said += chunk.toString()));
  for (let waited = 0; !said.includes(' at ') && waited < 20_000; waited += 20) await sleep(20);
  const origin = /at (https?:\/\/\S+?)(?:,|\s|$)/.exec(said)?.[1];
  if (origin === undefined) throw new Error(`the server did not start: ${said}`);
  return { child, outcome, origin };
}

test('an address that others reach needs tokens, or --public and --read-only', async (t) => {
  for (const listen of ['0.0.0.0:0', ':0', '[::]:0', '192.0.2.1:0', 'example.com:0']) {
    t.regex(await refused(t, '--registry', '--listen', listen), /--token-file FILE; or --public --read-only/, listen);
    t.regex(await refused(t, '--registry', '--listen', listen, '--read-only'), /--public/, listen);
  }
  t.regex(await refused(t, '--registry', '--url', 'https://cache.example'), /--token-file/);
});

test('--public without --read-only is refused', async (t) => {
  t.regex(await refused(t, '--registry', '--public'), /--public needs --read-only/);
});

test('mistakes are refused with a hint, and make no store', async (t) => {
  t.regex(await refused(t), /add --registry, --gha, or both/);
  t.regex(await refused(t, '--gha'), /--gha needs --token-file/);
  t.regex(await refused(t, '--registry', '--max-size', '1GB'), /--max-size is for --gha/);
  t.regex(await refused(t, '--registry', '--scope', 'refs/heads/x'), /add --print-env/);
  t.regex(await refused(t, '--registry', '--expires', '1d'), /add --print-token or --print-env/);
  t.regex(await refused(t, '--print-env', '--print-token', 'read'), /leave one out/);
  t.regex(await refused(t, '--print-env'), /--print-env needs --token-file/);
  t.regex(await refused(t, '--print-env', '--scope', 'main'), /refs\/heads\/main/);
  t.regex(await refused(t, '--registry', '--listen', '5000'), /HOST:PORT/);
  t.regex(await refused(t, '--registry', '--listen', '127.0.0.1:99999'), /HOST:PORT/);
  t.regex(await refused(t, '--registry', '--url', 'cache.example'), /https:\/\/cache\.example/);
  t.regex(await refused(t, '--registry', '--url', 'http://0.0.0.0:5000'), /--url takes/);
  t.regex(await refused(t, '--registry', '--url', 'https://cache.example/path'), /without a path/);
  t.regex(await refused(t, '--registry', '--tls-cert', 'x.pem'), /--tls-cert and --tls-key belong together/);
  t.regex(await refused(t, '--print-token', 'read'), /--print-token needs --token-file/);
  t.regex(await refused(t, '--registry', '--repositories', 'team/*'), /add --print-token/);
  t.regex(await refused(t, '--print-token', 'all'), /read, write/);
  t.regex(await refused(t, '--print-token', 'read', '--repositories', 'Team'), /team\/\*/);
});

test('a read-only server does not make a store', async (t) => {
  const store = join(temporary(t), 'store');
  const { code } = await bkcache(['serve', '--registry', '--read-only', '--store', store, '--listen', '127.0.0.1:0']);
  t.is(code, 3);
  t.false(existsSync(store));
});

test('a cache goes through a server, and the server ends with 0 on SIGTERM', async (t) => {
  const folder = temporary(t);
  const { child, outcome, origin } = await started(t, join(folder, 'store'));
  const ref = `type=registry,ref=${new URL(origin).host}/team/app`;
  const cache = importOf('max-gzip');
  t.is((await bkcache(['copy', '--quiet', '--import-cache', cache, '--export-cache', ref])).code, 0);
  const back = join(folder, 'back');
  t.is((await bkcache(['copy', '--quiet', '--import-cache', ref, '--export-cache', back])).code, 0);
  const digestOf = async (text: string) =>
    (JSON.parse((await bkcache(['resolve', text])).stdout) as { digest: string }).digest;
  t.is(await digestOf(`type=local,src=${back}`), await digestOf(cache));
  t.is(await digestOf(`type=local,src=${folder}/store,tag=team/app`), await digestOf(cache));
  child.kill('SIGTERM');
  const { code, stdout } = await outcome;
  t.is(code, 0);
  const lines = stdout
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as { path: string; status: number });
  t.true(lines.some(({ path, status }) => path === '/v2/team/app/manifests/latest' && status === 201));
  t.false(existsSync(join(folder, 'store', '.bkcache')));
});

test('tokens that the command prints are those that the server takes', async (t) => {
  const folder = temporary(t);
  const file = join(folder, 'key');
  const print = async (...words: readonly string[]) =>
    (await bkcache(['serve', '--token-file', file, '--print-token', ...words])).stdout.trim();
  const [reader, writer] = [await print('read'), await print('write', '--repositories', 'team/*', '--expires', '1h')];
  t.is(statSync(file).mode & 0o777, 0o600);
  const { origin, child, outcome } = await started(t, join(folder, 'store'), '--token-file', file, '--quiet');
  const status = async (token: string, repository: string) => {
    const url = `${origin}/v2/${repository}/blobs/uploads/?digest=${sha256('x')}`;
    return (await fetch(url, { method: 'POST', body: 'x', headers: { authorization: `Bearer ${token}` } })).status;
  };
  t.is(await status(reader, 'team/app'), 403);
  t.is(await status(writer, 'team/app'), 201);
  t.is(await status(writer, 'other'), 403);
  t.is((await fetch(`${origin}/v2/`)).status, 401);
  const basic = Buffer.from(`anybody:${reader}`).toString('base64');
  t.is((await fetch(`${origin}/v2/`, { headers: { authorization: `Basic ${basic}` } })).status, 200);
  child.kill('SIGINT');
  t.like(await outcome, { code: 0, stdout: '' });
});

test('clients of this project log in with a token as their password', async (t) => {
  const folder = temporary(t);
  const file = join(folder, 'key');
  const { stdout } = await bkcache(['serve', '--token-file', file, '--print-token', 'write']);
  const { origin } = await started(t, join(folder, 'store'), '--token-file', file);
  const words = ['--import-cache', importOf('max-gzip'), '--export-cache'];
  const ref = `type=registry,ref=${new URL(origin).host}/team/app`;
  const env = { DOCKER_CONFIG: folder };
  t.is((await bkcache(['copy', ...words, ref], env)).code, 1);
  const login = ['--username', 'token', '--password-stdin'];
  t.is((await bkcache(['copy', '--quiet', ...login, ...words, ref], env, stdout)).code, 0);
});

test('what --print-env prints is all that a build with type=gha needs', async (t) => {
  const folder = temporary(t);
  const file = join(folder, 'key');
  const { origin, child, outcome } = await started(t, join(folder, 'store'), '--gha', '--token-file', file);
  const printed = await bkcache(['serve', '--print-env', '--token-file', file, '--url', origin]);
  t.is(printed.code, 0, printed.stderr);
  const env = Object.fromEntries(
    printed.stdout
      .trim()
      .split('\n')
      .map((line) => line.split(/=(.*)/s)),
  );
  const words = ['--import-cache', importOf('max-gzip'), '--export-cache', 'type=gha,scope=app,mode=max'];
  const copied = await bkcache(['copy', '--quiet', ...words], env);
  t.is(copied.code, 0, copied.stderr);
  const back = join(folder, 'back');
  t.is(
    (await bkcache(['copy', '--quiet', '--import-cache', 'type=gha,scope=app', '--export-cache', back], env)).code,
    0,
  );
  const digestOf = async (text: string) =>
    (JSON.parse((await bkcache(['resolve', text])).stdout) as { digest: string }).digest;
  t.is(await digestOf(`type=local,src=${back}`), await digestOf(importOf('max-gzip')));
  child.kill('SIGTERM');
  const { code, stdout } = await outcome;
  t.is(code, 0);
  for (const secret of [env['ACTIONS_RUNTIME_TOKEN'] ?? '', 'sig=']) t.false(stdout.includes(secret));
});
