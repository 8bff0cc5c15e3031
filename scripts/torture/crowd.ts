import { mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { insistSound } from './folder.js';
import { member } from './members.js';
import type { Random } from './random.js';

const MEMBER = fileURLToPath(new URL('crowd-member.js', import.meta.url));

export interface CrowdSize {
  readonly writers: number;
  readonly tags: number;
}

/**
 * Many processes in one folder: writers of tags that stay, a writer of tags that are dropped, readers that follow tags
 * down to their layers, and one after the other gc without grace and prune. In the end every tag has to be there.
 */
export async function crowdRound(
  random: Random,
  work: string,
  { writers, tags }: CrowdSize,
): Promise<Record<string, number>> {
  const folder = join(work, 'crowd');
  mkdirSync(folder, { recursive: true });
  const seed = () => `${random.below(1_000_000_000)}`;
  const members = Array.from({ length: writers }, (_, index) =>
    member(MEMBER, 'write', folder, `w${index}`, `${tags}`, seed()),
  );
  const others = [
    member(MEMBER, 'write-junk', folder, 'junk', '0', seed()),
    member(MEMBER, 'read', folder, 'reader', '0', seed()),
    member(MEMBER, 'read', folder, 'reader', '0', seed()),
    member(MEMBER, 'clean', folder, 'cleaner', '0', seed()),
  ];
  await Promise.allSettled(members.map(({ done }) => done));
  for (const { stop } of others) stop();
  await Promise.allSettled(others.map(({ done }) => done));
  await Promise.all(members.map(({ done }) => done));
  const reports = await Promise.all(others.map(({ done }) => done));
  const expected = Array.from({ length: writers }, (_, writer) =>
    Array.from({ length: tags }, (_, tag) => `w${writer}-${tag}`),
  ).flat();
  await insistSound(folder, expected, `a crowd of ${writers}`);
  rmSync(folder, { recursive: true });
  const [, ...readers] = reports.slice(0, 3).map(Number);
  return {
    'crowd, tags written': writers * tags,
    'crowd, tags dropped': Number(reports[0]),
    'crowd, caches read': readers.reduce((sum, count) => sum + count, 0),
    'crowd, collections and prunings': Number(reports[3]),
  };
}
