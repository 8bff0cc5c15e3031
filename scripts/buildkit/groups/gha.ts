import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { isDeepStrictEqual } from 'node:util';
import { FakeGha, PULL, tokenOf } from '../../../test/support/fake-gha.js';
import type { Bench } from '../bench.js';
import type { Builds } from '../build.js';
import type { Likeness } from '../image.js';
import type { Verdict } from '../verdict.js';
import type { Check, Group } from './group.js';

/** Other contexts come to the same layers and records here. */
const CONTEXTS: ReadonlySet<string> = new Set(['demo', 'two-stages']);
/** The first release that speaks version 2. */
const VERSION_2 = 20;

/** BuildKit and bkcache read each other's caches in the cache service of GitHub Actions. */
export const gha: Group = {
  name: 'gha',
  checks: (bench) => (CONTEXTS.has(bench.context.name) ? [1, 2].flatMap((version) => checksOf(bench, version)) : []),
};

function checksOf(bench: Bench, version: number): Check[] {
  let made: Promise<Service> | undefined;
  const { hasGha, release } = bench.builder;
  const lacks = hasGha ? 'this BuildKit speaks version 1 alone' : 'this BuildKit was built without type=gha';
  const check = (name: string, run: (service: Service) => Promise<Verdict>): Check => ({
    name: `gha, version ${version}, ${name}`,
    run: async () => run(await (made ??= Service.make(bench, version))),
    skipped: hasGha && (version === 1 || release >= VERSION_2) ? undefined : lacks,
  });
  /** A copy by bkcache, from which alone BuildKit builds. */
  const copied = (name: string, copy: (service: Service) => Promise<string>, like?: Likeness) =>
    check(name, async (all) => all.whole(await copy(all), like));
  const encoded = 'compression=zstd,force-compression=true';
  return [
    check('exported, to a folder', (all) => all.toFolder()),
    copied('exported, under another name', (all) => all.copy([all.exported], all.at('copied'))),
    copied('from a folder, on a new service', async (all) => (await all.other()).written(all.folder)),
    copied('zstd', async (all) => all.copy([await bench.copy([all.exported], encoded)], all.at('zstd'))),
    check('two branches as one', (all) => all.merged()),
    check('a pull request reads the cache of main', (all) => all.pull()),
    check('exported over what bkcache wrote', (all) => all.exportedOver()),
    copied('a layer under a longer key', (all) => all.underLongerKeys()),
  ];
}

/** A service into which BuildKit exported, and a folder with the same cache. */
class Service {
  /** The folder into which BuildKit exported the same. */
  readonly folder: string;
  private readonly bench: Bench;
  private readonly version: number;
  private readonly fake: FakeGha;
  private readonly builds: Builds;

  private constructor(bench: Bench, version: number, fake: FakeGha, builds: Builds, folder: string) {
    this.bench = bench;
    this.version = version;
    this.fake = fake;
    this.builds = builds;
    this.folder = folder;
  }

  static async make(bench: Bench, version: number): Promise<Service> {
    const [fake, folder] = [await startService(bench), bench.path('beside')];
    const cacheTo = [`${fake.at('exported', { version })},mode=max`, `type=local,dest=${folder},mode=max`];
    return new Service(bench, version, fake, await bench.buildAll('main', [], cacheTo), folder);
  }

  get exported(): string {
    return this.at('exported');
  }

  at(scope: string): string {
    return this.fake.at(scope, { version: this.version });
  }

  async other(): Promise<Service> {
    return new Service(this.bench, this.version, await startService(this.bench), this.builds, this.folder);
  }

  async written(folder: string): Promise<string> {
    return this.copy([`type=local,src=${folder}`], this.at('written'));
  }

  async copy(from: readonly string[], to: string): Promise<string> {
    const imports = from.flatMap((text) => [
      '--import-cache',
      text.startsWith('type=') ? text : `type=local,src=${text}`,
    ]);
    await this.bench.bkcache('copy', ...imports, '--export-cache', to);
    return to;
  }

