import { type Entry, editEntries, entriesOf, readJson, writeBlob } from './layout.js';

interface Config {
  readonly layers: readonly unknown[];
  readonly records: readonly CacheRecord[];
}

interface CacheRecord {
  readonly layers?: readonly unknown[];
  readonly chains?: readonly unknown[];
  readonly inputs?: readonly (readonly Link[])[];
}

interface Link {
  readonly link: number;
}

const CONFIG = 'application/vnd.buildkit.cacheconfig.v0';

/**
 * Takes off the record that joins the ends of a cache: the one that no other links to, without results. The manifest that
 * the only tag of a folder names gets another config.
 *
 * @throws Error when the cache has none, or has one end without it
 */
export async function removeJoin(folder: string): Promise<void> {
  const [entry] = await entriesOf(folder);
  if (entry === undefined) throw new Error(`${folder} has no tag`);
  const manifest = await readJson<{ config?: Entry; manifests?: readonly Entry[] }>(folder, entry);
  const listed = manifest.config ?? manifest.manifests?.find(({ mediaType }) => mediaType === CONFIG);
  if (listed === undefined) throw new Error(`${folder} has no cacheconfig`);
  const config = await readJson<Config>(folder, listed);
  const [join, ...others] = endsOf(config.records);
  if (join === undefined || others.length > 0) throw new Error(`the cache has ${others.length + 1} ends, not one`);
  const { layers = [], chains = [] } = config.records[join] ?? {};
  if (layers.length + chains.length > 0) throw new Error('the end of the cache has results, and joins no others');
  const records = config.records.filter((_, index) => index !== join).map((record) => renumbered(record, join));
  if (endsOf(records).length < 2) throw new Error('the cache has one end without the record, too');
  const edited = await writeBlob(folder, CONFIG, { ...config, records });
  const descriptor = { ...listed, ...edited };
  const changed =
    manifest.config === undefined
      ? { ...manifest, manifests: manifest.manifests?.map((one) => (one === listed ? descriptor : one)) }
      : { ...manifest, config: descriptor };
  const written = await writeBlob(folder, entry.mediaType, changed);
  await editEntries(folder, ([old]) => [{ ...old, ...written }]);
}

/** The records that no other links to. */
function endsOf(records: readonly CacheRecord[]): number[] {
  const linked = new Set(records.flatMap(({ inputs = [] }) => inputs.flat().map(({ link }) => link)));
  return [...records.keys()].filter((index) => !linked.has(index));
}

function renumbered(record: CacheRecord, removed: number): CacheRecord {
  const { inputs } = record;
  if (inputs === undefined) return record;
  const after = (link: number) => (link > removed ? link - 1 : link);
  return { ...record, inputs: inputs.map((links) => links.map((one) => ({ ...one, link: after(one.link) }))) };
}
