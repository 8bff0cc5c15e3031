import type { StoreEntry } from '../../backend/cache-store.js';
import type { Finding } from '../../backend/finding.js';
import type { DocumentReader } from '../../backend/repository/repository.js';
import { CacheError, isOutOfReach, isSystemError } from '../../errors.js';
import { type Content, readDocument } from '../../oci/content.js';
import type { Descriptor } from '../../oci/descriptor.js';
import type { Digest } from '../../oci/digest.js';
import { isImageConfig } from '../../oci/image.js';
import { JSON_LIMIT } from '../../oci/json.js';
import { decodeManifest, type Manifest } from '../../oci/manifest.js';
import { isImageType } from '../../oci/media-types.js';
import { contentsOf } from '../../oci/successors.js';
import { cacheConfig, checkBare, checkCache } from './check-cache.js';
import { checkImage, imageConfig, type ImageContent, MAKE_AGAIN } from './check-image.js';
import { Needs, type NeedSink } from './need.js';
import { Origin } from './origin.js';
import { readRectified } from './rectify.js';
import { Report } from './report.js';

/**
 * Finds the good bytes of a document that could not be read, in a copy of it.
 *
 * @param required - whether the cache needs it; images may be there in part
 */
export type Restore = (descriptor: Descriptor, required: boolean) => Promise<Buffer | undefined>;

const TOO_LARGE = 'neither BuildKit nor bkcache reads a document of this size: export the cache again';

const EXPORT_AGAIN = 'export the cache or the image again';

/** A manifest or index, read once, however many name it. */
interface Visited {
  readonly origin: Origin;
  readonly digest: Digest;
  /** Who names it, and with which descriptor. */
  readonly named: { readonly descriptor: Descriptor; readonly by: Visited | Origin }[];
  /** Left out where the bytes could not be read, or are none. */
  manifest?: Manifest;
  /** Of an image. */
  image?: ImageContent | undefined;
  /** Whether its bytes were asked for. */
  isRead: boolean;
}

export interface WalkOptions {
  readonly restore?: Restore | undefined;
  /** Where statements of caches without a manifest about their layers go; `needs` when left out. */
  readonly layers?: NeedSink | undefined;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Reads the documents of a repository, from the entries down, and says what is wrong with them; the layers are left to
 * those who look at the blobs. Documents are hashed as they are read, each once. What is found does not depend on the
 * order of entries.
 */
export class Walk {
  /** Everything that was referred to. */
  readonly needs = new Needs();
  /** The documents that were read and are what their digests say, with their sizes in bytes. */
  readonly sound = new Map<Digest, number>();
  /** Caches, and images with a cache, that can be read. */
  caches = 0;
  readonly #report = new Report();
  readonly #reader: DocumentReader;
  readonly #restore: Restore | undefined;
  readonly #layers: NeedSink;
  readonly #signal: AbortSignal | undefined;
  readonly #visited = new Map<Digest, Visited>();
  readonly #configs = new Map<Digest, Promise<Buffer | undefined>>();

  constructor(reader: DocumentReader, { restore, layers = this.needs, signal }: WalkOptions = {}) {
    this.#reader = reader;
    this.#restore = restore;
    this.#layers = layers;
    this.#signal = signal;
  }

  get findings(): Finding[] {
    return this.#report.findings();
  }

