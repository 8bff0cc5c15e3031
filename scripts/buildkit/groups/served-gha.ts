import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { startServe } from '../../../test/support/bkcache-serve.js';
import { tokensIn } from '../../../src/serve/key-file.js';
import { storeName } from '../../../src/serve/gha/keys.js';
import type { Bench } from '../bench.js';
import type { Builds } from '../build.js';
import type { Verdict } from '../verdict.js';
import type { Check, Group } from './group.js';

const REF = 'refs/heads/main';
const HOUR = 3_600_000;

/** BuildKit exports to the cache service that `bkcache serve --gha` is, and imports from it. */
export const servedGha: Group = {
  name: 'served-gha',
  checks(bench) {
    let made: Promise<Service> | undefined;
    const service = () => (made ??= Service.start(bench));
    const check = (name: string, run: (service: Service) => Promise<Verdict>): Check => ({
      name: `served gha, ${name}`,
      run: async () => run(await service()),
    });
    const { hasGha, release } = bench.builder;
    const lacks = hasGha ? undefined : 'this BuildKit was built without type=gha';
    const losing = bench.context.platforms !== undefined && release >= 25;
    const skipped = lacks ?? (losing ? 'BuildKit loses links of its own cache' : undefined);
    return [
      { ...check('exported and imported, version 1', (all) => all.exported('version=1')), skipped },
      {
        ...check('exported and imported, version 2', (all) => all.exported('version=2')),
        skipped: release < 20 ? 'this BuildKit speaks version 1' : skipped,
      },
      { ...check('from the folder of the server', (all) => all.fromStore()), skipped },
      { ...check('what bkcache wrote', (all) => all.written()), skipped: lacks },
    ];
  },
};

/** A server, and what the builds came to that export to it. */
class Service {
  private readonly bench: Bench;
  private readonly host: string;
  private readonly store: string;
  private readonly token: string;
  private readonly builds = new Map<string, Promise<Builds>>();

  private constructor(bench: Bench, { host, store, token }: { host: string; store: string; token: string }) {
    this.bench = bench;
    this.host = host;
    this.store = store;
    this.token = token;
  }

  static async start(bench: Bench): Promise<Service> {
    const folder = bench.path('gha');
    const [store, key] = [join(folder, 'store'), join(folder, 'key')];
    await mkdir(folder, { recursive: true });
    const token = (await tokensIn(key)).sign([], HOUR, { scopes: [{ ref: REF, mayWrite: true }] });
    const server = await startServe(store, ['--gha', '--token-file', key]);
    bench.atEnd(() => server.stop());
    return new Service(bench, { host: server.host, store, token });
  }

  /** Builds that export, and then builds from that alone. */
  async exported(version: string): Promise<Verdict> {
    return this.bench.wholeAs(await this.export(version), 'main', this.at(version, version));
  }

  /** What BuildKit exported is a cache of the store. */
  async fromStore(): Promise<Verdict> {
    const builds = await this.export('version=1');
    return this.bench.wholeAs(builds, 'main', `type=local,src=${this.store},tag=${storeName('version=1', REF)}`);
  }

  async written(): Promise<Verdict> {
    const { builds, cache } = await this.bench.first('main');
    const to = this.at('written', 'version=1');
    await this.bench.bkcache('copy', '--import-cache', `type=local,src=${cache}`, '--export-cache', to);
    return this.bench.wholeAs(builds, 'main', to);
  }

  private export(version: string): Promise<Builds> {
    const known =
      this.builds.get(version) ?? this.bench.buildAll('main', [], [`${this.at(version, version)},mode=max`]);
    this.builds.set(version, known);
    return known;
  }

  private at(name: string, version: string): string {
    const url = `http://${this.host}/`;
    return `type=gha,scope=${name},url=${url},url_v2=${url},${version},token=${this.token}`;
  }
}
