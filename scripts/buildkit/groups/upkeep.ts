import { cp } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Bench } from '../bench.js';
import { damageBlob, entriesOf, readJson, tagsOf } from '../layout.js';
import { CommandError } from '../run.js';
import { count, type Verdict } from '../verdict.js';
import type { Group } from './group.js';

const EXPORTS = 4;

/** What verify calls sound imports, what prune and repair leave imports, and gc loses nothing of an export beside it. */
export const upkeep: Group = {
  name: 'upkeep',
  checks: (bench) => [
    { name: 'pruned by size', run: () => pruned(bench) },
    { name: 'repaired without a source', run: () => repaired(bench) },
    { name: 'repaired, and exported to again', run: () => healed(bench) },
    { name: 'exports while gc and prune run', run: () => beside(bench) },
  ],
};

async function pruned(bench: Bench): Promise<Verdict> {
  const folder = await copyOfFirst(bench);
  const { sizeBefore } = JSON.parse(await bench.bkcache('prune', '--json', '--untag', 'none', folder)) as Sizes;
  await bench.bkcache('prune', '--max-size', `${Math.floor(sizeBefore / 2)}B`, '--grace', '0', folder);
  return used(bench, folder);
}

interface Sizes {
  readonly sizeBefore: number;
}

async function repaired(bench: Bench): Promise<Verdict> {
  const folder = await copyOfFirst(bench);
  await damageOne(folder);
  await bench.bkcache('repair', folder);
  return used(bench, folder);
}

/** BuildKit writes anew what repair has moved out of its way. */
async function healed(bench: Bench): Promise<Verdict> {
  const folder = await copyOfFirst(bench);
  await damageOne(folder);
  await bench.bkcache('repair', folder);
  await bench.build('main', { cacheTo: [`type=local,dest=${folder},mode=max`] });
  await bench.join(folder);
  await bench.bkcache('verify', '--deep', folder);
  return bench.whole('main', `type=local,src=${folder}`, 'files');
}

/** A build that takes what there is, and does not fail. */
async function used(bench: Bench, folder: string): Promise<Verdict> {
  await bench.bkcache('verify', '--deep', folder);
  const build = await bench.build('main', { cacheFrom: [`type=local,src=${folder}`] });
  return { ...count(build), problems: [] };
}

async function beside(bench: Bench): Promise<Verdict> {
  const folder = await copyOfFirst(bench);
  const done = new AbortController();
  const cleaning = clean(bench, folder, done.signal);
  let busy = 0;
  for (let round = 0; round < EXPORTS; round++) {
    for (const branch of ['main', 'feature'] as const) {
      // BuildKit does not wait for a lock, and fails.
      while (!(await exported(bench, branch, `type=local,dest=${folder},tag=${branch}-${round},mode=max`))) busy++;
    }
  }
  done.abort();
  const rounds = await cleaning;
  await bench.join(folder);
  await bench.bkcache('verify', '--deep', folder);
  const tags = await tagsOf(folder);
  const problems = Array.from({ length: EXPORTS }, (_, round) => [`main-${round}`, `feature-${round}`])
    .flat()
    .filter((tag) => !tags.includes(tag))
    .map((tag) => `the tag ${tag} is gone`);
  const last = await bench.whole('main', `type=local,src=${folder},tag=main-${EXPORTS - 1}`, 'files');
  const note = `${EXPORTS * 2} exports, ${busy} of them twice since the lock was taken; ${rounds} rounds of gc and prune`;
  return { ...last, problems: [...problems, ...last.problems], note };
}

async function exported(bench: Bench, branch: 'main' | 'feature', cacheTo: string): Promise<boolean> {
  try {
    await bench.build(branch, { cacheTo: [cacheTo] });
    return true;
  } catch (error) {
    if (error instanceof CommandError && error.message.includes('could not lock')) return false;
    throw error;
  }
}

async function clean(bench: Bench, folder: string, signal: AbortSignal): Promise<number> {
  let rounds = 0;
  for (; !signal.aborted; rounds++) {
    await bench.bkcache('gc', folder);
    await bench.bkcache('prune', '--untag', 'latest', folder);
    await sleep(100);
  }
  return rounds;
}

async function copyOfFirst(bench: Bench): Promise<string> {
  const { cache } = await bench.first('main');
  const folder = bench.path('upkeep');
  await cp(cache, folder, { recursive: true });
  return folder;
}

/** Damages the last layer of the only tag. */
async function damageOne(folder: string): Promise<void> {
  const [entry] = await entriesOf(folder);
  if (entry === undefined) throw new Error(`${folder} has no tag`);
  const { layers, manifests = [] } = await readJson<Manifest>(folder, entry);
  const listed =
    layers ?? manifests.filter(({ mediaType }) => mediaType.includes('layer') || mediaType.includes('diff'));
  const last = listed.at(-1);
  if (last === undefined) throw new Error('the cache has no layers');
  await damageBlob(folder, last);
}

interface Listed {
  readonly mediaType: string;
  readonly digest: string;
}

interface Manifest {
  readonly layers?: readonly Listed[];
  readonly manifests?: readonly Listed[];
}
