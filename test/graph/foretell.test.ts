import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import test from 'ava';
import fc from 'fast-check';
import type { CacheRecord } from '../../src/buildkit/cache-config.js';
import { foretell } from '../../src/graph/foretell.js';
import { hitsOf } from '../../src/graph/hits.js';
import { Steps } from '../../src/graph/steps.js';
import { loadFolder } from '../support/caches.js';
import { FIXTURES, fixture, loadFixture } from '../support/fixtures.js';

/** Records whose links lead to earlier records, some of the same step. */
const records = fc
  .array(
    fc.record({
      step: fc.nat({ max: 3 }),
      inputs: fc.array(fc.array(fc.nat(), { minLength: 1, maxLength: 2 }), { maxLength: 2 }),
    }),
    { maxLength: 12 },
  )
  .map((all) =>
    all.map(({ step, inputs }, index): CacheRecord => ({
      digest: `sha256:${String(step).repeat(64)}`,
      inputs: index === 0 ? [] : inputs.map((links) => links.map((link) => ({ selector: '', link: link % index }))),
      results: [],
      chains: [],
    })),
  );

test('every record hits itself', (t) => {
  fc.assert(
    fc.property(records, (all) => {
      const hits = hitsOf(all, all);
      return hits.every((hit, index) => hit.has(index));
    }),
  );
  t.pass();
});

test('a record hits another exactly if that hits it', (t) => {
  fc.assert(
    fc.property(records, records, (all, others) => {
      const [there, back] = [hitsOf(all, others), hitsOf(others, all)];
      return there.every((hit, index) => others.every((_, other) => hit.has(other) === back[other]?.has(index)));
    }),
  );
  t.pass();
});

test('a chain of records needs no stack', (t) => {
  const chain = Array.from({ length: 50_000 }, (_, index): CacheRecord => {
    const inputs = index === 0 ? [] : [[{ selector: '', link: index - 1 }]];
    return { digest: `sha256:${String(index).padStart(64, '0')}`, inputs, results: [], chains: [] };
  });
  const steps = new Steps({ layers: [], records: chain, descriptors: new Map() });
  t.is(foretell(steps, steps).outcomes.size, chain.length - 1);
});

test('a build that imports its own cache runs nothing, if the cache has all results', async (t) => {
  for (const [name, tag] of FIXTURES) {
    if (name.startsWith('min')) continue;
    const steps = new Steps((await loadFixture(name, tag)).graph);
    const { outcomes } = foretell(steps, steps);
    t.true(outcomes.size > 0);
    t.deepEqual([...new Set(outcomes.values())], ['hit'], name);
  }
});

test('pairs of real caches: as many steps miss as BuildKit ran', async (t) => {
  const folder = join(fixture('..'), 'explain');
  for (const pair of readdirSync(folder)) {
    const imported = new Steps((await loadFolder(join(folder, pair, 'A'))).graph);
    for (const tag of ['latest', 'warm']) {
      const written = new Steps((await loadFolder(join(folder, pair, 'B'), tag)).graph);
      const { outcomes } = foretell(written, imported);
      const missed = [...outcomes.values()].filter((outcome) => outcome !== 'hit').length;
      t.is(missed, MISSED[pair] ?? -1, `${pair} ${tag}`);
    }
  }
});

/** As BuildKit 0.25.2 ran them. A build without a cache runs all, whatever the keys say. */
const MISSED: Readonly<Record<string, number>> = {
  'arg-unused': 2,
  base: 8,
  byte: 5,
  'command-cutoff': 2,
  dockerignore: 3,
  epoch: 5,
  'layer-missing': 5,
  'min-docs': 8,
  mode: 3,
  mtime: 0,
  'no-cache': 0,
  platform: 3,
  swapped: 4,
  xattr: 3,
};
