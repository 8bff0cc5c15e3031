import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { CacheError, type Wrong } from '../../errors.js';
import { statOf } from '../../layout/files/local-disk.js';
import { KnownDamaged } from '../../layout/blobs/known-damaged.js';
import { exists } from '../../layout/files/durable.js';
import { bytesOfFile } from '../../layout/files/small-file.js';
import { leftovers } from '../../layout/gc/leftovers.js';
import { quarantinedBlobs } from '../../layout/gc/quarantine.js';
import { keptIndexPath } from '../../layout/index/index-file.js';
import type { LayoutIndex } from '../../layout/index/index-json.js';
import { indexPath, readIndex } from '../../layout/index/index-read.js';
import { hasManifests } from '../../layout/index/lost-index.js';
import { sameBytes } from '../../layout/index/settled.js';
import type { Layout } from '../../layout/layout.js';
import type { Digest } from '../../oci/digest.js';
import { markerVersion } from '../../oci/marker.js';
import { OCI_INDEX } from '../../oci/media-types.js';
import type { Examined, StoreEntry, Verdict } from '../cache-store.js';
import { quoted, type Remark } from '../finding.js';
import { entriesOf } from './folder-entries.js';

const VERSION = '1.0.0';
const KNOWN_FIELDS = new Set(['schemaVersion', 'mediaType', 'manifests', 'annotations', 'artifactType', 'subject']);
/** From this age on an unfinished file counts as left over, in milliseconds: BuildKit may write to a younger one. */
const UNFINISHED = 24 * 3_600_000;

/** How often oci-layout has to be read the same before it counts as wrong, and how long to wait between, in milliseconds. */
const TORN_READINGS = 4;
const TORN_PAUSE = 25;

/**
 * Checks oci-layout and index.json, and looks for files that are left over.
 *
 * @param instead - the entries to take where index.json cannot be read
 * @throws CacheError NOT_FOUND when there is no cache at all, BUSY
 */
export async function examineLayout(
  layout: Layout,
  instead: readonly StoreEntry[] | undefined,
  signal?: AbortSignal,
): Promise<Examined> {
  const marker = await markerRemarks(layout);
  const { entries, faults } = await examineIndex(layout, instead, signal);
  return { entries, faults: [...marker, ...faults, ...(await remains(layout))] };
}

async function examineIndex(
  layout: Layout,
  instead: readonly StoreEntry[] | undefined,
  signal: AbortSignal | undefined,
): Promise<Examined> {
  const file = indexPath(layout);
  try {
    const index = await readIndex(layout, signal);
    const entries = entriesOf(index);
    return { entries, faults: [...fieldRemarks(index, file), ...entryRemarks(entries, file)] };
  } catch (error) {
    if (!(error instanceof CacheError) || (error.code !== 'CORRUPT' && error.code !== 'NOT_FOUND')) throw error;
    // A folder that has no blobs/ is no cache at all.
    if (error.code === 'NOT_FOUND' && !(await exists(join(layout.root, 'blobs')))) throw error;
    if (instead === undefined && error.code === 'NOT_FOUND' && !(await hasManifests(layout, signal))) {
      const message = 'there is no index.json: a first export was cut short, and nothing is tagged';
      const repair = `bkcache gc ${quoted(layout.root)}`;
      return { entries: [], faults: [note('layout', message, { file, repair })] };
    }
    const wrong = error.code === 'NOT_FOUND' ? 'missing' : 'format';
    // What repair leaves to its owner: a link leads to a file that may be another's.
    const hint = (await statOf(file))?.isSymbolicLink() === true ? error.hint : undefined;
    const fault = { kind: 'layout', effect: 'import-refused', message: error.message, file, wrong, hint } as const;
    return { entries: instead ?? [], faults: [fault] };
  }
}

function fieldRemarks(index: LayoutIndex, file: string): Remark[] {
  const { schemaVersion, mediaType = OCI_INDEX } = index;
  const unusual = (field: string, expected: string, found: unknown) =>
    note('layout', `index.json has an unusual ${field}`, { file, expected, found: JSON.stringify(found) });
  return [
    ...(schemaVersion === 2 ? [] : [unusual('schemaVersion', '2', schemaVersion)]),
    ...(mediaType === OCI_INDEX ? [] : [unusual('mediaType', OCI_INDEX, mediaType)]),
    ...Object.keys(index)
      .filter((field) => !KNOWN_FIELDS.has(field))
      .map((field) => note('layout', `index.json has a field ${JSON.stringify(field)}`, { file })),
  ];
}

