import { copyFile, lstat, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { CacheError, isSystemError } from '../errors.js';
import { hasResults } from '../graph/graph.js';
import { setAside } from '../layout/aside.js';
import { exists } from '../layout/durable.js';
import { updateIndex } from '../layout/index-file.js';
import { encodeIndex, entryKey, type LayoutIndex } from '../layout/index-json.js';
import { type Layout, type LayoutSettings, openLayout, replaceFile, writeMarker } from '../layout/layout.js';
import { checkContent } from '../layout/blob-file.js';
import { type Registries, type RegistryAccess, withRegistries } from '../net/registries.js';
import { contentOf } from '../oci/content.js';
import type { BlobId, Descriptor } from '../oci/descriptor.js';
import type { Digest } from '../oci/digest.js';
import type { Finding } from '../verify/finding.js';
import { type Examination, examineFolder, type VerifyProgress, verifyFolder } from '../verify/verify.js';
import { type Fate, fateOf } from './cut.js';
import { salvageIndex } from './salvage.js';
import { type BlobSource, openSources } from './sources.js';

export interface RepairOptions {
  /** Import strings of places that may have good copies of what is missing or damaged. */
  readonly from?: readonly string[] | undefined;
  /** Unpack every layer, and cut out those whose diffID is wrong. */
  readonly deep?: boolean | undefined;
  /** Only find out what would be done. */
  readonly dryRun?: boolean | undefined;
  readonly concurrency?: number | undefined;
  readonly layout?: Partial<LayoutSettings>;
  /** How registries are reached. */
  readonly registry?: RegistryAccess | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((event: VerifyProgress) => void) | undefined;
}

/** Something that repair did, or would do. */
export type RepairAction =
  /** A good copy of a blob was fetched. */
  | { readonly type: 'fetched'; readonly digest: Digest; readonly from: string }
  /** A damaged file was moved out of the way, so that the next build that needs the blob writes it anew. */
  | { readonly type: 'set-aside'; readonly digest: Digest }
  /** A cache lost the results that needed what could not be had. */
  | {
      readonly type: 'cut';
      readonly tag: string | undefined;
      readonly from: Digest;
      readonly to: Digest;
      readonly resultsBefore: number | undefined;
      readonly results: number;
    }
  /** An entry of index.json went, since nothing of it can be imported. */
  | { readonly type: 'dropped'; readonly tag: string | undefined; readonly digest: Digest; readonly reason: string }
  /** An entry of index.json said something wrong of its manifest. */
  | { readonly type: 'corrected'; readonly tag: string | undefined; readonly digest: Digest }
  /** index.json was written anew, with the entries that could be read. */
  | { readonly type: 'rebuilt'; readonly entries: number; readonly nameless: readonly Digest[] }
  /** oci-layout was written anew. */
  | { readonly type: 'marked' };

export interface RepairResult {
  readonly actions: readonly RepairAction[];
  /** What is wrong still; for a dry run, what is wrong now. */
  readonly findings: readonly Finding[];
  readonly sound: boolean;
}

/**
 * Mends a folder of caches: fetches good bytes for what is missing or damaged, and cuts out of the caches what cannot be
 * had, so that everything else stays importable. Keys are never cut unless they are broken themselves. A folder that is
 * sound stays as it is.
 *
 * Nothing is replaced before what takes its place is there and whole, and the old index.json is kept as
 * `index.json.before-repair` until the end.
 *
 * @throws CacheError NOT_FOUND, USAGE for a bad import string, BUSY
 */
export async function repairFolder(folder: string, options: RepairOptions = {}): Promise<RepairResult> {
  return withRegistries(options.registry, (registries) => repair(folder, options, registries));
}

async function repair(folder: string, options: RepairOptions, registries: Registries): Promise<RepairResult> {
  const layout = await openLayout(folder, { ...options.layout, heal: true });
  try {
    const sources = await openSources(options.from ?? [], registries, options.layout, options.signal);
    const { actions, findings } = await new Repair(layout, sources, options).run();
    const isSound = (list: readonly Finding[]) => list.every(({ severity }) => severity === 'note');
    if (options.dryRun === true || actions.length === 0) return { actions, findings, sound: isSound(findings) };
    const { deep, concurrency, signal } = options;
    // What was sound before has been read already; with its size, everything else was written just now.
    const sample = deep === true ? undefined : { bytes: 0 };
    const after = await verifyFolder(folder, { deep, concurrency, signal, sample, layout: options.layout ?? {} });
    return { actions, findings: after.findings, sound: after.sound };
  } finally {
    await layout.close();
  }
}

class Repair {
  readonly #layout: Layout;
  readonly #sources: readonly BlobSource[];
  readonly #options: RepairOptions;
  readonly #actions: RepairAction[] = [];

  constructor(layout: Layout, sources: readonly BlobSource[], options: RepairOptions) {
    this.#layout = layout;
    this.#sources = sources;
    this.#options = options;
  }

  async run(): Promise<{ readonly actions: readonly RepairAction[]; readonly findings: readonly Finding[] }> {
    const backup = join(this.#layout.root, 'index.json.before-repair');
    await this.#index(backup);
    const examination = await examineFolder(this.#layout, this.#options);
    const markerIsWrong = examination.findings.some(
      ({ severity, file }) => severity === 'corrupt' && file === join(this.#layout.root, 'oci-layout'),
    );
    if (markerIsWrong) {
      if (!this.#isDry) await writeMarker(this.#layout);
      this.#actions.push({ type: 'marked' });
    }
    const bad = await this.#fetchAll(examination);
    await this.#cutAll(examination, bad, backup);
    if (!this.#isDry) await rm(backup, { force: true });
    return { actions: this.#actions, findings: examination.findings };
  }

  get #isDry(): boolean {
    return this.#options.dryRun === true;
  }

  /** Makes an index of what is left of one that cannot be read. */
  async #index(backup: string): Promise<void> {
    const salvaged = await salvageIndex(this.#layout, this.#options.signal);
    if (salvaged === undefined) return;
    const { index, nameless } = salvaged;
    if (!(await exists(join(this.#layout.root, 'blobs')))) return;
    this.#actions.push({
      type: 'rebuilt',
      entries: index.manifests.length,
      nameless: nameless.map(({ digest }) => digest),
    });
    if (this.#isDry) return;
    const path = join(this.#layout.root, 'index.json');
    await keep(path, backup);
    const stats = await lstat(path).catch(() => undefined);
    if (stats?.isDirectory() === true) await rm(path, { recursive: true });
    await replaceFile(this.#layout, 'index.json', encodeIndex(index));
  }

  /** @returns what could not be had */
  async #fetchAll({ findings, walk }: Examination): Promise<ReadonlySet<Digest>> {
    const bad = new Set<Digest>();
    for (const { severity, kind, digest } of findings) {
      if (severity === 'corrupt' && (kind === 'missing' || kind === 'damaged') && digest !== undefined) bad.add(digest);
    }
    for (const digest of bad) {
      const size = walk.needs.get(digest)?.descriptor.size;
      if (size === undefined) continue;
      const from = await this.#fetch({ digest, size });
      if (from === undefined) continue;
      bad.delete(digest);
      this.#actions.push({ type: 'fetched', digest, from });
    }
    return bad;
  }

  async #fetch(blob: BlobId): Promise<string | undefined> {
    const { signal } = this.#options;
    for (const { name, content } of this.#sources) {
      const bytes = content(blob);
      if (bytes === undefined) continue;
      try {
        if (this.#isDry) await checkContent(bytes, blob, { where: name, signal });
        else {
          await this.#clear(blob.digest);
          await this.#layout.blobs.write(bytes, blob, { where: name, sharing: 'copy', ...(signal ? { signal } : {}) });
        }
        return name;
      } catch (error) {
        // Another source may have it.
        if (!(error instanceof CacheError) || signal?.aborted === true) throw error;
      }
    }
    return undefined;
  }

  /** Takes away what is no file at all, such as a link; a file is replaced once there is a better one. */
  async #clear(digest: Digest): Promise<void> {
    const path = this.#layout.blobs.path(digest);
    const stats = await lstat(path).catch((error: unknown) => {
      if (isSystemError(error, 'ENOENT', 'ENOTDIR')) return undefined;
      throw error;
    });
    if (stats === undefined || stats.isFile()) return;
    await setAside(this.#layout.root, { digest, path, size: 0, damaged: true }, Date.now());
  }

  async #cutAll({ entries }: Examination, bad: ReadonlySet<Digest>, backup: string): Promise<void> {
    const fates = new Map<string, Fate>();
    for (const { tag, descriptor } of entries) {
      const fate = await fateOf(this.#layout, descriptor, bad);
      if (fate.kind === 'stays') continue;
      fates.set(entryKey(descriptor), fate);
      this.#actions.push(actionOf(fate, tag, descriptor));
      if (fate.kind === 'cut' && !this.#isDry) await this.#write(fate);
    }
    if (!this.#isDry) {
      await this.#layout.blobs.sync();
      if (fates.size > 0) {
        await keep(join(this.#layout.root, 'index.json'), backup);
        await updateIndex(this.#layout, (index) => withFates(index, fates), this.#options.signal);
      }
    }
    // Only when nothing refers to them any more, where that can be helped.
    for (const digest of bad) await this.#setAside(digest);
  }

  async #write({ saved }: Extract<Fate, { kind: 'cut' }>): Promise<void> {
    const { blobs, root } = this.#layout;
    for (const { descriptor, bytes } of [saved.config, saved.manifest]) {
      if (!(await blobs.has(descriptor)))
        await blobs.write(contentOf(bytes), descriptor, { where: root, sharing: 'copy' });
    }
  }

  /** Moves a file out of the way whose bytes are wrong; one that only has a diffID that is wrong is left. */
  async #setAside(digest: Digest): Promise<void> {
    const path = this.#layout.blobs.path(digest);
    const stats = await lstat(path).catch((error: unknown) => {
      if (isSystemError(error, 'ENOENT', 'ENOTDIR')) return undefined;
      throw error;
    });
    if (stats === undefined) return;
    if (stats.isFile() && (await this.#layout.blobs.isWhole({ digest, size: stats.size }, this.#options.signal)))
      return;
    this.#actions.push({ type: 'set-aside', digest });
    if (!this.#isDry) await setAside(this.#layout.root, { digest, path, size: stats.size, damaged: true }, Date.now());
  }
}

function actionOf(
  fate: Exclude<Fate, { kind: 'stays' }>,
  tag: string | undefined,
  { digest }: Descriptor,
): RepairAction {
  switch (fate.kind) {
    case 'goes':
      return { type: 'dropped', tag, digest, reason: fate.reason };
    case 'corrected':
      return { type: 'corrected', tag, digest };
    case 'cut':
      return {
        type: 'cut',
        tag,
        from: digest,
        to: fate.saved.manifest.descriptor.digest,
        resultsBefore: fate.before?.records.filter(hasResults).length,
        results: fate.graph.records.filter(hasResults).length,
      };
  }
}

/** What somebody has written since it was read stays as it is. */
function withFates(index: LayoutIndex, fates: ReadonlyMap<string, Fate>): LayoutIndex {
  const manifests = index.manifests.flatMap((entry) => {
    const fate = fates.get(entryKey(entry));
    if (fate === undefined || fate.kind === 'stays') return entry;
    if (fate.kind === 'goes') return [];
    return { ...entry, ...(fate.kind === 'cut' ? fate.saved.manifest.descriptor : fate.descriptor) };
  });
  return { ...index, manifests };
}

/** Copies a file, unless that was done before. */
async function keep(path: string, backup: string): Promise<void> {
  if ((await exists(backup)) || !((await lstat(path).catch(() => undefined))?.isFile() ?? false)) return;
  await copyFile(path, backup);
}
