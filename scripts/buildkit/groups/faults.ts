import { writeFile } from 'node:fs/promises';
import type { Bench } from '../bench.js';
import type { Build } from '../build.js';
import { blobPath, type Entry, editEntries, entriesOf, readText, removeBlob, writeText } from '../layout.js';
import { ImageError } from '../image.js';
import { CommandError, lastLines } from '../run.js';
import { count, judge, type Verdict } from '../verdict.js';
import type { Check, Group } from './group.js';

/** What BuildKit does with a cache in which one thing is wrong. */
type Effect =
  /** The build fails. */
  | 'build-fails'
  /** Nothing that is imported is of use: every step runs. */
  | 'import-refused'
  /** Some results are left out, and their steps run. */
  | 'results-vanish'
  /** The build succeeds, and says of a layer of the image what is not so. */
  | 'image-wrong'
  /** The cache is as good as before. */
  | 'none';

/** The documents of a cache, to be changed. */
interface Documents {
  readonly entry: { -readonly [K in keyof Entry]: Entry[K] };
  readonly manifest: { schemaVersion: unknown; config: Entry; layers: Layer[]; [field: string]: unknown };
  readonly config: { layers: ConfigLayer[]; records: ConfigRecord[]; [field: string]: unknown };
  /** A layer that a RUN made: it prints when the layer is of no use. */
  readonly used: Layer;
}

interface Layer {
  mediaType?: string;
  digest: string;
  annotations: Record<string, string>;
}

interface ConfigLayer {
  blob: string;
  parent?: number;
}

interface ConfigRecord {
  digest: string;
  layers?: { layer: number; createdAt: string }[];
  inputs?: ({ link: number }[] | null)[];
}

interface Fault {
  readonly name: string;
  readonly effect: Effect;
  /** The effect before BuildKit 0.25, if it was another one. */
  readonly before?: Effect;
  /** Changes the documents. */
  readonly edit?: (documents: Documents) => void;
  /** Changes the text of the config, for what JSON.stringify does not write. */
  readonly text?: (config: string) => string;
  /** Changes the folder when the documents are written. */
  readonly folder?: (folder: string, documents: Documents) => Promise<void>;
  /** The worst that `bkcache verify` says, where it has no word for the effect. */
  readonly said?: string;
}

const DIFF_ID = 'containerd.io/uncompressed';
const CREATED_AT = 'buildkit/createdat';

/** A record that links to another. */
const linking = ({ config }: Documents) => last(config.records.filter(({ inputs = [] }) => inputs.length > 0));
const withResult = ({ config }: Documents) => last(config.records.filter(({ layers = [] }) => layers.length > 0));

