import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { homeFolder, isMade, makeOnce } from '../../scripts/buildkit/kept.js';
import { mirror } from '../../scripts/buildkit/debian.js';
import { run } from '../../scripts/buildkit/run.js';
import { freePort, output, type Server, startServer } from './process.js';

/** Debian 13, the first whose gateway has a store of its own, and needs no cluster behind it. */
const SUITE = 'trixie';
const PACKAGES = ['radosgw', 'ceph-common'];
/** Namespaces of its own, for unshare(1): what is mounted and started in them ends with them. */
const OWN = ['--mount', '--pid', '--fork', '--kill-child'];
/** Everything in one SQLite file, without a cluster. */
const STORE =
  '--no-mon-config --rgw-backend-store dbstore --rgw-config-store dbstore --rgw-data /rgw ' +
  '--dbstore-db-dir /rgw --dbstore-config-uri file:/rgw/config.db';
const INSTALL = 'apt-get install debootstrap util-linux';

/** A gateway, and a user of it. */
export interface Radosgw extends Server {
  readonly accessKey: string;
  readonly secretKey: string;
}

/**
 * Starts Ceph's RADOS gateway, which speaks S3, on loopback. Its Debian root is made once and kept: two minutes, 0.6 GB.
 *
 * @param folder - for what it keeps
 * @throws Error where there is no debootstrap, or the user is not root
 */
export async function startRadosgw(folder: string, signal: AbortSignal): Promise<Radosgw> {
  const root = join(homeFolder(), `root-radosgw-${SUITE}`);
  await makeRoot(root, signal);
  await mkdir(folder, { recursive: true });
  const enter = 'mkdir -p "$1/rgw" && mount --bind "$2" "$1/rgw" && root=$1 && shift 2 && exec chroot "$root" "$@"';
  const inside = (command: readonly string[]) => [...OWN, 'sh', '-c', enter, 'sh', root, folder, ...command];
  const store = STORE.split(' ');
  const host = `127.0.0.1:${await freePort()}`;
  const frontend = ['--rgw-frontends', `beast endpoint=${host}`];
  const gateway = ['radosgw', '-f', '-n', 'client.rgw.local', ...store, ...frontend];
  const server = await startServer('unshare', inside(gateway), host, INSTALL);
  const [accessKey, secretKey] = ['testkey', 'a secret of the tests'];
  const keys = ['--access-key', accessKey, '--secret', secretKey];
  const user = ['radosgw-admin', 'user', 'create', '--uid=test', '--display-name=test', ...keys, ...store];
  await output('unshare', inside(user), INSTALL);
  return { ...server, accessKey, secretKey };
}

async function makeRoot(root: string, signal: AbortSignal): Promise<void> {
  if (await isMade(root)) return;
  await makeOnce(
    root,
    async (partial) => {
      const from = await mirror();
      const contained = [...OWN, 'debootstrap'];
      const recipe = ['--variant=minbase', `--include=${PACKAGES.join(',')}`, SUITE, partial];
      await run('unshare', [...contained, ...recipe, ...(from === undefined ? [] : [from])], { signal });
    },
    signal,
  );
}
