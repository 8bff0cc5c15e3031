import { constants } from 'node:fs';
import { type FileHandle, mkdir, mkdtemp, open, readdir, rm, rmdir } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { tryFlock } from '../../src/layout/lock/flock.js';
import { acquireLock } from '../../src/layout/lock/lock.js';

const CGROUPS = '/sys/fs/cgroup';

/** A folder for one run, which is gone after it. */
export interface Workspace {
  readonly folder: string;
  /** The cgroup under which the steps of builds run. */
  readonly cgroup: string;
  remove(): Promise<void>;
}

/**
 * Makes a folder for a run, and removes those of runs that were killed. A folder belongs to a living run as long as
 * somebody holds the lock on it.
 */
export async function openWorkspace(home: string, say: (text: string) => void): Promise<Workspace> {
  const runs = join(home, 'runs');
  await mkdir(runs, { recursive: true });
  using _ = await acquireLock(runs, 'exclusive');
  for (const name of await readdir(runs)) {
    const lock = await lockOf(join(runs, name));
    if (lock === undefined) continue;
    say(`removing what the interrupted run ${name} has left`);
    await remove(join(runs, name));
    await lock.close();
  }
  const folder = await mkdtemp(join(runs, 'run-'));
  const lock = await lockOf(folder);
  return {
    folder,
    cgroup: cgroupOf(folder),
    async remove() {
      await remove(folder);
      await lock?.close();
    },
  };
}

/** The lock of a run's folder, unless that run is alive. */
async function lockOf(folder: string): Promise<FileHandle | undefined> {
  const handle = await open(join(folder, 'lock'), constants.O_RDWR | constants.O_CREAT);
  if (tryFlock(handle.fd, 'exclusive')) return handle;
  await handle.close();
  return undefined;
}

async function remove(folder: string): Promise<void> {
  await removeCgroups(cgroupOf(folder));
  await rm(folder, { recursive: true, force: true });
}

function cgroupOf(folder: string): string {
  return `bkcache-${basename(folder)}`;
}

/** Removes the cgroups that dockerd made, which are empty once it is gone: one tree, or one for each controller. */
async function removeCgroups(name: string): Promise<void> {
  const controllers = await readdir(CGROUPS).catch(() => []);
  for (const tree of [name, ...controllers.map((controller) => join(controller, name))]) {
    const inside = await readdir(join(CGROUPS, tree), { recursive: true, withFileTypes: true }).catch(() => []);
    const folders = inside.filter((entry) => entry.isDirectory()).map(({ parentPath, name }) => join(parentPath, name));
    // The innermost first: a cgroup with others in it cannot go.
    const deepest = folders.toSorted((a, b) => b.length - a.length);
    for (const folder of [...deepest, join(CGROUPS, tree)]) await rmdir(folder).catch(() => {});
  }
}
