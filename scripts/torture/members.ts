import { spawn } from 'node:child_process';
import { insist } from './folder.js';

/** A process that works in a folder together with others. */
export interface Member {
  /** What it printed. */
  readonly done: Promise<string>;
  /** Ends its standard input, which it takes for a sign to come to an end. */
  readonly stop: () => void;
}

/** @param script - a compiled file of this folder */
export function member(script: string, ...args: readonly string[]): Member {
  const child = spawn(process.execPath, [script, ...args], { stdio: ['pipe', 'pipe', 'pipe'] });
  let [stdout, stderr] = ['', ''];
  child.stdout.on('data', (chunk: Buffer) => (stdout += chunk.toString()));
  child.stderr.on('data', (chunk: Buffer) => (stderr += chunk.toString()));
  const done = new Promise<string>((resolve, reject) => {
    child.on('error', reject).on('close', (code) => {
      try {
        insist(code === 0, `${args.join(' ')} ended with ${code}: ${stderr}`);
        if (stderr !== '') process.stderr.write(stderr);
        resolve(stdout);
      } catch (error) {
        reject(error);
      }
    });
  });
  return { done, stop: () => child.stdin.end() };
}
