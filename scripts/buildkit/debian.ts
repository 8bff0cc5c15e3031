import { mkdir, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { run } from './run.js';

const KEYRING = '/usr/share/keyrings/debian-archive-keyring.gpg';

/** The Debian mirror: the one that is named, or the one that apt uses here; none where apt has no lists. */
export async function mirror(env: NodeJS.ProcessEnv = process.env): Promise<string | undefined> {
  const named = env['BKCACHE_DEBIAN_MIRROR'];
  if (named !== undefined && named !== '') return named;
  const targets = await run('apt-get', ['indextargets', '--format', '$(LABEL) $(REPO_URI)', 'Created-By: Packages']);
  const debian = targets.stdout.split('\n').find((line) => line.startsWith('Debian '));
  return debian?.slice('Debian '.length);
}

/** Packages of a Debian release that need not be this machine's. Its own apt and dpkg see nothing of it. */
export class Archive {
  private readonly folder: string;
  private readonly signal: AbortSignal;

  private constructor(folder: string, signal: AbortSignal) {
    this.folder = folder;
    this.signal = signal;
  }

  /**
   * Reads the list of packages of a release. The mirror's signature is checked, its date is not: a mirror's copy of sid
   * may be some weeks old.
   *
   * @param folder - is made, for lists and packages
   * @throws Error when no mirror is known; CommandError when the list cannot be had
   */
  static async open(suite: string, folder: string, signal: AbortSignal): Promise<Archive> {
    const from = await mirror();
    if (from === undefined) throw new Error('apt knows no mirror of Debian here: name one in BKCACHE_DEBIAN_MIRROR');
    const made = ['lists/partial', 'cache/archives/partial', 'packages'];
    for (const name of made) await mkdir(join(folder, name), { recursive: true });
    await writeFile(join(folder, 'status'), '');
    await writeFile(join(folder, 'sources.list'), `deb [signed-by=${KEYRING}] ${from} ${suite} main\n`);
    const settings = {
      'Dir::Etc::sourcelist': join(folder, 'sources.list'),
      'Dir::Etc::sourceparts': '/dev/null',
      'Dir::Etc::preferences': '/dev/null',
      'Dir::Etc::preferencesparts': '/dev/null',
      'Dir::State::lists': join(folder, 'lists'),
      'Dir::State::status': join(folder, 'status'),
      'Dir::Cache': join(folder, 'cache'),
      'Acquire::Languages': 'none',
      'Acquire::Check-Valid-Until': 'false',
      // The folder is root's.
      'APT::Sandbox::User': 'root',
    };
    const lines = Object.entries(settings).map(([name, value]) => `${name} "${value}";\n`);
    await writeFile(join(folder, 'apt.conf'), lines.join(''));
    const archive = new Archive(folder, signal);
    // Without it, apt-get ends with 0 where it has got nothing.
    await archive.apt('apt-get', 'update', '-q', '-o', 'APT::Update::Error-Mode=any');
    return archive;
  }

  /** The packages that a package depends on by itself. */
  async dependencies(name: string): Promise<string[]> {
    const said = await this.apt('apt-cache', 'depends', '--important', name);
    return [...said.matchAll(/Depends: (\S+)$/gm)].map((match) => match[1] ?? '');
  }

  /** The version of a package. */
  async version(name: string): Promise<string> {
    const said = await this.apt('apt-cache', 'show', '--no-all-versions', name);
    return /^Version: (.+)$/m.exec(said)?.[1] ?? '';
  }

  /**
   * Fetches packages, and unpacks them into one folder. None of their scripts runs.
   *
   * @throws CommandError when one cannot be had
   */
  async unpack(names: readonly string[], into: string): Promise<void> {
    const packages = join(this.folder, 'packages');
    await this.apt('apt-get', 'download', '-q', ...names);
    await mkdir(into, { recursive: true });
    for (const name of await readdir(packages)) {
      await run('dpkg-deb', ['--extract', join(packages, name), into], { signal: this.signal });
    }
  }

  private async apt(command: string, ...args: string[]): Promise<string> {
    const env = { ...process.env, LC_ALL: 'C', APT_CONFIG: join(this.folder, 'apt.conf') };
    const { stdout } = await run(command, args, { cwd: join(this.folder, 'packages'), env, signal: this.signal });
    return stdout;
  }
}
