import test from 'ava';
import { locate } from '../../../src/backend/backends.js';
import { parseExport, parseImport } from '../../../src/buildkit/options.js';
import { refuseCollisions } from '../../../src/operations/copy/collisions.js';
import { Session } from '../../../src/session.js';

test('an import from a registry lies in no folder, wherever the export goes', async (t) => {
  const session = new Session();
  const out = await locate(parseExport('type=local,dest=./out'), 'export', session);
  const imported = (text: string) => locate(parseImport(text), 'import', session);
  for (const text of [
    'type=registry,ref=localhost:5000/team/cache',
    'localhost:5000/team/cache',
    'type=inline,ref=x/y',
  ]) {
    const at = await imported(text);
    t.notThrows(() => refuseCollisions([at], [out]), text);
  }
  const here = await imported('type=local,src=.');
  t.throws(() => refuseCollisions([here], [out]), { message: /is inside the import/ });
});
