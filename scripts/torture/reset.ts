import { mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { insist } from './folder.js';
import { member } from './members.js';
import type { Random } from './random.js';

const MEMBER = fileURLToPath(new URL('reset-member.js', import.meta.url));
const COPIERS = 3;
const COPIES = 20;

/**
 * Copies into a folder that two exports with reset=true share, which delete whatever index.json does not reach, again and
 * again. Of a copy that says that it is done nothing may be missing at that moment.
 */
export async function resetRound(random: Random, work: string): Promise<Record<string, number>> {
  const folder = join(work, 'reset');
  mkdirSync(folder, { recursive: true });
  const seed = () => `${random.below(1_000_000_000)}`;
  const exporters = ['build-a', 'build-b'].map((name) => member(MEMBER, 'export', folder, name, '0', seed()));
  const copiers = Array.from({ length: COPIERS }, (_, index) =>
    member(MEMBER, 'copy', folder, `copy-${index}`, `${COPIES}`, seed()),
  );
  await Promise.allSettled(copiers.map(({ done }) => done));
  for (const { stop } of exporters) stop();
  const reports = await Promise.all(
    [...exporters, ...copiers].map(async ({ done }) => JSON.parse(await done) as Counts),
  );
  const sum = (key: string) => reports.reduce((total, report) => total + (report[key] ?? 0), 0);
  insist(sum('lacking') === 0, `${sum('lacking')} of ${sum('copies')} copies beside reset=true lack blobs`);
  rmSync(folder, { recursive: true });
  return {
    'reset, copies': sum('copies'),
    'reset, copies that were refused': sum('failed'),
    'reset, exports beside them': sum('exports'),
    'reset, exports that met a lock': sum('refused'),
    'reset, blobs deleted': sum('deleted'),
  };
}

type Counts = Readonly<Record<string, number>>;
