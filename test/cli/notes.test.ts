import { join } from 'node:path';
import test from 'ava';
import { importCache } from '../../src/operations/import.js';
import { bkcache } from '../support/command.js';
import { fixture, importOf, temporary } from '../support/fixtures.js';
import { copyFixture } from '../support/folders.js';

const MAIN = `type=local,src=${fixture('grown')},tag=main`;
const NOTE = 'bkcache: note: mode= has no effect on an import of type=local\n';
const SWALLOWED = `${MAIN},mode=max`;

for (const [what, args] of [
  ['resolve', () => ['resolve', SWALLOWED]],
  ['import-args', () => ['import-args', SWALLOWED]],
  ['inspect', () => ['inspect', SWALLOWED]],
  ['inspect --json', () => ['inspect', '--json', SWALLOWED]],
  ['list', () => ['list', SWALLOWED]],
  ['verify', () => ['verify', SWALLOWED]],
  ['verify --quiet', () => ['verify', '--quiet', SWALLOWED]],
  ['repair', (folder) => ['repair', '--from', SWALLOWED, join(folder, 'cache')]],
  ['copy', (folder) => ['copy', '--quiet', '--import-cache', SWALLOWED, '--export-cache', join(folder, 'out')]],
  ['import', (folder) => ['import', 'x', '--quiet', '--store', join(folder, 'store'), '--import-cache', SWALLOWED]],
] as const satisfies (readonly [string, (folder: string) => string[]])[]) {
  test(`${what} says on stderr that an attribute has no effect, and does the same as without it`, async (t) => {
    const [one, other] = [temporary(t), temporary(t)];
    for (const folder of [one, other]) copyFixture('max-gzip', join(folder, 'cache'));
    const noted = await bkcache(args(one));
    const plain = await bkcache(args(other).map((word) => word.replace(',mode=max', '')));
    t.is(noted.code, 0, noted.stderr);
    t.is(noted.stderr, `${NOTE}${plain.stderr}`);
    t.is(noted.stdout.replaceAll(one, other), plain.stdout);
  });
}

test('exports are noted, too: by copy and by export', async (t) => {
  const folder = temporary(t);
  const [store, out] = [join(folder, 'store'), join(folder, 'out')];
  await importCache(store, 'x', [MAIN]);
  const notes = [
    'bkcache: note: mode=mxa has no effect: it takes min or max',
    'bkcache: note: src= has no effect on an export of type=local',
    '',
  ].join('\n');
  const exported = ['--quiet', '--export-cache', `type=local,dest=${out},mode=mxa,src=x`];
  for (const command of [
    ['export', 'x', '--store', store],
    ['copy', '--import-cache', importOf('max-gzip')],
  ]) {
    const { code, stdout, stderr } = await bkcache([...command, ...exported]);
    t.deepEqual({ code, stdout, stderr }, { code: 0, stdout: '', stderr: notes });
  }
});

test('a name that nobody knows is an error still, and nothing is done', async (t) => {
  const { code, stderr } = await bkcache(['resolve', `${MAIN},moed=max`]);
  t.is(code, 2);
  t.regex(stderr, /knows no attribute "moed"/);
});
