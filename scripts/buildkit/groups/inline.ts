import { cp } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { startRegistry } from '../../../test/support/docker-registry.js';
import type { Bench, Options } from '../bench.js';
import type { Builder } from '../builder.js';
import { editEntries, type Entry, entriesOf, readJson, writeBlob } from '../layout.js';
import { CommandError, lastLines } from '../run.js';
import { asUseful, count, unused, type Verdict } from '../verdict.js';
import type { Check, Group } from './group.js';

/** Caches inside images: what bkcache puts there is what BuildKit puts there, and serves the same steps. */
export const inline: Group = {
  name: 'inline',
  checks(bench) {
    let made: Promise<Images> | undefined;
    const images = () => (made ??= makeImages(bench));
    const checks: Check[] = [
      { name: 'inline, from a max cache', run: async () => fromCache(bench, await images(), '') },
      { name: 'inline, from a max cache as zstd', run: async () => fromCache(bench, await images(), ZSTD) },
      { name: 'inline, copied out of the image', run: async () => copiedOut(bench, await images()) },
      { name: 'inline, in a registry', run: () => inRegistry(bench) },
    ];
    // Without RUN, one machine builds for any platform.
    if (bench.context.name === 'tiny') {
      checks.push({ name: 'inline, two platforms with provenance', run: () => twoPlatforms(bench) });
    }
    // They have to do with the image's config, and not with what was built.
    if (bench.context.name === 'two-stages') {
      checks.push(
        { name: 'control: inline, in an image without history', run: async () => killing(bench, await images()) },
        {
          name: 'control: inline, in an image that lacks a diffID',
          run: async () => {
            const folder = await edited(bench, (await images()).theirs, ({ rootfs }) => rootfs.diff_ids.pop());
            return unused(await bench.build('main', { cacheFrom: [imageIn(folder)] }));
          },
        },
        { name: 'inline, put into an image without history', run: async () => filledIn(bench, await images()) },
        { name: 'inline, an image without history repaired', run: async () => repaired(bench, await images()) },
      );
    }
    return checks;
  },
};

const ZSTD = 'compression=zstd,force-compression=true';
const NAME = 'example.com/inline:test';

/** What one build came to, each in a folder: an image with BuildKit's cache in it, one without, a cache with mode=max. */
interface Images {
  readonly theirs: string;
  readonly bare: string;
  readonly cache: string;
}

async function makeImages(bench: Bench, options: Options = {}): Promise<Images> {
  const [theirs, bare, cache] = [bench.path('their-image'), bench.path('bare-image'), bench.path('max-cache')];
  const output = (folder: string) => `type=oci,tar=false,name=${NAME},dest=${folder}`;
  await bench.builder.forget();
  const cacheTo = ['type=inline', `type=local,dest=${cache},mode=max`];
  await bench.send('main', output(theirs), { ...options, cacheTo });
  // The same layers, since BuildKit still knows them.
  await bench.send('main', output(bare), options);
  return { theirs, bare, cache };
}

/** The image without a cache gets one, and is then the image that BuildKit itself made, to the byte. */
async function fromCache(bench: Bench, images: Images, conversion: string): Promise<Verdict> {
  const from = conversion === '' ? images.cache : await bench.copy([images.cache], conversion);
  const { ours, problems } = await putBack(bench, images, from);
  const verdict = await compared(bench, imageIn(images.theirs), imageIn(ours));
  return { ...verdict, problems: [...problems, ...verdict.problems] };
}

/** BuildKit's own is of as much use in a folder as in the image, and goes into the image again as it was. */
async function copiedOut(bench: Bench, images: Images): Promise<Verdict> {
  const folder = await bench.copy([imageIn(images.theirs)], '');
  const { problems } = await putBack(bench, images, folder);
  const verdict = await compared(bench, imageIn(images.theirs), `type=local,src=${folder}`);
  return { ...verdict, problems: [...problems, ...verdict.problems] };
}