  whole(cacheFrom: string, like?: Likeness): Promise<Verdict> {
    return this.bench.wholeAs(this.builds, 'main', cacheFrom, like);
  }

  /** The graph of the service is that of the folder that BuildKit wrote in the same build. */
  async toFolder(): Promise<Verdict> {
    const folder = await this.bench.copy([this.exported], '', 'from-gha');
    const same = isDeepStrictEqual(await this.graph(this.folder), await this.graph(folder));
    const verdict = await this.whole(`type=local,src=${folder}`);
    return {
      ...verdict,
      problems: [...(same ? [] : ["it has another graph than BuildKit's folder"]), ...verdict.problems],
    };
  }

  private async graph(from: string): Promise<unknown> {
    const { layers, records } = JSON.parse(await this.bench.bkcache('inspect', '--json', from)) as Inspected;
    return {
      layers: layers.map(({ digest, size, diffID, createdAt }) => ({ digest, size, diffID, createdAt })),
      records,
    };
  }

  async merged(): Promise<Verdict> {
    const { cache } = await this.bench.first('feature');
    const both = await this.copy([this.exported, cache], this.at('merged'));
    const main = await this.whole(both, 'files');
    const feature = await this.bench.whole('feature', both, 'files');
    return { ...feature, problems: [...main.problems, ...feature.problems] };
  }

  /** What bkcache writes with the token of a pull request is read with main's layers by BuildKit. */
  async pull(): Promise<Verdict> {
    const pull = (scope: string) => this.fake.at(scope, { version: this.version, token: tokenOf(PULL) });
    const fromMain = await this.whole(pull('exported'));
    const { cache } = await this.bench.first('feature');
    await this.copy([cache], pull('exported'));
    const feature = await this.bench.whole('feature', pull('exported'), 'files');
    return { ...feature, problems: [...fromMain.problems, ...feature.problems] };
  }

  /** What BuildKit exports where bkcache has written before is the newest index for both. */
  async exportedOver(): Promise<Verdict> {
    const at = await this.copy([await this.bench.copy([this.folder], 'mode=min')], this.at('over'));
    const beside = this.bench.path('beside-second');
    await this.bench.build('main', { cacheTo: [`${at},mode=max`, `type=local,dest=${beside},mode=max`] });
    const same = isDeepStrictEqual(await this.graph(at), await this.graph(beside));
    const numbers = this.fake.keys('index-over-').map((key) => key.split('#')[1]);
    const problems = [
      ...(same ? [] : ['BuildKit and bkcache do not find the same index']),
      ...(isDeepStrictEqual(numbers, ['1', '2']) ? [] : [`the numbers are ${numbers.join(', ')}`]),
    ];
    return { steps: 0, cached: 0, seconds: 0, problems };
  }

  /** BuildKit finds layers by the beginning of their keys. */
  async underLongerKeys(): Promise<string> {
    const other = await this.other();
    const at = await other.written(this.folder);
    other.fake.entries = other.fake.entries.map((entry) =>
      entry.key.startsWith('buildkit-blob') ? { ...entry, key: `${entry.key}-again1` } : entry,
    );
    await this.bench.bkcache('inspect', at);
    return at;
  }
}

async function startService(bench: Bench): Promise<FakeGha> {
  const fake = new FakeGha();
  const server = fake.server();
  await once(server.listen(0, '127.0.0.1'), 'listening');
  fake.host = `127.0.0.1:${(server.address() as AddressInfo).port}`;
  bench.atEnd(async () => {
    server.close();
    server.closeAllConnections();
    await Promise.resolve();
  });
  return fake;
}

interface Inspected {
  readonly layers: readonly Record<'digest' | 'size' | 'diffID' | 'createdAt', unknown>[];
  readonly records: unknown;
}
