import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { homeFolder, isMade, makeOnce } from '../../scripts/buildkit/kept.js';
import { run } from '../../scripts/buildkit/run.js';
import { freePort, type Server, startServer } from './process.js';

const VERSION = '3.7.1';

/** A small service that speaks S3, with the keys of its only user. */
export interface S3rver extends Server {
  readonly accessKey: string;
  readonly secretKey: string;
}

/**
 * Starts s3rver on loopback. It is installed from npm once and kept, and is no dependency of bkcache.
 *
 * @param folder - for what it keeps
 */
export async function startS3rver(folder: string, signal: AbortSignal): Promise<S3rver> {
  const home = join(homeFolder(), `s3rver-${VERSION}`);
  await install(home, signal);
  await mkdir(folder, { recursive: true });
  const port = await freePort();
  const program = join(home, 'node_modules/s3rver/bin/s3rver.js');
  const args = [program, '--directory', folder, '--address', '127.0.0.1', '--port', `${port}`, '--silent'];
  const server = await startServer(process.execPath, args, `127.0.0.1:${port}`, 'npm install s3rver');
  return { ...server, accessKey: 'S3RVER', secretKey: 'S3RVER' };
}

async function install(home: string, signal: AbortSignal): Promise<void> {
  if (await isMade(home)) return;
  await makeOnce(
    home,
    async (partial) => {
      await mkdir(partial, { recursive: true });
      await writeFile(join(partial, 'package.json'), '{ "private": true }\n');
      const options = { cwd: partial, signal };
      await run('npm', ['install', '--no-audit', '--no-fund', '--ignore-scripts', `s3rver@${VERSION}`], options);
    },
    signal,
  );
}
