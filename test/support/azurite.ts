import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { homeFolder, isMade, makeOnce } from '../../scripts/buildkit/kept.js';
import { run } from '../../scripts/buildkit/run.js';
import { freePort, type Server, startServer } from './process.js';

const VERSION = '3.35.0';
const ACCOUNT = 'bkcachetests';
const KEY = Buffer.from('a key of the tests').toString('base64');

/** Azure's own emulator of Blob Storage, with the only account that it has. */
export interface Azurite extends Server {
  readonly account: string;
  readonly key: string;
  /** The address of the account. */
  readonly url: string;
}

/**
 * Starts Azurite on loopback. It is installed from npm once and kept, and is no dependency of bkcache.
 *
 * @param folder - for what it keeps
 */
export async function startAzurite(folder: string, signal: AbortSignal): Promise<Azurite> {
  const home = join(homeFolder(), `azurite-${VERSION}`);
  await install(home, signal);
  await mkdir(folder, { recursive: true });
  const port = await freePort();
  const program = join(home, 'node_modules/azurite/dist/src/blob/main.js');
  const args = [program, '--location', folder, '--blobHost', '127.0.0.1', '--blobPort', `${port}`, '--silent'];
  // The account comes from the environment, which the server inherits.
  process.env['AZURITE_ACCOUNTS'] = `${ACCOUNT}:${KEY}`;
  const server = await startServer(
    process.execPath,
    [...args, '--disableTelemetry'],
    `127.0.0.1:${port}`,
    'npm install azurite',
  );
  return { ...server, account: ACCOUNT, key: KEY, url: `http://${server.host}/${ACCOUNT}` };
}

async function install(home: string, signal: AbortSignal): Promise<void> {
  if (await isMade(home)) return;
  await makeOnce(
    home,
    async (partial) => {
      await mkdir(partial, { recursive: true });
      await writeFile(join(partial, 'package.json'), '{ "private": true }\n');
      const options = { cwd: partial, signal };
      await run('npm', ['install', '--no-audit', '--no-fund', '--ignore-scripts', `azurite@${VERSION}`], options);
    },
    signal,
  );
}
