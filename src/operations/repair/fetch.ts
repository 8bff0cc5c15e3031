import type { CacheStore, StoreRepair } from '../../backend/cache-store.js';
import type { Finding } from '../../backend/finding.js';
import { prove } from '../../codec/proof.js';
import { recompress } from '../../codec/recompress.js';
import type { Proof } from '../../graph/statement.js';
import { type Content, contentOf, hashContent } from '../../oci/content.js';
import type { BlobId, Descriptor } from '../../oci/descriptor.js';
import type { Digest } from '../../oci/digest.js';
import { layerMediaType, OCI_LAYER } from '../../oci/media-types.js';
import type { Examination } from '../verify/examine.js';
import { isContradicted, isLayer, type Need } from '../verify/need.js';
import type { RepairAction } from './action.js';
import type { Copies } from './copies.js';
import type { Evidence } from './cut.js';
import type { Documents } from './documents.js';
import type { RepairOptions } from './repair.js';

const GZIP = { compression: 'gzip' } as const;
const GZIP_LAYER = layerMediaType(OCI_LAYER, { docker: false, encoding: 'gzip' });

/** What became of a blob that was found to be missing or damaged. */
type Outcome = { readonly from: string; readonly proof: Proof } | 'healed' | 'lacked';

/** Brings good bytes to a place for what is missing or damaged there. */
export class Fetching {
  /** What was fetched, or would be. */
  readonly actions: RepairAction[] = [];
  readonly #store: CacheStore;
  readonly #repair: StoreRepair;
  readonly #copies: Copies;
  readonly #options: RepairOptions;

  constructor(store: CacheStore, repair: StoreRepair, copies: Copies, options: RepairOptions) {
    this.#store = store;
    this.#repair = repair;
    this.#copies = copies;
    this.#options = options;
  }

  /** Fetches what the sources have. @returns what is known of the blobs after that */
  async all({ findings, needs, read }: Examination, documents: Documents): Promise<Evidence> {
    const bad = new Set<Digest>();
    const proofs = new Map(read.proofs);
    const lost = new Map(findings.filter(isLoss).map((finding) => [finding.digest, finding]));
    for (const [digest, { wrong, found }] of [...lost].toSorted(([a = ''], [b = '']) => (a < b ? -1 : 1))) {
      const need = needs.get(digest);
      if (digest === undefined) continue;
      const outcome = need === undefined ? 'lacked' : await this.#fetch(need, documents, wrong === 'format');
      if (typeof outcome === 'object') {
        this.actions.push({ type: 'fetched', digest, from: outcome.from });
        proofs.set(digest, outcome.proof);
      }
      // What this user may not read is whole for others, perhaps.
      if (outcome === 'lacked' && found !== 'EACCES' && found !== 'EPERM') bad.add(digest);
    }
    return { bad, proofs, replacements: await this.#recompressAll(needs, proofs), signal: this.#options.signal };
  }

  get #isDry(): boolean {
    return this.#options.dryRun === true;
  }

  /** Compresses layers again that have zeros behind their gzip stream. */
  async #recompressAll(needs: Examination['needs'], proofs: Evidence['proofs']): Promise<Evidence['replacements']> {
    const { maxLayerSize: maxSize, windowMemory, signal } = this.#options;
    const { name: where } = this.#store;
    const replacements = new Map<Digest, Descriptor>();
    for (const [digest, { size, decompressed }] of proofs) {
      if (decompressed?.padding === undefined || !needs.has(digest)) continue;
      const options = { blob: { digest, size }, diffID: undefined, encoding: GZIP, where, maxSize, windowMemory };
      const { content } = recompress(this.#store.blob({ digest, size }), options);
      const blob = this.#isDry ? await hashContent(content, signal) : await this.#repair.write(content, signal);
      replacements.set(digest, { mediaType: GZIP_LAYER, ...blob });
    }
    return replacements;
  }

  async #fetch(need: Need, documents: Documents, isUseless: boolean): Promise<Outcome> {
    const { digest, statements } = need;
    const { signal } = this.#options;
    const document = documents.restored(digest);
    if (document !== undefined) {
      const size = document.value.length;
      await this.#restore(contentOf(document.value), { digest, size }, document.from);
      return { from: document.from, proof: { size } };
    }
    // Where its bytes are right, the same would come.
    if (await this.#repair.isWhole(digest, signal)) return isUseless ? 'lacked' : 'healed';
    const sizes = new Map(statements.map(({ descriptor }) => [descriptor.size, descriptor]));
    for (const blob of sizes.values()) {
      const found = await this.#copies.first(blob, async (content, from) => {
        await this.#restore(content, blob, from);
        return this.#prove(need, blob, this.#isDry ? content : this.#store.blob(blob), from);
      });
      if (found !== undefined) return { from: found.from, proof: found.value };
    }
    return 'lacked';
  }

  #restore(content: Content, blob: BlobId, where: string): Promise<void> {
    return this.#repair.restore(content, blob, { where, dryRun: this.#isDry, signal: this.#options.signal });
  }

  /** What a good copy proves: its size, and the contents of a layer whose manifests do not agree on them. */
  async #prove(need: Need, { digest, size }: BlobId, content: Content, where: string): Promise<Proof> {
    if (!isLayer(need) || !isContradicted(need)) return { size };
    return prove(content, { digest, sizes: [size], layer: 'whole', where, signal: this.#options.signal });
  }
}

/** Whether a blob has to be fetched. A layer that was given up for its size may be good. */
function isLoss({ severity, kind, wrong }: Finding): boolean {
  return severity === 'corrupt' && (kind === 'missing' || kind === 'damaged') && wrong !== 'limit';
}
