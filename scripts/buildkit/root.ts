import { createHash } from 'node:crypto';
import { mkdir, rename, rm, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { acquireLock } from '../../src/layout/lock.js';
import { run } from './run.js';

/** Debian 13, whose Docker is the oldest that exports caches. */
export const DEFAULT_SUITE = 'trixie';
/** What the root has beside Debian's minimum. A change makes a new root. */
const PACKAGES = ['docker.io', 'docker-buildx', 'docker-cli', 'iptables', 'ca-certificates', 'busybox-static'] as const;

// In milliseconds. Another run may be making the same root.
const WAIT = 30 * 60_000;

/** The folder that is kept between runs: `$BKCACHE_BUILDKIT_HOME`, or one in /var/cache. */
export function homeFolder(env: NodeJS.ProcessEnv = process.env): string {
  return env['BKCACHE_BUILDKIT_HOME'] || '/var/cache/bkcache-buildkit';
}

/** Where the root with a Debian release is, or will be. Its name changes with what is in it. */
export function rootFolder(home: string, suite: string): string {
  const recipe = createHash('sha256').update([suite, ...PACKAGES].join(' '));
  return join(home, `root-${suite}-${recipe.digest('hex').slice(0, 12)}`);
}

export async function isMade(root: string): Promise<boolean> {
  return stat(root).then(
    () => true,
    () => false,
  );
}

/**
 * Makes a Debian root with BuildKit in it, unless it is there: about a minute, and 0.6 GB. A root that was interrupted
 * in the making is made anew.
 *
 * @throws CommandError when debootstrap fails
 */
export async function makeRoot(
  root: string,
  suite: string,
  say: (text: string) => void,
  signal: AbortSignal,
): Promise<void> {
  await mkdir(dirname(root), { recursive: true });
  const make = async () => {
    if (await isMade(root)) return;
    const partial = `${root}.partial`;
    await rm(partial, { recursive: true, force: true });
    const mirror = process.env['BKCACHE_DEBIAN_MIRROR'] || (await mirrorOfThisMachine());
    say(`making a Debian root in ${root}, once; this takes a minute`);
    // In namespaces of its own, so that what it mounts and starts ends with it.
    const contained = ['--mount', '--pid', '--fork', '--kill-child', 'debootstrap'];
    const recipe = ['--variant=minbase', `--include=${PACKAGES.join(',')}`, suite, partial];
    await run('unshare', [...contained, ...recipe, ...(mirror === undefined ? [] : [mirror])], { signal });
    await rename(partial, root);
  };
  const lock = await acquireLock(root, 'exclusive', { timeout: WAIT, signal });
  try {
    await make();
  } finally {
    lock.release();
  }
}

/** The Debian mirror that apt uses here; none where apt has no lists, and debootstrap takes its own. */
async function mirrorOfThisMachine(): Promise<string | undefined> {
  const targets = await run('apt-get', ['indextargets', '--format', '$(LABEL) $(REPO_URI)', 'Created-By: Packages']);
  const debian = targets.stdout.split('\n').find((line) => line.startsWith('Debian '));
  return debian?.slice('Debian '.length);
}
