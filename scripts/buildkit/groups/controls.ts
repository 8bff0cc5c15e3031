import { cp } from 'node:fs/promises';
import type { Bench } from '../bench.js';
import type { Build } from '../build.js';
import { damageBlob, editEntries, type Entry, entriesOf, readJson, writeBlob } from '../layout.js';
import { removeJoin } from '../join.js';
import { judge, noticed, together, unused, type Verdict } from '../verdict.js';
import type { Check, Group } from './group.js';
import { Merged } from './merging.js';

/** The checks can fail: what is wrong is noticed. */
export const controls: Group = {
  name: 'controls',
  checks: (bench) => [
    { name: 'control: no cache', run: async () => unused(await bench.build('main')) },
    { name: 'control: digests of the cacheconfig not rewritten', run: () => staleConfig(bench) },
    { name: 'control: the cache of another branch', run: () => otherBranch(bench) },
    { name: 'control: the image of another branch', run: () => otherImage(bench) },
    { name: 'control: any one layer damaged', run: () => damagedLayers(bench) },
    ...lostLinks(bench),
  ],
};

interface Manifest {
  readonly config: Entry;
  readonly layers: readonly Entry[];
}

/** What a tool that knows nothing of caches makes of one: layers converted, and the config left as it was. */
async function staleConfig(bench: Bench): Promise<Verdict> {
  const { cache } = await bench.first('main');
  const shape = 'image-manifest=true,oci-mediatypes=true';
  const before = await bench.copy([cache], shape);
  const folder = await bench.copy([cache], `${shape},compression=zstd,force-compression=true`);
  const config = (await manifestOf(before)).config;
  const manifest = await manifestOf(folder);
  const [listed] = await entriesOf(folder);
  const mediaType = listed?.mediaType ?? '';
  const stale = await writeBlob(folder, config.mediaType, await readJson(before, config));
  const entry = await writeBlob(folder, mediaType, { ...manifest, config: stale });
  await editEntries(folder, ([old]) => [{ ...old, ...entry }]);
  return unused(await bench.build('main', { cacheFrom: [`type=local,src=${folder}`] }));
}

async function otherBranch(bench: Bench): Promise<Verdict> {
  const { cache } = await bench.first('main');
  return noticed(bench.whole('feature', `type=local,src=${cache}`, 'files'), 'not cached: ');
}

async function otherImage(bench: Bench): Promise<Verdict> {
  const [main, feature] = [await bench.first('main'), await bench.first('feature')];
  const build = main.builds.get(undefined);
  const other = feature.builds.get(undefined);
  if (build === undefined || other === undefined) throw new Error('there is no build of the last stage');
  const cached = { ...other, steps: other.steps.map((step) => ({ ...step, cached: true })) };
  const verdict = await judge(build, cached, 'files', bench.made);
  return noticed(Promise.resolve({ ...verdict, seconds: 0 }), 'is not like the first one');
}

/** Damages one layer at a time, and wants each of them noticed. */
async function damagedLayers(bench: Bench): Promise<Verdict> {
  const { cache } = await bench.first('main');
  const conversion = 'image-manifest=true,oci-mediatypes=true,compression=zstd,force-compression=true';
  const sound = await bench.copy([cache], conversion, 'sound');
  const { layers } = await manifestOf(sound);
  const verdicts: Verdict[] = [];
  for (const digest of new Set(layers.map(({ digest }) => digest))) {
    const folder = bench.path('damaged');
    await cp(sound, folder, { recursive: true });
    await damageBlob(folder, { digest });
    // BuildKit fails over it, or runs the step again; and it may say of such a step only that it began to unpack.
    const signs = [digest, 'not cached: ', 'is not like the first one'];
    const verdict = await noticed(bench.whole('main', `type=local,src=${folder}`), ...signs);
    // Or the next failure might come from this one.
    await bench.builder.renew();
    verdicts.push({ ...verdict, problems: verdict.problems.map((problem) => `${digest} damaged: ${problem}`) });
  }
  if (verdicts.length === 0) throw new Error('the cache has no layers');
  return { ...together(verdicts), note: `each of ${verdicts.length} layers noticed` };
}

async function manifestOf(folder: string): Promise<Manifest> {
  const [entry] = await entriesOf(folder);
  if (entry === undefined) throw new Error(`${folder} has no tag`);
  return readJson(folder, entry);
}

/** The contexts whose caches show what is lost of several ends; those of the others lose links that their builds do without. */
const LOSING: ReadonlySet<string> = new Set(['two-stages', 'platforms']);

/** Far more than it takes: of ten imports, two and more lose steps. */
const TRIES = 8;

/** What a cache with several ends loses on import, which the record on top of them prevents. */
function lostLinks(bench: Bench): Check[] {
  if (!LOSING.has(bench.context.name)) return [];
  const skipped = bench.builder.release < 25 ? 'no links are lost before BuildKit 0.25' : undefined;
  const merged: Check = {
    name: 'control: merged, without the record that joins the ends',
    skipped,
    async run() {
      const folder = bench.path('without-join');
      await cp(await new Merged(bench).plain(), folder, { recursive: true });
      await removeJoin(folder);
      return losing(bench, folder);
    },
  };
  const theirs: Check = {
    name: "control: BuildKit's own cache of two platforms",
    skipped,
    run: async () => losing(bench, (await bench.first('main')).exported, ['main']),
  };
  return bench.context.platforms === undefined ? [merged] : [merged, theirs];
}

/** Imports a cache until steps are lost. */
async function losing(bench: Bench, folder: string, branches = bench.context.branches): Promise<Verdict> {
  const verdicts: Verdict[] = [];
  for (let round = 0; round < TRIES; round++) {
    for (const branch of branches) {
      const { builds } = await bench.first(branch);
      const again = await bench.build(branch, { cacheFrom: [`type=local,src=${folder}`] });
      verdicts.push(await judge(builds.get(undefined) as Build, again, 'files', bench.made));
      const lost = verdicts.at(-1)?.problems.find((problem) => problem.startsWith('not cached: '));
      if (lost === undefined) continue;
      return { ...together(verdicts), problems: [], note: `lost in import ${verdicts.length}: ${lost}` };
    }
  }
  return { ...together(verdicts), problems: [`nothing was lost in ${verdicts.length} imports`] };
}
