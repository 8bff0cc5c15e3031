import { spawn } from 'node:child_process';
import { readFileSync, rmSync } from 'node:fs';
import koffi from 'koffi';

export interface Run {
  /** In seconds. */
  readonly time: number;
  /** The time of all processors that the process and its children took, in seconds. */
  readonly cpu: number;
  /** The most memory that the process had resident, in bytes; 0 where the system does not tell. */
  readonly memory: number;
  readonly stdout: string;
}

/**
 * Runs a command to its end, with nothing left of the last time in `out`.
 *
 * @param prepare - fills `out`; it is not measured
 * @param codes - the exit codes that are expected
 */
export async function run(
  command: string,
  args: readonly string[],
  out: string,
  prepare: () => void = () => undefined,
  codes: readonly number[] = [0],
): Promise<Run> {
  rmSync(out, { recursive: true, force: true });
  prepare();
  const [start, cpu] = [performance.now(), cpuOfChildren()];
  const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'inherit'] });
  let memory = 0;
  const look = () => {
    memory = Math.max(memory, peakOf(child.pid));
  };
  const timer = setInterval(look, 10);
  const chunks: Buffer[] = [];
  child.stdout.on('data', (chunk: Buffer) => chunks.push(chunk));
  const code = await new Promise<number | null>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', resolve);
  });
  const time = (performance.now() - start) / 1000;
  clearInterval(timer);
  if (code === null || !codes.includes(code)) throw new Error(`${command} ${args.join(' ')} ended with ${code}`);
  return { time, cpu: cpuOfChildren() - cpu, memory, stdout: Buffer.concat(chunks).toString() };
}

const RUSAGE_CHILDREN = -1;
const getrusage = koffi.load(null).func('int getrusage(int who, _Out_ long *usage)') as (
  who: number,
  usage: BigInt64Array,
) => number;

/** What all children that have ended took of the processors, in seconds: the first fields of getrusage(2). */
function cpuOfChildren(): number {
  const usage = new BigInt64Array(18);
  getrusage(RUSAGE_CHILDREN, usage);
  const [userSeconds = 0n, userMicroseconds = 0n, systemSeconds = 0n, systemMicroseconds = 0n] = usage;
  return Number(userSeconds + systemSeconds) + Number(userMicroseconds + systemMicroseconds) / 1e6;
}

/** Linux keeps the peak itself, so that looking now and then is enough. */
function peakOf(pid: number | undefined): number {
  try {
    const kilobytes = /^VmHWM:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1];
    return Number(kilobytes ?? 0) * 1024;
  } catch {
    return 0;
  }
}

export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = Math.floor(sorted.length / 2);
  const upper = sorted[middle] ?? Number.NaN;
  return sorted.length % 2 === 1 ? upper : (upper + (sorted[middle - 1] ?? upper)) / 2;
}
