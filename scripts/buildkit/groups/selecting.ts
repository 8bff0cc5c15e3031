import { cp } from 'node:fs/promises';
import type { Bench } from '../bench.js';
import { PAIR, type Branch } from '../contexts.js';
import { editEntries, entriesOf, removeBlob } from '../layout.js';
import { unused, type Verdict } from '../verdict.js';
import type { Check, Group } from './group.js';

/** What `bkcache resolve` prints is what BuildKit imports. */
export const selecting: Group = {
  name: 'selecting',
  checks(bench) {
    let made: Promise<string> | undefined;
    /** A copy of a folder with the caches of both branches, to be spoiled. */
    const twoTags = async () => {
      const folder = bench.path('two-tags');
      await cp(await (made ??= makeTwoTags(bench)), folder, { recursive: true });
      return folder;
    };
    return [
      ...PAIR.flatMap((branch): Check[] => [
        {
          name: `tag=${branch}, all other manifests removed`,
          async run() {
            const folder = await twoTags();
            const chosen = await resolve(bench, `type=local,src=${folder},tag=${branch}`);
            for (const entry of await entriesOf(folder)) if (entry.digest !== chosen) await removeBlob(folder, entry);
            return bench.whole(branch, `type=local,src=${folder},tag=${branch}`);
          },
        },
        {
          name: `tag=${branch}, its manifest removed`,
          async run() {
            const folder = await twoTags();
            const text = `type=local,src=${folder},tag=${branch}`;
            await removeBlob(folder, { digest: await resolve(bench, text) });
            return unused(await bench.build(branch, { cacheFrom: [text] }));
          },
        },
      ]),
      { name: 'digest= that no tag names any more', run: () => untagged(bench) },
      { name: 'the first of two entries with one tag', run: () => firstOfTwo(bench) },
    ];
  },
};

/** A folder with the caches of both branches, each under its own tag. */
async function makeTwoTags(bench: Bench): Promise<string> {
  const folder = bench.path('two-tags');
  for (const branch of PAIR) await copyTo(bench, folder, branch, branch);
  return folder;
}

async function copyTo(bench: Bench, folder: string, branch: Branch, tag: string): Promise<void> {
  const { cache } = await bench.first(branch);
  await bench.bkcache('copy', '--import-cache', cache, '--export-cache', `type=local,dest=${folder},tag=${tag}`);
}

async function resolve(bench: Bench, text: string): Promise<string> {
  return (JSON.parse(await bench.bkcache('resolve', text)) as { digest: string }).digest;
}

/** A tag moves on to another cache; the digest that it named before is still to be had. */
async function untagged(bench: Bench): Promise<Verdict> {
  const folder = bench.path('untagged');
  await copyTo(bench, folder, 'main', 'latest');
  const before = await resolve(bench, `type=local,src=${folder}`);
  await copyTo(bench, folder, 'feature', 'latest');
  const listed = (await entriesOf(folder)).map(({ digest }) => digest);
  const after = await resolve(bench, `type=local,src=${folder}`);
  const text = `type=local,src=${folder},digest=${before}`;
  const problems: string[] = [];
  if (listed.join() !== after) problems.push(`index.json lists ${listed.join(' and ')}, and the tag names ${after}`);
  if (before === after) problems.push('the tag has not moved');
  const resolved = await resolve(bench, text);
  if (resolved !== before) problems.push(`resolve prints ${resolved} for digest=${before}`);
  // What the tag names now could not do this.
  await removeBlob(folder, { digest: after });
  const verdict = await bench.whole('main', text);
  return { ...verdict, problems: [...problems, ...verdict.problems] };
}

/** Two entries have the same tag, which a layout may have. */
async function firstOfTwo(bench: Bench): Promise<Verdict> {
  const folder = bench.path('first-of-two');
  await copyTo(bench, folder, 'feature', 'feature');
  await copyTo(bench, folder, 'main', 'main');
  await editEntries(folder, (entries) =>
    entries.map((entry) => ({ ...entry, annotations: { 'org.opencontainers.image.ref.name': 'both' } })),
  );
  const text = `type=local,src=${folder},tag=both`;
  const chosen = await resolve(bench, text);
  const copy = bench.path('only-the-first');
  await cp(folder, copy, { recursive: true });
  for (const entry of await entriesOf(copy)) if (entry.digest !== chosen) await removeBlob(copy, entry);
  return bench.whole('feature', `type=local,src=${copy},tag=both`);
}
