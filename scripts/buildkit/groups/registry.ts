import type { Server } from '../../servers/process.js';
import { startRegistry } from '../../servers/registry.js';
import type { Bench } from '../bench.js';
import type { Group } from './group.js';

/** What BuildKit exports to a registry travels within it, to another one and to a folder and back, and imports whole. */
export const registry: Group = {
  name: 'registry',
  checks(bench) {
    let made: Promise<Registries> | undefined;
    const registries = () => (made ??= Registries.start(bench));
    /** A copy, and then builds from it alone. */
    const check = (name: string, copy: (all: Registries) => Promise<string>) => ({
      name: `registry, ${name}`,
      run: async () => bench.whole('main', await copy(await registries())),
    });
    const encoded = 'compression=zstd,force-compression=true';
    return [
      check('copied to another repository', (all) => all.copy(all.exported(), all.ref('copied'))),
      check('converted to zstd', (all) => all.copy(all.exported(), all.ref('zstd'), encoded)),
      check('converted to an image manifest', (all) =>
        all.copy(all.exported(), all.ref('shape'), 'image-manifest=true'),
      ),
      check('converted in its place', async (all) => {
        const ref = await all.copy(all.exported(), all.ref('in-place'));
        return all.copy(ref, ref, encoded);
      }),
      check('copied to another registry', (all) => all.copy(all.exported(), all.other('copied'))),
      check('to a folder', (all) => all.toFolder()),
      check('to a folder and back', async (all) => all.copy(await all.toFolder(), all.other('back'))),
      check('both branches as one', async (all) => {
        const feature = await all.copy(`type=local,src=${(await bench.first('feature')).cache}`, all.ref('feature'));
        return all.merge([all.exported(), feature], all.ref('merged'));
      }),
    ];
  },
};

/** Two registries, in one of which there is a cache that BuildKit exported. */
class Registries {
  private readonly bench: Bench;
  private readonly first: Server;
  private readonly second: Server;

  private constructor(bench: Bench, first: Server, second: Server) {
    this.bench = bench;
    this.first = first;
    this.second = second;
  }

  static async start(bench: Bench): Promise<Registries> {
    const start = async () => {
      const server = await startRegistry(bench.path('registry'));
      bench.atEnd(() => server.stop());
      return server;
    };
    const registries = new Registries(bench, await start(), await start());
    // On top of the first build's cache, so that the layers are those of the images that all is compared with.
    const { cache } = await bench.first('main');
    await bench.build('main', {
      cacheFrom: [`type=local,src=${cache}`],
      cacheTo: [`${registries.exported()},mode=max`],
    });
    return registries;
  }

  /** What BuildKit exported. */
  exported(): string {
    return this.ref('cache');
  }

  /** An option string for a repository of the first registry, which BuildKit takes as well as bkcache. */
  ref(name: string): string {
    return `type=registry,ref=${this.first.host}/${name}:main`;
  }

  other(name: string): string {
    return `type=registry,ref=${this.second.host}/${name}:main`;
  }

  async copy(from: string, to: string, options = ''): Promise<string> {
    return this.merge([from], to, options);
  }

  async merge(from: readonly string[], to: string, options = ''): Promise<string> {
    const exported = [to, options].filter((part) => part !== '').join(',');
    await this.bench.bkcache('copy', ...from.flatMap((text) => ['--import-cache', text]), '--export-cache', exported);
    return to;
  }

  async toFolder(): Promise<string> {
    const folder = await this.bench.copy([this.exported()], '', 'from-registry');
    return `type=local,src=${folder}`;
  }
}
