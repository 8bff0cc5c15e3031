import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import test from 'ava';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));

function filesIn(folder: string): string[] {
  return readdirSync(join(ROOT, folder), { recursive: folder !== '', encoding: 'utf8' })
    .map((name) => join(folder, name))
    .filter((file) => /\.(?:ts|mjs|md)$/.test(file));
}

/** The comments of a source file; the whole of a page. */
function proseOf(file: string): string {
  const text = readFileSync(join(ROOT, file), 'utf8');
  return file.endsWith('.md') ? text : (text.match(/\/\*[\s\S]*?\*\/|\/\/.*/g) ?? []).join('\n');
}

test('every source file that a comment or a page names is there', (t) => {
  const files = ['', 'src', 'test', 'scripts', 'docs'].flatMap(filesIn);
  const named = files
    .filter((file) => file !== 'CHANGELOG.md')
    .flatMap((file) => {
      const names = proseOf(file).match(/[\w./-]+\.(?:ts|mjs)\b/g) ?? [];
      return names.map((name) => ({ file, name: name.replace(/^(?:\.{1,2}\/)+/, '') }));
    });
  t.true(named.length > 50);
  const isThere = (name: string) => files.some((file) => `/${file}`.endsWith(`/${name}`));
  t.deepEqual(
    named.filter(({ name }) => !isThere(name)),
    [],
  );
});