/** Images that are not the same: where BuildKit's own lacks results, all but the cache still has to be. */
async function differences({ context }: Bench, theirs: string, ours: string): Promise<string[]> {
  const [expected, found] = [await withoutCache(theirs), await withoutCache(ours)];
  if (context.forgetful === true && JSON.stringify(expected) === JSON.stringify(found)) return [];
  return [`the image is ${await digestIn(ours)}, and BuildKit's own is ${await digestIn(theirs)}`];
}

/** An image, but for its cache; of an index, all its images. */
async function withoutCache(folder: string, entry?: Entry): Promise<object> {
  const document = await readJson<Manifest | Index>(folder, entry ?? (await entryIn(folder)));
  if ('manifests' in document) {
    const images = [];
    for (const image of document.manifests) images.push(await withoutCache(folder, image));
    return images;
  }
  const { config, ...manifest } = document;
  const { 'moby.buildkit.cache.v0': _, ...rest } = await readJson<Config>(folder, config);
  return { manifest, rest };
}

interface Index {
  readonly manifests: readonly Entry[];
}

interface Manifest {
  readonly config: Entry;
}

interface Config {
  readonly rootfs: { readonly diff_ids: string[] };
  history?: unknown;
  readonly 'moby.buildkit.cache.v0'?: string;
}

/** BuildKit looks for an entry of history for each layer, and ends where there is none. */
async function killing(bench: Bench, { theirs }: Images): Promise<Verdict> {
  const folder = await edited(bench, theirs, (config) => delete config.history);
  try {
    const build = await bench.build('main', { cacheFrom: [imageIn(folder)] });
    return { ...count(build), problems: ['the build went on'] };
  } catch (error) {
    if (!(error instanceof CommandError)) throw error;
    const problems = (await hasEnded(bench.builder)) ? [] : [`BuildKit lives on: ${lastLines(error.message, 1)}`];
    return { steps: 0, cached: 0, seconds: 0, problems, note: 'BuildKit has exited' };
  } finally {
    await bench.builder.renew();
  }
}

/** Whether BuildKit ends, which may take it a moment longer than the build. */
async function hasEnded(builder: Builder): Promise<boolean> {
  for (let count = 0; count < 50 && builder.isAlive(); count++) await sleep(100);
  return !builder.isAlive();
}

/** bkcache fills in the history that BuildKit needs. */
async function filledIn(bench: Bench, { theirs, bare, cache }: Images): Promise<Verdict> {
  const ours = await edited(bench, bare, (config) => delete config.history);
  await put(bench, `type=local,src=${cache}`, `type=inline,dest=${ours},tag=${NAME}`);
  return compared(bench, imageIn(theirs), imageIn(ours));
}

/** And so does repair, in an image that has a cache already. */
async function repaired(bench: Bench, { theirs }: Images): Promise<Verdict> {
  const ours = await edited(bench, theirs, (config) => delete config.history);
  await bench.bkcache('repair', ours);
  return compared(bench, imageIn(theirs), imageIn(ours));
}

/** A copy of an image with another config. */
async function edited(bench: Bench, image: string, edit: (config: Config) => void): Promise<string> {
  const folder = await copyOf(bench, image);
  const entry = await entryIn(folder);
  const manifest = await readJson<Manifest>(folder, entry);
  const config = await readJson<Config>(folder, manifest.config);
  edit(config);
  const changed = await writeBlob(folder, manifest.config.mediaType, config);
  const written = await writeBlob(folder, entry.mediaType, { ...manifest, config: changed });
  await editEntries(folder, ([old]) => [{ ...old, ...written }]);
  return folder;
}

async function putBack(bench: Bench, { theirs, bare }: Images, cache: string) {
  const ours = await copyOf(bench, bare);
  await put(bench, `type=local,src=${cache}`, `type=inline,dest=${ours},tag=${NAME}`);
  const [before, expected, found] = await Promise.all([bare, theirs, ours].map(digestIn));
  const problems = expected === found ? [] : await differences(bench, theirs, ours);
  if (before === expected) problems.push('BuildKit put no cache into its image');
  return { ours, problems };
}

