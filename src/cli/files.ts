import { jsonLine } from '../report/text/control-characters.js';
import { isReaderGone, LongOutput } from './long-output.js';
import { tellNote } from './note.js';
import { parseText } from './quantities.js';
import { registryAccess } from './registry-access.js';
import { CACHE_WORD, layoutSettings, LOCK_OPTION, REGISTRY_OPTIONS } from './shared-options.js';
import { verb } from './verb.js';

const WORDS = {
  ...CACHE_WORD,
  paths: { type: 'value', read: parseText, list: true, describe: 'Files and folders in the layers; all when left out' },
} as const;

const OPTIONS = {
  layer: {
    type: 'value',
    read: parseText,
    list: true,
    describe: 'List this layer alone: its digest, or 12 characters of it; may be given several times',
  },
  find: {
    type: 'value',
    read: parseText,
    describe: 'List files whose names match a glob; a glob with a slash is for whole paths',
  },
  json: { type: 'flag', default: false, describe: 'A line of JSON for each file on stdout' },
  ...REGISTRY_OPTIONS,
  ...LOCK_OPTION,
} as const;

export const files = verb({
  name: 'files',
  describe: 'List the files that each layer of a cache adds and deletes',
  words: WORDS,
  options: OPTIONS,
  examples: [
    ['All files, like tar tv', 'bkcache files ./cache'],
    ['The layers that hold a shared library', "bkcache files ./cache --find '*.so*'"],
    ['What one layer has below a folder, for a program', 'bkcache files ./cache app/src --layer 4dfe84517fb9 --json'],
  ],
  async run(argv) {
    const [{ listFiles }, { fileLine, layerLine }] = await Promise.all([
      import('../operations/files/list-files.js'),
      import('../report/text/files.js'),
    ]);
    using output = new LongOutput();
    const layers = listFiles(argv.cache, {
      layers: argv.layer,
      paths: argv.paths,
      find: argv.find,
      registry: await registryAccess(argv),
      layout: layoutSettings(argv),
      onNote: tellNote,
    });
    for await (const layer of layers) {
      let isFirst = true;
      for await (const file of layer.files) {
        if (argv.json) output.write(jsonLine({ layer: layer.digest, ...file }));
        else output.write(`${isFirst ? layerLine(layer) : ''}${fileLine(file)}`);
        isFirst = false;
        if (isReaderGone()) return;
      }
    }
  },
});
