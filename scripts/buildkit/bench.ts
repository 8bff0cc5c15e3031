import { join } from 'node:path';
import { bkcache } from './bkcache.js';
import { type Build, build, type BuildOptions, type Builds, prune } from './build.js';
import { type Branch, type Context, writeContext } from './contexts.js';
import type { Daemon } from './daemon.js';
import type { Likeness } from './image.js';
import { judge, together, type Verdict } from './verdict.js';

/** What BuildKit made of a branch without a cache. */
export interface First {
  readonly branch: Branch;
  /** The folder of the cache, exported with mode=max. */
  readonly cache: string;
  readonly builds: Builds;
}

/** What the checks of one build context work with. */
export class Bench {
  readonly context: Context;
  readonly daemon: Daemon;
  readonly signal: AbortSignal;
  private readonly root: string;
  private readonly folder: string;
  private readonly firsts = new Map<Branch, Promise<First>>();
  private readonly sources = new Map<Branch, Promise<string>>();
  private readonly ends: (() => Promise<void>)[] = [];
  private folders = 0;

  /**
   * @param root - the Debian root
   * @param folder - a folder for what the checks write
   */
  constructor(context: Context, daemon: Daemon, root: string, folder: string, signal: AbortSignal) {
    this.context = context;
    this.daemon = daemon;
    this.root = root;
    this.folder = folder;
    this.signal = signal;
  }

  /** A path for a new folder, which is not there yet. */
  path(name: string): string {
    this.folders += 1;
    return join(this.folder, `${this.folders}-${name}`);
  }

  /** Has something done once all checks of this context have run. */
  atEnd(end: () => Promise<void>): void {
    this.ends.push(end);
  }

  /** Ends what the checks have started. */
  async end(): Promise<void> {
    for (const end of this.ends) await end();
  }

  /** Runs bkcache. */
  bkcache(...args: string[]): Promise<string> {
    return bkcache(args, this.signal);
  }

  /** Copies caches with bkcache, into a new folder. */
  async copy(imports: readonly string[], options: string, name = 'copy'): Promise<string> {
    const folder = this.path(name);
    const exported = [`type=local,dest=${folder}`, options].filter((part) => part !== '').join(',');
    await this.bkcache('copy', ...imports.flatMap((text) => ['--import-cache', text]), '--export-cache', exported);
    return folder;
  }

  /** The build context as it is in a branch. */
  source(branch: Branch): Promise<string> {
    return memoized(this.sources, branch, async () => {
      const folder = this.path(branch);
      await writeContext(this.context, branch, this.root, folder);
      return folder;
    });
  }

  /** Builds a branch, after BuildKit has forgotten everything. */
  async build(branch: Branch, caches: Pick<BuildOptions, 'cacheFrom' | 'cacheTo'> = {}): Promise<Build> {
    await prune(this.daemon);
    const build = await this.buildOn(branch, caches);
    const known = build.steps.filter(({ cached }) => cached);
    if ((caches.cacheFrom ?? []).length === 0 && known.length > 0) {
      throw new Error(`BuildKit has not forgotten ${known.map(({ name }) => name).join(', ')}`);
    }
    return build;
  }

  /** Builds a branch on what BuildKit still knows. */
  private async buildOn(branch: Branch, options: Omit<BuildOptions, 'context'>): Promise<Build> {
    return build(this.daemon, { ...options, context: await this.source(branch) }, this.folder);
  }

  /** The build of a branch without a cache, and what came out of it. It is done once. */
  first(branch: Branch): Promise<First> {
    return memoized(this.firsts, branch, async () => {
      const cache = this.path(`${branch}-cache`);
      const builds = await this.buildAll(branch, [], [`type=local,dest=${cache},mode=max`]);
      return { branch, cache, builds };
    });
  }

  /**
   * Builds a branch and then each stage of it, after BuildKit has forgotten everything. Together they need every layer
   * that a cache with mode=max has.
   *
   * @param cacheTo - where the build of the last stage exports to
   */
  async buildAll(branch: Branch, cacheFrom: readonly string[], cacheTo: readonly string[] = []): Promise<Builds> {
    const builds = new Map<string | undefined, Build>();
    builds.set(undefined, await this.build(branch, { cacheFrom, cacheTo }));
    for (const target of this.context.stages) builds.set(target, await this.buildOn(branch, { target, cacheFrom }));
    return builds;
  }

  /** Judges a cache: a branch and all its stages, built from it alone, run nothing and come to the same images. */
  async whole(branch: Branch, cacheFrom: string, like: Likeness = 'diffIDs'): Promise<Verdict> {
    const { builds } = await this.first(branch);
    return this.wholeAs(builds, branch, cacheFrom, like);
  }

  /** The same, of a cache that comes from other builds without a cache than the first ones. */
  async wholeAs(builds: Builds, branch: Branch, cacheFrom: string, like: Likeness = 'diffIDs'): Promise<Verdict> {
    const again = await this.buildAll(branch, [cacheFrom]);
    const verdicts: Verdict[] = [];
    for (const [target, first] of builds) verdicts.push(await judge(first, again.get(target) as Build, like));
    return together(verdicts);
  }
}

async function memoized<K, V>(memory: Map<K, Promise<V>>, key: K, make: () => Promise<V>): Promise<V> {
  const known = memory.get(key);
  if (known !== undefined) return known;
  const made = make();
  memory.set(key, made);
  return made;
}
