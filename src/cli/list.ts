import type { CommandModule } from 'yargs';
import { examples } from './examples.js';
import { type Arguments, JSON_OPTION, STORE_OPTION } from './shared-options.js';

const OPTIONS = { ...JSON_OPTION, ...STORE_OPTION };

export const listCommand: CommandModule<object, Arguments<typeof OPTIONS> & { folder: string | undefined }> = {
  command: 'list [folder]',
  aliases: ['ls'],
  describe: 'What is in the store, or in a folder: a row per tag',
  builder: (yargs) =>
    yargs
      .positional('folder', { type: 'string', describe: 'An OCI layout; the store when left out' })
      .options(OPTIONS)
      .epilogue(examples(['The store', 'bkcache list'], ['A cache folder', 'bkcache list ./cache'])),
  async handler(argv) {
    const [{ listCaches }, { storePath }] = await Promise.all([import('../report/describe.js'), import('../store.js')]);
    const entries = await listCaches(argv.folder ?? storePath(argv.store));
    if (argv.json) process.stdout.write(`${JSON.stringify(entries)}\n`);
    else process.stdout.write((await import('../report/tables.js')).listTable(entries));
  },
};
