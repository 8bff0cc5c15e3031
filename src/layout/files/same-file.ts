import { fstatSync, statSync } from 'node:fs';

/** Whether a path still names the file that is open. */
export function isSameFile(fd: number, path: string): boolean {
  const opened = fstatSync(fd);
  const named = statSync(path, { throwIfNoEntry: false });
  return opened.ino === named?.ino && opened.dev === named.dev;
}
