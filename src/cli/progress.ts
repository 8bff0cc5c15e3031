import type { SingleBar } from 'cli-progress';
import prettyBytes from 'pretty-bytes';
import { escapedLines } from '../report/text/control-characters.js';
import { quantity } from '../report/text/phrases.js';
import type { ProgressEvent } from '../operations/copy/progress.js';

/** Progress on stderr: a bar on a terminal; without a terminal, a line for each layer. */
export class ProgressView {
  readonly #quiet: boolean;
  /** Undefined without a terminal. */
  readonly #Bar: typeof SingleBar | undefined;
  #bar: SingleBar | undefined;

  private constructor(quiet: boolean, Bar: typeof SingleBar | undefined) {
    this.#quiet = quiet;
    this.#Bar = Bar;
  }

  static async open(quiet: boolean): Promise<ProgressView> {
    const isDrawn = !quiet && process.stderr.isTTY && process.env['CI'] === undefined;
    return new ProgressView(quiet, isDrawn ? (await import('cli-progress')).default.SingleBar : undefined);
  }

  show(event: ProgressEvent): void {
    if (this.#quiet) return;
    if (event.type === 'kept') return this.#tellKept(event);
    if (this.#Bar) this.#draw(event);
    else if (event.type === 'layer') process.stderr.write(`${line(event)}\n`);
  }

  /** Progress of work that is one stream of bytes: a bar on a terminal; without a terminal, nothing. */
  work(what: string): (event: WorkEvent) => void {
    return (event) => {
      if (!this.#Bar) return;
      if (event.type === 'bytes') this.#bar?.increment(event.bytes);
      else this.#start(`{bar} {percentage}% of {size} ${what}, {eta_formatted} left`, event.bytes, {});
    };
  }

  end(): void {
    this.#bar?.stop();
    this.#bar = undefined;
  }

  #tellKept({ target, layers, bytes }: Extract<ProgressEvent, { type: 'kept' }>): void {
    this.end();
    const what = `${quantity(layers, 'layer')} (${prettyBytes(bytes)})`;
    process.stderr.write(escapedLines([`kept for the next run: ${what} in ${target}`]));
  }

  #start(format: string, bytes: number, values: Readonly<Record<string, string | number>>): void {
    this.end();
    if (this.#Bar === undefined) return;
    this.#bar = new this.#Bar({
      stream: process.stderr,
      format,
      barCompleteChar: '█',
      barIncompleteChar: '░',
      hideCursor: true,
      clearOnComplete: true,
    });
    this.#bar.start(bytes, 0, { size: prettyBytes(bytes), ...values });
  }

  #draw(event: ProgressEvent): void {
    if (event.type === 'start') {
      const { target, bytes } = event;
      const layers = quantity(event.layers, 'layer');
      this.#start('{bar} {percentage}% of {size}, {eta_formatted} left; {layers} to {target}', bytes, {
        layers,
        target,
      });
    } else if (event.type === 'bytes') {
      this.#bar?.increment(event.bytes);
    } else if (event.type === 'layer' && (event.action === 'present' || event.action === 'foreign')) {
      this.#bar?.increment(event.from.size);
    }
  }
}

/** Sizes are in bytes. */
type WorkEvent = { readonly type: 'start' | 'bytes'; readonly bytes: number };

function line({ action, from, to }: Extract<ProgressEvent, { type: 'layer' }>): string {
  const change =
    action === 'converted'
      ? ` -> ${to.digest} ${prettyBytes(from.size)} -> ${prettyBytes(to.size)}`
      : ` ${prettyBytes(from.size)}`;
  return `${action} ${from.digest}${change}`;
}
