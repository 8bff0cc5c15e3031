import {
  type CacheStore,
  type EntryChange,
  refuseWithout,
  type RequestCounts,
  type Salvage,
  type StoreRepair,
} from '../../backend/cache-store.js';
import type { Finding } from '../../backend/finding.js';
import { locate, openStore } from '../../backend/backends.js';
import { readWholePlace, shownPlace } from '../../backend/option-string.js';
import { checkCall } from '../../calls.js';
import { abortable } from '../../errors.js';
import { Session, type SessionOptions } from '../../session.js';
import type { Descriptor } from '../../oci/descriptor.js';
import type { Digest } from '../../oci/digest.js';
import { type Document, topOf } from '../../oci/document.js';
import { type Examination, examineStore } from '../verify/examine.js';
import { type VerifyProgress, verifyStore } from '../verify/verify.js';
import type { WorkOptions } from '../work-options.js';
import { actionOf, type RepairAction } from './action.js';
import { bareFateOf } from './bare-fate.js';
import { Copies, type LackedBlob } from './copies.js';
import { type Evidence, type Fate, fateOf } from './cut.js';
import { Documents } from './documents.js';
import { Fetching } from './fetch.js';
import { openSources } from './sources.js';

export interface RepairOptions extends SessionOptions, WorkOptions {
  /** Import strings of places that may have good copies of what is missing or damaged. */
  readonly from?: readonly string[] | undefined;
  /** Decompress every layer, and correct wrong diffIDs. */
  readonly deep?: boolean | undefined;
  /** Only report what would be done. */
  readonly dryRun?: boolean | undefined;
  readonly onProgress?: ((event: VerifyProgress) => void) | undefined;
}

export interface RepairResult {
  readonly actions: readonly RepairAction[];
  /** What is wrong still; for a dry run, what is wrong now. */
  readonly findings: readonly Finding[];
  readonly sound: boolean;
  /** What was asked of a place that `from` names, and is missing or damaged there. */
  readonly lacked: readonly LackedBlob[];
  /** Of a bucket: the requests that it took, without those to the places of `from`. */
  readonly requests?: RequestCounts;
}

/**
 * Mends a folder of caches: fetches good bytes for what is missing or damaged, and cuts out of the caches what cannot be
 * had, so that everything else stays importable. Keys are never cut unless they are broken themselves. Caches with several
 * ends, of which BuildKit loses links, get the record that joins them. A folder where verify finds nothing stays as it is.
 *
 * Nothing is replaced before what takes its place is there and whole, and the old index.json is kept as
 * `index.json.before-repair` until the end. Nothing is cut unless every place that `from` names could be asked.
 *
 * @param folder - or an import string that leads into a place
 * @throws CacheError NOT_FOUND, USAGE for a bad import string and for a place that cannot be repaired, BUSY, UNREACHABLE or
 *   DENIED for a place that cannot be asked
 */
export async function repairFolder(folder: string, options: RepairOptions = {}): Promise<RepairResult> {
  checkCall('repairFolder', { folder, options });
  const place = await readWholePlace(folder, options.onNote);
  return abortable(options.signal, async () => {
    await using session = new Session({ ...options, layout: { ...options.layout, heal: true } });
    await using store = await openStore(await locate(place, 'import', session), session);
    refuseWithout(store, 'repair', 'repair');
    return await repair(store, shownPlace(folder, place), options, session);
  });
}

async function repair(
  store: CacheStore & Required<Pick<CacheStore, 'repair'>>,
  target: string,
  options: RepairOptions,
  session: Session,
): Promise<RepairResult> {
  const copies = new Copies(await openSources(options.from ?? [], session), options.signal);
  await using mending = await store.repair();
  const { actions, findings } = await new Repair(store, mending, copies, options).run();
  const { lacked } = copies;
  const requests = store.requests === undefined ? {} : { requests: store.requests };
  const isSound = (list: readonly Finding[]) => list.every(({ severity }) => severity === 'note');
  if (options.dryRun === true || actions.length === 0) {
    return { actions, findings, sound: isSound(findings), lacked, ...requests };
  }
  const { deep, concurrency, maxLayerSize, windowMemory, signal } = options;
  // What was sound before has been read already; with its size, everything else was written just now.
  const sample = deep === true ? undefined : { bytes: 0 };
  const after = await verifyStore(store, target, { deep, concurrency, maxLayerSize, windowMemory, signal, sample });
  return { actions, findings: after.findings, sound: after.sound, lacked, ...requests };
}

/** The result of an attempt; undefined when another process has changed the place, and the attempt has to be repeated. */
type Attempt = Pick<RepairResult, 'actions' | 'findings'> | undefined;

