import { hasStore } from '../../backend/backends.js';
import { readImport } from '../../backend/option-string.js';
import { checkCall } from '../../calls.js';
import { abortable } from '../../errors.js';
import { foretell, type Foretold } from '../../graph/foretell.js';
import { recordIds } from '../../graph/identity.js';
import { min } from '../../graph/min.js';
import type { Digest } from '../../oci/digest.js';
import { Session, type SessionOptions } from '../../session.js';
import { openCache } from '../files/cache-layers.js';
import { verifyCache } from '../verify/verify.js';
import { compareTrees } from './compare-trees.js';
import type { CauseKind, DefinitionHint, FoundCause } from './cause.js';
import { CauseFinder } from './find-causes.js';
import { type LayerSummary, Side } from './side.js';

/** How it is known: by a digest that was made again, by the layers' files, by what else changed, or not at all. */
export type Evidence = 'proven' | 'layers' | 'inferred' | 'unknown';

/** A step of the second cache. */
export interface StepDescription {
  /** As `id` of a record in `inspect`. */
  readonly id: string;
  /** `RUN` by its place in the graph, the word of a proven name, or `step`. */
  readonly kind: string;
  /** The line of a Dockerfile, as far as it is proven. */
  readonly name: string | undefined;
  /** The path in the other stage, for a COPY --from. */
  readonly from: string | undefined;
  /** What its layer adds. */
  readonly adds: LayerSummary | undefined;
}

/** Why a step missed by itself. */
export interface Cause {
  readonly step: StepDescription;
  readonly kind: CauseKind;
  readonly how: Evidence;
  /** Paths, or the two states of what changed. */
  readonly details: readonly string[];
  /** For differences of files: how many paths there are in all. */
  readonly of?: number | undefined;
  /** The mode before and after, in octal digits, where all modes changed alike. */
  readonly modes?: readonly [before: string, after: string] | undefined;
  readonly hint?: DefinitionHint | undefined;
}

/** Why the build that wrote one cache missed steps of another cache. */
export interface Explanation {
  /** The cache that should have been hit, and the cache that the build wrote. */
  readonly imported: string;
  readonly written: string;
  /** The steps of the build, and of them the steps that the imported cache does not spare. */
  readonly steps: number;
  readonly missed: readonly StepDescription[];
  /** In the order of the build. All other misses follow from these. */
  readonly causes: readonly Cause[];
  /**
   * Steps that hit although a step that they take from ran: it gave the same files (a COPY --from by its content).
   */
  readonly hitAgain: readonly StepDescription[];
  /** Why BuildKit does not import the imported cache at all. */
  readonly refused: string | undefined;
  /** How many of the missed steps only follow. */
  readonly following: number;
  /**
   * Whether the layers show that the build took results from the imported cache: steps that hit have its very layers.
   * `unknown` where no step tells.
   */
  readonly taken: 'yes' | 'no' | 'unknown';
  /** Whether the imported cache has no more results than mode=min keeps. */
  readonly looksMin: boolean;
  /** Of the steps that hit: files whose times alone differ between the caches. */
  readonly times: number;
  /** Keys of earlier builds that the written cache carries on. */
  readonly olderKeys: number;
}

/**
 * Says why the steps of a build missed, from the cache that it should have hit and the cache that it wrote, without
 * BuildKit: shown steps are foretold as BuildKit's solver decides, and names are proven by hashing. All layers of both caches
 * are read once; those that are compared once more. Nothing is unpacked to disk.
 *
 * @param imported - import string of the cache that should have been hit
 * @param written - import string of the cache that the build wrote
 * @throws CacheError USAGE, NOT_FOUND, CORRUPT
 */
export async function explainCaches(
  imported: string,
  written: string,
  options: SessionOptions = {},
): Promise<Explanation> {
  checkCall('explainCaches', { imported, written, options });
  const { signal } = options;
  return abortable(signal, async () => {
    await using session = new Session(options);
    const a = new Side(await openCache(imported, session));
    const b = new Side(await openCache(written, session));
    await a.read(signal);
    await b.read(signal);
    return await explainSides(a, b, await refusal(imported, options), signal);
  });
}

/** Why BuildKit refuses to import a cache, as far as verify can look there. */
async function refusal(text: string, options: SessionOptions): Promise<string | undefined> {
  if (!hasStore(await readImport(text))) return undefined;
  const { findings } = await verifyCache(text, { ...options, onNote: undefined });
  const refusing = findings.find(({ effect }) => effect === 'import-refused' || effect === 'daemon-exits');
  return refusing?.message;
}

