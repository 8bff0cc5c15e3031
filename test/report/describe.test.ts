import { renameSync, rmSync, symlinkSync } from 'node:fs';
import test from 'ava';
import { inspectCache } from '../../src/report/describe.js';
import { inspectText } from '../../src/report/tables.js';
import { blobPath, changedFixture } from '../support/fixtures.js';

test('inspect says why a layer cannot be read', async (t) => {
  const folder = changedFixture(t, 'max-gzip', () => {});
  const [linked, missing, ...others] = (await inspectCache(folder)).layers;
  if (linked === undefined || missing === undefined) return t.fail();
  const path = blobPath(folder, linked.digest);
  renameSync(path, `${path}.other`);
  symlinkSync(`${path}.other`, path);
  rmSync(blobPath(folder, missing.digest));
  const description = await inspectCache(folder);
  t.like(description.layers, {
    0: { compression: undefined, problem: `${path} is a link; links inside a layout are not followed` },
    1: { compression: undefined },
  });
  t.regex(description.layers[1]?.problem ?? '', /is missing/);
  t.deepEqual(description.layers.slice(2), others);
  const text = inspectText(description);
  t.is(text.match(/unreadable/g)?.length, 2);
  t.regex(text, /^[0-9a-f]{12}: .* is a link/m);
  t.regex(text, /^[0-9a-f]{12}: .* is missing/m);
});
