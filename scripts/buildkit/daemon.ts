import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, open, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { lastLines, mortal, type Output, run } from './run.js';
import type { Workspace } from './workspace.js';

const ENTER = fileURLToPath(new URL('../../../scripts/buildkit/enter-root.sh', import.meta.url));

// In milliseconds.
const START_LIMIT = 60_000;
const PAUSE = 50;

/** Nothing of the caller's settings for docker or buildx reaches the checks. */
const ENVIRONMENT = {
  PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
  HOME: '/root',
  // Provenance would make an index out of every image.
  BUILDX_NO_DEFAULT_ATTESTATIONS: '1',
};

/** dockerd, with BuildKit inside, in a Debian root. It sees the workspace under the path that it has outside. */
export class Daemon {
  private readonly root: string;
  private readonly folder: string;
  private readonly log: string;
  private readonly signal: AbortSignal;
  private child: ChildProcess | undefined;

  private constructor(root: string, { folder }: Workspace, signal: AbortSignal) {
    this.root = root;
    this.folder = folder;
    this.log = join(folder, 'dockerd.log');
    this.signal = signal;
  }

  /** @throws Error with the end of dockerd's log when it does not come up */
  static async start(root: string, workspace: Workspace, signal: AbortSignal): Promise<Daemon> {
    const config = {
      // Without this one Docker exports no caches.
      features: { 'containerd-snapshotter': true },
      bridge: 'none',
      iptables: false,
      ip6tables: false,
      'exec-opts': ['native.cgroupdriver=cgroupfs'],
      'cgroup-parent': workspace.cgroup,
    };
    await writeFile(join(workspace.folder, 'daemon.json'), JSON.stringify(config));
    const daemon = new Daemon(root, workspace, signal);
    await daemon.renew();
    return daemon;
  }

  /**
   * Starts anew with nothing kept. A build that failed on a damaged cache leaves things in BuildKit 0.13 that no prune
   * removes, and that make later builds fail.
   */
  async renew(): Promise<void> {
    await this.stop();
    this.signal.throwIfAborted();
    const data = join(this.folder, 'docker');
    await rm(data, { recursive: true, force: true });
    await mkdir(data);
    const contained = ['unshare', '--mount', '--pid', '--fork', '--kill-child', ENTER, this.root, this.folder];
    const log = await open(this.log, 'a');
    this.child = spawn('setpriv', mortal([...contained, 'dockerd']), {
      stdio: ['ignore', log.fd, log.fd],
      env: ENVIRONMENT,
      // Ctrl-C in a terminal reaches this process alone, which then ends the daemon.
      detached: true,
    });
    await log.close();
    try {
      await this.ready();
    } catch (error) {
      await this.stop();
      throw error;
    }
  }

  /**
   * Runs a command in the root, such as docker or a server that was installed there.
   *
   * @throws CommandError
   */
  async inside(command: string, args: readonly string[]): Promise<Output> {
    const { child } = this;
    if (!isAlive(child)) throw new Error(`dockerd is not running:\n${await this.lastWords()}`);
    const enter = ['--target', String(child.pid), '--mount', '--root', '--wd', '--', command];
    return run('nsenter', [...enter, ...args], { env: ENVIRONMENT, signal: this.signal });
  }

  /** Whose BuildKit this is. Debian's builds of it do not know their own version. */
  async version(): Promise<string> {
    const { stdout } = await this.inside('docker', ['version', '--format', '{{.Server.Version}}']);
    return `BuildKit as in Docker ${stdout.trim()}`;
  }

  /** Ends dockerd and all that it started; their mounts go with them. There is nothing that it would have to save. */
  async stop(): Promise<void> {
    const { child } = this;
    if (!isAlive(child)) return;
    const exit = once(child, 'exit');
    // Killing the first process of the namespace kills all others, and unshare ends after the last of them.
    const { pid } = child;
    const first = Number.parseInt(await readFile(`/proc/${pid}/task/${pid}/children`, 'utf8').catch(() => ''), 10);
    if (Number.isNaN(first)) child.kill('SIGKILL');
    else process.kill(first, 'SIGKILL');
    await exit;
  }

  private async ready(): Promise<void> {
    const deadline = Date.now() + START_LIMIT;
    for (;;) {
      this.signal.throwIfAborted();
      const answer = await this.inside('docker', ['version', '--format', '{{.Server.Version}}']).catch(() => undefined);
      if (answer !== undefined) return;
      if (!isAlive(this.child) || Date.now() > deadline) {
        throw new Error(`dockerd does not come up:\n${await this.lastWords()}`);
      }
      await sleep(PAUSE);
    }
  }

  private async lastWords(): Promise<string> {
    return lastLines(await readFile(this.log, 'utf8'), 15);
  }
}

function isAlive(child: ChildProcess | undefined): child is ChildProcess {
  return child !== undefined && child.exitCode === null && child.signalCode === null;
}
