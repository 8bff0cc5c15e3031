import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import test, { type ExecutionContext } from 'ava';
import { copyCache } from '../../src/operations/copy/copy.js';
import { FakeGha, GH_TOKEN, REPOSITORY, tokenOf } from '../support/fake-gha.js';
import { FakeS3 } from '../support/fake-s3.js';
import { importOf, temporary } from '../support/fixtures.js';
import { copyFixture } from '../support/folders.js';
import { MAIN } from '../support/command.js';

const run = promisify(execFile);

async function help(...words: string[]): Promise<string> {
  return (await run(process.execPath, [MAIN, ...words, '--help'])).stdout;
}

/** The commands under "Examples:", lines that go on joined. */
function examplesIn(text: string): string[] {
  const [, examples = ''] = text.split('\nExamples:\n');
  return examples.split(/\n {2}(?! )/).filter((example) => example.trim().startsWith('bkcache '));
}

/** A folder with what the examples speak of: caches in folders, a store, a disk to carry. */
async function playground(t: ExecutionContext): Promise<string> {
  const folder = temporary(t);
  mkdirSync(join(folder, 'bin'));
  symlinkSync(MAIN, join(folder, 'bin', 'bkcache'));
  for (const [name, tag] of [
    ['cache-main', 'main'],
    ['cache-feature', 'feature'],
  ] as const) {
    await copyCache({ imports: [importOf('grown', tag)], exports: [`type=local,dest=${join(folder, name)}`] });
  }
  copyFixture('max-gzip', join(folder, 'cache'));
  await copyCache({ imports: [importOf('min-gzip')], exports: [`type=local,dest=${join(folder, 'cache')},tag=main`] });
  for (const tag of ['main', 'feature-x']) {
    await copyCache({
      imports: [importOf('max-gzip')],
      exports: [`type=local,dest=${join(folder, 'store')},tag=${tag}`],
    });
  }
  const bundle = `type=bundle,dest=${join(folder, 'caches.tar')}`;
  await copyCache({ imports: [importOf('max-gzip')], exports: [bundle] });
  return folder;
}

/** The variables of a job of GitHub Actions. */
async function actionsEnvironment(t: ExecutionContext): Promise<NodeJS.ProcessEnv> {
  const { host } = await FakeGha.start(t);
  return {
    ACTIONS_CACHE_SERVICE_V2: 'true',
    ACTIONS_RESULTS_URL: `http://${host}/`,
    ACTIONS_RUNTIME_TOKEN: tokenOf(),
    GITHUB_API_URL: `http://${host}`,
    GITHUB_REPOSITORY: REPOSITORY,
    GITHUB_TOKEN: GH_TOKEN,
  };
}

/** Runs a server on a free port until it listens, and ends it. */
async function serves(command: string, cwd: string, env: NodeJS.ProcessEnv): Promise<void> {
  const listening = `${command.replace(/ --listen \S+/, '')} --listen 127.0.0.1:0`;
  const server = spawn('sh', ['-c', `exec ${listening.trim()}`], { cwd, env });
  let said = '';
  server.stderr.on('data', (chunk: Buffer) => {
    said += chunk.toString();
    if (/\bserving\b/.test(said)) server.kill('SIGTERM');
  });
  const [code, signal] = (await once(server, 'exit')) as [number | null, string | null];
  if (code !== 0 && signal !== 'SIGTERM') throw new Error(said);
}

test('the help of every verb has examples, and those that begin with bkcache work as they stand', async (t) => {
  const general = await help();
  const verbs = [...general.matchAll(/^ {2}bkcache ([a-z-]+)/gm)].map(([, verb = '']) => verb);
  t.true(verbs.length >= 8);
  for (const verb of [undefined, ...new Set(verbs)]) {
    const text = verb === undefined ? general : await help(verb);
    t.regex(text, /\nExamples:\n/, verb);
    for (const example of examplesIn(text)) {
      const folder = await playground(t);
      const bucket = (await FakeS3.start(t)).fill();
      const command = example
        .replaceAll('/media/usb', join(folder, 'usb'))
        .replaceAll('type=s3,bucket=team-cache,region=eu-west-3', bucket)
        .replace(/ \| jq .*$/m, '');
      const env = {
        ...process.env,
        PATH: `${join(folder, 'bin')}:${process.env['PATH']}`,
        BKCACHE_STORE: join(folder, 'store'),
        ...(await actionsEnvironment(t)),
      };
      const isServer = /^\s*bkcache serve (?!.*--print-)/.test(command);
      await t.notThrowsAsync(
        isServer ? serves(command, folder, env) : run('sh', ['-c', command], { cwd: folder, env }),
        command,
      );
    }
  }
});
