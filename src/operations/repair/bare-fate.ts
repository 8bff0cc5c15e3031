import { decodeCacheConfig } from '../../buildkit/cache-config.js';
import type { Wrong } from '../../errors.js';
import { bareLayers, saveBare } from '../../graph/bare.js';
import { endsOf } from '../../graph/ends.js';
import { evict } from '../../graph/evict.js';
import { dropUnusedLayers } from '../../graph/keep.js';
import { graphOf } from '../../graph/load.js';
import { lowerDigests, mend } from '../../graph/mend.js';
import { correctedGraph } from '../../graph/statement.js';
import type { Descriptor } from '../../oci/descriptor.js';
import type { OrderedDocuments } from '../../oci/document.js';
import { readRectified } from '../verify/rectify.js';
import { countResults, type Evidence, type Fate, unlist, unusable, withoutDocument, withReplacements } from './cut.js';
import type { Documents } from './documents.js';

/** As `fateOf`, for a cacheconfig without a manifest: BuildKit refuses the whole of it for one layer without a diffID. */
export async function bareFateOf(documents: Documents, entry: Descriptor, evidence: Evidence): Promise<Fate> {
  const wrong = new Set<Wrong>();
  try {
    const bytes = await documents.readBare(entry);
    const { value: decoded, fault } = readRectified(bytes, (document) => decodeCacheConfig(document, entry.digest));
    if (fault !== undefined) wrong.add('format');
    const spelt = lowerDigests(decoded);
    if (spelt !== decoded) wrong.add('digest');
    const mended = mend(spelt);
    const proven = correctedGraph(graphOf(bareLayers(decoded, entry.digest), mended), evidence.proofs, wrong);
    const before = withReplacements(proven, evidence.replacements);
    if (before !== proven) wrong.add('padding');
    const graph = unlist(evict(before, unusable(before, evidence.bad)), evidence.bad);
    const save = (): OrderedDocuments => [saveBare(dropUnusedLayers(graph))];
    if (mended !== spelt || graph !== before) {
      const counts = { resultsBefore: countResults(decoded), results: countResults(graph) };
      return { kind: 'cut', documents: save(), ...counts };
    }
    if (wrong.size > 0) return { kind: 'rewritten', documents: save(), wrong: [...wrong].toSorted() };
    const ends = endsOf(decoded.records).length;
    return ends > 1 ? { kind: 'joined', documents: save(), ends } : { kind: 'stays' };
  } catch (error) {
    return withoutDocument(error);
  }
}
