import { readFile, stat } from 'node:fs/promises';

/**
 * Who holds a lock on a file, as far as Linux tells: `/proc/locks` lists flock(2) locks by inode.
 *
 * @returns such as `buildctl (pid 4711)`; undefined where it cannot be known
 */
export async function lockHolder(path: string): Promise<string | undefined> {
  try {
    const { ino } = await stat(path, { bigint: true });
    const locks = await readFile('/proc/locks', 'utf8');
    // 1: FLOCK  ADVISORY  WRITE 4711 fe:00:1532020 0 EOF; an arrow marks those who wait.
    const pid = locks
      .split('\n')
      .map((line) => /^\d+: FLOCK +\S+ +\S+ +(\d+) \S+:(\d+) /.exec(line))
      .find((match) => match?.[2] === `${ino}`)?.[1];
    if (pid === undefined || pid === '0') return undefined;
    const name = await readFile(`/proc/${pid}/comm`, 'utf8');
    return `${name.trim()} (pid ${pid})`;
  } catch {
    return undefined;
  }
}
