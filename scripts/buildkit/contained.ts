import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { open, readFile } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { lastLines, mortal } from './run.js';

// In milliseconds.
const START_LIMIT = 60_000;
const PAUSE = 20;

/**
 * A server in mount and PID namespaces of its own. Its mounts and all processes that it started end with it, and it ends
 * with the process that started it, however that ends.
 */
export class Contained {
  /** The command, for messages. */
  private readonly name: string;
  private readonly log: string;
  private readonly child: ChildProcess;

  private constructor(name: string, log: string, child: ChildProcess) {
    this.name = name;
    this.log = log;
    this.child = child;
  }

  /**
   * Starts a server, and waits until it answers.
   *
   * @param flags - for unshare(1), beside those for the namespaces
   * @param log - the file to which the server's output is appended
   * @param answers - whether the server answers by now
   * @throws Error with the end of the log when the server does not come up
   */
  static async start(
    name: string,
    command: readonly string[],
    options: {
      readonly flags?: readonly string[];
      readonly env: Readonly<Record<string, string>>;
      readonly log: string;
      readonly answers: (server: Contained) => Promise<boolean>;
      readonly signal: AbortSignal;
    },
  ): Promise<Contained> {
    const { flags = [], env, log, answers, signal } = options;
    signal.throwIfAborted();
    const output = await open(log, 'a');
    const unshare = ['unshare', '--mount', '--pid', '--fork', '--kill-child', ...flags];
    const child = spawn('setpriv', mortal([...unshare, ...command]), {
      stdio: ['ignore', output.fd, output.fd],
      env,
      // Ctrl-C in a terminal reaches this process alone, which then ends the server.
      detached: true,
    });
    await output.close();
    const server = new Contained(name, log, child);
    try {
      await server.ready(answers, signal);
    } catch (error) {
      await server.stop();
      throw error;
    }
    return server;
  }

  /**
   * The process in whose namespaces the server runs.
   *
   * @throws Error with the end of the log when the server has ended
   */
  async pid(): Promise<number> {
    const { pid } = this.child;
    if (!this.isAlive() || pid === undefined) {
      throw new Error(`${this.name} is not running:\n${await this.lastWords()}`);
    }
    return pid;
  }

  isAlive(): boolean {
    return this.child.exitCode === null && this.child.signalCode === null;
  }

  /** The end of the log. */
  async lastWords(): Promise<string> {
    return lastLines(await readFile(this.log, 'utf8'), 15);
  }

  /** Kills the server and all that it started; their mounts go with them. There is nothing that it would have to save. */
  async stop(): Promise<void> {
    const { pid } = this.child;
    if (!this.isAlive() || pid === undefined) return;
    const exit = once(this.child, 'exit');
    // Killing the first process of the namespace kills all others, and unshare ends after the last of them.
    const children = await readFile(`/proc/${pid}/task/${pid}/children`, 'utf8').catch(() => '');
    const first = Number.parseInt(children, 10);
    if (Number.isNaN(first)) this.child.kill('SIGKILL');
    else kill(first);
    await exit;
  }

  private async ready(answers: (server: Contained) => Promise<boolean>, signal: AbortSignal): Promise<void> {
    const deadline = performance.now() + START_LIMIT;
    while (!(await answers(this).catch(() => false))) {
      signal.throwIfAborted();
      if (!this.isAlive() || performance.now() > deadline) {
        throw new Error(`${this.name} does not come up:\n${await this.lastWords()}`);
      }
      await sleep(PAUSE);
    }
  }
}

/** The process may have ended by now: a server that panics takes its namespace with it. */
function kill(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}