/** What FORMATS of BuildKit come to when they are broken: each is one thing, in a cache that is otherwise its own. */
const FAULTS: readonly Fault[] = [
  { name: 'a layer of an unknown media type', effect: 'build-fails', edit: ({ used }) => (used.mediaType = 'a/b') },
  { name: 'a layer of an empty media type', effect: 'build-fails', edit: ({ used }) => (used.mediaType = '') },
  { name: 'a layer without a media type', effect: 'build-fails', edit: ({ used }) => delete used.mediaType },
  {
    name: 'a layer of gzip that is said to be a tar',
    effect: 'build-fails',
    edit: ({ used }) => (used.mediaType = 'application/vnd.oci.image.layer.v1.tar'),
  },
  {
    name: 'the bytes of a layer not there',
    effect: 'build-fails',
    folder: (folder, { used }) => removeBlob(folder, used),
  },
  { name: 'schemaVersion "2"', effect: 'import-refused', edit: ({ manifest }) => (manifest.schemaVersion = '2') },
  {
    name: 'manifests: [] beside layers',
    effect: 'import-refused',
    edit: ({ manifest }) => (manifest['manifests'] = []),
  },
  {
    name: 'manifests: null beside layers',
    effect: 'import-refused',
    edit: ({ manifest }) => (manifest['manifests'] = null),
  },
  {
    name: 'the manifest not there',
    effect: 'import-refused',
    folder: (folder, { entry }) => removeBlob(folder, entry),
  },
  {
    name: 'the manifest not JSON',
    effect: 'import-refused',
    folder: (folder, { entry }) => writeFile(blobPath(folder, entry), '{"schemaVersion":2,'),
  },
  { name: 'a link 1.0', effect: 'import-refused', text: (text) => text.replace(/("link":\d+)/, '$1.0') },
  {
    name: 'a link to no record',
    effect: 'import-refused',
    edit: (all) => linking(all).inputs?.push([{ link: 1000 }]),
  },
  {
    name: 'a layer of no number',
    effect: 'import-refused',
    edit: (all) => withResult(all).layers?.push({ layer: 1000, createdAt: '2026-01-01T00:00:00Z' }),
  },
  {
    name: 'an input without links',
    effect: 'import-refused',
    before: 'none',
    edit: (all) => linking(all).inputs?.push([]),
  },
  {
    name: 'an input that is null',
    effect: 'import-refused',
    before: 'none',
    edit: (all) => linking(all).inputs?.push(null),
  },
  {
    name: 'a record that links to itself',
    effect: 'import-refused',
    edit: (all) => linking(all).inputs?.push([{ link: all.config.records.indexOf(linking(all)) }]),
  },
  {
    name: 'a layer that is its own parent',
    effect: 'import-refused',
    edit: ({ config }) => (last(config.layers).parent = config.layers.length - 1),
  },
  {
    name: 'a result of 30 February',
    effect: 'import-refused',
    edit: (all) => setCreatedAt(withResult(all), '2026-02-30T00:00:00Z'),
  },
  {
    name: 'a result of 24:00',
    effect: 'import-refused',
    edit: (all) => setCreatedAt(withResult(all), '2026-02-03T24:00:00Z'),
  },
  {
    name: 'a config over 1 MiB',
    effect: 'import-refused',
    edit: ({ config }) => (config['padding'] = 'x'.repeat(1024 * 1024)),
  },
  {
    name: 'a layer that the manifest does not list',
    effect: 'results-vanish',
    edit: ({ manifest, used }) => manifest.layers.splice(manifest.layers.indexOf(used), 1),
  },
  {
    name: 'a layer without a diffID',
    effect: 'results-vanish',
    edit: ({ used }) => delete used.annotations[DIFF_ID],
  },
  { name: 'a diffID that is none', effect: 'results-vanish', edit: ({ used }) => (used.annotations[DIFF_ID] = 'none') },
  {
    name: 'a malformed date of a layer',
    effect: 'results-vanish',
    edit: ({ used }) => (used.annotations[CREATED_AT] = 'yesterday'),
  },
  {
    name: 'an empty date of a layer',
    effect: 'results-vanish',
    edit: ({ used }) => (used.annotations[CREATED_AT] = ''),
  },
  {
    name: 'a wrong diffID',
    effect: 'image-wrong',
    said: 'none',
    edit: ({ used }) => (used.annotations[DIFF_ID] = `sha256:${'0'.repeat(64)}`),
  },
  { name: 'a wrong size in index.json', effect: 'none', edit: ({ entry }) => (entry.size = 3) },
  { name: 'a wrong media type in index.json', effect: 'none', edit: ({ entry }) => (entry.mediaType = 'a/b') },
  {
    // Any text is a digest to BuildKit; these are imported, and then no step has one of them.
    name: 'the digests of all records in upper case',
    effect: 'import-refused',
    said: 'sound',
    edit: ({ config }) => {
      for (const record of config.records) record.digest = record.digest.replace(/[^:]+$/, (hex) => hex.toUpperCase());
    },
  },
];

/** What BuildKit does with a cache in which something is wrong: what `bkcache verify` says of it. */
export const faults: Group = {
  name: 'faults',
  // They have to do with the documents, and not with what was built.
  checks: (bench) => (bench.context.name === 'two-stages' ? FAULTS.map((fault) => check(bench, fault)) : []),
};

function check(bench: Bench, fault: Fault): Check {
  return { name: `fault: ${fault.name}`, run: () => shown(bench, fault) };
}

