import yargs from 'yargs';
import { CacheError } from '../errors.js';
import { copyCommand } from './copy.js';
import { examples } from './examples.js';
import { exportCommand } from './export.js';
import { gcCommand } from './gc.js';
import { importArgsCommand } from './import-args.js';
import { importCommand } from './import.js';
import { inspectCommand } from './inspect.js';
import { listCommand } from './list.js';
import { pruneCommand } from './prune.js';
import { removeCommand } from './remove.js';
import { repairCommand } from './repair.js';
import { resolveCommand } from './resolve.js';
import { verifyCommand } from './verify.js';

/** Runs the command that the words name. */
export async function runCommand(argv: readonly string[]): Promise<void> {
  await yargs([...argv])
    .scriptName('bkcache')
    .usage('$0 <command>\n\nCopies, converts, merges, slims and shows BuildKit build caches.')
    .command(copyCommand)
    .command(importCommand)
    .command(exportCommand)
    .command(resolveCommand)
    .command(importArgsCommand)
    .command(listCommand)
    .command(inspectCommand)
    .command(removeCommand)
    .command(verifyCommand)
    .command(repairCommand)
    .command(gcCommand)
    .command(pruneCommand)
    .option('debug', { type: 'boolean', describe: 'Show where an error came from', global: true })
    .epilogue(
      examples(
        [
          'Keep what the image needs',
          'bkcache copy --import-cache type=local,src=./cache --export-cache type=local,dest=./small,mode=min',
        ],
        ['Keep a cache in the store under a name', 'bkcache import main --import-cache ./cache'],
        ['What is in the store', 'bkcache list'],
      ),
    )
    .demandCommand(1, 'Name a command.')
    .recommendCommands()
    .strict()
    .parserConfiguration({
      'duplicate-arguments-array': true,
      'parse-numbers': false,
      'parse-positional-numbers': false,
    })
    .wrap(Math.min(110, process.stdout.columns ?? 100))
    .version((await import('./version.js')).VERSION)
    .help()
    .fail((message, error) => {
      if (error) throw error;
      throw new CacheError('USAGE', message, { hint: 'see bkcache --help' });
    })
    .parseAsync();
}
