import type { Server } from '../../../test/support/process.js';
import { startServe } from '../../../test/support/bkcache-serve.js';
import { startRegistry } from '../../../test/support/docker-registry.js';
import type { Bench } from '../bench.js';
import type { Builds } from '../build.js';
import type { Likeness } from '../image.js';
import type { Check, Group } from './group.js';

type Start = (folder: string) => Promise<Server>;

/** What BuildKit exports to a registry travels within it, to another one and to a folder and back, and imports whole. */
export const registry = groupFor('registry', startRegistry);

/** The same for folders that `bkcache serve` serves. */
export const served = groupFor('served', startServe);

function groupFor(name: string, start: Start): Group {
  return { name, checks: (bench) => checksFor(name, start, bench) };
}

function checksFor(group: string, start: Start, bench: Bench): readonly Check[] {
  let made: Promise<Registries> | undefined;
  const registries = () => (made ??= Registries.start(bench, start));
  /** A copy, and then builds from it alone. */
  const check = (name: string, copy: (all: Registries) => Promise<string>, like?: Likeness): Check => ({
    name: `${group}, ${name}`,
    run: async () => {
      const all = await registries();
      return bench.wholeAs(all.builds, 'main', await copy(all), like);
    },
  });
  const losing = bench.context.platforms !== undefined && bench.builder.release >= 25;
  /** A copy that keeps the bytes of BuildKit's own cache, and so its ends. */
  const unchanged = (name: string, copy: (all: Registries) => Promise<string>): Check => ({
    ...check(name, copy),
    skipped: losing ? 'BuildKit loses links of its own cache, of which this is a copy' : undefined,
  });
  const encoded = 'compression=zstd,force-compression=true';
  return [
    unchanged('copied to another repository', (all) => all.copy(all.exported(), all.ref('copied'))),
    check('converted to zstd', (all) => all.copy(all.exported(), all.ref('zstd'), encoded)),
    unchanged('converted to an image manifest', (all) =>
      all.copy(all.exported(), all.ref('shape'), 'image-manifest=true'),
    ),
    check('converted in its place', async (all) => {
      const ref = await all.copy(all.exported(), all.ref('in-place'));
      return all.copy(ref, ref, encoded);
    }),
    unchanged('copied to another registry', (all) => all.copy(all.exported(), all.other('copied'))),
    unchanged('to a folder', (all) => all.toFolder()),
    unchanged('to a folder and back', async (all) => all.copy(await all.toFolder(), all.other('back'))),
    check('both branches as one', (all) => all.branchesAsOne(), 'files'),
  ];
}

/** Two registries, in one of which there is a cache that BuildKit exported. */
class Registries {
  private readonly bench: Bench;
  private readonly first: Server;
  private readonly second: Server;

  /** What the builds came to from which BuildKit exported. */
  readonly builds: Builds;

  private constructor(bench: Bench, first: Server, second: Server, builds: Builds) {
    this.bench = bench;
    this.first = first;
    this.second = second;
    this.builds = builds;
  }

  static async start(bench: Bench, startOne: Start): Promise<Registries> {
    const start = async () => {
      const server = await startOne(bench.path('registry'));
      bench.atEnd(() => server.stop());
      return server;
    };
    const [first, second] = [await start(), await start()];
    // Without a cache: of what it has itself imported, BuildKit 0.13 exports now all layers and now only some.
    const builds = await bench.buildAll('main', [], [`${refIn(first, 'cache')},mode=max`]);
    return new Registries(bench, first, second, builds);
  }

  /** What BuildKit exported. */
  exported(): string {
    return this.ref('cache');
  }

  ref(name: string): string {
    return refIn(this.first, name);
  }

  other(name: string): string {
    return refIn(this.second, name);
  }

  async copy(from: string, to: string, options = ''): Promise<string> {
    return this.merge([from], to, options);
  }

  async merge(from: readonly string[], to: string, options = ''): Promise<string> {
    const exported = [to, options].filter((part) => part !== '').join(',');
    await this.bench.bkcache('copy', ...from.flatMap((text) => ['--import-cache', text]), '--export-cache', exported);
    return to;
  }

  async branchesAsOne(): Promise<string> {
    const { cache } = await this.bench.first('feature');
    const feature = await this.copy(`type=local,src=${cache}`, this.ref('feature'));
    return this.merge([this.exported(), feature], this.ref('merged'));
  }

  async toFolder(): Promise<string> {
    const folder = await this.bench.copy([this.exported()], '', 'from-registry');
    return `type=local,src=${folder}`;
  }
}

/** An option string for a repository, which BuildKit takes as well as bkcache. */
function refIn({ host }: Server, name: string): string {
  return `type=registry,ref=${host}/${name}:main`;
}
