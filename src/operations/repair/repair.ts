import { checkCall } from '../../calls.js';
import type { Stats } from 'node:fs';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { prove } from '../../codec/proof.js';
import { recompress } from '../../codec/recompress.js';
import { abortable } from '../../errors.js';
import type { Proof } from '../../graph/statement.js';
import { moveToQuarantine } from '../../layout/gc/quarantine.js';
import { checkContent, statOf } from '../../layout/blobs/blob-file.js';
import { replaceBrokenIndex } from '../../layout/index/broken-index.js';
import { keptIndexPath, updateIndex } from '../../layout/index/index-file.js';
import { entryKey, type LayoutIndex } from '../../layout/index/index-json.js';
import { type Layout, openLayout, writeMarker } from '../../layout/layout.js';
import { LeasedBlobs } from '../../layout/blobs/leased-blobs.js';
import { rewriting } from '../../layout/blobs/lost-blobs.js';
import { Session, type SessionOptions } from '../../session.js';
import { type Content, contentOf, hashContent } from '../../oci/content.js';
import type { BlobId, Descriptor } from '../../oci/descriptor.js';
import { type OrderedDocuments, topOf } from '../../oci/document.js';
import { type Digest, isKnownAlgorithm, splitDigest } from '../../oci/digest.js';
import { layerMediaType, OCI_LAYER } from '../../oci/media-types.js';
import type { Finding } from '../verify/finding.js';
import { isContradicted, isLayer, type Need } from '../verify/need.js';
import { type Examination, examineFolder, type VerifyProgress, verifyFolder } from '../verify/verify.js';
import { actionOf, type RepairAction } from './action.js';
import { Copies, type LackedBlob } from './copies.js';
import { type Evidence, type Fate, fateOf } from './cut.js';
import { Documents } from './documents.js';
import { onlyNameless, type Salvaged, salvageIndex } from './salvage.js';
import { openSources } from './sources.js';

export interface RepairOptions extends SessionOptions {
  /** Import strings of places that may have good copies of what is missing or damaged. */
  readonly from?: readonly string[] | undefined;
  /** Unpack every layer, and cut out those whose diffID is wrong. */
  readonly deep?: boolean | undefined;
  /** Only find out what would be done. */
  readonly dryRun?: boolean | undefined;
  readonly concurrency?: number | undefined;
  /** The most that a layer may unpack to, in bytes; 128 GiB by default. */
  readonly maxLayerSize?: number | undefined;
  /** What the windows of all zstd layers that are read at once may have together, in bytes; 1 GiB by default. */
  readonly windowMemory?: number | undefined;
  readonly onProgress?: ((event: VerifyProgress) => void) | undefined;
}

export interface RepairResult {
  readonly actions: readonly RepairAction[];
  /** What is wrong still; for a dry run, what is wrong now. */
  readonly findings: readonly Finding[];
  readonly sound: boolean;
  /** What was asked of a place that `from` names, and is missing or damaged there. */
  readonly lacked: readonly LackedBlob[];
}

/**
 * Mends a folder of caches: fetches good bytes for what is missing or damaged, and cuts out of the caches what cannot be
 * had, so that everything else stays importable. Keys are never cut unless they are broken themselves. Caches with several
 * ends, of which BuildKit loses links, get the record that joins them. A folder where verify finds nothing stays as it is.
 *
 * Nothing is replaced before what takes its place is there and whole, and the old index.json is kept as
 * `index.json.before-repair` until the end. Nothing is cut unless every place that `from` names could be asked.
 *
 * @throws CacheError NOT_FOUND, USAGE for a bad import string, BUSY, UNREACHABLE or DENIED for a place that cannot
 *   be asked
 */
export async function repairFolder(folder: string, options: RepairOptions = {}): Promise<RepairResult> {
  checkCall('repairFolder', { folder, options });
  return abortable(options.signal, async () => {
    await using session = new Session({ ...options, layout: { ...options.layout, heal: true } });
    return await repair(folder, options, session);
  });
}

