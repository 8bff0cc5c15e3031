import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import test from 'ava';

const SRC = fileURLToPath(new URL('../../src/', import.meta.url));
// A file may import from its own room and from those above it.
const ROOMS = [
  ['errors.ts'],
  ['nearest.ts'],
  ['calls.ts'],
  ['bytes'],
  ['oci'],
  ['tar'],
  ['buildkit'],
  ['graph'],
  ['thread'],
  ['codec'],
  ['layout'],
  ['net'],
  ['session.ts'],
  ['backend'],
  ['operations'],
  ['report'],
  ['cli', 'index.ts'],
];

const roomOf = (file: string) => ROOMS.findIndex((room) => room.includes(file.split('/')[0] ?? ''));

test('no file imports from a room below its own', (t) => {
  const files = readdirSync(SRC, { recursive: true, encoding: 'utf8' }).filter((file) => file.endsWith('.ts'));
  t.true(files.length > 20);
  for (const file of files) {
    t.not(roomOf(file), -1, `${file} has no room in the list`);
    const text = readFileSync(join(SRC, file), 'utf8');
    for (const [, target = ''] of text.matchAll(/(?:from|import\() ?'(\.[^']+)\.js'/g)) {
      const imported = relative(SRC, join(SRC, dirname(file), `${target}.ts`));
      t.true(roomOf(imported) <= roomOf(file), `${file} imports ${imported}`);
    }
  }
});
