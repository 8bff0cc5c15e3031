import type { CopyOptions, CopyResult } from '../operations/copy/copy.js';
import { jsonLine, escapedLines } from '../report/text/control-characters.js';
import { untilInterrupted } from './interrupt.js';
import { tellNote } from './note.js';
import { registryAccess } from './registry-access.js';
import { layoutSettings, type TRANSFER_OPTIONS } from './shared-options.js';
import type { Arguments } from './verb.js';

type Settings = Omit<CopyOptions, 'imports' | 'exports'>;

/** Runs a copy for the verbs that copy: with progress, Ctrl-C, and a summary or JSON at the end. */
export async function runCopy(
  argv: Arguments<typeof TRANSFER_OPTIONS>,
  copy: (settings: Settings) => Promise<CopyResult>,
): Promise<void> {
  const { ProgressView } = await import('./progress.js');
  const progress = await ProgressView.open(argv.quiet);
  try {
    const layout = { ...layoutSettings(argv), heal: argv.heal };
    const registry = await registryAccess(argv);
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
        onProgress: (event) => progress.show(event),
        onNote(note) {
          progress.end();
          tellNote(note);
        },
      });
    const result = await untilInterrupted(run);
    progress.end();
    for (const { target, error } of result.ignored) {
      process.stderr.write(
        escapedLines([
          `bkcache: export to ${target} failed and is ignored, as ignore-error=true says: ${error.message}`,
        ]),
      );
    }
    if (argv.json) process.stdout.write(jsonLine({ ...result, ignored: result.ignored.map(plain) }));
    else if (!argv.quiet) process.stdout.write((await import('../report/text/copy.js')).copyText(result));
  } finally {
    progress.end();
  }
}

function plain({ target, error }: CopyResult['ignored'][number]): object {
  return { target, error: error.message };
}