async function repair(folder: string, options: RepairOptions, session: Session): Promise<RepairResult> {
  await using layout = await openLayout(folder, session.layout);
  await using leased = new LeasedBlobs(layout);
  const sources = await openSources(options.from ?? [], session, options.onNote);
  const copies = new Copies(sources, options.signal);
  const { actions, findings } = await new Repair(layout, leased, copies, options).run();
  const { lacked } = copies;
  const isSound = (list: readonly Finding[]) => list.every(({ severity }) => severity === 'note');
  if (options.dryRun === true || actions.length === 0) {
    return { actions, findings, sound: isSound(findings), lacked };
  }
  const { deep, concurrency, maxLayerSize, windowMemory, signal } = options;
  // What was sound before has been read already; with its size, everything else was written just now.
  const sample = deep === true ? undefined : { bytes: 0 };
  const after = await verifyFolder(folder, {
    deep,
    concurrency,
    maxLayerSize,
    windowMemory,
    signal,
    sample,
    layout: options.layout ?? {},
  });
  return { actions, findings: after.findings, sound: after.sound, lacked };
}

const GZIP = { compression: 'gzip' } as const;
const GZIP_LAYER = layerMediaType(OCI_LAYER, { docker: false, encoding: 'gzip' });

/** What came of an attempt; undefined when index.json was changed by somebody else, and it has to be made again. */
type Attempt = Pick<RepairResult, 'actions' | 'findings'> | undefined;

class Repair {
  readonly #layout: Layout;
  readonly #leased: LeasedBlobs;
  readonly #copies: Copies;
  readonly #options: RepairOptions;
  readonly #fetched: RepairAction[] = [];

  constructor(layout: Layout, leased: LeasedBlobs, copies: Copies, options: RepairOptions) {
    this.#layout = layout;
    this.#leased = leased;
    this.#copies = copies;
    this.#options = options;
  }