class Repair {
  readonly #store: CacheStore;
  readonly #repair: StoreRepair;
  readonly #copies: Copies;
  readonly #options: RepairOptions;
  readonly #fetching: Fetching;

  constructor(store: CacheStore, repair: StoreRepair, copies: Copies, options: RepairOptions) {
    this.#store = store;
    this.#repair = repair;
    this.#copies = copies;
    this.#options = options;
    this.#fetching = new Fetching(store, repair, copies, options);
  }

  async run(): Promise<NonNullable<Attempt>> {
    for (;;) {
      const attempt = await this.#attempt();
      if (attempt === undefined) continue;
      const isChanged = attempt.actions.length > 0 && !this.#isDry;
      if (isChanged) await this.#repair.done?.();
      return attempt;
    }
  }

  get #isDry(): boolean {
    return this.#options.dryRun === true;
  }

  /** All is fetched before anything is cut: a source that cannot be asked ends it while nothing is lost. */
  async #attempt(): Promise<Attempt> {
    const { signal } = this.#options;
    const salvage = await this.#repair.salvage?.(signal);
    const documents = new Documents(this.#store, this.#repair, this.#copies, signal);
    const examination = await examineStore(this.#store, this.#options, {
      entries: salvage?.entries,
      restore: (descriptor, required) => documents.restore(descriptor, required),
    });
    const evidence = await this.#fetching.all(examination, documents);
    const actions: RepairAction[] = [];
    if (salvage !== undefined) {
      const { entries, nameless } = salvage;
      actions.push({ type: 'rebuilt', entries: entries.length, nameless: nameless.map(({ digest }) => digest) });
    }
    const changes: EntryChange[] = [];
    const written: Document[] = [];
    const renamed = await this.#renamed(examination, evidence);
    for (const entry of examination.entries) {
      const { descriptor, names } = entry;
      const find = entry.isBare === true ? bareFateOf : fateOf;
      const fate = renamed.get(descriptor.digest) ?? (await find(documents, descriptor, evidence));
      // What is no cacheconfig may be somebody's.
      if (fate.kind === 'stays' || (fate.kind === 'goes' && this.#repair.keepsOthers === true)) continue;
      changes.push({ entry, to: placeAfter(fate) });
      actions.push(actionOf(fate, names[0], descriptor));
      if ('documents' in fate) written.push(...fate.documents);
    }
    if (!this.#isDry && !(await this.#publish(changes, written, salvage))) return undefined;
    if (await this.#repair.mendPlace?.(examination.findings, { dryRun: this.#isDry })) actions.push({ type: 'marked' });
    // Only when nothing refers to them any more, where that can be helped.
    for (const digest of evidence.bad) if (await this.#quarantine(digest)) actions.push({ type: 'set-aside', digest });
    return { actions: [...this.#fetching.actions, ...actions], findings: examination.findings };
  }

  #publish(entries: readonly EntryChange[], documents: readonly Document[], salvage: Salvage | undefined) {
    const { signal } = this.#options;
    const changes = { entries, documents };
    return salvage === undefined ? this.#repair.change(changes, signal) : salvage.publish(changes, signal);
  }

  /**
   * The manifest that a tag is to name, where its own was never there and one cache has no tag; by the digest of the
   * manifest that was never there. Of a build with several exports BuildKit writes the name of the last one into all
   * folders (solver/llbsolver/export.go), so that the manifest of a folder is there and its name is not.
   */
  async #renamed({ entries }: Examination, { bad }: Evidence): Promise<ReadonlyMap<Digest, Fate>> {
    const lost = new Set<Digest>();
    for (const { descriptor } of entries) {
      const { digest } = descriptor;
      if (bad.has(digest) && !(await this.#repair.has(digest))) lost.add(digest);
    }
    const [only, ...others] = lost;
    if (only === undefined || others.length > 0) return new Map();
    const [descriptor, ...more] = (await this.#repair.untagged?.(entries, this.#options.signal)) ?? [];
    if (descriptor === undefined || more.length > 0) return new Map();
    return new Map([[only, { kind: 'renamed', descriptor }]]);
  }

  /** Moves a blob away whose bytes are wrong; a layer with nothing wrong but its diffID is left. */
  async #quarantine(digest: Digest): Promise<boolean> {
    if (!(await this.#repair.has(digest)) || (await this.#repair.isWhole(digest, this.#options.signal))) return false;
    if (!this.#isDry) await this.#repair.quarantine(digest);
    return true;
  }
}

/** What an entry names after its fate; undefined when it goes. */
function placeAfter(fate: Exclude<Fate, { kind: 'stays' }>): Descriptor | undefined {
  if (fate.kind === 'goes') return undefined;
  return 'documents' in fate ? topOf(fate.documents).descriptor : fate.descriptor;
}
