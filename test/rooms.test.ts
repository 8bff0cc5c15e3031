import { readFileSync } from 'node:fs';
import test from 'ava';
import { ARCHITECTURE, picture, readImports, roomOf, ROOMS, withPicture } from '../scripts/rooms.js';

test('no file imports from a room behind its own', (t) => {
  const imports = readImports();
  t.true(imports.length > 500);
  for (const { file, imported } of imports) {
    const [from, to] = [ROOMS.indexOf(roomOf(file)), ROOMS.indexOf(roomOf(imported))];
    t.not(from, -1, `${file} has no room in the list`);
    t.true(to <= from, `${file} imports ${imported}`);
  }
});

test('list, verify, gc, prune and repair know places for caches by their stores alone', (t) => {
  const engines = /^operations\/(?:list\.ts|gc\.ts|verify\/|prune\/|repair\/)/;
  const found = readImports().filter(({ file }) => engines.test(file));
  t.true(found.length > 100);
  for (const { file, imported } of found) {
    t.notRegex(imported, /^layout\/|^net\/|^backend\/(?:local|registry)\//, `${file} imports ${imported}`);
  }
});

test('the picture of the rooms in ARCHITECTURE.md is that of the imports', (t) => {
  const text = readFileSync(ARCHITECTURE, 'utf8');
  t.regex(text, /```mermaid\nflowchart TD\n/);
  t.is(text, withPicture(text, picture(readImports())), 'npm run rooms draws it again');
});

test('the picture has an arrow for an import between two rooms, and none that another arrow implies', (t) => {
  const chart = picture([
    { file: 'graph/a.ts', imported: 'oci/a.ts' },
    { file: 'layout/a.ts', imported: 'graph/a.ts' },
    { file: 'layout/b.ts', imported: 'oci/a.ts' },
    { file: 'layout/b.ts', imported: 'layout/a.ts' },
  ]);
  t.is(chart, '```mermaid\nflowchart TD\n  layout --> graph\n  graph --> oci\n```');
});
