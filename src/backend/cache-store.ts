import { CacheError } from '../errors.js';
import type { Amount, FolderGcResult } from '../layout/gc/gc-result.js';
import type { Content } from '../oci/content.js';
import type { BlobId, Descriptor } from '../oci/descriptor.js';
import type { Digest } from '../oci/digest.js';
import type { Document } from '../oci/document.js';
import type { Finding, Remark, Remedy } from './finding.js';
import type { DocumentReader } from './repository/repository.js';

export type { Amount, FolderGcResult } from '../layout/gc/gc-result.js';
export type { TagUsage } from '../layout/gc/usage.js';

/**
 * A place with many caches, as list, verify, gc, prune and repair see it: a folder, a repository of a registry, a bucket.
 * Nothing here says that caches have manifests, or that there is a file: an entry is a name and a document, and what a
 * place cannot do is left out. The verbs refuse such a place with `refuseWithout`.
 *
 * What makes gc safe is different in each place (files and locks, or listings and grace), and so each place has its own;
 * which entries go, and which results are evicted, is decided in operations/prune for all of them.
 */
export interface CacheStore extends DocumentReader, AsyncDisposable {
  /** Whether caches are among other things here, as among the images of a registry: a listing leaves those out. */
  readonly isShared?: boolean;
  /**
   * Whether a download costs so much that blobs are read only for those who ask for it, as for all bytes of a bucket.
   * Left out where verify reads every blob.
   */
  readonly readsOnRequest?: boolean;
  /**
   * The names and their documents, in the order of the place.
   *
   * @throws CacheError NOT_FOUND for a missing place, CORRUPT for an index that cannot be read
   */
  entries(signal?: AbortSignal): Promise<readonly (StoreEntry | UnreadEntry)[]>;
  /**
   * The entries that the option string selects. Left out where an import finds the one (`CacheSource.resolve`).
   *
   * @throws CacheError NOT_FOUND
   */
  selected?(signal?: AbortSignal): Promise<readonly StoreEntry[]>;
  /** All blobs, and other things in their places. Left out for a place that cannot list its blobs, such as a registry. */
  blobs?(signal?: AbortSignal): AsyncIterable<StoredBlob>;
  /**
   * Looks for blobs that a listing did not show, each by its name: a listing may lag behind. Left out where it cannot.
   *
   * @returns the sizes of those that are there, in bytes
   * @throws CacheError where the place does not say whether a blob is there
   */
  look?(digests: readonly Digest[], signal?: AbortSignal): Promise<ReadonlyMap<Digest, number>>;
  /** When the document of an entry was written, or used where that is not recorded; in milliseconds since 1970. */
  writtenAt?(entry: StoreEntry): Promise<number | undefined>;
  /**
   * The blobs that each entry needs, its document included, as gc of this place sees it.
   *
   * @throws CacheError CORRUPT when the needs of an entry are not known
   */
  needs?(entries: readonly StoreEntry[], signal?: AbortSignal): Promise<readonly ReadonlySet<Digest>[]>;
  /**
   * The entries, and the faults of the place itself. An unreadable index is such a fault. Left out for a place whose
   * only files are documents and blobs.
   *
   * @param instead - the entries to use for an unreadable index
   */
  examine?(instead: readonly StoreEntry[] | undefined, signal?: AbortSignal): Promise<Examined>;
  /** The hint for a name whose document is missing: the usual cause. */
  readonly lostEntryHint?: string;
  /** Writes down for later writers which blobs are damaged. Left out where nothing is written down. */
  remember?(verdicts: readonly Verdict[], present: Pick<ReadonlySet<Digest>, 'has'>): Promise<void>;
  /**
   * What can be done here about a finding.
   *
   * @param target - what the user calls the place, or the cache in it
   */
  remedy(finding: Finding, target: string): Remedy;
  /**
   * Writes documents, and then changes entries in one step where the place can. An entry that somebody has changed since
   * it was read stays as it is.
   *
   * @throws CacheError BUSY, DENIED
   */
  change?(changes: Changes, signal?: AbortSignal): Promise<void>;
  /**
   * Frees what nothing needs, with the safety of this place.
   *
   * @throws CacheError CORRUPT when it is not known what is needed: nothing is deleted then; BUSY
   */
  gc?(options: GcOptions): Promise<GcResult>;
  /**
   * Whether a size is a quota of the whole place, other things in it included: gc frees what no name needs, the least
   * recently used first, until it is kept. Left out where prune evicts results from caches.
   */
  readonly hasQuota?: boolean;
  /**
   * Makes what entries need as young as if it were new, for a place whose old objects expire. Left out where nothing does.
   *
   * @throws CacheError for a listing that is not whole
   */
  touch?(options: TouchOptions): Promise<TouchResult>;
  /** Whether gc has to be told more than prune knows, and so is a step of its own; says which one. */
  readonly freedBy?: string;
  /**
   * Removes names; blobs stay. Nothing is removed unless every name exists.
   *
   * @throws CacheError NOT_FOUND for a name that is not here; DENIED, FAILED where the place refuses
   */
  remove?(names: readonly string[], signal?: AbortSignal): Promise<void>;
  /** What was asked of a service that charges for requests. Left out for other places. */
  readonly requests?: RequestCounts;
  /** Begins a repair. */
  repair?(): Promise<StoreRepair>;
  /** For each verb that this place refuses: what the user can do instead, as a sentence. */
  readonly instead?: Readonly<Partial<Record<StoreVerb, string>>>;
}

