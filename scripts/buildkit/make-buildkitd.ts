import { createHash } from 'node:crypto';
import { cp, mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Archive } from './debian.js';
import { makeOnce } from './kept.js';
import { run } from './run.js';

/** The Debian packages that buildkitd and buildctl are compiled from, one in a line. */
const PACKAGES = fileURLToPath(new URL('../../../scripts/buildkit/buildkitd-packages.txt', import.meta.url));
const SUITE = 'sid';
/** What BuildKit lies in. */
const DOCKER = 'golang-github-docker-docker-dev';
/** What each Docker has inside; nothing in the sources says it (moby's vendor.mod). */
const VERSIONS: Readonly<Record<string, string>> = { '28.5.2': '0.25.2' };

/** A change here makes other programs of the same sources. */
const RECIPE = 1;

/** Where the programs are, or will be. The name changes with what they are made of. */
export async function programsFolder(home: string): Promise<string> {
  const recipe = createHash('sha256').update(`${RECIPE} ${await readFile(PACKAGES, 'utf8')}`);
  return join(home, `buildkitd-${SUITE}-${recipe.digest('hex').slice(0, 12)}`);
}

/**
 * Compiles buildkitd and buildctl from the Go sources in Debian's packages, unless they are there: 2 to 6 minutes, 2.3 GB
 * while it lasts and 70 MB in the end. Nothing is installed.
 *
 * @param folder - what programsFolder said
 * @throws Error when a package cannot be had, or the sources do not compile
 */
export async function makeBuildkitd(folder: string, say: (text: string) => void, signal: AbortSignal): Promise<void> {
  await makeOnce(
    folder,
    async (partial) => {
      say(`making buildkitd from Debian's packages in ${folder}, once; this takes some minutes`);
      const work = `${folder}.work`;
      await rm(work, { recursive: true, force: true });
      try {
        await compile(work, partial, signal);
      } finally {
        await rm(work, { recursive: true, force: true });
      }
    },
    signal,
  );
}

/** @param programs - the folder for the two programs, which is made */
async function compile(work: string, programs: string, signal: AbortSignal): Promise<void> {
  const archive = await Archive.open(SUITE, join(work, 'archive'), signal);
  const docker = await archive.version(DOCKER);
  const buildkit = VERSIONS[docker.split('+')[0] ?? ''];
  if (buildkit === undefined) throw new Error(`${SUITE} has Docker ${docker}; the recipe knows ${known()}`);
  const compiler = (await archive.dependencies('golang-go')).find((name) => /^golang-[\d.]+-go$/.test(name));
  if (compiler === undefined) throw new Error(`${SUITE} has no golang-go`);
  const unpacked = join(work, 'unpacked');
  const names = (await readFile(PACKAGES, 'utf8')).split('\n').filter((name) => name !== '');
  await archive.unpack([compiler, compiler.replace(/-go$/, '-src'), ...names], unpacked);
  const sources = join(unpacked, 'usr/share/gocode');
  const own = join(work, 'own');
  await adapt(sources, own);
  const lib = join(unpacked, 'usr/lib');
  const go = (await readdir(lib)).find((name) => name.startsWith('go-'));
  if (go === undefined) throw new Error(`${compiler} has no compiler`);
  await mkdir(programs);
  const version = `github.com/moby/buildkit/version.Version=v${buildkit}+debian`;
  const commands = ['buildctl', 'buildkitd'].map((name) => `github.com/moby/buildkit/cmd/${name}`);
  await run(
    join(lib, go, 'bin/go'),
    ['build', '-trimpath', '-ldflags', `-s -w -X ${version}`, '-o', `${programs}/`, ...commands],
    {
      cwd: own,
      signal,
      env: {
        PATH: process.env['PATH'] ?? '',
        HOME: work,
        GOROOT: join(lib, go),
        GOPATH: `${own}:${sources}`,
        GOCACHE: join(work, 'go-cache'),
        GO111MODULE: 'off',
        GOTOOLCHAIN: 'local',
        GOFLAGS: '',
        CGO_ENABLED: '0',
      },
    },
  );
}

function known(): string {
  return Object.keys(VERSIONS).join(' and ');
}

/**
 * Lays out what goes before Debian's sources: BuildKit, without the parts whose libraries Debian lacks (type=gha, the
 * snapshotters stargz and fuse-overlayfs), and containerd's seccomp profile under the name of moby's, which is the same.
 */
async function adapt(sources: string, own: string): Promise<void> {
  const moby = join(own, 'src/github.com/moby');
  const buildkit = join(moby, 'buildkit');
  await mkdir(join(moby, 'profiles/seccomp'), { recursive: true });
  await writeFile(join(moby, 'profiles/seccomp/seccomp.go'), SECCOMP);
  await cp(join(sources, 'src/github.com/moby/buildkit'), buildkit, { recursive: true });
  await writeFile(join(buildkit, 'go.mod'), 'module github.com/moby/buildkit\n');
  await edit(join(buildkit, 'cmd/buildkitd/main.go'), withoutGha);
  await edit(join(buildkit, 'cmd/buildkitd/main_oci_worker.go'), withoutSnapshotters);
}

const SECCOMP = `package seccomp

import (
	"github.com/containerd/containerd/v2/contrib/seccomp"
	specs "github.com/opencontainers/runtime-spec/specs-go"
)

func GetDefaultProfile(spec *specs.Spec) (*specs.LinuxSeccomp, error) { return seccomp.DefaultProfile(spec), nil }
`;

async function edit(path: string, change: (text: string) => string): Promise<void> {
  const before = await readFile(path, 'utf8');
  const after = change(before);
  if (after === before) throw new Error(`${path} is not as the recipe expects it`);
  await writeFile(path, after);
}

/** A line imports the package and two lines use it. */
function withoutGha(text: string): string {
  const lines = text.split('\n');
  return lines.filter((line) => !/\/remotecache\/gha"$|\bgha\.Resolve/.test(line)).join('\n');
}

function withoutSnapshotters(text: string): string {
  const changed = text
    .replace('fuseoverlayfs.Supported(commonRoot)', 'error(errors.New("not built in"))')
    .replace('return fuseoverlayfs.NewSnapshotter(root)', 'return nil, errors.New("not built in")')
    // The case of stargz, up to the default.
    .replace(/\n\tcase "stargz":[^]*?(?=\n\tdefault:\n\t\treturn snFactory)/, '');
  // What follows is for stargz alone.
  const end = changed.indexOf('\nconst (\n\t// targetRefLabel');
  return withoutUnusedImports(end === -1 ? changed : changed.slice(0, end));
}

/** Go refuses a file that imports what it does not use. A package's name is the last part of its path, or a given one. */
function withoutUnusedImports(text: string): string {
  const end = text.indexOf('\n)\n');
  const body = text.slice(end);
  const isUsed = (line: string) => {
    const [, given, path] = /^\t(?:(\w+) )?"([^"]+)"$/.exec(line) ?? [];
    if (path === undefined || given === '_') return true;
    const name = given ?? path.slice(path.lastIndexOf('/') + 1).replace(/^go-/, '');
    return new RegExp(`\\b${name}\\.`).test(body);
  };
  return text.slice(0, end).split('\n').filter(isUsed).join('\n') + body;
}
