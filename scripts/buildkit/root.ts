import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { mirror } from './debian.js';
import { makeOnce } from './kept.js';
import { run } from './run.js';

/** Debian 13, whose Docker is the oldest that exports caches. */
export const DEFAULT_SUITE = 'trixie';
/** What the root has beside Debian's minimum. A change makes a new root. */
const PACKAGES = ['docker.io', 'docker-buildx', 'docker-cli', 'iptables', 'ca-certificates', 'busybox-static'] as const;

/** Where the root with a Debian release is, or will be. Its name changes with what is in it. */
export function rootFolder(home: string, suite: string): string {
  const recipe = createHash('sha256').update([suite, ...PACKAGES].join(' '));
  return join(home, `root-${suite}-${recipe.digest('hex').slice(0, 12)}`);
}

/**
 * Makes a Debian root with BuildKit in it, unless it is there: about a minute, and 0.6 GB.
 *
 * @throws CommandError when debootstrap fails
 */
export async function makeRoot(
  root: string,
  suite: string,
  say: (text: string) => void,
  signal: AbortSignal,
): Promise<void> {
  await makeOnce(
    root,
    async (partial) => {
      const from = await mirror();
      say(`making a Debian root in ${root}, once; this takes a minute`);
      // In namespaces of its own, so that what it mounts and starts ends with it.
      const contained = ['--mount', '--pid', '--fork', '--kill-child', 'debootstrap'];
      const recipe = ['--variant=minbase', `--include=${PACKAGES.join(',')}`, suite, partial];
      await run('unshare', [...contained, ...recipe, ...(from === undefined ? [] : [from])], { signal });
    },
    signal,
  );
}