async function explainSides(
  a: Side,
  b: Side,
  refused: string | undefined,
  signal: AbortSignal | undefined,
): Promise<Explanation> {
  const foretold = foretell(b.steps, a.steps);
  const found = await new CauseFinder(a, b, foretold, signal).find();
  const ids = recordIds(b.steps.records);
  const describe = (record: number) => describeStep(b, record, ids[record] ?? '');
  const missed = new Set([...foretold.outcomes].flatMap(([record, outcome]) => (outcome === 'hit' ? [] : [record])));
  const causing = new Set(found.map(({ record }) => record));
  const own = foretold.own.order.filter((record) => !b.steps.isSource(record));
  return {
    imported: a.name,
    written: b.name,
    steps: own.length,
    missed: own.filter((record) => missed.has(record)).map(describe),
    causes: found.map((cause) => ({
      step: describe(cause.record),
      kind: cause.kind,
      how: evidence(cause),
      details: cause.details,
      of: cause.of,
      modes: cause.modes,
      hint: cause.hint,
    })),
    hitAgain: own
      .filter((record) => {
        const taken = foretold.own.of(record).flat();
        return foretold.outcomes.get(record) === 'hit' && taken.some(({ link }) => missed.has(link));
      })
      .map(describe),
    refused,
    following: [...missed].filter((record) => !causing.has(record)).length,
    taken: wasTaken(a, b, foretold),
    looksMin: min(a.steps.graph) === a.steps.graph,
    times: missed.size === 0 ? await countTimes(a, b, foretold, signal) : 0,
    olderKeys: b.steps.records.filter((_, record) => !b.steps.isSource(record) && !foretold.own.has(record)).length,
  };
}

function describeStep(side: Side, record: number, id: string): StepDescription {
  const [facts, adds] = [side.facts(record), side.summary(record)];
  // The digest of what joins a layer to its base is the same for all: the name is that of the COPY.
  const linked = facts?.kind === 'LINK' ? side.steps.inputs(record)[1]?.[0]?.link : undefined;
  const name = (linked === undefined ? facts : side.facts(linked))?.text;
  return {
    id,
    kind: side.kind(record),
    name: linked !== undefined && name !== undefined ? name.replace(/^(COPY|ADD)/, '$1 --link') : name,
    from: side.sourcePath(linked ?? record),
    adds,
  };
}

function evidence({ kind, details, hint }: FoundCause): Evidence {
  switch (kind) {
    case 'definition':
      return hint === undefined || hint === 'last' ? 'unknown' : 'inferred';
    case 'unseen':
    case 'mount':
    case 'noResult':
      return 'inferred';
    case 'unknownContent':
      return 'unknown';
    case 'baseImage':
      return details.length > 0 ? 'layers' : 'unknown';
    case 'added':
    case 'removed':
    case 'renamed':
    case 'type':
    case 'content':
    case 'linkTarget':
    case 'mode':
    case 'owner':
    case 'xattrs':
      // "." is the copied thing itself, whose mode is in its key alone.
      return details.every((path) => path === '.') ? 'proven' : 'layers';
    default:
      return 'proven';
  }
}

/**
 * Layers of RUN and WORKDIR have times in them, so that equal layers of one key are the imported ones. Layers of COPY may be
 * equal without an import.
 */
function wasTaken(a: Side, b: Side, { hits, own }: Foretold): Explanation['taken'] {
  const layersOf = (side: Side, record: number) =>
    side.steps
      .newestStack(record)
      .map((blob) => side.diffID(blob))
      .join();
  let isTold = false;
  for (const record of own.order) {
    const kind = b.kind(record);
    if ((kind !== 'RUN' && kind !== 'WORKDIR') || !b.steps.hasResult(record)) continue;
    const loadable = [...(hits[record] ?? [])].filter((hit) => a.steps.isLoadable(hit));
    if (loadable.length === 0) continue;
    isTold = true;
    const layers = layersOf(b, record);
    if (loadable.some((hit) => layersOf(a, hit) === layers)) return 'yes';
  }
  return isTold ? 'no' : 'unknown';
}

/** Files of COPYs and ADDs that hit, whose layers differ in times alone. */
async function countTimes(a: Side, b: Side, { hits, own }: Foretold, signal: AbortSignal | undefined): Promise<number> {
  const compared = new Set<Digest>();
  let times = 0;
  for (const record of own.order) {
    if (!['COPY', 'ADD'].includes(b.kind(record))) continue;
    const [other] = hits[record] ?? [];
    const [top, otherTop] = [b.topLayer(record), other === undefined ? undefined : a.topLayer(other)];
    if (top === undefined || otherTop === undefined || compared.has(top)) continue;
    if (b.diffID(top) === a.diffID(otherTop)) continue;
    compared.add(top);
    const [before, after] = [await a.tree(otherTop, signal), await b.tree(top, signal)];
    if (before === undefined || after === undefined) continue;
    const paths = compareTrees(before.entries, after.entries).get('mtime') ?? [];
    times += paths.filter((path) => after.entries.get(path)?.type === 'file').length;
  }
  return times;
}
