import type { RecompressOptions } from '../codec/recompress.js';
import type { Graph } from '../graph/graph.js';
import type { RecordFit } from '../graph/inline.js';
import type { SavedCache, Shape } from '../graph/save.js';
import type { Conversion } from '../layout/blobs/conversions.js';
import type { Sharing } from '../layout/blobs/share.js';
import type { Content } from '../oci/content.js';
import type { BlobId, Descriptor } from '../oci/descriptor.js';
import type { Digest } from '../oci/digest.js';
import type { ManifestFields } from '../oci/manifest.js';
import type { CacheOptions } from '../buildkit/options.js';
import type { Side } from '../errors.js';
import type { Session } from '../session.js';
import type { CacheStore } from './cache-store.js';
import type { Repository, RepositoryReader } from './repository/repository.js';

/** A build cache: its graph, and a way to the bytes of its layers. */
export interface Cache {
  /** Where it is, for messages. */
  readonly name: string;
  /** How many transfers to run at once, where that is more than the number of cores: a transfer mostly waits for the network. */
  readonly concurrency?: number | undefined;
  readonly graph: Graph;
  /** The documents that the graph was read from; a copy that changes nothing writes these very bytes. */
  readonly saved?: SavedCache;
  /** For a cache inside an image: the platforms that have one, such as `linux/arm64/v8`. */
  readonly platforms?: readonly string[];
  /** Why BuildKit's daemon exits when it imports this very cache. */
  readonly danger?: string | undefined;
  /** The bytes of a layer, unverified. Reading a missing layer throws CacheError CORRUPT. */
  blob(blob: BlobId): Content;
  /** Other copies of the same bytes, in case the first copy is missing or damaged. */
  fallbacks?(blob: BlobId): readonly Content[];
}

/** Where an import string leads. */
export interface CacheSource {
  readonly name: string;
  /**
   * The manifest that this import takes.
   *
   * @throws CacheError NOT_FOUND
   */
  resolve(signal?: AbortSignal): Promise<Descriptor>;
  /** @throws CacheError NOT_FOUND, CORRUPT */
  load(signal?: AbortSignal): Promise<Cache>;
  /**
   * As `load`, and gc keeps the cache until the session ends: for operations that read blobs. Left out where nothing
   * removes a blob while it is read.
   */
  lease?(signal?: AbortSignal): Promise<Cache>;
}

/** A cache to publish. Its layers are at the target already. */
export interface Publication {
  readonly graph: Graph;
  /** For targets whose caches have a manifest of their own. */
  readonly shape: Shape | undefined;
  /** The documents of this graph in this shape, if they exist already. */
  readonly saved: SavedCache | undefined;
  /** Other fields of the manifest, for a manifest that is encoded again. */
  readonly fields?: ManifestFields | undefined;
}

/** How far a cache fits one image of an inline export. */
export interface ImageFit extends RecordFit {
  /** Such as `linux/arm64/v8`. */
  readonly platform: string;
  /** How many history entries the export adds: BuildKit's daemon exits on an image with fewer entries than layers. */
  readonly addedHistory?: number;
  /** Why this image cannot have a cache. */
  readonly fault?: string;
}

/** A layer to convert, with what is needed to find the result of an earlier conversion. */
export interface ConversionSource {
  readonly blob: Digest;
  /** The limits for decompressing the layer, and the blob that was made from it. */
  readonly limits: Pick<RecompressOptions, 'maxSize' | 'windowMemory'>;
  /** The digest of the tar, if the descriptor states it. */
  readonly tar: Digest | undefined;
  /** Computes the digest of the tar from the bytes, for a descriptor that does not state it. */
  readTar(): Promise<Digest>;
}

/** What layers became at a target when they were converted. */
export interface ConversionMemory {
  /**
   * @param encoder - `encoderName` of the codec
   * @returns undefined unless the target has the blob that the layer became, and the blob has the layer's tar
   */
  find(source: ConversionSource, encoder: string, signal?: AbortSignal): Promise<Conversion | undefined>;
  add(conversion: Conversion): Promise<void>;
}

