import type { Cache } from '../../backend/backend.js';
import { CacheError, isOutOfReach } from '../../errors.js';
import { blobsOf, knownOfStacks, withParents } from '../../graph/graph.js';
import { Steps } from '../../graph/steps.js';
import { UNCOMPRESSED } from '../../oci/descriptor.js';
import { type Digest, sha256 } from '../../oci/digest.js';
import { layerBlob } from '../files/cache-layers.js';
import { LayerTree, type TreeEntry } from './layer-tree.js';
import { nameByLayer, type Names, newNames, type StepFacts } from './name-steps.js';
import { imageRecord } from './op-digests.js';

/** What a layer adds, in short. */
export interface LayerSummary {
  /** The longest folders that hold all files, at most three. */
  readonly folders: readonly string[];
  readonly files: number;
  /** In bytes. */
  readonly size: number;
}

/** The selector of a RUN's root: all of the input. */
const ALL = sha256('/');
const FOLDERS_SHOWN = 3;

/** One of the two caches, with what its layers prove. */
export class Side {
  readonly name: string;
  readonly steps: Steps;
  readonly #cache: Cache;
  readonly #names: Names = newNames();
  readonly #summaries = new Map<Digest, LayerSummary>();
  /** The layers of each image that a step stands on, by the record of the image. */
  readonly #images = new Map<string, readonly Digest[]>();
  /** The paths of selectors: the sha256 of a path. */
  readonly #selectors = new Map<string, string>();

  constructor(cache: Cache) {
    this.#cache = cache;
    this.name = cache.name;
    this.steps = new Steps(cache.graph);
    this.#findImages();
  }

  /**
   * Reads all layers once. A layer that cannot be read proves nothing.
   *
   * @throws CacheError for a service that cannot be asked
   */
  async read(signal: AbortSignal | undefined): Promise<void> {
    const { records } = this.steps;
    const wanted = new Set(records.map(({ digest }) => digest));
    const selectors = new Set(records.flatMap(({ inputs }) => inputs.flat().map(({ selector }) => selector)));
    for (const { digest } of blobsOf(this.#cache.graph)) {
      const tree = await this.tree(digest, signal);
      if (tree === undefined) continue;
      this.#summaries.set(digest, summaryOf(tree.entries));
      nameByLayer(this.#names, digest, tree, wanted);
      for (const path of tree.entries.keys()) {
        const selector = sha256(path);
        if (selectors.has(selector)) this.#selectors.set(selector, path);
      }
    }
  }

  /** The entries of a layer; undefined for a layer that cannot be read. Nothing is kept of it. */
  async tree(blob: Digest, signal: AbortSignal | undefined): Promise<LayerTree | undefined> {
    const descriptor = this.#cache.graph.descriptors.get(blob);
    if (descriptor === undefined) return undefined;
    try {
      return await LayerTree.read(layerBlob(this.#cache, descriptor), signal);
    } catch (error) {
      if (error instanceof CacheError && !isOutOfReach(error)) return undefined;
      throw error;
    }
  }

  /** The layer that a step itself made: the highest of its newest result. */
  topLayer(record: number): Digest | undefined {
    return this.steps.newestStack(record).at(-1);
  }

  summary(record: number): LayerSummary | undefined {
    const top = this.topLayer(record);
    return top === undefined ? undefined : this.#summaries.get(top);
  }

  diffID(blob: Digest): string {
    return this.#cache.graph.descriptors.get(blob)?.annotations?.[UNCOMPRESSED] ?? blob;
  }

  facts(record: number): StepFacts | undefined {
    return this.#names.steps.get(this.steps.records[record]?.digest ?? '');
  }

  /** What a record is, by proof or by its place in the graph; `step` for a step of which neither says more. */
  kind(record: number): 'content' | 'image' | StepFacts['kind'] | 'RUN' | 'step' {
    if (this.steps.isSource(record)) return this.steps.isContent(record) ? 'content' : 'image';
    const facts = this.facts(record);
    if (facts !== undefined) return facts.kind;
    const [first = []] = this.steps.inputs(record);
    // A RUN takes all of its first input, and has no key of its content.
    const isRun =
      first.some(({ selector }) => selector === ALL) &&
      !first.some(({ link, selector }) => this.steps.isSource(link) && selector === '');
    return isRun ? 'RUN' : 'step';
  }

  /** The layers of the image that a record stands for. */
  imageLayers(record: number): readonly Digest[] | undefined {
    return this.#images.get(this.steps.records[record]?.digest ?? '');
  }

  /** The path in the other stage that a COPY --from takes. */
  sourcePath(record: number): string | undefined {
    const inputs = this.steps.inputs(record);
    const source = inputs.at(-1)?.find(({ link, selector }) => selector !== '' && !this.steps.isSource(link));
    return source === undefined ? undefined : this.#selectors.get(source.selector);
  }

  /** The tree that a content key was made of, by relative paths, where a layer has it. */
  async contentOf(
    record: number,
    signal: AbortSignal | undefined,
  ): Promise<ReadonlyMap<string, TreeEntry> | undefined> {
    const place = this.#names.contents.get(this.steps.records[record]?.digest ?? '');
    const tree = place && (await this.tree(place.blob, signal));
    if (place === undefined || tree === undefined) return undefined;
    const top = place.path === '/' ? '' : place.path;
    const found = new Map<string, TreeEntry>();
    for (const [path, entry] of tree.entries) {
      if (path !== place.path && !path.startsWith(`${top}/`)) continue;
      const owned = place.as.owner === 'root' ? { ...entry, uid: 0, gid: 0 } : entry;
      const isTop = path === place.path;
      found.set(isTop ? '.' : path.slice(top.length), isTop ? { ...owned, mode: place.as.mode } : owned);
    }
    return found;
  }

  /** Compares the chain ID of each stack of layers with the records that may be images. */
  #findImages(): void {
    const { layers } = this.#cache.graph;
    const sources = new Set(
      this.steps.records.flatMap(({ digest }, record) => (this.steps.isSource(record) ? [digest] : [])),
    );
    const chainID = knownOfStacks<string>(layers, (layer, below) => {
      const diffID = this.diffID(layers[layer]?.blob as Digest);
      return below === undefined ? diffID : sha256(`${below} ${diffID}`);
    });
    for (const index of layers.keys()) {
      const digest = imageRecord(chainID(index));
      if (!sources.has(digest)) continue;
      const stack = [...withParents(layers, index)].toReversed();
      this.#images.set(
        digest,
        stack.flatMap((layer) => layers[layer]?.blob ?? []),
      );
    }
  }
}

function summaryOf(entries: ReadonlyMap<string, TreeEntry>): LayerSummary {
  const files = [...entries].filter(([, { type }]) => type !== 'directory');
  const paths = files.length > 0 ? files.map(([path]) => path) : [...entries.keys()];
  const size = files.reduce((sum, [, entry]) => sum + entry.size, 0);
  return { folders: commonPlaces(paths), files: files.length, size };
}

/** The longest paths that hold all others, at most three. */
function commonPlaces(paths: readonly string[]): readonly string[] {
  let places = new Set(paths);
  while (places.size > FOLDERS_SHOWN) {
    const depth = [...places].reduce((most, path) => Math.max(most, path.split('/').length), 0);
    const next = new Set([...places].map((path) => (path.split('/').length < depth ? path : parentOf(path))));
    if (next.has('/')) return ['/'];
    places = next;
  }
  return [...places].toSorted();
}

function parentOf(path: string): string {
  return path.slice(0, path.lastIndexOf('/')) || '/';
}
