import { execFileSync } from 'node:child_process';
import { mkdirSync, readdirSync, rmSync, statfsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { bkcache } from '../../test/support/command.js';
import { grownFolder, insist, insistSound } from './folder.js';
import { VICTIMS } from './kill.js';

const SIZE = 1024 * 1024;
/** More pages than any of the commands needs; a filesystem has no smaller piece of room. */
const PAGES = 48;

/** Whether small filesystems can be mounted here: as root only, and not in every container. */
export function canMount(work: string): boolean {
  const place = join(work, 'probe');
  mkdirSync(place, { recursive: true });
  try {
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=64k', 'tmpfs', place], { stdio: 'ignore' });
    execFileSync('umount', [place], { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
}

/**
 * Runs each command on a filesystem with room for a few more pages, another number in each round, and then again with
 * room. After 48 rounds each command has run out of it at every place where it can.
 */
export async function fullDiskRound(round: number, work: string): Promise<Record<string, number>> {
  const counts: Record<string, number> = {};
  for (const [name, { args, stays, prepare }] of Object.entries(VICTIMS)) {
    const disk = join(work, 'disk');
    mkdirSync(disk, { recursive: true });
    execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${SIZE}`, 'tmpfs', disk]);
    try {
      const folder = join(disk, 'folder');
      grownFolder(folder);
      prepare?.(folder);
      const { bavail, bsize } = statfsSync(disk);
      // Comes by all of them, and soon by those that are too few.
      const room = ((round * 5) % PAGES) * bsize;
      const filler = join(disk, 'filler');
      writeFileSync(filler, Buffer.alloc(Math.max(0, bavail * bsize - room)));
      const outcome = await bkcache(args(folder));
      const where = `${name} with room for ${room} bytes`;
      const failed = outcome.code !== 0;
      insist(
        !failed || /full|ENOSPC|no space/i.test(outcome.stderr),
        `${where}: exit ${outcome.code}: ${outcome.stderr}`,
      );
      if (prepare === undefined) await insistSound(folder, stays, where);
      const left = readdirSync(folder).includes('.bkcache') ? readdirSync(join(folder, '.bkcache')) : [];
      insist(
        // What a layer became is remembered there.
        left.every((entry) => /^(?:removed|damaged|conversions$)/.test(entry)),
        `${where}: ${left.join(', ')} were left behind`,
      );
      rmSync(filler);
      const again = await bkcache(args(folder));
      insist(again.code === 0, `${where}, and then with room: ${again.stderr}`);
      await insistSound(folder, stays, `${where}, and then with room`);
      counts[`full disk ${name}`] = 1;
      if (failed) counts[`full disk ${name}, failed`] = 1;
    } finally {
      execFileSync('umount', [disk]);
    }
  }
  return counts;
}
