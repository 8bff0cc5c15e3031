import type { CommandModule } from 'yargs';
import { examples } from './examples.js';
import { registryAccess } from './registry-access.js';
import { type Arguments, JSON_OPTION, REGISTRY_OPTIONS, STORE_OPTION } from './shared-options.js';

const OPTIONS = { ...JSON_OPTION, ...REGISTRY_OPTIONS, ...STORE_OPTION };

export const listCommand: CommandModule<object, Arguments<typeof OPTIONS> & { place: string | undefined }> = {
  command: 'list [place]',
  aliases: ['ls'],
  describe: 'What is in the store, in a folder or in a registry: a row per tag',
  builder: (yargs) =>
    yargs
      .positional('place', { type: 'string', describe: 'A folder, or an import string; the store when left out' })
      .options(OPTIONS)
      .epilogue(examples(['The store', 'bkcache list'], ['A cache folder', 'bkcache list ./cache'])),
  async handler(argv) {
    const [{ listCaches }, { storePath }] = await Promise.all([import('../report/describe.js'), import('../store.js')]);
    const entries = await listCaches(argv.place ?? storePath(argv.store), { registry: await registryAccess(argv) });
    if (argv.json) process.stdout.write(`${JSON.stringify(entries)}\n`);
    else process.stdout.write((await import('../report/tables.js')).listTable(entries));
  },
};
