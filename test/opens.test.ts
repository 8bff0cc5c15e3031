import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import test from 'ava';

const SRC = fileURLToPath(new URL('../../src/', import.meta.url));

/** What opens a file by its path, and where it may be used. */
const OPENING =
  /^(?:open|openSync|openAsBlob|create(?:Read|Write)Stream|(?:read|write|append|copy|truncate)File(?:Sync)?|cp(?:Sync)?|truncate(?:Sync)?)$/;
const ALLOWED: Readonly<Record<string, readonly string[]>> = {
  'layout/files/open-file.ts': ['openSync', 'open'],
  // Makes and opens in one step, without following links or waiting.
  'layout/lock/lock.ts': ['openSync'],
  // Looks first what it copies.
  'layout/blobs/share.ts': ['copyFile'],
  // Of the kernel's own files.
  'layout/lock/lock-holder.ts': ['readFile'],
  'net/http/user-file.ts': ['open'],
  // Of the project's own.
  'cli/version.ts': ['readFileSync'],
};

test('files are opened in one place, so that no link, pipe or device is taken for one', (t) => {
  const files = readdirSync(SRC, { recursive: true, encoding: 'utf8' }).filter((file) => file.endsWith('.ts'));
  t.true(files.length > 20);
  const found: Record<string, string[]> = {};
  for (const file of files) {
    const text = readFileSync(join(SRC, file), 'utf8');
    for (const [, clause = ''] of text.matchAll(/^import ([^;]*?) from '(?:node:)?fs(?:\/promises)?';$/gm)) {
      t.regex(clause, /^(?:type )?\{/, `${file} imports all of node:fs`);
      const names = clause.replace(/^type|[{}]/g, '').split(',');
      const opening = names.map((name) => name.trim().replace(/ as .*/, '')).filter((name) => OPENING.test(name));
      if (opening.length > 0) found[file] = [...(found[file] ?? []), ...opening];
    }
    t.notRegex(text, /import\('(?:node:)?fs/, file);
  }
  t.deepEqual(found, ALLOWED);
});
