import type { SingleBar } from 'cli-progress';
import cliProgress from 'cli-progress';
import prettyBytes from 'pretty-bytes';
import type { ProgressEvent } from '../transfer.js';

/** Progress on stderr: a bar on a terminal, and a line per layer elsewhere. */
export class ProgressView {
  readonly #quiet: boolean;
  readonly #terminal = process.stderr.isTTY && process.env['CI'] === undefined;
  #bar: SingleBar | undefined;

  constructor(quiet: boolean) {
    this.#quiet = quiet;
  }

  show(event: ProgressEvent): void {
    if (this.#quiet) return;
    if (this.#terminal) this.#draw(event);
    else if (event.type === 'layer') process.stderr.write(`${line(event)}\n`);
  }

  end(): void {
    this.#bar?.stop();
    this.#bar = undefined;
  }

  #draw(event: ProgressEvent): void {
    if (event.type === 'start') {
      this.end();
      this.#bar = new cliProgress.SingleBar({
        stream: process.stderr,
        format: '{bar} {percentage}% of {size}, {eta_formatted} left; {layers} to {target}',
        barCompleteChar: '█',
        barIncompleteChar: '░',
        hideCursor: true,
        clearOnComplete: true,
      });
      const layers = `${event.layers} ${event.layers === 1 ? 'layer' : 'layers'}`;
      this.#bar.start(event.bytes, 0, { size: prettyBytes(event.bytes), layers, target: event.target });
    } else if (event.type === 'bytes') {
      this.#bar?.increment(event.bytes);
    } else if (event.action === 'present' || event.action === 'foreign') {
      this.#bar?.increment(event.from.size);
    }
  }
}

function line({ action, from, to }: Extract<ProgressEvent, { type: 'layer' }>): string {
  const change =
    action === 'converted'
      ? ` -> ${to.digest} ${prettyBytes(from.size)} -> ${prettyBytes(to.size)}`
      : ` ${prettyBytes(from.size)}`;
  return `${action} ${from.digest}${change}`;
}
