import { execFile } from 'node:child_process';
import { promisify } from 'node:util';

const execute = promisify(execFile);

const TOOLS = ['setpriv', 'unshare', 'nsenter', 'mount', 'pivot_root'] as const;

/**
 * What this machine lacks for running BuildKit out of a Debian root.
 *
 * @param needsRoot - whether the Debian root has yet to be made
 * @returns one sentence for each thing that is missing
 */
export async function missing(needsRoot: boolean): Promise<string[]> {
  if (process.platform !== 'linux') return [`it needs Linux, and this is ${process.platform}`];
  if (process.getuid?.() !== 0) return ['it needs root, for mounts and dockerd: run it with sudo'];
  const lacks: string[] = [];
  for (const tool of TOOLS) {
    if (!(await isThere(tool))) lacks.push(`${tool} is not installed (Debian's package util-linux or mount)`);
  }
  if (needsRoot && !(await isThere('debootstrap'))) {
    lacks.push('debootstrap is not installed (apt-get install debootstrap)');
  }
  if (lacks.length === 0 && !(await succeeds('unshare', ['--mount', '--pid', '--fork', 'true']))) {
    lacks.push('it may not make mount namespaces here, as in a container without CAP_SYS_ADMIN');
  }
  return lacks;
}

async function isThere(tool: string): Promise<boolean> {
  return succeeds('sh', ['-c', 'command -v "$0"', tool]);
}

async function succeeds(command: string, args: readonly string[]): Promise<boolean> {
  return execute(command, [...args]).then(
    () => true,
    () => false,
  );
}
