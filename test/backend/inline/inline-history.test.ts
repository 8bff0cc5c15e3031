import test from 'ava';
import { importArguments } from '../../../src/operations/import-args.js';
import { repairFolder } from '../../../src/operations/repair/repair.js';
import { verifyCache } from '../../../src/operations/verify/verify.js';
import { copyText } from '../../../src/report/text/copy.js';
import { copyOne } from '../../support/caches.js';
import { type Entry, ImageFolder, imageWithoutCache, SINGLE } from '../../support/image.js';

test('an image without enough history gets an entry for each layer with its cache', async (t) => {
  for (const [history, added] of [
    ['[{"created_by":"mine"}]', 2],
    ['null', 3],
  ] as const) {
    const image = imageWithoutCache(t);
    const shorten = (config: string) => config.replace(/"history":\[.*?\](?=[,}])/s, `"history":${history}`);
    image.retag(image.changeConfig(image.top.digest, shorten));
    const result = await copyOne(SINGLE, `type=inline,dest=${image.path},tag=inline`);
    const { config } = image.json(image.top.digest) as { config: Entry };
    t.is((image.json(config.digest) as { history: object[] }).history.length, 3);
    t.is(result.images?.[0]?.addedHistory, added);
    t.regex(copyText({ imports: [], exports: [result], ignored: [] }), /history: [23] entries added/);
    // A second copy has nothing to add.
    const again = await copyOne(SINGLE, `type=inline,dest=${image.path},tag=inline`);
    t.is(again.descriptor.digest, result.descriptor.digest);
    t.is(again.images?.[0]?.addedHistory, undefined);
  }
});

test('an image whose cache ends the daemon is not among the flags of a build, and repair fills its history', async (t) => {
  const image = new ImageFolder(t, 'inline-multiplatform');
  const index = image.json(image.top.digest) as { manifests: Entry[] };
  const [first] = index.manifests;
  if (first === undefined) throw new Error('there is no image');
  Object.assign(
    first,
    image.put(image.changeConfig(first.digest, (text) => text.replace(/"history":/, '"x-history":'))),
  );
  image.retag(JSON.stringify(index));
  const text = `type=local,src=${image.path},tag=multi`;
  const left: string[] = [];
  t.deepEqual(await importArguments([text], 'buildctl', (_options, reason) => left.push(reason.message)), []);
  t.regex(left[0] ?? '', /daemon exits/);
  const { findings } = await verifyCache(text);
  t.like(findings[0], { effect: 'daemon-exits', wrong: 'history', repair: `bkcache repair ${image.path}` });
  const { actions, sound } = await repairFolder(image.path);
  t.true(sound);
  t.like(actions, { length: 1, 0: { type: 'rewritten', wrong: ['history'] } });
  t.is((await importArguments([text], 'buildctl', () => t.fail())).length, 2);
});
