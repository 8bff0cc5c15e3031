import { createHash } from 'node:crypto';
import { mkdir, rename, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { withLock } from '../../src/layout/lock.js';
import { run } from './run.js';

const SUITE = 'trixie';
/** What the root has beside Debian's minimum. A change makes a new root. */
const PACKAGES = ['docker.io', 'docker-buildx', 'docker-cli', 'iptables', 'ca-certificates', 'busybox-static'] as const;

// In milliseconds. Another run may be making the same root.
const WAIT = 30 * 60_000;

/** The folder that is kept between runs: `$BKCACHE_BUILDKIT_HOME`, or one in /var/cache. */
export function homeFolder(env: NodeJS.ProcessEnv = process.env): string {
  return env['BKCACHE_BUILDKIT_HOME'] || '/var/cache/bkcache-buildkit';
}

/** Where the Debian root is, or will be. Its name changes with what is in it. */
export function rootFolder(home: string): string {
  const recipe = createHash('sha256')
    .update([SUITE, ...PACKAGES].join(' '))
    .digest('hex');
  return join(home, `root-${SUITE}-${recipe.slice(0, 12)}`);
}

export async function hasRoot(home: string): Promise<boolean> {
  return stat(rootFolder(home)).then(
    () => true,
    () => false,
  );
}

/**
 * Makes the Debian root with BuildKit in it, unless it is there: about a minute, and 0.6 GB. A root that was
 * interrupted in the making is made anew.
 *
 * @returns its folder
 * @throws CommandError when debootstrap fails
 */
export async function makeRoot(home: string, say: (text: string) => void, signal: AbortSignal): Promise<string> {
  const root = rootFolder(home);
  await mkdir(home, { recursive: true });
  const make = async () => {
    if (await hasRoot(home)) return;
    const partial = `${root}.partial`;
    await rm(partial, { recursive: true, force: true });
    const mirror = process.env['BKCACHE_DEBIAN_MIRROR'] || (await mirrorOfThisMachine());
    say(`making a Debian root in ${root}, once; this takes a minute`);
    // In namespaces of its own, so that what it mounts and starts ends with it.
    const contained = ['--mount', '--pid', '--fork', '--kill-child', 'debootstrap'];
    const recipe = ['--variant=minbase', `--include=${PACKAGES.join(',')}`, SUITE, partial];
    await run('unshare', [...contained, ...recipe, ...(mirror === undefined ? [] : [mirror])], { signal });
    await rename(partial, root);
  };
  await withLock(root, 'exclusive', make, { timeout: WAIT, signal });
  return root;
}

/** The Debian mirror that apt uses here; none where apt has no lists, and debootstrap takes its own. */
async function mirrorOfThisMachine(): Promise<string | undefined> {
  const targets = await run('apt-get', ['indextargets', '--format', '$(LABEL) $(REPO_URI)', 'Created-By: Packages']);
  const debian = targets.stdout.split('\n').find((line) => line.startsWith('Debian '));
  return debian?.slice('Debian '.length);
}
