import type { RepositoryEntry, RepositoryReader } from '../backend/repository.js';
import { type CacheConfig, decodeCacheConfig } from '../buildkit/cache-config.js';
import { IMPORT_LIMIT } from '../buildkit/import-limit.js';
import { CacheError, isOutOfReach } from '../errors.js';
import { configFaults } from '../graph/check.js';
import { endsOf } from '../graph/ends.js';
import { layersOf } from '../graph/graph.js';
import { configOf, layersIn } from '../graph/load.js';
import { readDocument } from '../oci/content.js';
import { type Descriptor, UNCOMPRESSED } from '../oci/descriptor.js';
import { type Digest, isDigest } from '../oci/digest.js';
import { JSON_LIMIT } from '../oci/json.js';
import { decodeManifest, type Manifest } from '../oci/manifest.js';
import { isImageType, isNonDistributable, layerEncoding } from '../oci/media-types.js';
import type { Finding } from './finding.js';

/** A blob that something refers to. */
export interface Need {
  readonly descriptor: Descriptor;
  readonly tags: Set<string>;
  /** Of a layer: what its tar should hash to, where that is said. */
  readonly diffID: Digest | undefined;
  readonly isLayer: boolean;
  /** Whether BuildKit cannot do without it; images may be there in part. */
  readonly required: boolean;
}

type Say = (finding: Omit<Finding, 'severity' | 'tags'> & { readonly severity?: Finding['severity'] }) => void;

/**
 * Has the good bytes of a document that could not be read, where there are some elsewhere.
 *
 * @param required - whether the cache needs it; images may be there in part
 */
export type Restore = (descriptor: Descriptor, required: boolean) => Promise<Buffer | undefined>;

/**
 * Reads the documents of a repository, from the entries down, and says what is wrong with them; the layers are left to
 * whoever looks at the blobs. Documents are hashed as they are read.
 */
export class Walk {
  readonly findings: Finding[] = [];
  /** Everything that was referred to. */
  readonly needs = new Map<Digest, Need>();
  /** The documents that were read and are what their digests say. */
  readonly sound = new Set<Digest>();
  readonly #repository: RepositoryReader;
  readonly #seen = new Set<string>();
  readonly #restore: Restore | undefined;
  readonly #signal: AbortSignal | undefined;

  constructor(
    repository: RepositoryReader,
    { restore, signal }: { readonly restore?: Restore | undefined; readonly signal?: AbortSignal | undefined } = {},
  ) {
    this.#repository = repository;
    this.#restore = restore;
    this.#signal = signal;
  }

