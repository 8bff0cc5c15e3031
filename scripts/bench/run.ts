import { spawn } from 'node:child_process';
import { readFileSync, rmSync } from 'node:fs';

export interface Run {
  /** In seconds. */
  readonly time: number;
  /** The most memory that the process had resident, in bytes; 0 where the system does not tell. */
  readonly memory: number;
  readonly stdout: string;
}

/** Runs a command to its end, with nothing left of the last time in `out`. */
export async function run(command: string, args: readonly string[], out: string): Promise<Run> {
  rmSync(out, { recursive: true, force: true });
  const start = performance.now();
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
  if (code !== 0) throw new Error(`${command} ${args.join(' ')} ended with ${code}`);
  return { time, memory, stdout: Buffer.concat(chunks).toString() };
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
