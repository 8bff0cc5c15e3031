import type { CacheStore, StoredBlob } from '../../backend/cache-store.js';
import type { Finding } from '../../backend/finding.js';
import type { Digest } from '../../oci/digest.js';
import { effectOf, type Need, type Needs, originsOf } from './need.js';
import { Report } from './report.js';

const MISSING_MANIFEST = 'the manifest that a tag names is missing';

/** What a listing of blobs shows. */
interface Presence {
  /** The blobs that are there, and how large they are, in bytes. */
  readonly present: ReadonlyMap<Digest, number>;
  readonly findings: readonly Finding[];
}

/**
 * Looks for the blobs that something refers to, and for what nothing refers to. What the listing does not show is asked
 * for by its name, where the place can do that. Nothing is found missing before the listing has ended.
 *
 * @throws CacheError for a listing that is not whole, and where the place does not say whether a blob is there
 */
export async function lookForBlobs(
  store: Pick<CacheStore, 'blob' | 'look' | 'lostEntryHint'>,
  blobs: AsyncIterable<StoredBlob> | readonly StoredBlob[],
  needs: Needs,
  signal?: AbortSignal,
): Promise<Presence> {
  const report = new Report();
  const present = new Map<Digest, number>();
  const others = new Set<Digest>();
  const unused = { count: 0, bytes: 0 };
  for await (const { digest, size, at, other } of blobs) {
    if (digest === undefined) {
      sayUnnamed(report, at);
    } else if (other === undefined) {
      present.set(digest, size);
      if (needs.has(digest)) continue;
      unused.count++;
      unused.bytes += size;
    } else {
      others.add(digest);
      const need = needs.get(digest);
      const message = 'there is no regular file in the place of a blob';
      const about = { kind: 'damaged', effect: effectOf(need), wrong: 'notAFile', message, digest, file: at } as const;
      report.say({ ...about, found: other }, need === undefined ? [] : originsOf(need));
    }
  }
  const unseen = [...needs.values()].filter(({ digest }) => !others.has(digest) && !present.has(digest));
  const digests = unseen.map(({ digest }) => digest);
  const found = digests.length === 0 ? undefined : await store.look?.(digests, signal);
  for (const [digest, size] of found ?? []) present.set(digest, size);
  for (const need of unseen) if (!present.has(need.digest)) sayMissing(report, store, need);
  sayUnused(report, unused);
  return { present, findings: report.findings() };
}

export function sayUnnamed(report: Report, at: string): void {
  report.say({ severity: 'note', kind: 'unknown', message: 'a file is not named as a blob', file: at });
}

export function sayUnused(report: Report, { count, bytes }: { readonly count: number; readonly bytes: number }): void {
  if (count === 0) return;
  report.say({ severity: 'note', kind: 'unused', message: `${count} blobs that nothing refers to, ${bytes} bytes` });
}

function sayMissing(
  report: Report,
  store: Pick<CacheStore, 'blob' | 'lostEntryHint'>,
  { digest, statements }: Need,
): void {
  const file = store.blob({ digest, size: statements[0]?.descriptor.size ?? 0 }).path;
  const required = statements.filter((statement) => statement.required);
  if (required.length === 0) {
    const message = 'a blob is not here, which is allowed for images without a cache';
    report.say({ severity: 'note', kind: 'sparse', message, digest, file }, originsOf({ digest, statements }));
    return;
  }
  const need = { digest, statements: required };
  const about = { kind: 'missing', effect: effectOf(need), wrong: 'missing' } as const;
  const isEntry = required.some(({ role, origins }) => role === 'manifest' && origins.some(({ name }) => name));
  const message = isEntry ? MISSING_MANIFEST : 'a blob is missing';
  const hint = isEntry ? store.lostEntryHint : undefined;
  report.say({ ...about, message, digest, file, hint }, originsOf(need));
}
