import { mkdir, rename, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { Builder, BuildRequest } from './builder.js';
import { Contained } from './contained.js';
import { type Output, run } from './run.js';
import type { Workspace } from './workspace.js';

const SYSTEM_PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';

/** The paths of BuildKit's own programs. */
export interface Programs {
  readonly buildkitd: string;
  readonly buildctl: string;
}

/** buildkitd, without Docker around it. A new one with an empty folder is up in 0.1 s. */
export class Buildkitd implements Builder {
  readonly name: string;
  readonly release: number;
  readonly hasBuckets = true;
  readonly hasGha = false;
  private readonly programs: Programs;
  private readonly folder: string;
  private readonly signal: AbortSignal;
  private server: Contained;
  private removal: Promise<void> = Promise.resolve();
  private roots = 0;

  private constructor(version: string, programs: Programs, folder: string, server: Contained, signal: AbortSignal) {
    this.name = `buildkitd ${version}`;
    this.release = releaseOf(version);
    this.programs = programs;
    this.folder = folder;
    this.server = server;
    this.signal = signal;
  }

  /**
   * @throws Error with the end of buildkitd's log when it does not come up
   */
  static async start(programs: Programs, { folder, cgroup }: Workspace, signal: AbortSignal): Promise<Buildkitd> {
    const { stdout } = await run(programs.buildkitd, ['--version'], { signal });
    const version = / v(\d\S*)/.exec(stdout)?.[1];
    if (version === undefined) throw new Error(`${programs.buildkitd} --version says ${stdout.trim()}`);
    await writeFile(
      join(folder, 'buildkitd.toml'),
      [
        '[worker.oci]',
        `defaultCgroupParent = "${cgroup}"`,
        // Nothing is to go while a build may need it.
        'gc = false',
        '[worker.containerd]',
        'enabled = false',
        '',
      ].join('\n'),
    );
    return new Buildkitd(version, programs, folder, await start(programs, folder, signal), signal);
  }

  /** A new folder is surer than a prune, after which blobs can be found for a while. */
  async forget(): Promise<void> {
    await this.renew();
  }

  async renew(): Promise<void> {
    await this.server.stop();
    await this.removal;
    const old = join(this.folder, `old-root-${this.roots++}`);
    await rename(rootIn(this.folder), old);
    // Which takes longer than a start, and nobody waits for it.
    this.removal = rm(old, { recursive: true, force: true });
    this.server = await start(this.programs, this.folder, this.signal);
  }

  async build({ context, target, platforms, args = {}, ...rest }: BuildRequest): Promise<string> {
    const { cacheFrom = [], cacheTo = [], provenance = false, output } = rest;
    const options = {
      ...(target === undefined ? {} : { target }),
      ...(platforms === undefined ? {} : { platform: platforms.join(',') }),
      ...(provenance ? { 'attest:provenance': '' } : {}),
      ...Object.fromEntries(Object.entries(args).map(([name, value]) => [`build-arg:${name}`, value])),
    };
    const { stderr } = await buildctl(
      this.programs,
      this.folder,
      [
        'build',
        '--progress=rawjson',
        '--frontend=dockerfile.v0',
        `--local=context=${context}`,
        `--local=dockerfile=${context}`,
        `--output=${output}`,
        ...Object.entries(options).map(([name, value]) => `--opt=${name}=${value}`),
        ...cacheFrom.map((value) => `--import-cache=${value}`),
        ...cacheTo.map((value) => `--export-cache=${value}`),
      ],
      this.signal,
    );
    return stderr;
  }

  isAlive(): boolean {
    return this.server.isAlive();
  }

  async stop(): Promise<void> {
    await this.server.stop();
    await this.removal;
  }
}

/** @returns 25 for 0.25.2 */
function releaseOf(version: string): number {
  const [major, minor] = version.split('.').map(Number);
  if (major === undefined || minor === undefined || Number.isNaN(minor)) {
    throw new Error(`buildkitd ${version} is of an unknown release`);
  }
  return major === 0 ? minor : Number.POSITIVE_INFINITY;
}

async function start(programs: Programs, folder: string, signal: AbortSignal): Promise<Contained> {
  const root = rootIn(folder);
  await mkdir(root, { recursive: true });
  await rm(socketIn(folder), { force: true });
  const command = [programs.buildkitd, '--config', join(folder, 'buildkitd.toml')];
  const place = ['--root', root, '--addr', `unix://${socketIn(folder)}`, '--oci-worker-net', 'host'];
  return Contained.start('buildkitd', [...command, ...place], {
    // runc reads /proc.
    flags: ['--mount-proc'],
    env: environment(programs),
    log: join(folder, 'buildkitd.log'),
    answers: async () => (await buildctl(programs, folder, ['debug', 'workers'], signal)).stdout !== '',
    signal,
  });
}

/** @throws CommandError */
function buildctl(programs: Programs, folder: string, args: readonly string[], signal: AbortSignal): Promise<Output> {
  const command = ['--addr', `unix://${socketIn(folder)}`, ...args];
  return run(programs.buildctl, command, { env: environment(programs), signal });
}

/** Nothing of the caller's settings reaches the checks. Upstream's releases have a runc beside them. */
function environment(programs: Programs): Record<string, string> {
  return { PATH: `${dirname(programs.buildkitd)}:${SYSTEM_PATH}`, HOME: '/root' };
}

function rootIn(folder: string): string {
  return join(folder, 'buildkit');
}

function socketIn(folder: string): string {
  return join(folder, 'buildkitd.sock');
}