/** Requests by what services charge for: pages of listings, downloads, questions for one object, uploads, copies, deletions. */
export interface RequestCounts {
  readonly list: number;
  readonly get: number;
  readonly head: number;
  readonly put: number;
  readonly copy: number;
  readonly delete: number;
}

/** Verbs that some places cannot do. */
export type StoreVerb = 'gc' | 'prune' | 'repair' | 'touch';

/** A name, or several, and the document behind it: a manifest, or a cacheconfig alone. */
export interface StoreEntry {
  /** In the order in which an import looks; none for an entry that only its digest names. */
  readonly names: readonly string[];
  /** Names among these that lead an import to an entry before this one. */
  readonly shadowed?: readonly string[];
  readonly descriptor: Descriptor;
  /** Whether the document is a cacheconfig without a manifest, as in buckets. */
  readonly isBare?: boolean;
  /** When bkcache last used it, as the place records it; in milliseconds since 1970. */
  readonly lastUsed?: number | undefined;
  /** When its document was written, where a listing says so; in milliseconds since 1970, by the clock of the place. */
  readonly modified?: number | undefined;
}

/** A name whose document could not be found out. */
export interface UnreadEntry {
  readonly names: readonly string[];
  readonly problem: CacheError;
  /** Whether nobody with these rights can read it, which says nothing of the place: verbs leave it as it is. */
  readonly isOutOfScope?: boolean;
  /** As of a `StoreEntry`. */
  readonly modified?: number | undefined;
}

/** A blob as a listing shows it, or something else in the place of one. */
export interface StoredBlob {
  /** Undefined for what is not named as a blob. */
  readonly digest: Digest | undefined;
  /** In bytes. */
  readonly size: number;
  /** Its path or key, for messages. */
  readonly at: string;
  /** What stands in the place of a blob, such as a link, and cannot be read as one. */
  readonly other?: string | undefined;
}

export interface Examined {
  readonly entries: readonly StoreEntry[];
  readonly faults: readonly Remark[];
}

/** What reading a blob showed. */
export interface Verdict {
  readonly digest: Digest;
  readonly sound: boolean;
}

/** What becomes of an entry. */
export interface EntryChange {
  readonly entry: StoreEntry;
  /** The new document; undefined for an entry that is removed. */
  readonly to: Descriptor | undefined;
  /** When it counts as last used, in milliseconds since 1970; now when left out. */
  readonly lastUsed?: number;
}

export interface Changes {
  readonly entries: readonly EntryChange[];
  /** New documents, in the order of writing; each is written before an entry that names it is changed. */
  readonly documents: readonly Document[];
}

/** What gc did; the optional fields are those of services. */
export interface GcResult extends FolderGcResult {
  /** Whether blobs in quarantine were moved there, or marked in their places. */
  readonly quarantine?: 'copy' | 'mark';
  /** How many unfinished uploads were aborted whose writers ended long ago, or would be. */
  readonly abortedUploads?: number;
  /** What the service did not delete, and why. */
  readonly refused?: readonly { readonly path: string; readonly reason: string }[];
  /** What gc cannot free or could not find out, as sentences. */
  readonly notes?: readonly string[];
  readonly requests?: RequestCounts;
  /** Where some entries could not be read: blobs that those may need, and nothing else does. */
  readonly uncertain?: Amount;
  /** For a place with a quota: all that is in it afterwards, in bytes. */
  readonly size?: number;
  readonly budget?: RequestBudget;
}

/** The requests of a gc to a service that takes only so many in a time. */
export interface RequestBudget {
  /** How many requests deleted, or would. */
  readonly deletions: number;
  /** How many requests the service takes still, and when it takes all again, as RFC 3339; where it says so. */
  readonly left?: number | undefined;
  readonly reset?: string | undefined;
}

export interface GcOptions {
  /** How long an unneeded blob stays after its last change, in milliseconds; the place has a default. */
  readonly grace?: number | undefined;
  /** For a bucket: every `manifests_prefix` whose caches use its blobs. */
  readonly manifests?: readonly string[] | undefined;
  /** For a bucket: whether a copy of a blob, or a mark, tells the next gc of it; a copy when left out. */
  readonly quarantine?: 'copy' | 'mark' | undefined;
  /** For a bucket: go on where there is no name at all. */
  readonly force?: boolean | undefined;
  /** Blobs that were needed until now: they have no grace period. */
  readonly former?: ReadonlySet<Digest> | undefined;
  /** For a place with a quota: frees no more than brings the place under this size, in bytes. */
  readonly maxSize?: number | undefined;
  /** Only report what would be removed. */
  readonly dryRun?: boolean | undefined;
  /** For a dry run: changes that count as made. */
  readonly planned?: Changes | undefined;
  readonly signal?: AbortSignal | undefined;
}

