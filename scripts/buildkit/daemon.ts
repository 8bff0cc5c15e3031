import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { openSync } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { lastLines, mortal, type Output, run } from './run.js';
import type { Workspace } from './workspace.js';

const ENTER = fileURLToPath(new URL('../../../scripts/buildkit/enter-root.sh', import.meta.url));

// In milliseconds.
const START_LIMIT = 60_000;
const STOP_LIMIT = 10_000;
const PAUSE = 100;

/** dockerd, with BuildKit inside, in a Debian root. It sees the workspace under the path that it has outside. */
export class Daemon {
  private readonly child: ChildProcess;
  private readonly log: string;
  private readonly signal: AbortSignal;

  private constructor(child: ChildProcess, log: string, signal: AbortSignal) {
    this.child = child;
    this.log = log;
    this.signal = signal;
  }

  /** @throws Error with the end of dockerd's log when it does not come up */
  static async start(root: string, workspace: Workspace, signal: AbortSignal): Promise<Daemon> {
    const { folder, cgroup } = workspace;
    const config = {
      // Without this one Docker exports no caches.
      features: { 'containerd-snapshotter': true },
      bridge: 'none',
      iptables: false,
      ip6tables: false,
      'exec-opts': ['native.cgroupdriver=cgroupfs'],
      'cgroup-parent': cgroup,
    };
    await writeFile(join(folder, 'daemon.json'), JSON.stringify(config));
    const log = join(folder, 'dockerd.log');
    const output = openSync(log, 'a');
    const contained = ['unshare', '--mount', '--pid', '--fork', '--kill-child', ENTER, root, folder, 'dockerd'];
    const child = spawn('setpriv', mortal(contained), { stdio: ['ignore', output, output], env: ENVIRONMENT });
    const daemon = new Daemon(child, log, signal);
    try {
      await daemon.ready();
    } catch (error) {
      await daemon.stop();
      throw error;
    }
    return daemon;
  }

  /**
   * Runs a command in the root, such as docker or a server that was installed there.
   *
   * @throws CommandError
   */
  async inside(command: string, args: readonly string[]): Promise<Output> {
    if (this.ended) throw new Error(`dockerd has ended:\n${await this.lastWords()}`);
    const enter = ['--target', String(this.child.pid), '--mount', '--root', '--wd', '--', command];
    return run('nsenter', [...enter, ...args], { env: ENVIRONMENT, signal: this.signal });
  }

  /** Ends dockerd and all that it started; their mounts go with them. */
  async stop(): Promise<void> {
    if (this.ended) return;
    const exit = once(this.child, 'exit');
    const inner = await this.init();
    // dockerd is the first process of its namespace: all others end with it.
    if (inner === undefined) this.child.kill('SIGKILL');
    else process.kill(inner, 'SIGTERM');
    const late = AbortSignal.timeout(STOP_LIMIT);
    await Promise.race([exit, once(late, 'abort')]);
    if (this.ended) return;
    if (inner !== undefined) process.kill(inner, 'SIGKILL');
    await exit;
  }

  private get ended(): boolean {
    return this.child.exitCode !== null || this.child.signalCode !== null;
  }

  private async ready(): Promise<void> {
    const deadline = Date.now() + START_LIMIT;
    for (;;) {
      this.signal.throwIfAborted();
      if (this.ended) throw new Error(`dockerd did not start:\n${await this.lastWords()}`);
      const answer = await this.inside('docker', ['version', '--format', '{{.Server.Version}}']).catch(() => undefined);
      if (answer !== undefined) return;
      if (Date.now() > deadline) throw new Error(`dockerd does not answer:\n${await this.lastWords()}`);
      await sleep(PAUSE);
    }
  }

  /** The process that unshare started in the namespace, as it is numbered outside. */
  private async init(): Promise<number | undefined> {
    const { pid } = this.child;
    const children = await readFile(`/proc/${pid}/task/${pid}/children`, 'utf8').catch(() => '');
    return children === '' ? undefined : Number.parseInt(children, 10);
  }

  private async lastWords(): Promise<string> {
    return lastLines(await readFile(this.log, 'utf8'), 15);
  }
}

/** Nothing of the caller's settings for docker or buildx reaches the test. */
const ENVIRONMENT = {
  PATH: process.env['PATH'] ?? '/usr/sbin:/usr/bin:/sbin:/bin',
  HOME: '/root',
  // Provenance would make an index out of the image.
  BUILDX_NO_DEFAULT_ATTESTATIONS: '1',
};
