import { execFile } from 'node:child_process';
import { copyFile, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { findProgram, pathFolders } from './programs.js';

const execute = promisify(execFile);

/** A program, and the sentence for a machine without it. */
export type Tool = readonly [name: string, from: string];

/** What each judge needs: a cage for it, and a registry. */
const TOOLS: readonly Tool[] = [
  ...['setpriv', 'unshare', 'nsenter', 'mount', 'pivot_root'].map((name): Tool => [
    name,
    "Debian's package util-linux or mount",
  ]),
  ['docker-registry', 'apt-get install docker-registry'],
];

/**
 * What this machine lacks for running BuildKit.
 *
 * @param tools - what this judge needs beside what all do
 * @returns one sentence for each thing that is missing
 */
export async function missing(tools: readonly Tool[]): Promise<string[]> {
  if (process.platform !== 'linux') return [`it needs Linux, and this is ${process.platform}`];
  if (process.getuid?.() !== 0) return ['it needs root, for mounts and BuildKit: run it with sudo'];
  const lacks: string[] = [];
  for (const [name, from] of [...TOOLS, ...tools]) {
    if ((await findProgram(name, pathFolders())) === undefined) lacks.push(`${name} is not installed (${from})`);
  }
  if (lacks.length === 0 && !(await succeeds('unshare', ['--mount', '--pid', '--fork', 'true']))) {
    lacks.push('it may not make mount namespaces here, as in a container without CAP_SYS_ADMIN');
  }
  return lacks;
}

/** A busybox that needs no libraries: the contexts have nothing else in them. */
export async function staticBusybox(): Promise<string | undefined> {
  const busybox = await findProgram('busybox', pathFolders());
  if (busybox === undefined) return undefined;
  const empty = await mkdtemp(join(tmpdir(), 'busybox-'));
  try {
    await copyFile(busybox, join(empty, 'busybox'));
    return (await succeeds('chroot', [empty, '/busybox', 'true'])) ? busybox : undefined;
  } finally {
    await rm(empty, { recursive: true, force: true });
  }
}

async function succeeds(command: string, args: readonly string[]): Promise<boolean> {
  return execute(command, [...args]).then(
    () => true,
    () => false,
  );
}
