import { styleText } from 'node:util';
import type { Verdict } from './verdict.js';

const WIDTH = 68;
const NOTE = 90;

/** A row's name and what came out of it. */
export interface Row extends Verdict {
  readonly name: string;
}

export function tableHead(): string {
  return `${'check'.padEnd(WIDTH)}  steps  cached  seconds  result`;
}

/** A row for a check that did not run. */
export function skippedRow(name: string, reason: string): string {
  return `${name.padEnd(WIDTH)}  ${' '.repeat(22)}  skipped: ${reason}`;
}

/** One row; below a failed one, a line for each problem. */
export function tableRow({ name, steps, cached, seconds, problems, note }: Row): string {
  const numbers = `${String(steps).padStart(5)}  ${String(cached).padStart(6)}  ${seconds.toFixed(1).padStart(7)}`;
  const whole = problems.length === 0;
  const result = whole
    ? `${styleText('green', 'ok')}${note === undefined ? '' : `: ${note.slice(0, NOTE)}`}`
    : styleText('red', 'FAILED');
  const details = problems.flatMap((problem) => problem.split('\n')).map((line) => `\n    ${line}`);
  return `${name.padEnd(WIDTH)}  ${numbers}  ${result}${details.join('')}`;
}
