import { cp } from 'node:fs/promises';
import { join } from 'node:path';
import { startRegistry } from '../../test/support/docker-registry.js';
import { bkcache } from './bkcache.js';
import { type Build, build, type Builds } from './build.js';
import type { Builder, BuildRequest } from './builder.js';
import { type BaseImage, type Branch, type Context, contextNamed, writeContext } from './contexts.js';
import type { Likeness } from './image.js';
import { diffIDsIn } from './layout.js';
import { knownSteps, type Step } from './progress.js';
import { judge, together, type Verdict } from './verdict.js';

/** What BuildKit made of a branch without a cache. */
export interface First {
  readonly branch: Branch;
  /** The folder of the cache, exported with mode=max. BuildKit's own caches of several platforms have been repaired. */
  readonly cache: string;
  /** The same, as BuildKit wrote it. */
  readonly exported: string;
  readonly builds: Builds;
}

/** What a build can have beside what all builds of its context have. */
export type Options = Pick<BuildRequest, 'target' | 'platforms' | 'cacheFrom' | 'cacheTo' | 'provenance'>;

/** What the checks of one build context work with. */
export class Bench {
  readonly context: Context;
  readonly builder: Builder;
  readonly signal: AbortSignal;
  private readonly busybox: string;
  private readonly folder: string;
  private readonly firsts = new Map<Branch, Promise<First>>();
  private readonly sources = new Map<Branch, Promise<string>>();
  private readonly ends: (() => Promise<void>)[] = [];
  private readonly madeLayers = new Set<string>();
  private baseImage: Promise<string> | undefined;
  private importing = 0;
  private folders = 0;

