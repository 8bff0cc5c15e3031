import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import test from 'ava';

const SRC = fileURLToPath(new URL('../../src/', import.meta.url));
/** Options of a folder, as some operations make them: not a reading. */
const MADE = /\{\s*type: 'local',\s*attributes: \{ (?:src|dest): \w+(?:, tag: \w+)? \},?\s*\}/g;
const PLACE = String.raw`\b(?:src|dest|ref)\b`;

/** The statements of a file that read where an option string leads. */
function readings(text: string): string[] {
  const code = text.replace(/\/\*[^]*?\*\/|\/\/.*$/gm, '').replace(MADE, '');
  const isReading = new RegExp(String.raw`\battributes\b[^]*${PLACE}|${PLACE}[^]*\battributes\b`);
  return code.split(';').filter((statement) => isReading.test(statement));
}

test('what an option string names is read by backends alone; others ask the location', (t) => {
  const files = readdirSync(SRC, { recursive: true, encoding: 'utf8' }).filter((file) => file.endsWith('.ts'));
  t.true(files.length > 20);
  for (const file of files.filter((name) => !/^(?:backend|buildkit)\//.test(name))) {
    t.deepEqual(readings(readFileSync(join(SRC, file), 'utf8')), [], file);
  }
});

test('a reading is told from options that are made', (t) => {
  const reading = [
    "const folder = options.attributes['src']",
    'const { dest, ref } = exported.attributes',
    'const name = ({ attributes: { ref } }: CacheOptions) => ref',
    "at.attributes?.['dest'] ?? at.attributes['ref']",
  ];
  for (const statement of reading) t.is(readings(statement).length, 1, statement);
  t.deepEqual(readings("const made = { type: 'local', attributes: { dest: store, tag: name } }"), []);
});