/** The same, of images that BuildKit pushed; and its own is read from there. */
async function inRegistry(bench: Bench): Promise<Verdict> {
  const registry = await startRegistry(bench.path('registry'));
  try {
    const image = `${registry.host}/team/image`;
    const [theirs, ours, cache] = [`${image}:theirs`, `${image}:ours`, bench.path('max-cache')];
    const output = (name: string) => `type=image,push=true,name=${name}`;
    await bench.builder.forget();
    await bench.send('main', output(theirs), { cacheTo: ['type=inline', `type=local,dest=${cache},mode=max`] });
    await bench.send('main', output(ours));
    await put(bench, `type=local,src=${cache}`, `type=inline,ref=${ours}`);
    const [expected, found] = [await resolved(bench, theirs), await resolved(bench, ours)];
    const isSame = expected === found || bench.context.forgetful === true;
    const problems = isSame ? [] : [`the image is ${found}, and BuildKit's own is ${expected}`];
    const verdict = await compared(bench, `type=registry,ref=${theirs}`, `type=registry,ref=${ours}`);
    const folder = await bench.copy([`type=registry,ref=${theirs}`], '');
    const read = await compared(bench, `type=registry,ref=${theirs}`, `type=local,src=${folder}`);
    return { ...verdict, problems: [...problems, ...verdict.problems, ...read.problems] };
  } finally {
    await registry.stop();
  }
}

/** Each image of an index gets its own, and what is attested of an image goes on to be found. */
async function twoPlatforms(bench: Bench): Promise<Verdict> {
  const platforms = ['linux/amd64', 'linux/arm64'];
  const { theirs, bare, cache } = await makeImages(bench, { platforms, provenance: true });
  const ours = await copyOf(bench, bare);
  await put(bench, `type=local,src=${cache}`, `type=inline,dest=${ours},tag=${NAME}`);
  const [expected, before, found] = await Promise.all([theirs, bare, ours].map(manifestsIn));
  const problems: string[] = [];
  const digests = (entries: readonly Entry[] = []) => entries.map(({ digest }) => digest);
  const [images, attestations] = [digests(found).slice(0, 2), found?.slice(2) ?? []];
  if (images.join() !== digests(expected).slice(0, 2).join()) problems.push("the images are not BuildKit's own");
  if (digests(attestations).join() !== digests(before).slice(2).join()) problems.push('the attestations have changed');
  const about = attestations.map(({ annotations }) => annotations?.['vnd.docker.reference.digest']);
  if (about.join() !== images.join()) problems.push(`the attestations are about ${about.join(' and ')}`);
  const verdict = await compared(bench, imageIn(theirs), imageIn(ours));
  return { ...verdict, problems: [...problems, ...verdict.problems] };
}

async function put(bench: Bench, imported: string, exported: string): Promise<void> {
  await bench.bkcache('copy', '--import-cache', imported, '--export-cache', exported);
}

/** Builds from two caches, of which the second was to serve the same steps as the first. */
async function compared(bench: Bench, theirs: string, ours: string): Promise<Verdict> {
  const expected = await bench.buildAll('main', [theirs]);
  return asUseful(expected, await bench.buildAll('main', [ours]), bench.context.forgetful);
}

function imageIn(folder: string): string {
  return `type=local,src=${folder},tag=${NAME}`;
}

async function copyOf(bench: Bench, image: string): Promise<string> {
  const folder = bench.path('our-image');
  await cp(image, folder, { recursive: true });
  return folder;
}

async function entryIn(folder: string): Promise<Entry> {
  const [entry] = await entriesOf(folder);
  if (entry === undefined) throw new Error(`${folder} has no image`);
  return entry;
}

async function digestIn(folder: string): Promise<string> {
  return (await entryIn(folder)).digest;
}

async function manifestsIn(folder: string): Promise<readonly Entry[]> {
  return (await readJson<{ manifests: readonly Entry[] }>(folder, await entryIn(folder))).manifests;
}

async function resolved(bench: Bench, ref: string): Promise<string> {
  return (JSON.parse(await bench.bkcache('resolve', `type=registry,ref=${ref}`)) as { digest: string }).digest;
}
