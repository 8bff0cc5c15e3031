import { spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { ExecutionContext } from 'ava';
import { temporary } from './fixtures.js';

/**
 * Compiles a library for `LD_PRELOAD`, with which a test answers system calls as a disk does that fails.
 *
 * @param source - in C
 * @returns its path; undefined, and passes the test, where no C compiler is at hand
 */
export function preload(t: ExecutionContext, source: string): string | undefined {
  const folder = temporary(t);
  const [file, library] = [join(folder, 'preload.c'), join(folder, 'preload.so')];
  writeFileSync(file, source);
  const { status } = spawnSync('cc', ['-shared', '-fPIC', '-o', library, file, '-ldl'], { stdio: 'ignore' });
  if (status === 0) return library;
  t.pass('there is no C compiler');
  return undefined;
}