export interface TouchOptions {
  /** Only what is older, in milliseconds; 24 hours when left out, as BuildKit's exports do it. */
  readonly olderThan?: number | undefined;
  /** The names, too. */
  readonly names?: boolean | undefined;
  /** Only say what would be touched. */
  readonly dryRun?: boolean | undefined;
  readonly signal?: AbortSignal | undefined;
}

export interface TouchResult {
  /** Blobs that are young now, or would be. */
  readonly touched: Amount;
  /** Blobs that were young already. */
  readonly young: Amount;
  /** How many names were touched, or would be. */
  readonly names: number;
  /** What entries need and is missing. */
  readonly missing: readonly string[];
  /** What the service did not make young. */
  readonly refused: readonly string[];
  /** Entries whose needs could not be read. */
  readonly unread: readonly { readonly name: string; readonly reason: string }[];
  readonly requests?: RequestCounts;
}

/** What repair needs of a place. Disposal ends its leases. */
export interface StoreRepair extends AsyncDisposable {
  /**
   * The entries that can be recovered from an unreadable index; undefined for a readable index.
   *
   * @throws CacheError BUSY; CORRUPT, FAILED for an index that a person has to look at
   */
  salvage?(signal?: AbortSignal): Promise<Salvage | undefined>;
  /** The manifests of caches that no entry names. Left out for a place without manifests. */
  untagged?(entries: readonly StoreEntry[], signal?: AbortSignal): Promise<readonly Descriptor[]>;
  /** Whether an entry stays that stands for no cache: other things may have names there. */
  readonly keepsOthers?: true;
  /** Whether anything stands in the place of a blob. */
  has(digest: Digest): Promise<boolean>;
  /** Whether the bytes of a blob are those of its digest. Bytes that cannot be read are not. */
  isWhole(digest: Digest, signal?: AbortSignal): Promise<boolean>;
  /**
   * Stores good bytes where a blob is missing or damaged. A dry run only checks them.
   *
   * @throws CacheError CORRUPT when they are not good
   */
  restore(content: Content, blob: BlobId, options: RestoreOptions): Promise<void>;
  /** Stores a blob whose digest shows when it is read. */
  write(content: Content, signal?: AbortSignal): Promise<BlobId>;
  /** Moves a damaged blob away, so that the next writer that needs it writes it again. */
  quarantine(digest: Digest): Promise<void>;
  /**
   * As `change` of the store. The old index is kept until `done`.
   *
   * @returns false when another process has changed blobs or entries: the repair starts again
   */
  change(changes: Changes, signal?: AbortSignal): Promise<boolean>;
  /** Mends the faults of the place itself; tells whether there was something to mend. A dry run only tells. */
  mendPlace?(findings: readonly Finding[], options: { readonly dryRun: boolean }): Promise<boolean>;
  /** Ends a repair that changed something. */
  done?(): Promise<void>;
}

export interface RestoreOptions {
  /** Where the bytes come from, for messages. */
  readonly where: string;
  readonly dryRun: boolean;
  readonly signal?: AbortSignal | undefined;
}

/** Entries that were recovered from an unreadable index. */
export interface Salvage {
  readonly entries: readonly StoreEntry[];
  /** Manifests of caches whose names are lost. */
  readonly nameless: readonly Descriptor[];
  /**
   * Writes an index with these entries, changed.
   *
   * @returns as `change` of a `StoreRepair`
   */
  publish(changes: Changes, signal?: AbortSignal): Promise<boolean>;
}

/** The names under which a listing shows an entry: the first, and those of the others that lead an import to it. */
export function shownNames({ names: [first, ...others], shadowed = [] }: StoreEntry): readonly (string | undefined)[] {
  return [first, ...others.filter((name) => !shadowed.includes(name))];
}

/**
 * The entries of a place, for verbs that need to know all of them; without those that are out of scope.
 *
 * @throws CacheError of the first entry that could not be read
 */
export function allRead(entries: readonly (StoreEntry | UnreadEntry)[]): readonly StoreEntry[] {
  return entries.flatMap((entry) => {
    if (!isUnread(entry)) return entry;
    if (entry.isOutOfScope === true) return [];
    throw entry.problem;
  });
}

export function isUnread(entry: StoreEntry | UnreadEntry): entry is UnreadEntry {
  return 'problem' in entry;
}

/**
 * Refuses a place for a verb that it cannot do.
 *
 * @throws CacheError USAGE that says what does it instead
 */
export function refuseWithout<Ability extends keyof CacheStore>(
  store: CacheStore,
  verb: StoreVerb,
  ...abilities: readonly Ability[]
): asserts store is CacheStore & Required<Pick<CacheStore, Ability>> {
  if (abilities.every((ability) => store[ability] !== undefined)) return;
  throw new CacheError('USAGE', `${verb} cannot work on ${store.name}`, { hint: store.instead?.[verb] });
}