  async run(): Promise<NonNullable<Attempt>> {
    for (;;) {
      const attempt = await rewriting(() => this.#attempt());
      if (attempt === undefined) continue;
      const isChanged = attempt.actions.length > 0 && !this.#isDry;
      if (isChanged) await rm(keptIndexPath(this.#layout), { force: true });
      return attempt;
    }
  }

  get #isDry(): boolean {
    return this.#options.dryRun === true;
  }

  /** All is fetched before anything is cut: a source that cannot be asked ends it while nothing is lost. */
  async #attempt(): Promise<Attempt> {
    const salvaged = await salvageIndex(this.#layout, this.#options.signal);
    const documents = new Documents(this.#layout, this.#copies, this.#options.signal);
    const examination = await examineFolder(this.#layout, this.#options, {
      index: salvaged?.index,
      restore: (descriptor, required) => documents.restore(descriptor, required),
    });
    const evidence = await this.#fetchAll(examination, documents);
    const actions: RepairAction[] = [];
    if (salvaged !== undefined) {
      const { index, nameless } = salvaged;
      const digests = nameless.map(({ digest }) => digest);
      actions.push({ type: 'rebuilt', entries: index.manifests.length, nameless: digests });
    }
    const fates = new Map<string, Fate>();
    const renamed = await this.#nameless(examination, evidence);
    for (const { tag, descriptor } of examination.entries) {
      const fate = renamed.get(descriptor.digest) ?? (await fateOf(documents, descriptor, evidence));
      if (fate.kind === 'stays') continue;
      fates.set(entryKey(descriptor), fate);
      actions.push(actionOf(fate, tag, descriptor));
      if ('documents' in fate && !this.#isDry) await this.#write(fate.documents);
    }
    if (!this.#isDry && !(await this.#publish(fates, salvaged))) return undefined;
    if (isMarkerWrong(examination, this.#layout)) {
      if (!this.#isDry) await writeMarker(this.#layout);
      actions.push({ type: 'marked' });
    }
    // Only when nothing refers to them any more, where that can be helped.
    for (const digest of evidence.bad) if (await this.#quarantine(digest)) actions.push({ type: 'set-aside', digest });
    return { actions: [...this.#fetched, ...actions], findings: examination.findings };
  }

  /** The manifest that a tag should name, where the one that it names was never there, by the latter's digest. */
  async #nameless({ entries }: Examination, { bad }: Evidence): Promise<ReadonlyMap<Digest, Fate>> {
    const lost = new Set<Digest>();
    for (const { descriptor } of entries) {
      const { digest } = descriptor;
      if (bad.has(digest) && (await this.#stat(digest)) === undefined) lost.add(digest);
    }
    const [only, ...others] = lost;
    if (only === undefined || others.length > 0) return new Map();
    const named = entries.map(({ descriptor }) => descriptor);
    const descriptor = await onlyNameless(this.#layout, named, this.#options.signal);
    return new Map(descriptor === undefined ? [] : [[only, { kind: 'renamed', descriptor }]]);
  }

  /** Fetches what is missing or damaged. */
  async #fetchAll({ findings, walk, read }: Examination, documents: Documents): Promise<Evidence> {
    const bad = new Set<Digest>();
    const proofs = new Map(read.proofs);
    const lost = new Map(findings.filter(isLoss).map((finding) => [finding.digest, finding]));
    for (const [digest, { wrong, found }] of [...lost].toSorted(([a = ''], [b = '']) => (a < b ? -1 : 1))) {
      const need = walk.needs.get(digest);
      if (digest === undefined) continue;
      const outcome = need === undefined ? 'lacked' : await this.#fetch(need, documents, wrong === 'format');
      if (typeof outcome === 'object') {
        this.#fetched.push({ type: 'fetched', digest, from: outcome.from });
        proofs.set(digest, outcome.proof);
      }
      // What this user may not read is whole for others, perhaps.
      if (outcome === 'lacked' && found !== 'EACCES' && found !== 'EPERM') bad.add(digest);
    }
    return { bad, proofs, replacements: await this.#recompressAll(walk, proofs), signal: this.#options.signal };
  }

  /** Compresses layers again that have zeros behind their gzip stream. */
  async #recompressAll(walk: Examination['walk'], proofs: Evidence['proofs']): Promise<Evidence['replacements']> {
    const { maxLayerSize: maxSize, windowMemory, signal } = this.#options;
    const { blobs, root: where } = this.#layout;
    const replacements = new Map<Digest, Descriptor>();
    for (const [digest, { size, unpacked }] of proofs) {
      if (unpacked?.padding === undefined || !walk.needs.has(digest)) continue;
      const options = { blob: { digest, size }, diffID: undefined, encoding: GZIP, where, maxSize, windowMemory };
      const { content } = recompress(blobs.content(digest), options);
      const blob = this.#isDry
        ? await hashContent(content, signal)
        : await this.#leased.write(content, undefined, { where, sharing: 'copy', ...(signal ? { signal } : {}) });
      replacements.set(digest, { mediaType: GZIP_LAYER, ...blob });
    }
    return replacements;
  }

  async #fetch(
    need: Need,
    documents: Documents,
    isUseless: boolean,
  ): Promise<{ readonly from: string; readonly proof: Proof } | 'healed' | 'lacked'> {
    const { digest, statements } = need;
    const document = documents.restored(digest);
    if (document !== undefined) {
      const size = document.value.length;
      await this.#store(contentOf(document.value), { digest, size }, document.from);
      return { from: document.from, proof: { size } };
    }
    // Where its bytes are right, the same would come.
    if (await this.#isWhole(digest)) return isUseless ? 'lacked' : 'healed';
    const sizes = new Map(statements.map(({ descriptor }) => [descriptor.size, descriptor]));
    for (const blob of sizes.values()) {
      const found = await this.#copies.first(blob, async (content, from) => {
        await this.#store(content, blob, from);
        return this.#prove(need, blob, this.#isDry ? content : this.#layout.blobs.content(digest), from);
      });
      if (found !== undefined) return { from: found.from, proof: found.value };
    }
    return 'lacked';
  }

  /** What a good copy proves, beside its size, where its manifests do not agree on it. */
  async #prove(need: Need, { digest, size }: BlobId, content: Content, where: string): Promise<Proof> {
    if (!isLayer(need) || !isContradicted(need)) return { size };
    return prove(content, { digest, sizes: [size], layer: 'whole', where, signal: this.#options.signal });
  }

  async #store(content: Content, blob: BlobId, where: string): Promise<void> {
    const { signal } = this.#options;
    const stats = await this.#stat(blob.digest);
    // What is no file at all, such as a link, cannot be replaced: it goes, once there is something better.
    const isOther = stats !== undefined && !stats.isFile();
    if (this.#isDry || isOther) await checkContent(content, blob, { where, signal });
    if (this.#isDry) return;
    if (isOther) this.#moveAway(blob.digest, 0);
    await this.#leased.write(content, blob, { where, sharing: 'copy', ...(signal ? { signal } : {}) });
  }

  async #write(documents: OrderedDocuments): Promise<void> {
    const where = this.#layout.root;
    for (const { descriptor, bytes } of documents) {
      if (!(await this.#leased.has(descriptor)))
        await this.#leased.write(contentOf(bytes), descriptor, { where, sharing: 'copy' });
    }
  }

  /** @returns false when index.json was broken, and is not what it was any more */
  async #publish(fates: ReadonlyMap<string, Fate>, salvaged: Salvaged | undefined): Promise<boolean> {
    const { signal } = this.#options;
    const leased = this.#leased;
    await leased.sync();
    if (salvaged !== undefined) {
      return replaceBrokenIndex(this.#layout, salvaged.broken, withFates(salvaged.index, fates), { leased, signal });
    }
    const change = (index: LayoutIndex) => withFates(index, fates);
    const keepAs = keptIndexPath(this.#layout);
    if (fates.size > 0) await updateIndex(this.#layout, change, { leased, keepAs, signal });
    return true;
  }

  /** Moves a file out of the way whose bytes are wrong; one that only has a diffID that is wrong is left. */
  async #quarantine(digest: Digest): Promise<boolean> {
    const stats = await this.#stat(digest);
    if (stats === undefined || (await this.#isWhole(digest))) return false;
    if (!this.#isDry) this.#moveAway(digest, stats.size);
    return true;
  }

  #moveAway(digest: Digest, size: number): void {
    const path = this.#layout.blobs.path(digest);
    moveToQuarantine(this.#layout.root, { digest, path, size, damaged: true }, Date.now());
  }

  /** Whether a file is what its digest says, whatever else is said of it. One that cannot be read is not. */
  async #isWhole(digest: Digest): Promise<boolean> {
    const stats = await this.#stat(digest);
    if (stats?.isFile() !== true || !isKnownAlgorithm(splitDigest(digest)[0])) return false;
    return this.#layout.blobs.isWhole({ digest, size: stats.size }, this.#options.signal);
  }

  async #stat(digest: Digest): Promise<Stats | undefined> {
    return statOf(this.#layout.blobs.path(digest));
  }
}

/** Whether a finding is about a blob that has to be had from elsewhere. One that was given up for its size need not be. */
function isLoss({ severity, kind, wrong }: Finding): boolean {
  return severity === 'corrupt' && (kind === 'missing' || kind === 'damaged') && wrong !== 'limit';
}

function isMarkerWrong({ findings }: Examination, { root }: Layout): boolean {
  return findings.some(({ severity, file }) => severity === 'corrupt' && file === join(root, 'oci-layout'));
}

/** What somebody has written since it was read stays as it is. */
function withFates(index: LayoutIndex, fates: ReadonlyMap<string, Fate>): LayoutIndex {
  const manifests = index.manifests.flatMap((entry) => {
    const fate = fates.get(entryKey(entry));
    if (fate === undefined || fate.kind === 'stays') return entry;
    if (fate.kind === 'goes') return [];
    return { ...entry, ...('documents' in fate ? topOf(fate.documents).descriptor : fate.descriptor) };
  });
  return { ...index, manifests };
}
