import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';

const run = promisify(execFile);

/** A server that runs until it is stopped, or the process that started it ends. */
export interface Server {
  /** Host and port, on loopback. */
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
  port: number,
  install: string,
): Promise<Server> {
  const host = `127.0.0.1:${port}`;
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
    if (
      await fetch(`http://${host}/`).then(
        () => true,
        () => false,
      )
    )
      break;
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

/** A port of loopback that nobody listens on. */
export async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  server.close();
  if (address === null || typeof address === 'string') throw new Error('there is no port');
  return address.port;
}

function hasEnded(child: ChildProcess): boolean {
  return child.exitCode !== null || child.signalCode !== null;
}

function explained(error: unknown, program: string, install: string): unknown {
  const isMissing = error instanceof Error && 'code' in error && error.code === 'ENOENT';
  return isMissing ? new Error(`${program} is not installed: ${install}`) : error;
}
