import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { Bench } from '../bench.js';
import { run } from '../run.js';
import type { Verdict } from '../verdict.js';
import type { Group } from './group.js';

/**
 * Two machines without a network between them. One builds and packs; the other, whose BuildKit and store are empty at
 * first, unpacks, and runs no step. Then a source changes.
 */
export const bundle: Group = {
  name: 'bundle',
  checks(bench) {
    const [here, there] = [bench.path('this-machine'), bench.path('other-machine')];
    return [
      { name: 'bundle in parts, unpacked into an empty store', run: () => carried(bench, here, there) },
      { name: 'bundle of a change, without what is there', run: () => carriedThin(bench, here, there) },
      { name: 'bundle of the same cache as zstd layers, which stay gzip', run: () => reused(bench) },
      { name: 'bundle unpacked by tar alone', run: () => untarred(bench) },
    ];
  },
};

/** The first journey. A change is built on the same machine right away, on what BuildKit knows there. */
async function carried(bench: Bench, here: string, there: string): Promise<Verdict> {
  await bench.build('main', { cacheTo: [`type=local,dest=${here},tag=main,mode=max`] });
  await bench.buildOn('feature', { cacheTo: [`type=local,dest=${here},tag=feature,mode=max`] });
  await bench.join(here);
  const bundle = await fileFor(bench);
  await bench.bkcache('pack', `type=local,src=${here},tag=main`, '--split', '20kB', '-o', bundle);
  await bench.bkcache('unpack', `${bundle}.sha256`, '--store', there);
  return bench.whole('main', `type=local,src=${there},tag=main`, 'files');
}

/** A later journey, of what the other machine does not have. */
async function carriedThin(bench: Bench, here: string, there: string): Promise<Verdict> {
  const required = await thin(bench, `type=local,src=${here},tag=feature`, there, 'feature');
  const problems = required > 0 ? [] : ['no layer stayed out of the bundle'];
  const verdict = await bench.whole('feature', `type=local,src=${there},tag=feature`, 'files');
  return { ...verdict, problems: [...verdict.problems, ...problems], note: `${required} layers stayed out` };
}

/** A receiver with the same layers in another compression. */
async function reused(bench: Bench): Promise<Verdict> {
  const { cache } = await bench.first('main');
  const store = await bench.copy([cache], 'tag=old,compression=gzip,compression-level=1,force-compression=true');
  const converted = await bench.copy([cache], 'compression=zstd,force-compression=true');
  await thin(bench, converted, store, 'new');
  return bench.whole('main', `type=local,src=${store},tag=new`);
}

/** @returns how many layers stayed out of the bundle */
async function thin(bench: Bench, cache: string, store: string, tag: string): Promise<number> {
  const [bundle, have] = [await fileFor(bench), await fileFor(bench)];
  await bench.bkcache('have', store, '-o', have);
  const packed = JSON.parse(await bench.bkcache('pack', cache, '--have', have, '-o', bundle, '--json')) as Packed;
  await bench.bkcache('unpack', bundle, '--store', store, '--into', tag);
  await bench.bkcache('verify', '--deep', store);
  return packed.required.length;
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
