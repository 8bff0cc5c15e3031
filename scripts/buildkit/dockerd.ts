import { mkdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import type { Builder, BuildRequest } from './builder.js';
import { Contained } from './contained.js';
import { type Output, run } from './run.js';
import type { Workspace } from './workspace.js';

const ENTER = fileURLToPath(new URL('../../../scripts/buildkit/enter-root.sh', import.meta.url));

/** How often BuildKit is asked to forget; what the last build still holds goes only when that has let go of it. */
const PRUNES = 20;
/** In milliseconds. */
const PAUSE = 100;

/** Nothing of the caller's settings for docker or buildx reaches the checks. */
const ENVIRONMENT = {
  PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
  HOME: '/root',
  // Provenance would make an index out of every image.
  BUILDX_NO_DEFAULT_ATTESTATIONS: '1',
};

/** The BuildKit that a Docker has inside: Debian's builds of it do not know their own version (moby's vendor.mod). */
const RELEASES: Readonly<Record<string, number>> = { '26.1': 13, '28.5': 25 };

/** dockerd, with BuildKit inside, in a Debian root. It sees the workspace under the path that the workspace has outside. */
export class Dockerd implements Builder {
  readonly name: string;
  readonly release: number;
  readonly hasBuckets = false;
  readonly hasGha = true;
  private readonly root: string;
  private readonly folder: string;
  private readonly signal: AbortSignal;
  private server: Contained;

  private constructor(version: string, root: string, folder: string, server: Contained, signal: AbortSignal) {
    const release = RELEASES[version.split('.').slice(0, 2).join('.')];
    if (release === undefined) {
      throw new Error(`which BuildKit is in Docker ${version}? scripts/buildkit/dockerd.ts has to know`);
    }
    this.name = `BuildKit 0.${release} as in Docker ${version}`;
    this.release = release;
    this.root = root;
    this.folder = folder;
    this.server = server;
    this.signal = signal;
  }

  /** @throws Error with the end of dockerd's log when it does not come up */
  static async start(root: string, { folder, cgroup }: Workspace, signal: AbortSignal): Promise<Dockerd> {
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
    const server = await start(root, folder, signal);
    return new Dockerd(await versionOf(server, signal), root, folder, server, signal);
  }

  async renew(): Promise<void> {
    await this.server.stop();
    this.server = await start(this.root, this.folder, this.signal);
  }

  async forget(): Promise<void> {
    let left = '';
    for (let count = 0; count < PRUNES; count++) {
      if (count > 0) await sleep(PAUSE);
      await this.docker('buildx', 'prune', '--all', '--force');
      left = (await this.docker('buildx', 'du')).stdout;
      if (/^Total:\s+0B$/m.test(left)) return;
    }
    throw new Error(`BuildKit does not forget:\n${left}`);
  }

  async build({ context, target, platforms, args = {}, ...rest }: BuildRequest): Promise<string> {
    const { cacheFrom = [], cacheTo = [], provenance = false, output } = rest;
    const { stderr } = await this.docker(
      'buildx',
      'build',
      '--network=host',
      '--progress=rawjson',
      `--output=${output}`,
      ...(target === undefined ? [] : [`--target=${target}`]),
      ...(platforms === undefined ? [] : [`--platform=${platforms.join(',')}`]),
      ...(provenance ? ['--attest=type=provenance'] : []),
      ...Object.entries(args).map(([name, value]) => `--build-arg=${name}=${value}`),
      ...cacheFrom.map((value) => `--cache-from=${value}`),
      ...cacheTo.map((value) => `--cache-to=${value}`),
      context,
    );
    return stderr;
  }

  isAlive(): boolean {
    return this.server.isAlive();
  }

  async stop(): Promise<void> {
    await this.server.stop();
  }

  private docker(...args: string[]): Promise<Output> {
    return docker(this.server, args, this.signal);
  }
}

async function start(root: string, folder: string, signal: AbortSignal): Promise<Contained> {
  const data = join(folder, 'docker');
  await rm(data, { recursive: true, force: true });
  await mkdir(data);
  return Contained.start('dockerd', [ENTER, root, folder, 'dockerd'], {
    env: ENVIRONMENT,
    log: join(folder, 'dockerd.log'),
    answers: async (server) => (await versionOf(server, signal)) !== '',
    signal,
  });
}

async function versionOf(server: Contained, signal: AbortSignal): Promise<string> {
  const { stdout } = await docker(server, ['version', '--format', '{{.Server.Version}}'], signal);
  return stdout.trim();
}

/** @throws CommandError */
async function docker(server: Contained, args: readonly string[], signal: AbortSignal): Promise<Output> {
  const enter = ['--target', String(await server.pid()), '--mount', '--root', '--wd', '--', 'docker'];
  return run('nsenter', [...enter, ...args], { env: ENVIRONMENT, signal });
}
