import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { Bench } from '../bench.js';
import type { Branch } from '../contexts.js';
import { run } from '../run.js';
import type { Verdict } from '../verdict.js';
import type { Group } from './group.js';

/**
 * Two machines without a network between them. One builds and packs; the other, whose BuildKit and store are empty at
 * first, unpacks, and runs no step.
 */
export const bundle: Group = {
  name: 'bundle',
  checks(bench) {
    const there = bench.path('other-machine');
    return [
      { name: 'bundle in parts, unpacked into an empty store', run: () => carried(bench, there, 'main') },
      { name: 'bundle of a change, without what is there', run: () => carriedThin(bench, there, 'feature') },
      { name: 'bundle of the same cache as zstd layers, which stay gzip', run: () => reused(bench) },
      { name: 'bundle unpacked by tar alone', run: () => untarred(bench) },
    ];
  },
};

/** The first journey. */
async function carried(bench: Bench, store: string, branch: Branch): Promise<Verdict> {
  const { cache } = await bench.first(branch);
  const bundle = await fileFor(bench);
  await bench.bkcache('pack', cache, '--split', '20kB', '-o', bundle);
  await bench.bkcache('unpack', `${bundle}.sha256`, '--store', store, '--into', branch);
  return bench.whole(branch, `type=local,src=${store},tag=${branch}`);
}

/** A later journey, of what the store does not have. */
async function carriedThin(bench: Bench, store: string, branch: Branch): Promise<Verdict> {
  const { cache } = await bench.first(branch);
  const { required, verdict } = await thin(bench, cache, store, branch);
  const problems = required > 0 ? [] : ['no layer stayed out of the bundle'];
  return { ...verdict, problems: [...verdict.problems, ...problems], note: `${required} layers stayed out` };
}

/** A receiver with the same layers in another compression. */
async function reused(bench: Bench): Promise<Verdict> {
  const { cache } = await bench.first('main');
  const store = await bench.copy([cache], 'tag=old,compression=gzip,compression-level=1,force-compression=true');
  const converted = await bench.copy([cache], 'compression=zstd,force-compression=true');
  const { verdict } = await thin(bench, converted, store, 'main');
  return verdict;
}

async function thin(bench: Bench, cache: string, store: string, branch: Branch) {
  const [bundle, have] = [await fileFor(bench), await fileFor(bench)];
  await bench.bkcache('have', store, '-o', have);
  const packed = JSON.parse(await bench.bkcache('pack', cache, '--have', have, '-o', bundle, '--json')) as Packed;
  await bench.bkcache('unpack', bundle, '--store', store, '--into', branch);
  await bench.bkcache('verify', '--deep', store);
  const verdict = await bench.whole(branch, `type=local,src=${store},tag=${branch}`);
  return { required: packed.required.length, verdict };
}

interface Packed {
  readonly required: readonly unknown[];
}

async function untarred(bench: Bench): Promise<Verdict> {
  const { cache } = await bench.first('main');
  const bundle = await fileFor(bench);
  await bench.bkcache('copy', '--import-cache', cache, '--export-cache', `type=bundle,dest=${bundle}`);
  const folder = bench.path('untarred');
  await mkdir(folder);
  await run('tar', ['xf', bundle, '-C', folder], { signal: bench.signal });
  return bench.whole('main', `type=local,src=${folder}`);
}

/** A path for a file, in a folder of its own. */
async function fileFor(bench: Bench): Promise<string> {
  const folder = bench.path('bundle');
  await mkdir(folder);
  return join(folder, 'file');
}
