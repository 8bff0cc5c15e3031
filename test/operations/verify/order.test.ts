import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import fc from 'fast-check';
import { copyCache } from '../../../src/operations/copy/copy.js';
import { CREATED_AT, UNCOMPRESSED } from '../../../src/oci/descriptor.js';
import { sha256 } from '../../../src/oci/digest.js';
import { repairFolder } from '../../../src/operations/repair/repair.js';
import { verifyFolder } from '../../../src/operations/verify/verify.js';
import { temporary } from '../../support/fixtures.js';
import { blobPath, copyFixture, entriesOf, put, writeEntries } from '../../support/folders.js';

interface Layer {
  mediaType: string;
  digest: string;
  size: number;
  annotations: Record<string, string>;
}

/** What a manifest can say wrong of a layer. */
const LIES: readonly ((layer: Layer) => void)[] = [
  (layer) => (layer.size += 3),
  (layer) => (layer.size -= 3),
  (layer) => (layer.annotations[UNCOMPRESSED] = sha256('another tar')),
  (layer) => delete layer.annotations[UNCOMPRESSED],
  (layer) => (layer.mediaType = 'application/x'),
  (layer) => (layer.mediaType = 'application/vnd.oci.image.layer.v1.tar'),
  (layer) => (layer.annotations[CREATED_AT] = 'yesterday'),
];

/** A folder with a tag for each lie, each told of another layer, and a tag that is right; some layers may be lost. */
function liars(
  t: ExecutionContext,
  told: readonly (readonly [lie: number, layer: number])[],
  lost: number | undefined,
) {
  const folder = join(temporary(t), 'cache');
  copyFixture('max-gzip', folder);
  const [entry] = entriesOf(folder);
  const text = readFileSync(blobPath(folder, entry?.digest ?? ''), 'utf8');
  const entries = told.map(([lie, at], tag) => {
    const manifest = JSON.parse(text) as { layers: Layer[] };
    const layer = manifest.layers[at % manifest.layers.length];
    if (layer !== undefined) LIES[lie]?.(layer);
    const annotations = { 'org.opencontainers.image.ref.name': `tag ${tag}` };
    return {
      mediaType: 'application/vnd.oci.image.manifest.v1+json',
      ...put(folder, JSON.stringify(manifest)),
      annotations,
    };
  });
  if (lost !== undefined) {
    const { layers } = JSON.parse(text) as { layers: Layer[] };
    writeFileSync(blobPath(folder, layers[lost % layers.length]?.digest ?? ''), 'something else', { flag: 'r+' });
  }
  return { folder, entries: [...entries, ...(entry === undefined ? [] : [entry])] };
}

const cases = fc.tuple(
  fc.array(fc.tuple(fc.nat(LIES.length - 1), fc.nat(7)), { minLength: 1, maxLength: 4 }),
  fc.option(fc.nat(7), { nil: undefined, freq: 2 }),
  fc.boolean(),
);

test('what is found and what is repaired do not depend on the order of entries', async (t) => {
  const check = async ([told, lost, deep]: [[number, number][], number | undefined, boolean], seed: number) => {
    const orders = [0, 1].map(() => liars(t, told, lost));
    const [first, second] = orders;
    if (first === undefined || second === undefined) throw new Error('there are two');
    const shuffled = second.entries.toSorted((a, b) =>
      sha256(`${seed}${a.digest}`) < sha256(`${seed}${b.digest}`) ? -1 : 1,
    );
    const seen = [];
    for (const [{ folder }, entries] of [
      [first, first.entries],
      [second, shuffled],
    ] as const) {
      writeEntries(folder, entries);
      const { findings } = await verifyFolder(folder, { deep });
      const { actions, sound } = await repairFolder(folder, { deep });
      const tags = entriesOf(folder).map(({ digest, annotations }) => [Object.values(annotations)[0], digest]);
      seen.push({
        findings: findings.map((finding) => JSON.stringify(finding).replaceAll(folder, 'FOLDER')),
        actions: actions.map((action) => JSON.stringify(action)).toSorted(),
        tags: tags.toSorted(([a = ''], [b = '']) => (a < b ? -1 : 1)),
        sound,
      });
    }
    t.deepEqual(seen[1], seen[0]);
    t.true(seen[0]?.sound);
  };
  await fc.assert(fc.asyncProperty(cases, fc.nat(), check), { numRuns: 25 });
});

test('what one manifest says wrong of a layer costs another tag nothing, and its own neither', async (t) => {
  for (const [lie] of LIES.entries()) {
    const { folder, entries } = liars(t, [[lie, 1]], undefined);
    writeEntries(folder, entries);
    const right = entries[1]?.digest;
    const found = await verifyFolder(folder, { deep: true });
    t.false(found.sound, `lie ${lie}`);
    t.deepEqual(new Set(found.findings.flatMap(({ tags }) => tags)), new Set(['tag 0']));
    const { actions, sound } = await repairFolder(folder, { deep: true });
    t.true(sound, `lie ${lie}`);
    t.deepEqual(
      actions.map(({ type }) => type),
      ['rewritten'],
    );
    // A date that is none goes; everything else is as BuildKit wrote it.
    const isWhole = lie !== LIES.length - 1;
    t.is(entriesOf(folder)[0]?.digest === right, isWhole, `lie ${lie}`);
  }
});

test('a merge takes what the bytes prove, whichever import says it', async (t) => {
  for (const [lie] of LIES.entries()) {
    if (lie === LIES.length - 1) continue;
    const { folder, entries } = liars(t, [[lie, 1]], undefined);
    writeEntries(folder, entries);
    const imports = ['tag 0', 'latest'].map((tag) => `type=local,src=${folder},tag=${tag}`);
    for (const order of [imports, imports.toReversed()]) {
      const out = join(temporary(t), 'out');
      const { exports } = await copyCache({ imports: order, exports: [`type=local,dest=${out}`] });
      t.is(String(exports[0]?.descriptor.digest), entries[1]?.digest ?? '', `lie ${lie}`);
    }
  }
});
