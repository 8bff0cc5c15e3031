import { FOLDER_OPTIONS, GRACE_OPTION, JSON_OPTION, layoutSettings } from './shared-options.js';
import { verb } from './verb.js';

const OPTIONS = { ...JSON_OPTION, ...FOLDER_OPTIONS, ...GRACE_OPTION };

export const gc = verb({
  name: 'gc',
  describe: 'Free what no tag needs, beside builds that run',
  positionals: { folder: { type: 'string', describe: 'An OCI layout; the store when left out' } },
  options: OPTIONS,
  examples: [
    ['What would go', 'bkcache gc --dry-run ./cache'],
    ['At once, where nobody is writing', 'bkcache gc --grace 0 ./cache'],
  ],
  async run(argv) {
    const [{ collectGarbage }, { folderOrStore }, { untilInterrupted }, { parseDuration }] = await Promise.all([
      import('../collect.js'),
      import('../store.js'),
      import('./interrupt.js'),
      import('./quantities.js'),
    ]);
    const folder = await folderOrStore(argv.folder, argv.store);
    const grace = parseDuration(argv.grace, '--grace');
    const result = await untilInterrupted((signal) =>
      collectGarbage(folder, { grace, dryRun: argv['dry-run'], layout: layoutSettings(argv), signal }),
    );
    if (argv.json) process.stdout.write(`${JSON.stringify({ folder, dryRun: argv['dry-run'], ...result })}\n`);
    else process.stdout.write((await import('../report/freed.js')).freedText(result, argv['dry-run']));
  },
});
