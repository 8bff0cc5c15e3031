import type { Bench } from '../bench.js';
import type { Check, Group } from './group.js';

/**
 * The caches of all branches, merged by one copy, serve each of them. Steps that the branches have in common ran once for
 * each, and the merged cache has all their results.
 */
export const merging: Group = {
  name: 'merging',
  checks(bench) {
    const merged = new Merged(bench);
    return bench.context.branches.flatMap((branch): Check[] => [
      {
        name: `merged, ${branch}`,
        run: async () => bench.whole(branch, local(await merged.plain()), 'files', importsOfSeveralEnds(bench)),
      },
      {
        name: `merged and converted, ${branch}`,
        run: async () => bench.whole(branch, local(await merged.converted()), 'files'),
      },
    ]);
  },
};

/**
 * How often a cache with several ends is imported: what its importer loses since 0.25 depends on the order of a Go map,
 * which is another one each time.
 */
export function importsOfSeveralEnds({ builder }: Bench): number {
  return builder.release >= 25 ? 8 : 1;
}

/** The caches of all branches as one. Each copy is made once. */
export class Merged {
  private readonly bench: Bench;
  private made: Promise<string> | undefined;
  private madeZstd: Promise<string> | undefined;

  constructor(bench: Bench) {
    this.bench = bench;
  }

  /** @returns the folder */
  plain(): Promise<string> {
    return (this.made ??= this.merge(''));
  }

  converted(): Promise<string> {
    return (this.madeZstd ??= this.merge('compression=zstd,force-compression=true'));
  }

  private async merge(options: string): Promise<string> {
    const caches: string[] = [];
    for (const branch of this.bench.context.branches) caches.push((await this.bench.first(branch)).cache);
    return this.bench.copy(caches, options, 'merged');
  }
}

function local(folder: string): string {
  return `type=local,src=${folder}`;
}