function entryRemarks(entries: readonly StoreEntry[], file: string): Remark[] {
  const remarks: Remark[] = [];
  const seen = new Set<string>();
  for (const { names, descriptor } of entries) {
    const { mediaType, digest } = descriptor;
    if (mediaType === '') remarks.push(note('layout', 'an entry has no media type', { digest, file }));
    const [tag] = names;
    if (tag === undefined) continue;
    if (seen.has(tag)) remarks.push(note('layout', `the tag ${tag} stands there twice: the first is taken`, { file }));
    seen.add(tag);
  }
  return remarks;
}

/** Files that processes, gc and repair have left over. */
async function remains(layout: Layout): Promise<Remark[]> {
  const { root } = layout;
  const remarks: Remark[] = [];
  const left = await leftovers(root, Date.now() - UNFINISHED);
  if (left.length > 0) remarks.push(note('unused', `${left.length} unfinished files that dead processes have left`));
  const quarantined = await quarantinedBlobs(root);
  if (quarantined.length > 0)
    remarks.push(note('unused', `${quarantined.length} blobs in quarantine, of gc or repair`));
  const kept = keptIndexPath(layout);
  if (await exists(kept)) {
    const message = 'the index.json from before a repair that did not end';
    remarks.push(note('unused', message, { file: kept, repair: `rm ${quoted(kept)}` }));
  }
  return remarks;
}

function note(kind: Remark['kind'], message: string, more: Partial<Remark> = {}): Remark {
  return { severity: 'note', kind, message, ...more };
}

/** The marker of a layout. */
export function markerPath({ root }: Pick<Layout, 'root'>): string {
  return join(root, 'oci-layout');
}

/** BuildKit does not read oci-layout, and other tools refuse a folder without it. */
async function markerRemarks(layout: Layout): Promise<Remark[]> {
  const file = markerPath(layout);
  const fault = await settledFault(() => markerFault(file));
  if (fault === undefined) return [];
  const { message, wrong } = fault;
  return [{ kind: 'layout', effect: 'none', message, file, wrong }];
}

interface MarkerFault {
  readonly message: string;
  readonly wrong: Wrong;
  /** What was read. */
  readonly bytes: Buffer | undefined;
}

async function markerFault(file: string): Promise<MarkerFault | undefined> {
  const bytes = await bytesOfFile(file);
  if (bytes === undefined) {
    return { message: 'the folder has no oci-layout file, and other tools want one', wrong: 'missing', bytes };
  }
  try {
    if (markerVersion(bytes, file) === VERSION) return undefined;
    return { message: `imageLayoutVersion is not ${VERSION}`, wrong: 'format', bytes };
  } catch (error) {
    if (!(error instanceof CacheError)) throw error;
    return { message: error.message, wrong: 'format', bytes };
  }
}

/**
 * A fault that is there for some time. BuildKit empties and writes oci-layout in place at the end of each export
 * (client/ociindex/ociindex.go), so that a reader can see it empty or half.
 */
async function settledFault(look: () => Promise<MarkerFault | undefined>): Promise<MarkerFault | undefined> {
  let fault = await look();
  for (let same = 1; fault !== undefined && same < TORN_READINGS;) {
    await sleep(TORN_PAUSE);
    const next = await look();
    same = next !== undefined && sameBytes(next.bytes, fault.bytes) ? same + 1 : 1;
    fault = next;
  }
  return fault;
}

/** Keeps the list of damaged blobs, which writers go by. */
export async function remember(
  { root }: Layout,
  verdicts: readonly Verdict[],
  present: Pick<ReadonlySet<Digest>, 'has'>,
): Promise<void> {
  const knownDamaged = new KnownDamaged(root);
  const damaged = await knownDamaged.list();
  for (const { digest, sound } of verdicts) {
    if (!sound) await knownDamaged.add(digest);
    else if (damaged.has(digest)) await knownDamaged.remove(digest);
  }
  for (const digest of damaged) if (!present.has(digest)) await knownDamaged.remove(digest);
}
