import type { CopyOptions, CopyResult } from '../copy.js';
import { jsonLine, printed } from '../report/visible.js';
import { untilInterrupted } from './interrupt.js';
import { tellNote } from './note.js';
import { registryAccess } from './registry-access.js';
import { layoutSettings, type TRANSFER_OPTIONS } from './shared-options.js';
import type { LayerAction, ProgressEvent } from '../transfer.js';
import type { Arguments } from './verb.js';

type Settings = Omit<CopyOptions, 'imports' | 'exports'>;

/** Runs a copy with what all copying verbs share: progress, Ctrl-C, and a summary or JSON at the end. */
export async function runCopy(
  argv: Arguments<typeof TRANSFER_OPTIONS>,
  copy: (settings: Settings) => Promise<CopyResult>,
): Promise<void> {
  const { ProgressView } = await import('./progress.js');
  const progress = await ProgressView.open(argv.quiet);
  try {
    const layout = { ...layoutSettings(argv), heal: argv.heal };
    const registry = await registryAccess(argv);
    const kept = new Kept();
    const run = (signal: AbortSignal) =>
      copy({
        concurrency: argv.concurrency,
        hardlink: argv.hardlink,
        allowOversize: argv['allow-oversize'],
        maxLayerSize: argv['max-layer-size'],
        windowMemory: argv['window-memory'],
        layout,
        registry,
        signal,
        onProgress(event) {
          kept.note(event);
          progress.show(event);
        },
        onNote(note) {
          progress.end();
          tellNote(note);
        },
      });
    const result = await untilInterrupted(run, () => kept.text);
    progress.end();
    for (const { target, error } of result.ignored) {
      process.stderr.write(
        printed([`bkcache: export to ${target} failed and is ignored, as ignore-error=true says: ${error.message}`]),
      );
    }
    if (argv.json) process.stdout.write(jsonLine({ ...result, ignored: result.ignored.map(plain) }));
    else if (!argv.quiet) process.stdout.write((await import('../report/summary.js')).summary(result));
  } finally {
    progress.end();
  }
}

/** What a copy has brought to its targets so far, and stays there when it is stopped. */
class Kept {
  readonly #layers = new Map<string, number>();
  #target = '';

  note(event: ProgressEvent): void {
    if (event.type === 'start') this.#target = event.target;
    if (event.type !== 'layer' || !BROUGHT.has(event.action)) return;
    this.#layers.set(this.#target, (this.#layers.get(this.#target) ?? 0) + 1);
  }

  /** Undefined where there is nothing. */
  get text(): string | undefined {
    const parts = Array.from(this.#layers, ([target, count]) => {
      return `${count} ${count === 1 ? 'layer' : 'layers'} in ${target}`;
    });
    return parts.length === 0 ? undefined : `kept for the next run: ${parts.join(', ')}`;
  }
}

const BROUGHT: ReadonlySet<LayerAction> = new Set(['copied', 'converted', 'mounted']);

function plain({ target, error }: CopyResult['ignored'][number]): object {
  return { target, error: error.message };
}
