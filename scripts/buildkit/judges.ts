import { dirname } from 'node:path';
import { Buildkitd, type Programs } from './buildkitd.js';
import type { Builder } from './builder.js';
import { Dockerd } from './dockerd.js';
import { isMade } from './kept.js';
import { makeBuildkitd, programsFolder } from './make-buildkitd.js';
import { findProgram, pathFolders } from './programs.js';
import { missing, staticBusybox, type Tool } from './requirements.js';
import { makeRoot, rootFolder } from './root.js';
import type { Workspace } from './workspace.js';

/** A BuildKit, and how to come by it. */
export interface Judge {
  /**
   * What this machine lacks for it.
   *
   * @returns one sentence for each thing that is missing
   */
  lacks(): Promise<string[]>;

  /**
   * Makes what is made once and kept between runs.
   *
   * @throws Error when it cannot be made
   */
  prepare(say: (text: string) => void, signal: AbortSignal): Promise<void>;

  /** Starts a builder, for which the workspace is its own. */
  start(workspace: Workspace, signal: AbortSignal): Promise<Builder>;

  /** The path of a static busybox, for build contexts. */
  busybox(): Promise<string>;
}

/** The dockerd of a Debian release. */
export function dockerd(home: string, suite: string): Judge {
  const root = rootFolder(home, suite);
  return {
    async lacks() {
      const tools: Tool[] = (await isMade(root)) ? [] : [['debootstrap', 'apt-get install debootstrap']];
      return missing(tools);
    },
    prepare: (say, signal) => makeRoot(root, suite, say, signal),
    start: (workspace, signal) => Dockerd.start(root, workspace, signal),
    busybox: async () => `${root}/bin/busybox`,
  };
}

/**
 * A buildkitd: that of a folder, else the one in the PATH, else one that is made of Debian's packages.
 *
 * @param folder - which has buildkitd and buildctl in it
 * @throws Error when the folder lacks one of them
 */
export async function buildkitd(home: string, folder: string | undefined): Promise<Judge> {
  const given = await programsIn(folder === undefined ? pathFolders() : [folder]);
  if (folder !== undefined && given === undefined) throw new Error(`${folder} lacks buildkitd or buildctl`);
  const made = await programsFolder(home);
  const programs = given ?? { buildkitd: `${made}/buildkitd`, buildctl: `${made}/buildctl` };
  return {
    async lacks() {
      const tools: Tool[] = [];
      // Upstream's releases have one beside them.
      if ((await findProgram('buildkit-runc', [dirname(programs.buildkitd), ...pathFolders()])) === undefined) {
        tools.push(['runc', 'apt-get install runc']);
      }
      if (given === undefined && !(await isMade(made))) {
        tools.push(['apt-get', "only Debian's packages are known to make buildkitd of"], ['dpkg-deb', 'dpkg']);
      }
      const lacks = await missing(tools);
      if ((await staticBusybox()) === undefined) {
        lacks.push('there is no busybox without libraries (apt-get install busybox-static)');
      }
      return lacks;
    },
    async prepare(say, signal) {
      if (given === undefined) await makeBuildkitd(made, say, signal);
    },
    start: (workspace, signal) => Buildkitd.start(programs, workspace, signal),
    async busybox() {
      const busybox = await staticBusybox();
      if (busybox === undefined) throw new Error('there is no static busybox');
      return busybox;
    },
  };
}

async function programsIn(folders: readonly string[]): Promise<Programs | undefined> {
  const [buildkitd, buildctl] = [await findProgram('buildkitd', folders), await findProgram('buildctl', folders)];
  return buildkitd === undefined || buildctl === undefined ? undefined : { buildkitd, buildctl };
}