  /** @param entries - all of them: an entry can say something of what another one names */
  async entries(entries: readonly StoreEntry[]): Promise<void> {
    const open: Visited[] = [];
    for (const {
      names: [tag],
      descriptor,
      isBare = false,
    } of entries) {
      const { digest } = descriptor;
      const entry = new Origin(tag ?? digest);
      if (tag === undefined) {
        const message = 'an entry without a tag can only be imported by its digest';
        this.#report.say({ severity: 'note', kind: 'unknown', message, digest }, [entry]);
      }
      if (isBare) await this.#bare(descriptor, entry);
      else open.push(this.#name(descriptor, entry));
    }
    for (let next = open.pop(); next !== undefined; next = open.pop()) {
      for (const child of await this.#visit(next)) open.push(child);
    }
    await this.#judge();
  }

  /** Reads a cacheconfig without a manifest. It is no blob, and so is not looked for among the blobs. */
  async #bare(descriptor: Descriptor, origin: Origin): Promise<void> {
    const { digest } = descriptor;
    try {
      const content = this.#reader.manifest(descriptor);
      const limits = { limit: JSON_LIMIT, signal: this.#signal };
      const bytes = await readDocument(content, digest, this.#reader.name, limits);
      this.sound.set(digest, bytes.length);
      this.caches++;
      checkBare({ report: this.#report, needs: this.#layers, origin }, bytes, digest);
    } catch (error) {
      if (this.#signal?.aborted === true || !(error instanceof CacheError) || isOutOfReach(error)) throw error;
      const { message, wrong = 'format' } = error;
      this.#report.say({ kind: 'document', effect: 'import-refused', wrong, message, digest }, [origin]);
    }
  }

  /** Writes down that a document is named. */
  #name(descriptor: Descriptor, by: Visited | Origin): Visited {
    const { digest } = descriptor;
    const known = this.#visited.get(digest) ?? { origin: new Origin(), digest, named: [], isRead: false };
    this.#visited.set(digest, known);
    known.named.push({ descriptor, by });
    known.origin.parents.add(by instanceof Origin ? by : by.origin);
    return known;
  }

  /** @returns the documents below it; none when they are known */
  async #visit(visited: Visited): Promise<Visited[]> {
    const { digest, named } = visited;
    const [first] = named;
    if (visited.isRead || first === undefined) return [];
    const isDocument = named.some(({ descriptor }) => isImageType(descriptor.mediaType));
    // A blob of an unknown kind may be of any size; it is looked at with the layers.
    if (!isDocument && first.descriptor.size > JSON_LIMIT) return [];
    visited.isRead = true;
    const required = named.some(({ by }) => by instanceof Origin);
    const bytes = await this.#read(first.descriptor, this.#reader.manifest(first.descriptor), required, visited.origin);
    if (bytes === undefined) return [];
    try {
      const { value, fault } = readRectified(bytes, (document) => decodeManifest(document, digest));
      visited.manifest = value;
      if (fault !== undefined) this.#strange(visited, fault, hintFor(value));
    } catch (error) {
      if (!(error instanceof CacheError)) throw error;
      this.#strange(visited, error);
      return [];
    }
    const contents = contentsOf(visited.manifest);
    if (contents.kind === 'cache') return [];
    if (contents.kind === 'index') return contents.manifests.map((child) => this.#name(child, visited));
    const { config } = contents;
    const content = config.size > JSON_LIMIT ? undefined : await this.#config(config, false, visited.origin);
    visited.image = content && imageConfig(content, config, isImageConfig(config));
    return [];
  }

  /** What is no manifest at all. */
  #strange({ digest, named, origin }: Visited, error: CacheError, hint?: string): void {
    const types = [...new Set(named.map(({ descriptor }) => descriptor.mediaType))].toSorted();
    if (types.some(isImageType)) {
      const about = { kind: 'document', effect: 'import-refused', wrong: 'format' } as const;
      this.#report.say({ ...about, message: error.message, digest, hint }, [origin]);
      return;
    }
    const message = `media type ${types.join(', ')} is not known: its bytes were checked, not what it says`;
    this.#report.say({ severity: 'note', kind: 'unknown', message, digest }, [origin]);
  }

  /** Says what is wrong with the documents, once it is known what names them and what they name. */
  async #judge(): Promise<void> {
    const withCache = this.#withCache();
    for (const visited of this.#visited.values()) {
      const { manifest, origin, digest, image } = visited;
      for (const { descriptor, by } of visited.named) {
        const isEntry = by instanceof Origin;
        const required = isEntry || withCache.has(by);
        this.needs.add(descriptor, 'manifest', required, isEntry ? by : by.origin);
        if (manifest !== undefined) this.#listed(descriptor, manifest, isEntry ? by : by.origin);
      }
      if (manifest === undefined) continue;
      if (manifest.fault !== undefined) {
        const message = `BuildKit refuses the manifest: ${manifest.fault}`;
        const about = { kind: 'document', effect: 'import-refused', wrong: 'shape' } as const;
        this.#report.say({ ...about, message, digest, hint: hintFor(manifest) }, [origin]);
      }
      const context = { report: this.#report, needs: this.needs, origin };
      const contents = contentsOf(manifest);
      if (contents.kind === 'cache') {
        this.caches++;
        const { config: descriptor, layers } = contents;
        const size = this.sound.get(digest);
        const config = cacheConfig(await this.#config(descriptor, true, origin), descriptor);
        checkCache(context, { digest, size, layers, descriptor, config });
      } else if (contents.kind === 'image') {
        if (image?.cache !== undefined) this.caches++;
        const required = this.#isBelow(visited, withCache);
        checkImage(context, { ...contents, digest, fields: manifest.fields, image, required });
      }
    }
  }

  /** An entry of index.json may say something else of a manifest than it is. BuildKit goes by the manifest. */
  #listed(descriptor: Descriptor, manifest: Manifest, by: Origin): void {
    const { digest, size, mediaType } = descriptor;
    if (mediaType !== '' && mediaType !== manifest.mediaType) {
      const message = 'a manifest is not of the media type that it is listed with';
      const types = { expected: mediaType, found: manifest.mediaType };
      this.#report.say({ severity: 'note', kind: 'document', wrong: 'mediaType', message, digest, ...types }, [by]);
    }
    const real = this.sound.get(digest);
    if (real !== undefined && real !== size) {
      const message = 'a manifest does not have the size that it is listed with';
      const sizes = { expected: `${size} bytes`, found: `${real} bytes` };
      this.#report.say({ severity: 'note', kind: 'document', wrong: 'size', message, digest, ...sizes }, [by]);
    }
  }

  /** The indexes of images with a cache somewhere below: BuildKit reads all that they list, and fails at what is not there. */
  #withCache(): ReadonlySet<Visited> {
    const found = new Set<Visited>();
    for (const visited of this.#visited.values()) if (visited.image?.cache !== undefined) found.add(visited);
    for (const { named } of found) for (const { by } of named) if (!(by instanceof Origin)) found.add(by);
    return found;
  }

  #isBelow({ named, image }: Visited, withCache: ReadonlySet<Visited>): boolean {
    return image?.cache !== undefined || named.some(({ by }) => !(by instanceof Origin) && withCache.has(by));
  }

  #config(descriptor: Descriptor, required: boolean, origin: Origin): Promise<Buffer | undefined> {
    const { digest } = descriptor;
    const content = this.#reader.blob(descriptor);
    const known = this.#configs.get(digest) ?? this.#read(descriptor, content, required, origin);
    this.#configs.set(digest, known);
    return known;
  }

  async #read(
    descriptor: Descriptor,
    content: Content,
    required: boolean,
    origin: Origin,
  ): Promise<Buffer | undefined> {
    const { digest } = descriptor;
    try {
      const limits = { limit: JSON_LIMIT, signal: this.#signal };
      const bytes = await readDocument(content, digest, this.#reader.name, limits);
      this.sound.set(digest, bytes.length);
      return bytes;
    } catch (error) {
      if (this.#signal?.aborted === true || !isOfContent(error)) throw error;
      // Blobs that are missing or damaged are found among the others; one too large to be read is not.
      if (error instanceof CacheError && error.code === 'FAILED') {
        const about = { kind: 'document', effect: 'import-refused', wrong: 'limit', message: error.message } as const;
        this.#report.say({ ...about, digest, hint: TOO_LARGE }, [origin]);
      }
    }
    return this.#restore?.(descriptor, required);
  }
}

/** What helps with a manifest that BuildKit refuses: repair writes the manifest of a cache again, and no other. */
function hintFor(manifest: Manifest): string | undefined {
  if (contentsOf(manifest).kind === 'cache') return undefined;
  // It is not read what an index that has a config is about: a cache, or an image.
  return manifest.kind === 'index' && manifest.fault !== undefined ? EXPORT_AGAIN : MAKE_AGAIN;
}

/** Whether an error says something of the bytes, as opposed to a registry that cannot be asked. */
export function isOfContent(error: unknown): error is CacheError | NodeJS.ErrnoException {
  return error instanceof CacheError ? !isOutOfReach(error) : isSystemError(error);
}
