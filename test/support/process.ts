import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { connect, createServer } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';

const run = promisify(execFile);

/** A server that runs until it is stopped, or the process that started it ends. */
export interface Server {
  /** Address and port. */
  readonly host: string;
  stop(): Promise<void>;
}

/** In milliseconds. */
const START_LIMIT = 30_000;

/** Runs a program to its end, and gives what it wrote to stdout. */
export async function output(program: string, args: readonly string[], install: string): Promise<string> {
  try {
    return (await run(program, args)).stdout;
  } catch (error) {
    throw explained(error, program, install);
  }
}

/**
 * Starts a server and waits until it answers.
 *
 * @param install - how to install what may be missing
 * @throws Error with what the server said, when it ends or does not answer
 */
export async function startServer(
  program: string,
  args: readonly string[],
  host: string,
  install: string,
): Promise<Server> {
  const child = spawn(program, args, { stdio: ['ignore', 'ignore', 'pipe'] });
  let said = '';
  child.stderr.on('data', (chunk: Buffer) => (said = `${said}${chunk.toString()}`.slice(-4000)));
  let failure: unknown;
  child.on('error', (error) => (failure = explained(error, program, install)));
  const kill = () => child.kill('SIGKILL');
  process.once('exit', kill);
  const deadline = Date.now() + START_LIMIT;
  for (;;) {
    if (failure !== undefined) throw failure;
    if (hasEnded(child) || Date.now() > deadline) throw new Error(`${program} did not start:\n${said}`);
    if (await listens(host)) break;
    await sleep(50);
  }
  return {
    host,
    async stop() {
      process.off('exit', kill);
      if (hasEnded(child)) return;
      const end = once(child, 'exit');
      child.kill('SIGKILL');
      await end;
    },
  };
}

async function listens(host: string): Promise<boolean> {
  const { hostname, port } = new URL(`http://${host}`);
  const socket = connect({ host: hostname.replace(/^\[|\]$/g, ''), port: Number(port) });
  try {
    await once(socket, 'connect');
    return true;
  } catch {
    return false;
  } finally {
    socket.destroy();
  }
}

/**
 * A port that nobody listens on.
 *
 * @param address - of this machine, IPv6 in brackets
 */
export async function freePort(address = '127.0.0.1'): Promise<number> {
  const server = createServer().listen(0, address.replace(/^\[|\]$/g, ''));
  await once(server, 'listening');
  const bound = server.address();
  server.close();
  if (bound === null || typeof bound === 'string') throw new Error('there is no port');
  return bound.port;
}

function hasEnded(child: ChildProcess): boolean {
  return child.exitCode !== null || child.signalCode !== null;
}

function explained(error: unknown, program: string, install: string): unknown {
  const isMissing = error instanceof Error && 'code' in error && error.code === 'ENOENT';
  return isMissing ? new Error(`${program} is not installed: ${install}`) : error;
}
