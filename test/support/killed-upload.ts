import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';

/** An upload of one object in a process of its own. */
export interface UploadProcess {
  readonly service: 's3' | 'azblob';
  /** As its connection takes them. */
  readonly settings: object;
  readonly key: string;
  readonly bytes: Uint8Array;
  /** For the user's own notes. */
  readonly home: string;
}

/** How long the beginning of an object may take to arrive, in milliseconds. */
const ARRIVAL_TIMEOUT = 120_000;
const SCRIPT = fileURLToPath(new URL('put-object.js', import.meta.url));

/** Sends the beginning of an object, and kills the process (SIGKILL) when enough of it has arrived. */
export async function killUpload(upload: UploadProcess, sent: number, isEnough: () => Promise<boolean>): Promise<void> {
  const child = start(upload);
  child.stdin?.write(upload.bytes.subarray(0, sent));
  for (const end = Date.now() + ARRIVAL_TIMEOUT; !(await isEnough());) {
    if (Date.now() > end) throw new Error('the service has no beginning of the upload');
    await sleep(20);
  }
  child.kill('SIGKILL');
  await once(child, 'close');
}

/** The uploads that a user's notes name, as the service calls them. */
export function idsIn(home: string): string[] {
  const folder = join(home, 'bkcache-uploads');
  if (!existsSync(folder)) return [];
  return readdirSync(folder).flatMap((name) => readFileSync(join(folder, name), 'utf8').trim() || []);
}

/** Sends an object. @returns the exit code */
export async function runUpload(upload: UploadProcess): Promise<unknown> {
  const child = start(upload);
  child.stdin?.end(upload.bytes);
  const [code] = (await once(child, 'close')) as unknown[];
  return code;
}

function start({ service, settings, key, bytes, home }: UploadProcess): ChildProcess {
  const args = [SCRIPT, service, JSON.stringify(settings), key, `${bytes.length}`];
  const env = { ...process.env, XDG_CACHE_HOME: home };
  const child = spawn(process.execPath, args, { env, stdio: ['pipe', 'ignore', 'inherit'] });
  child.stdin?.on('error', () => undefined);
  return child;
}