async function shown(bench: Bench, fault: Fault): Promise<Verdict> {
  const folder = await broken(bench, fault);
  const { effect, build, note } = await effectOf(bench, folder);
  const expected = bench.builder.release < 25 ? (fault.before ?? fault.effect) : fault.effect;
  const problems = effect === expected ? [] : [`BuildKit: ${effect} (${note}), not ${expected}`];
  const said = await verified(bench, folder);
  const toSay = fault.said ?? (fault.effect === 'none' ? 'sound' : fault.effect);
  if (said !== toSay) problems.push(`bkcache verify: ${said}, not ${toSay}`);
  // What a failed build has left is not for the next one.
  if (effect === 'build-fails') await bench.builder.renew();
  return { ...count(build ?? { steps: [], seconds: 0 }), problems, note: `${effect}: ${note}` };
}

/** The worst that `bkcache verify` says BuildKit does with a cache, by its findings that are no notes. */
async function verified(bench: Bench, folder: string): Promise<string> {
  const output = await bench.bkcache('verify', '--deep', '--json', folder).catch((error: unknown) => {
    if (error instanceof CommandError) return error.output.stdout;
    throw error;
  });
  const { findings } = JSON.parse(output) as { findings: readonly Finding[] };
  return findings.find(({ severity }) => severity === 'corrupt')?.effect ?? 'sound';
}

interface Finding {
  readonly severity: string;
  readonly effect: string;
}

/** A copy of BuildKit's own cache, with one fault. */
async function broken(bench: Bench, { edit, text = (same) => same, folder: change }: Fault): Promise<string> {
  const { cache, builds } = await bench.first('main');
  const folder = await bench.copy([cache], 'image-manifest=true,oci-mediatypes=true', 'fault');
  const [listed] = await entriesOf(folder);
  if (listed === undefined) throw new Error('the copy has no tag');
  const entry = { ...listed };
  const manifest = JSON.parse(await readText(folder, entry)) as Documents['manifest'];
  const before = await readText(folder, manifest.config);
  const diffID = builds.get(undefined)?.image.at(1)?.diffID;
  const used = manifest.layers.find(({ annotations }) => annotations[DIFF_ID] === diffID);
  if (used === undefined) throw new Error('the cache lacks a layer of the image');
  const documents = { entry, manifest, used, config: JSON.parse(before) as Documents['config'] };
  const original = JSON.stringify(documents);
  edit?.(documents);
  const changed = text(JSON.stringify(documents.config));
  manifest.config = { ...manifest.config, ...(await writeText(folder, changed)) };
  const { digest, size } = await writeText(folder, JSON.stringify(manifest));
  entry.digest = digest;
  // Unless that is the fault.
  if (entry.size === listed.size) entry.size = size;
  await editEntries(folder, () => [entry]);
  if (change === undefined && JSON.stringify(documents) === original && changed === before) {
    throw new Error('nothing is wrong here');
  }
  await change?.(folder, documents);
  return folder;
}

interface Seen {
  readonly effect: Effect;
  readonly build?: Build;
  /** What BuildKit said or did. */
  readonly note: string;
}

async function effectOf(bench: Bench, folder: string): Promise<Seen> {
  const { builds } = await bench.first('main');
  const before = builds.get(undefined);
  if (before === undefined) throw new Error('there is no first build');
  let build: Build;
  try {
    build = await bench.build('main', { cacheFrom: [`type=local,src=${folder}`] });
  } catch (error) {
    if (error instanceof ImageError) return { effect: 'image-wrong', note: error.message };
    if (!(error instanceof CommandError)) throw error;
    return { effect: 'build-fails', note: lastLines(error.message, 1) };
  }
  const { problems } = await judge(before, build, 'diffIDs', bench.made);
  const cached = build.steps.filter((step) => step.cached).length;
  const note = `${cached} of ${build.steps.length} steps are cached`;
  if (problems.length === 0) return { effect: 'none', build, note };
  return { effect: cached === 0 ? 'import-refused' : 'results-vanish', build, note };
}

function setCreatedAt({ layers = [] }: ConfigRecord, createdAt: string): void {
  for (const result of layers) result.createdAt = createdAt;
}

function first<T>(list: readonly T[]): T {
  const [item] = list;
  if (item === undefined) throw new Error('the list is empty');
  return item;
}

function last<T>(list: readonly T[]): T {
  return first(list.slice(-1));
}
