import { jsonLine } from '../report/text/control-characters.js';
import { FOLDER_OPTIONS, FOLDER_WORD, GRACE_OPTION, JSON_OPTION, layoutSettings } from './shared-options.js';
import { verb } from './verb.js';

const OPTIONS = { ...JSON_OPTION, ...FOLDER_OPTIONS, ...GRACE_OPTION };

export const gc = verb({
  name: 'gc',
  describe: 'Free what no tag needs, safely while builds run',
  words: FOLDER_WORD,
  options: OPTIONS,
  examples: [
    ['Show what would be freed', 'bkcache gc --dry-run ./cache'],
    ['Without a grace period, when no build or copy runs', 'bkcache gc --grace 0 ./cache'],
  ],
  async run(argv) {
    const [{ collectGarbage }, { folderOrStore }, { untilInterrupted }] = await Promise.all([
      import('../operations/gc.js'),
      import('./place.js'),
      import('./interrupt.js'),
    ]);
    const folder = await folderOrStore(argv.folder, argv.store);
    const result = await untilInterrupted(
      (signal) =>
        collectGarbage(folder, { grace: argv.grace, dryRun: argv['dry-run'], layout: layoutSettings(argv), signal }),
      () => (argv['dry-run'] ? undefined : 'blobs in quarantine stay there until the next gc'),
    );
    if (argv.json) process.stdout.write(jsonLine({ folder, dryRun: argv['dry-run'], ...result }));
    else process.stdout.write((await import('../report/text/gc.js')).gcText(result, argv['dry-run']));
  },
});
