import { MAIN } from './command.js';
import { freePort, type Server, startServer } from './process.js';

/** Starts `bkcache serve --registry` on loopback, as a process of its own, for a folder of caches. */
export async function startServe(store: string, options: readonly string[] = []): Promise<Server> {
  const host = `127.0.0.1:${await freePort()}`;
  const words = ['serve', '--registry', '--store', store, '--listen', host, '--keep-free', '0', '--quiet'];
  return startServer(process.execPath, [MAIN, ...words, ...options], host, 'npm run build');
}