  /**
   * @param busybox - a static one
   * @param folder - a folder for what the checks write
   */
  constructor(context: Context, builder: Builder, busybox: string, folder: string, signal: AbortSignal) {
    this.context = context;
    this.builder = builder;
    this.busybox = busybox;
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
      await writeContext(this.context, branch, this.busybox, folder);
      return folder;
    });
  }

  /** Builds a branch, after BuildKit has forgotten everything. */
  async build(branch: Branch, options: Options = {}): Promise<Build> {
    await this.builder.forget();
    const build = await this.buildOn(branch, options);
    const known = knownSteps(build.steps);
    if ((options.cacheFrom ?? []).length === 0 && known.length > 0) {
      throw new Error(`BuildKit has not forgotten ${known.map(({ name }) => name).join(', ')}`);
    }
    return build;
  }

  /** Builds a branch on what BuildKit still knows. */
  async buildOn(branch: Branch, options: Options): Promise<Build> {
    const made = await build(this.builder, { ...(await this.request(branch)), ...options }, this.folder);
    const { cacheFrom = [], cacheTo = [] } = options;
    if (cacheFrom.length > 0) {
      this.importing += 1;
      return made;
    }
    for (const { diffID } of made.image) this.madeLayers.add(diffID);
    // A cache has layers of all stages, and the image only those of the last.
    for (const exported of cacheTo) {
      const [, folder] = /\bdest=([^,]+)/.exec(exported) ?? [];
      const [, tag = 'latest'] = /\btag=([^,]+)/.exec(exported) ?? [];
      if (folder !== undefined) for (const diffID of await diffIDsIn(folder, tag)) this.madeLayers.add(diffID);
    }
    return made;
  }

  /** Builds a branch on what BuildKit still knows, for an image that goes elsewhere. */
  async send(branch: Branch, output: string, options: Options = {}): Promise<void> {
    await this.builder.build({ ...(await this.request(branch)), ...options, output });
  }

  /** What all builds of a branch have in common. */
  private async request(branch: Branch): Promise<Omit<BuildRequest, 'output'>> {
    const { platforms } = this.context;
    return { context: await this.source(branch), platforms, args: await this.args() };
  }

  /** The Dockerfile gets its base image as an argument: the registry's port is another one each time. */
  private async args(): Promise<Record<string, string>> {
    const { base } = this.context;
    return base === undefined ? {} : { BASE: await (this.baseImage ??= this.pushBase(base)) };
  }

  private async pushBase({ context: name, target }: BaseImage): Promise<string> {
    const registry = await startRegistry(this.path('base-registry'));
    this.atEnd(() => registry.stop());
    const context = this.path('base-image');
    await writeContext(contextNamed(name), 'main', this.busybox, context);
    const image = `${registry.host}/base:1`;
    await this.builder.build({ context, target, output: `type=image,push=true,name=${image}` });
    return image;
  }

  /** How many builds imported a cache so far. */
  get imports(): number {
    return this.importing;
  }

  /** The diffIDs that builds without a cache have come to. */
  get made(): ReadonlySet<string> {
    return this.madeLayers;
  }

  /** The build of a branch without a cache, and what came out of it. It is done once. */
  first(branch: Branch): Promise<First> {
    return memoized(this.firsts, branch, async () => {
      const exported = this.path(`${branch}-cache`);
      const builds = await this.buildAll(branch, [], [`type=local,dest=${exported},mode=max`]);
      // Otherwise a RUN could run again unnoticed.
      const steps = [...builds.values()].flatMap((build) => build.steps);
      const silent = steps.find((step) => isRun(step) && !step.cached && !step.printed);
      if (silent !== undefined) throw new Error(`${silent.name} prints nothing`);
      return { branch, cache: await this.joined(exported), exported, builds };
    });
  }

  /**
   * A cache that BuildKit exported, in a state in which BuildKit imports it whole: for several platforms it has several ends,
   * of which BuildKit loses links since 0.25, and a copy of bkcache that changes nothing keeps its bytes.
   */
  private async joined(exported: string): Promise<string> {
    if (this.context.platforms === undefined) return exported;
    const folder = this.path('joined');
    await cp(exported, folder, { recursive: true });
    await this.join(folder);
    return folder;
  }

  /** Has bkcache join the ends of what BuildKit has written into a folder, if there are several. */
  async join(folder: string): Promise<void> {
    if (this.context.platforms !== undefined) await this.bkcache('repair', folder);
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

  /**
   * Judges a cache: a branch and all its stages, built from it alone, run nothing and come to the same images.
   *
   * @param imports - how often the last stage is built from it, each time after BuildKit has forgotten everything
   */
  async whole(branch: Branch, cacheFrom: string, like: Likeness = 'diffIDs', imports = 1): Promise<Verdict> {
    const { builds } = await this.first(branch);
    return this.wholeAs(builds, branch, cacheFrom, like, imports);
  }

  /** The same, of a cache that comes from other builds without a cache than the first ones. */
  async wholeAs(
    builds: Builds,
    branch: Branch,
    cacheFrom: string,
    like: Likeness = 'diffIDs',
    imports = 1,
  ): Promise<Verdict> {
    const again = await this.buildAll(branch, [cacheFrom]);
    const verdicts: Verdict[] = [];
    for (const [target, first] of builds) verdicts.push(await this.judge(first, again.get(target), like));
    for (let count = 1; count < imports; count++) {
      verdicts.push(
        await this.judge(builds.get(undefined), await this.build(branch, { cacheFrom: [cacheFrom] }), like),
      );
    }
    return together(verdicts);
  }

  private async judge(first: Build | undefined, again: Build | undefined, like: Likeness): Promise<Verdict> {
    if (first === undefined || again === undefined) throw new Error('there is no such build to compare with');
    return judge(first, again, like, this.madeLayers);
  }
}

function isRun({ name }: Step): boolean {
  return name.includes('] RUN ');
}

async function memoized<K, V>(memory: Map<K, Promise<V>>, key: K, make: () => Promise<V>): Promise<V> {
  const known = memory.get(key);
  if (known !== undefined) return known;
  const made = make();
  memory.set(key, made);
  return made;
}
