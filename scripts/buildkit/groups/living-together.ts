import type { Bench } from '../bench.js';
import { PAIR, type Branch } from '../contexts.js';
import { tagsOf } from '../layout.js';
import { together, type Verdict } from '../verdict.js';
import type { Group } from './group.js';

/** BuildKit and bkcache write into one folder by turns, and each reads what the other has left. */
export const livingTogether: Group = {
  name: 'living-together',
  checks(bench) {
    let shared: Promise<Shared> | undefined;
    const folder = () => (shared ??= Shared.create(bench));
    return [
      {
        name: 'BuildKit exports a new tag',
        run: async () => (await folder()).buildKitWrites('feature', 'theirs'),
      },
      {
        name: 'BuildKit exports the same tag again',
        run: async () => (await folder()).buildKitWrites('main', 'theirs'),
      },
      {
        name: 'BuildKit exports a tag that bkcache wrote',
        run: async () => (await folder()).buildKitWrites('feature', 'ours'),
      },
      {
        name: 'bkcache writes a new tag beside them',
        run: async () => (await folder()).bkcacheWrites('main', 'later'),
      },
      {
        name: 'bkcache writes a tag that BuildKit wrote',
        run: async () => (await folder()).bkcacheWrites('feature', 'theirs'),
      },
      {
        name: 'BuildKit imports every tag of theirs and ours',
        run: async () => (await folder()).importAll(),
      },
    ];
  },
};

/** The folder, and what each of its tags has to be good for. */
class Shared {
  private readonly bench: Bench;
  private readonly folder: string;
  private readonly branchOf = new Map<string, Branch>();

  private constructor(bench: Bench) {
    this.bench = bench;
    this.folder = bench.path('shared');
  }

  static async create(bench: Bench): Promise<Shared> {
    const shared = new Shared(bench);
    for (const branch of PAIR) await shared.copyIn(branch, branch === 'main' ? 'ours' : 'untouched');
    return shared;
  }

  async buildKitWrites(branch: Branch, tag: string): Promise<Verdict> {
    const before = await this.digests();
    await this.bench.build(branch, { cacheTo: [`type=local,dest=${this.folder},tag=${tag},mode=max`] });
    await this.bench.join(this.folder);
    this.branchOf.set(tag, branch);
    return this.check(before, tag);
  }

  async bkcacheWrites(branch: Branch, tag: string): Promise<Verdict> {
    const before = await this.digests();
    await this.copyIn(branch, tag);
    return this.check(before, tag);
  }

  private async copyIn(branch: Branch, tag: string): Promise<void> {
    const { cache } = await this.bench.first(branch);
    const exported = `type=local,dest=${this.folder},tag=${tag},compression=zstd,force-compression=true`;
    await this.bench.bkcache('copy', '--import-cache', cache, '--export-cache', exported);
    this.branchOf.set(tag, branch);
  }

  /** What every tag names, as bkcache reads it. */
  private async digests(): Promise<Map<string, string>> {
    const digests = new Map<string, string>();
    for (const tag of this.branchOf.keys()) {
      const output = await this.bench.bkcache('resolve', this.importOf(tag));
      digests.set(tag, (JSON.parse(output) as { digest: string }).digest);
    }
    return digests;
  }

  /** All tags are there, all but the one that was written name what they named, and bkcache reads every one of them. */
  private async check(before: ReadonlyMap<string, string>, written: string): Promise<Verdict> {
    const problems: string[] = [];
    const tags = (await tagsOf(this.folder)).toSorted();
    const expected = [...this.branchOf.keys()].toSorted();
    if (tags.join() !== expected.join()) problems.push(`the tags are ${tags.join(', ')}, not ${expected.join(', ')}`);
    const after = await this.digests();
    if (before.get(written) === after.get(written)) problems.push(`${written} still names what it named before`);
    for (const [tag, digest] of before) {
      if (tag !== written && after.get(tag) !== digest) problems.push(`${tag} names another manifest than before`);
    }
    // A conversion reads every layer, and compares it with its digest and its diffID.
    for (const tag of expected) {
      await this.bench.copy([this.importOf(tag)], 'compression=uncompressed,force-compression=true', 'read-back');
    }
    const verdict = await this.importTag(written);
    return { ...verdict, problems: [...problems, ...verdict.problems] };
  }

  async importAll(): Promise<Verdict> {
    const verdicts: Verdict[] = [];
    for (const tag of this.branchOf.keys()) verdicts.push(await this.importTag(tag));
    return together(verdicts);
  }

  private importTag(tag: string): Promise<Verdict> {
    // Steps that both branches have in common ran again for BuildKit's exports.
    return this.bench.whole(this.branchOf.get(tag) ?? 'main', this.importOf(tag), 'files');
  }

  private importOf(tag: string): string {
    return `type=local,src=${this.folder},tag=${tag}`;
  }
}
