import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readFileSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'ava';
import { bkcache, MAIN } from '../support/command.js';
import { fixture, importOf, temporary } from '../support/fixtures.js';
import { blobPath, damaged } from '../support/folders.js';

test('inspect shows layers and records', async (t) => {
  const { code, stdout } = await bkcache(['inspect', importOf('max-estargz')]);
  t.is(code, 0);
  t.regex(stdout, /estargz/);
  t.regex(stdout, /12 records, 7 with results/);
});

test('list says below the table what cannot be read', async (t) => {
  const folder = damaged(t, (at) => {
    const { manifests } = JSON.parse(readFileSync(join(at, 'index.json'), 'utf8')) as {
      manifests: { digest: string }[];
    };
    truncateSync(blobPath(at, manifests[0]?.digest ?? ''), 100);
  });
  const { code, stdout } = await bkcache(['list', folder]);
  t.is(code, 0);
  t.regex(stdout, /^latest: .* is damaged: its bytes hash to/m);
});

test('nothing from a cache reaches the terminal as a control character', async (t) => {
  const tag = '\u001b[2J\nev\u009bil\u202e';
  const folder = damaged(t, (at) => {
    const index = readFileSync(join(at, 'index.json'), 'utf8');
    writeFileSync(join(at, 'index.json'), index.replace('"latest"', JSON.stringify(tag)));
  });
  for (const args of [['list'], ['inspect'], ['resolve'], ['gc', '--dry-run'], ['verify'], ['repair', '--dry-run']]) {
    const { stdout, stderr } = await bkcache([...args, folder]);
    t.notRegex(`${stdout}${stderr}`.replaceAll('\n', ''), /[\p{Cc}\u202e]/u, args.join(' '));
  }
  t.true((await bkcache(['list', folder])).stdout.includes('\\x1b[2J\\x0aev\\x9bil\\u202e'));
  const [entry] = JSON.parse((await bkcache(['list', '--json', folder])).stdout) as { tag: string }[];
  t.is(entry?.tag, tag);
});

test('whoever has seen enough may close stdout, and nobody hears of it', async (t) => {
  const out = join(temporary(t), 'out');
  const commands = [
    `inspect ${fixture('max-gzip')}`,
    '--help',
    `copy --import-cache ${fixture('max-gzip')} --export-cache ${out} 2>&1`,
  ];
  for (const command of commands) {
    const child = spawn('bash', ['-c', `"$0" "$1" ${command} | true; exit \${PIPESTATUS[0]}`, process.execPath, MAIN]);
    let stderr = '';
    child.stderr.on('data', (chunk: Buffer) => (stderr += chunk.toString()));
    const [code] = (await once(child, 'close')) as [number];
    t.deepEqual({ code, stderr }, { code: 0, stderr: '' }, command);
  }
  t.true(readdirSync(out).includes('index.json'));
});
