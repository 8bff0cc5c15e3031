import { chmodSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'ava';
import { copyCache } from '../../../src/operations/copy/copy.js';
import { JOIN } from '../../../src/graph/ends.js';
import { prune } from '../../../src/operations/prune/prune.js';
import { repairFolder } from '../../../src/operations/repair/repair.js';
import { inspectCache } from '../../../src/operations/inspect.js';
import { verifyCache, verifyFolder } from '../../../src/operations/verify/verify.js';
import { importOf, temporary } from '../../support/fixtures.js';
import { blobPath, entriesOf, folderOf, sizeOf } from '../../support/folders.js';
import { assertSound } from '../../support/sound.js';
import { loadFolder } from '../../support/caches.js';
import { changedFixture } from '../../support/changed-fixture.js';

/** BuildKit 0.25 wrote it for two platforms, whose builds end in different files. */
const TWO_ENDS = 'buildkit-0.25-two-ends';

interface Written {
  readonly records: readonly { readonly digest: string; readonly inputs?: { readonly link: number }[][] }[];
}

/** The config of a cache as BuildKit is going to read it. */
function written(folder: string): Written {
  const [entry] = entriesOf(folder);
  const { config, manifests = [] } = JSON.parse(readFileSync(blobPath(folder, entry?.digest ?? ''), 'utf8')) as {
    config?: { digest: string };
    manifests?: { digest: string }[];
  };
  const digest = config?.digest ?? manifests.at(-1)?.digest ?? '';
  return JSON.parse(readFileSync(blobPath(folder, digest), 'utf8')) as Written;
}

function endsIn({ records }: Written): number {
  const linked = new Set(records.flatMap(({ inputs = [] }) => inputs.flat().map(({ link }) => link)));
  return [...records.keys()].filter((index) => !linked.has(index)).length;
}

const load = (folder: string) => loadFolder(folder);

test('a copy that changes nothing keeps the bytes, whether the ends are joined or not', async (t) => {
  const out = temporary(t);
  await copyCache({ imports: [importOf(TWO_ENDS)], exports: [`type=local,dest=${out}`] });
  t.is(entriesOf(out)[0]?.digest, entriesOf(folderOf(t, TWO_ENDS))[0]?.digest);
  t.is(endsIn(written(out)), 2);
  const [merged, again] = [temporary(t), temporary(t)];
  await copyCache({
    imports: [importOf('grown', 'main'), importOf('grown', 'feature')],
    exports: [`type=local,dest=${merged}`],
  });
  await copyCache({ imports: [`type=local,src=${merged}`], exports: [`type=local,dest=${again}`] });
  t.is(entriesOf(again)[0]?.digest, entriesOf(merged)[0]?.digest);
});

for (const [what, imports, attributes] of [
  ['a merge', [importOf('grown', 'main'), importOf('grown', 'feature')], ''],
  ['a merge of a cache that has several itself', [importOf(TWO_ENDS), importOf('max-gzip')], ''],
  ['mode=min', [importOf(TWO_ENDS)], ',mode=min'],
  ['a conversion', [importOf(TWO_ENDS)], ',compression=zstd,force-compression=true'],
  ['another shape', [importOf(TWO_ENDS)], ',image-manifest=false'],
  ['images of several platforms', [importOf('inline-multiplatform', 'multi')], ''],
] as const) {
  test(`what is written has one end: ${what}`, async (t) => {
    const out = temporary(t);
    const { exports } = await copyCache({ imports, exports: [`type=local,dest=${out}${attributes}`] });
    t.is(endsIn(written(out)), 1);
    await assertSound(t, out);
    const { graph } = await load(out);
    const described = await inspectCache(`type=local,src=${out}`);
    t.is(exports[0]?.records, graph.records.length);
    t.is(described.records.length, graph.records.length);
    t.false(graph.records.some(({ digest }) => digest === JOIN));
    const { sound, findings } = await verifyFolder(out, { deep: true });
    t.true(sound);
    t.deepEqual(findings, []);
  });
}

test('merging what was merged comes to the digest of merging all at once', async (t) => {
  const [a, b, c] = [importOf('grown', 'main'), importOf('grown', 'feature'), importOf(TWO_ENDS)];
  const merged = async (...imports: string[]) => {
    const out = temporary(t);
    await copyCache({ imports, exports: [`type=local,dest=${out}`] });
    return out;
  };
  const all = entriesOf(await merged(a, b, c))[0]?.digest;
  t.is(entriesOf(await merged(`type=local,src=${await merged(a, b)}`, c))[0]?.digest, all);
  t.is(entriesOf(await merged(b, `type=local,src=${await merged(c, a)}`))[0]?.digest, all);
});

test('results that go leave the ends joined', async (t) => {
  const folder = folderOf(t, TWO_ENDS);
  const maxSize = sizeOf(folder) - 300;
  const { shrunk, size } = await prune(folder, { maxSize });
  t.is(shrunk.length, 1);
  t.true(size <= maxSize);
  t.is(endsIn(written(folder)), 1);
  t.deepEqual((await prune(folder, { maxSize })).shrunk, []);
});

test("verify notes the ends of a cache of BuildKit's own, and repair joins them and changes nothing else", async (t) => {
  const folder = folderOf(t, TWO_ENDS);
  const { sound, findings } = await verifyFolder(folder);
  t.true(sound);
  t.deepEqual(
    findings.map(({ severity, kind, tags, repair }) => ({ severity, kind, tags, repair })),
    [{ severity: 'note', kind: 'ends', tags: ['latest'], repair: `bkcache repair ${folder}` }],
  );
  const before = (await load(folder)).graph;
  const plan = await repairFolder(folder, { dryRun: true });
  t.deepEqual(entriesOf(folder), entriesOf(folderOf(t, TWO_ENDS)));
  const done = await repairFolder(folder);
  t.deepEqual(plan.actions, done.actions);
  t.deepEqual(
    done.actions.map(({ type }) => type),
    ['joined'],
  );
  t.is(endsIn(written(folder)), 1);
  t.deepEqual((await load(folder)).graph, before);
  t.deepEqual((await repairFolder(folder)).actions, []);
  // Git does not keep the mode that BuildKit gave them.
  for (const blob of readdirSync(join(folder, 'blobs', 'sha256')))
    chmodSync(join(folder, 'blobs', 'sha256', blob), 0o444);
  await assertSound(t, folder);
  const { findings: left } = await verifyCache(`type=local,src=${folder}`);
  t.deepEqual(left, []);
});

test('a join that does not reach every end any more is noted, and repaired', async (t) => {
  const folder = changedFixture(t, TWO_ENDS, (_, config) => {
    const records: unknown[] = config.records;
    records.push({ digest: JOIN, inputs: [[{ link: 6 }]] });
  });
  t.is((await verifyFolder(folder)).findings.find(({ kind }) => kind === 'ends')?.severity, 'note');
  t.deepEqual(
    (await repairFolder(folder)).actions.map(({ type }) => type),
    ['joined'],
  );
  t.is(endsIn(written(folder)), 1);
});

test('ends stay as they are where joining them would make the config too large to be imported', async (t) => {
  const limit = 1 << 20;
  const folder = changedFixture(t, TWO_ENDS, (_, config) => {
    const [record] = config.records.filter((one) => 'inputs' in one) as unknown as {
      inputs: { selector?: string }[][];
    }[];
    const link = record?.inputs[0]?.[0];
    if (link === undefined) throw new Error('the fixture has no such record');
    link.selector = '';
    link.selector = 's'.repeat(limit - 60 - JSON.stringify(config).length);
  });
  t.true(JSON.stringify(written(folder)).length <= limit);
  t.deepEqual((await repairFolder(folder)).actions, []);
  t.is(endsIn(written(folder)), 2);
});

test('the record that joins the ends counts in the limit of what BuildKit imports', async (t) => {
  const limit = 1 << 20;
  const folder = changedFixture(t, TWO_ENDS, (_, config) => {
    const records: unknown[] = config.records;
    const end = { digest: JOIN.replace('f', 'e'), inputs: [[{ selector: '', link: 0 }]] };
    records.push(end);
    const [[link]] = end.inputs as [[{ selector: string; link: number }]];
    link.selector = 's'.repeat(limit - 60 - JSON.stringify(config).length);
  });
  const out = temporary(t);
  await copyCache({ imports: [`type=local,src=${folder}`], exports: [`type=local,dest=${out}`] });
  for (const attributes of ['image-manifest=false', 'compression=zstd,force-compression=true']) {
    const copy = copyCache({
      imports: [`type=local,src=${folder}`],
      exports: [`type=local,dest=${temporary(t)},${attributes}`],
    });
    await t.throwsAsync(copy, { message: /the cache's config has \d+ bytes/ });
  }
});
