import { join } from 'node:path';
import test from 'ava';
import fc from 'fast-check';
import { LAST_USED } from '../../../src/layout/index/index-json.js';
import { IMAGE_NAME, REF_NAME } from '../../../src/oci/descriptor.js';
import { globTest } from '../../../src/operations/glob.js';
import { type TagPolicy, TagRules } from '../../../src/operations/prune/policy.js';
import { prune } from '../../../src/operations/prune/prune.js';
import { verifyFolder } from '../../../src/operations/verify/verify.js';
import { temporary } from '../../support/fixtures.js';
import { age, copyFixture, entriesOf, type Entry, grown, writeEntries } from '../../support/folders.js';

test('tags go by name, age and number, and --keep is stronger than all of them', (t) => {
  const day = 86_400_000;
  const use = (tag: string, days: number) => ({ names: [tag], lastUsed: 1000 * day - days * day });
  const tags = [use('main', 90), use('pr-1', 40), use('pr-2', 3), use('pr-3', 2), use('pr-4', 1), use('v1', 50)];
  const gone = (policy: TagPolicy) =>
    [...new TagRules(policy).dropped(tags, 1000 * day).keys()].flatMap(({ names }) => names);
  t.deepEqual(gone({ maxAge: 30 * day }), ['main', 'pr-1', 'v1']);
  t.deepEqual(gone({ maxAge: 30 * day, keep: ['main'] }), ['pr-1', 'v1']);
  t.deepEqual(gone({ keepLast: 2 }), ['pr-1', 'pr-2']);
  t.deepEqual(gone({ keepLast: 1, maxAge: 30 * day }), ['pr-1']);
  t.deepEqual(gone({ untag: ['pr-?'], keep: ['*-2'] }), ['pr-1', 'pr-3', 'pr-4']);
  t.deepEqual(gone({}), []);
});

test('of two names one is enough to stay, and both are needed to go', (t) => {
  const image = (tag: string, lastUsed: number) => ({ names: [`example.com/app:${tag}`, tag], lastUsed });
  const images = [image('pr-1', 1), image('pr-2', 2), image('pr-3', 3)];
  const gone = (policy: TagPolicy) =>
    [...new TagRules(policy).dropped(images, 10).keys()].map(({ lastUsed }) => lastUsed);
  t.deepEqual(gone({ untag: ['*'], keep: ['pr-2'] }), [1, 3]);
  t.deepEqual(gone({ untag: ['*'], keep: ['example.com/app:pr-2'] }), [1, 3]);
  t.deepEqual(gone({ untag: ['pr-1'] }), []);
  t.deepEqual(gone({ untag: ['pr-*', '*:pr-1'] }), [1]);
  t.deepEqual(gone({ keepLast: 2 }), [1]);
  // A newer one of the first name only.
  images.push({ names: ['example.com/app:pr-4'], lastUsed: 4 });
  t.deepEqual(gone({ keepLast: 1 }), [1, 2]);
});

test('a name that stands there twice: each entry is judged by itself', async (t) => {
  const folder = grown(t);
  const [main, feature] = entriesOf(folder);
  const latest = (entry: Entry | undefined, time: string) => ({
    ...entry,
    annotations: { [REF_NAME]: 'latest', [LAST_USED]: time },
  });
  writeEntries(folder, [latest(main, new Date().toISOString()), latest(feature, '2020-01-01T00:00:00Z')]);
  age(folder, 2);
  const { dropped: gone } = await prune(folder, { maxAge: 86_400_000 });
  t.deepEqual(
    gone.map(({ tag, digest }) => [tag, digest]),
    [['latest', feature?.digest]],
  );
  t.deepEqual(
    entriesOf(folder).map(({ digest }) => digest),
    [main?.digest],
  );
  t.true((await verifyFolder(folder)).sound);
  const rules = new TagRules({ keepLast: 2 });
  const use = (name: string, lastUsed: number) => ({ names: [name], lastUsed });
  t.is(rules.dropped([use('pr-3', 1), use('pr-3', 3), use('pr-2', 2)], 3).size, 0);
});

test('an entry without a tag never goes, nor one with an empty name', async (t) => {
  const folder = grown(t);
  const [main, feature] = entriesOf(folder);
  writeEntries(folder, [
    { ...main, annotations: {} },
    { ...feature, annotations: { [REF_NAME]: '', [IMAGE_NAME]: '', [LAST_USED]: '2020-01-01T00:00:00Z' } },
  ]);
  const policy = { untag: ['*'], maxAge: 1, keepLast: 0, maxSize: 1 };
  const { dropped, shrunk } = await prune(folder, policy);
  t.is(dropped.length + shrunk.length, 0);
  t.is(entriesOf(folder).length, 2);
});

test('--keep protects an image by the name that builds import it by', async (t) => {
  const folder = join(temporary(t), 'image');
  copyFixture('inline-image', folder);
  for (const keep of ['inline', 'example.com/team/*']) {
    t.deepEqual((await prune(folder, { untag: ['*'], keep: [keep], dryRun: true })).dropped, []);
  }
  t.deepEqual((await prune(folder, { untag: ['inline'] })).dropped, []);
  t.is((await prune(folder, { untag: ['*'] })).dropped[0]?.tag, 'example.com/team/tiny:inline');
});

test('names are of one pattern when they differ in numbers and hashes', (t) => {
  const areOfOnePattern = (...names: readonly string[]) =>
    new TagRules({ keepLast: 1 }).dropped(
      names.map((name, lastUsed) => ({ names: [name], lastUsed })),
      10,
    ).size ===
    names.length - 1;
  t.true(areOfOnePattern('pr-17', 'pr-18'));
  t.true(areOfOnePattern('main-3f2a9c1b', 'main-0123456789abcdef'));
  t.true(areOfOnePattern('release-1.24', 'release-12.5'));
  t.false(areOfOnePattern('release-1.24', 'release-2'));
  t.false(areOfOnePattern('main-3f2a9c1b', 'main-feature'));
  t.false(areOfOnePattern('feature', 'fix'));
});

test('globs are those of a shell, and any other text stands for itself', (t) => {
  const matches = (pattern: string, name: string) => globTest(pattern, '--untag')(name);
  t.true(matches('pr-*', 'pr-1/x'));
  t.true(matches('v[0-9].?', 'v1.x'));
  t.false(matches('v[!0-9]*', 'v1'));
  t.false(matches('main', 'main2'));
  fc.assert(
    fc.property(
      fc.string().filter((text) => !/[*?[\]]/.test(text)),
      (text) => t.true(matches(text, text)),
    ),
  );
});
