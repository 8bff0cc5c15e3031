import { jsonLine } from '../report/text/control-characters.js';
import { tellNote } from './note.js';
import { registryAccess } from './registry-access.js';
import { parseText } from './quantities.js';
import { JSON_OPTION, layoutSettings, LOCK_OPTION, REGISTRY_OPTIONS, STORE_OPTION } from './shared-options.js';
import { verb } from './verb.js';

const OPTIONS = { ...JSON_OPTION, ...REGISTRY_OPTIONS, ...STORE_OPTION, ...LOCK_OPTION };

export const list = verb({
  name: 'list',
  describe: 'List the caches of the store, a folder, a registry repository or a bucket: a row for each tag',
  words: {
    place: {
      type: 'value',
      read: parseText,
      names: 'folder or cache',
      describe: 'A folder, or an import string; the store when left out',
    },
  },
  options: OPTIONS,
  examples: [
    ['The store', 'bkcache list'],
    ['A cache folder', 'bkcache list ./cache'],
    ['A bucket', 'bkcache list type=s3,bucket=team-cache,region=eu-west-3'],
  ],
  async run(argv) {
    const [{ listPlace }, { folderOrStore }] = await Promise.all([
      import('../operations/list.js'),
      import('./place.js'),
    ]);
    const listing = await listPlace(await folderOrStore(argv.place, argv.store), {
      registry: await registryAccess(argv),
      layout: layoutSettings(argv),
      onNote: tellNote,
    });
    if (argv.json) process.stdout.write(jsonLine(listing.entries));
    else {
      const { listText } = await import('../report/text/list.js');
      process.stdout.write(listText(listing.entries, Date.now(), listing));
    }
  },
});