  async entry({ tag, descriptor }: RepositoryEntry): Promise<void> {
    const name = tag ?? descriptor.digest;
    if (tag === undefined) {
      this.#say(name)({
        severity: 'note',
        kind: 'unknown',
        message: 'an entry without a tag can only be imported by its digest',
        digest: descriptor.digest,
      });
    }
    const open = [{ descriptor, required: true }];
    for (let next = open.pop(); next !== undefined; next = open.pop()) {
      // What two tags share is named by both, and read once.
      this.#need(next.descriptor, name, { required: next.required, isLayer: false });
      if (this.#seen.has(`${name} ${next.descriptor.digest}`)) continue;
      this.#seen.add(`${name} ${next.descriptor.digest}`);
      open.push(...(await this.#document(next.descriptor, name, next.required)));
    }
  }

  /** @returns the documents below it */
  async #document(descriptor: Descriptor, tag: string, required: boolean) {
    const say = this.#say(tag);
    const known = isImageType(descriptor.mediaType);
    const content = this.#repository.manifest(descriptor);
    const bytes = await this.#read(descriptor, content, say, { isDocument: known, required });
    if (bytes === undefined) return [];
    let manifest: Manifest;
    try {
      manifest = decodeManifest(bytes, descriptor.digest);
    } catch (error) {
      if (!(error instanceof CacheError)) throw error;
      if (known) say({ kind: 'document', message: error.message, digest: descriptor.digest });
      else {
        const message = `media type ${descriptor.mediaType} is not known: its bytes were checked, not what it says`;
        say({ severity: 'note', kind: 'unknown', message, digest: descriptor.digest });
      }
      return [];
    }
    if (descriptor.mediaType !== '' && descriptor.mediaType !== manifest.mediaType) {
      const message = 'a manifest is not of the media type that it is listed with';
      const { digest } = descriptor;
      say({ kind: 'document', message, digest, expected: descriptor.mediaType, found: manifest.mediaType });
    }
    if (configOf(manifest) === undefined) return this.#image(manifest, tag);
    this.#limit('manifest', descriptor, bytes.length, say);
    await this.#cache(manifest, tag);
    return [];
  }

  #image(manifest: Manifest, tag: string) {
    if (manifest.kind === 'index') return manifest.manifests.map((child) => ({ descriptor: child, required: false }));
    this.#need(manifest.config, tag, { required: false, isLayer: false });
    for (const layer of manifest.layers) {
      this.#need(layer, tag, { required: false, isLayer: layerEncoding(layer.mediaType) !== undefined });
    }
    return [];
  }

  async #cache(manifest: Manifest, tag: string): Promise<void> {
    const say = this.#say(tag);
    // Of a layer that is listed twice BuildKit takes the last descriptor (cache/remotecache/import.go).
    const layers = [...new Map(layersIn(manifest).map((layer) => [layer.digest, layer])).values()];
    for (const layer of layers) {
      this.#need(layer, tag, { required: !isNonDistributable(layer.mediaType), isLayer: true });
      const diffID = layer.annotations?.[UNCOMPRESSED];
      if (!isDigest(diffID)) {
        const message = 'a layer has no diffID, and BuildKit cannot use it';
        const { digest } = layer;
        say({ kind: 'document', wrong: 'diffID', message, digest, expected: UNCOMPRESSED, found: diffID });
      }
    }
    const descriptor = configOf(manifest);
    if (descriptor === undefined) return;
    this.#need(descriptor, tag, { required: true, isLayer: false });
    const bytes = await this.#read(descriptor, this.#repository.blob(descriptor), say, {
      isDocument: true,
      required: true,
    });
    if (bytes === undefined) return;
    this.#limit('config', descriptor, bytes.length, say);
    try {
      const config = decodeCacheConfig(bytes, descriptor.digest);
      const faults = [...configFaults(config), ...unlisted(config, layers)];
      for (const message of faults) say({ kind: 'graph', message, digest: descriptor.digest });
      if (faults.length === 0) this.#ends(config, descriptor, say);
    } catch (error) {
      if (!(error instanceof CacheError)) throw error;
      say({ kind: 'document', message: error.message, digest: descriptor.digest });
    }
  }

  #ends({ records }: CacheConfig, { digest }: Descriptor, say: Say): void {
    const { length } = endsOf(records);
    if (length <= 1) return;
    const message = `a cache has ${length} ends, records that no other links to: with BuildKit 0.25 and later steps can run again`;
    say({ severity: 'note', kind: 'ends', message, digest });
  }

  async #read(
    descriptor: Descriptor,
    content: ReturnType<RepositoryReader['blob']>,
    say: Say,
    { isDocument, required }: { readonly isDocument: boolean; readonly required: boolean },
  ): Promise<Buffer | undefined> {
    const { digest, size } = descriptor;
    // A blob of an unknown kind may be of any size; it is looked at with the layers.
    if (size > JSON_LIMIT && !isDocument) return undefined;
    try {
      const limits = { limit: JSON_LIMIT, signal: this.#signal };
      const bytes = await readDocument(content, digest, this.#repository.name, limits);
      // One of another size is found among the blobs; what it says can be looked at all the same.
      if (bytes.length === size) this.sound.add(digest);
      return bytes;
    } catch (error) {
      if (!(error instanceof CacheError) || this.#signal?.aborted === true || isOutOfReach(error)) throw error;
      // Blobs that are missing or damaged are found among the others; one too large to be read is not.
      if (size > JSON_LIMIT) say({ kind: 'document', message: error.message, digest });
    }
    return this.#restore?.(descriptor, required);
  }

  #limit(what: 'manifest' | 'config', { digest }: Descriptor, size: number, say: Say): void {
    if (size <= IMPORT_LIMIT) return;
    const message = `the ${what} is larger than what BuildKit imports: a build never uses this cache`;
    say({ kind: 'oversize', message, digest, expected: `${IMPORT_LIMIT} bytes at most`, found: `${size} bytes` });
  }

  #need(descriptor: Descriptor, tag: string, { required, isLayer }: Pick<Need, 'required' | 'isLayer'>): void {
    const known = this.needs.get(descriptor.digest);
    const diffID = descriptor.annotations?.[UNCOMPRESSED];
    if (known !== undefined && known.descriptor.size !== descriptor.size) {
      this.#say(tag)({
        kind: 'document',
        message: 'one blob is said to have two sizes',
        digest: descriptor.digest,
        expected: `${known.descriptor.size} bytes`,
        found: `${descriptor.size} bytes`,
      });
    }
    this.needs.set(descriptor.digest, {
      descriptor: known?.descriptor ?? descriptor,
      tags: (known?.tags ?? new Set<string>()).add(tag),
      diffID: known?.diffID ?? (isLayer && isDigest(diffID) ? diffID : undefined),
      isLayer: isLayer || known?.isLayer === true,
      required: required || known?.required === true,
    });
  }

  #say(tag: string): Say {
    return (finding) => {
      const same = this.findings.findIndex(
        (other) => other.message === finding.message && other.digest === finding.digest,
      );
      const before = this.findings[same];
      if (before === undefined) this.findings.push({ severity: 'corrupt', ...finding, tags: [tag] });
      else if (!before.tags.includes(tag)) this.findings[same] = { ...before, tags: [...before.tags, tag] };
    };
  }
}

/** Results that BuildKit drops without a word, since the manifest does not list what they need. */
function* unlisted(config: CacheConfig, listed: readonly Descriptor[]): Generator<string> {
  if (configFaults(config).length > 0) return;
  const blobs = new Set(listed.map(({ digest }) => digest));
  const graph = { ...config, descriptors: new Map() };
  for (const [index, record] of config.records.entries()) {
    const missing = [...layersOf(graph, record)]
      .map((layer) => config.layers[layer]?.blob)
      .find((blob) => blob !== undefined && !blobs.has(blob));
    if (missing !== undefined)
      yield `record ${index} has a result that needs ${missing}, which the manifest does not list`;
  }
}