/**
 * Where an export string leads. Blobs are written first, and `publish` makes them a cache. Disposal ends the leases of the
 * export, also after a failure.
 */
export interface CacheTarget extends AsyncDisposable {
  readonly name: string;
  /** As `concurrency` of a cache. */
  readonly concurrency?: number | undefined;
  /**
   * For targets that cannot store every cache: the part of a graph that they can. Its layers are at the target already.
   *
   * @throws CacheError FAILED when no part can be stored
   */
  select?(graph: Graph): { readonly graph: Graph; readonly images: readonly ImageFit[] };
  /**
   * Refuses what `publish` would refuse, before any layer is transferred.
   *
   * @param cache - the publication, or a lower bound of its size
   */
  check?(cache: Publication): void;
  /** For a target whose receivers have some layers already, in whatever compression: those are not converted for them. */
  leaves?(blob: Descriptor): boolean;
  /** Which of these blobs the target has, whole. They are asked for together: one listing may answer for all. */
  present(blobs: readonly BlobId[], signal?: AbortSignal): Promise<ReadonlySet<Digest>>;
  /** Left out for a target that remembers no conversions. */
  readonly conversions?: ConversionMemory | undefined;
  /**
   * Checks and stores a blob: the whole blob or nothing.
   *
   * @param expected - undefined for bytes that are produced while they are read
   * @throws CacheError CORRUPT
   */
  write(content: Content, expected: BlobId | undefined, signal?: AbortSignal): Promise<BlobId>;
  /** @returns the descriptor that names the cache */
  publish(cache: Publication, signal?: AbortSignal): Promise<Descriptor>;
}

/** What a copy wants of its targets, apart from what their option strings say. */
export interface TargetSettings {
  /** How files get from one folder to another. */
  readonly sharing: Sharing;
  /** Write documents that BuildKit is known not to import. */
  readonly allowOversize: boolean;
}

/** Where an option string leads, before anything there is opened. */
export interface Location {
  /** As BuildKit knows them, which has no type=inline for an import. */
  readonly options: CacheOptions;
  /** For messages and results. */
  readonly name: string;
  /** What an import selects there, or an export replaces, as the option string has it: a tag, a digest, a reference. */
  readonly selection: string;
  /**
   * One spelling of the name of a cache, so that two exports with equal keys would replace each other. Undefined where a
   * digest names it.
   */
  readonly key: string | undefined;
  /** For a folder of caches: its real path. No export goes into a folder inside the one that an import reads. */
  readonly path?: string | undefined;
  /** The host of a service that has users: `registry.example.com:5000`. */
  readonly service?: string | undefined;
  /** Why BuildKit cannot read the cache although bkcache can, and what helps. */
  readonly unread?: { readonly message: string; readonly hint: string } | undefined;
}

/** One type of cache. A method that is missing is a thing that the type cannot do. */
export interface Backend {
  /**
   * Finds out where an option string leads, without opening anything there.
   *
   * @throws CacheError USAGE for attributes that do not go together, and for an invalid reference
   */
  locate(options: CacheOptions, side: Side): Promise<Location>;
  /** @throws CacheError USAGE, NOT_FOUND */
  source?(at: Location, session: Session): Promise<CacheSource>;
  /** @throws CacheError USAGE, NOT_FOUND for an image that is missing */
  target?(at: Location, session: Session, settings: TargetSettings): Promise<CacheTarget>;
  /** The place of an import as a repository, for images, which are no caches. Left out for places with caches alone. */
  reader?(at: Location, session: Session): Promise<RepositoryReader>;
  /** The same for an export. */
  repository?(at: Location, session: Session, settings: TargetSettings): Promise<Repository>;
  /**
   * The options of an export under a tag in the same place; the options themselves, where they name one. Left out for places
   * without tags.
   */
  tagged?(options: CacheOptions, tag: string): CacheOptions;
  /**
   * All caches of the place that an import leads to, whatever it selects there.
   *
   * @throws CacheError NOT_FOUND
   */
  store?(at: Location, session: Session): Promise<CacheStore>;
}
