import { renameSync, rmSync, symlinkSync } from 'node:fs';
import test from 'ava';
import { inspectCache } from '../../src/operations/inspect.js';
import { inspectText } from '../../src/report/text/inspect.js';
import { FIXTURES, importOf } from '../support/fixtures.js';
import { blobPath } from '../support/folders.js';
import { changedFixture } from '../support/changed-fixture.js';

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

test('records are told by ids and digests, and by no index of a list that is not there', async (t) => {
  for (const [name, tag] of FIXTURES) {
    const { records, layers, results } = await inspectCache(importOf(name, tag));
    const ids = new Set(records.map(({ id }) => id));
    t.is(ids.size, records.length);
    const blobs = new Set(layers.map(({ digest }) => digest));
    for (const { inputs, results: own, chains } of records) {
      for (const input of inputs.flat()) {
        t.true(ids.has(input.id));
        t.true(records.some(({ id, digest }) => id === input.id && digest === input.digest));
      }
      for (const { layer } of own) t.true(blobs.has(layer));
      for (const { layers: all } of chains) for (const layer of all) t.true(blobs.has(layer));
    }
    t.is(records.filter(({ results: own, chains }) => own.length + chains.length > 0).length, results);
    t.notRegex(JSON.stringify(records), /":\d|\[\d/);
  }
});
