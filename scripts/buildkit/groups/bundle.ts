import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { Bench } from '../bench.js';
import type { Build } from '../build.js';
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
    const journey: Journey = {
      bench,
      here: bench.path('this-machine'),
      there: bench.path('other-machine'),
      change: undefined,
    };
    return [
      { name: 'bundle in parts, unpacked into an empty store', run: () => carried(journey) },
      { name: 'bundle of a change, without what is there', run: () => carriedThin(journey) },
      { name: 'bundle of the same cache as zstd layers, which stay gzip', run: () => reused(bench) },
      { name: 'bundle unpacked by tar alone', run: () => untarred(bench) },
    ];
  },
};

/** What goes from one machine to the other. */
interface Journey {
  readonly bench: Bench;
  readonly here: string;
  readonly there: string;
  /** The build of a change, on what BuildKit knew then: its folders have other times than those of the first build. */
  change: Build | undefined;
}

/** The first journey. A change is built on the same machine right away, on what BuildKit knows there. */
async function carried(journey: Journey): Promise<Verdict> {
  const { bench, here, there } = journey;
  await bench.build('main', { cacheTo: [`type=local,dest=${here},tag=main,mode=max`] });
  journey.change = await bench.buildOn('feature', { cacheTo: [`type=local,dest=${here},tag=feature,mode=max`] });
  await bench.join(here);
  const bundle = await fileFor(bench);
  await bench.bkcache('pack', `type=local,src=${here},tag=main`, '--split', '20kB', '-o', bundle);
  await bench.bkcache('unpack', `${bundle}.sha256`, '--store', there);
  return bench.whole('main', `type=local,src=${there},tag=main`, 'files');
}

/** A later journey, of what the other machine does not have. */
async function carriedThin({ bench, here, there, change }: Journey): Promise<Verdict> {
  if (change === undefined) throw new Error('nothing was built that could be carried');
  const required = await thin(bench, `type=local,src=${here},tag=feature`, there, 'feature');
  const problems = required > 0 ? [] : ['no layer stayed out of the bundle'];
  const verdict = await bench.wholeAs(new Map([[undefined, change]]), 'feature', `type=local,src=${there},tag=feature`);
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
