import { needsProof } from '../../graph/statement.js';
import { type Descriptor, UNCOMPRESSED } from '../../oci/descriptor.js';
import type { Digest } from '../../oci/digest.js';
import { layerEncoding } from '../../oci/media-types.js';
import { type Effect, EFFECTS } from '../../backend/finding.js';
import type { Origin } from './origin.js';

/** What a descriptor takes its blob for. */
type Role =
  | 'manifest'
  /** A cacheconfig, or the config of an image that has a cache in it. */
  | 'config'
  /** A layer of a cache. */
  | 'layer'
  /** A layer or config of an image without a cache, or anything else: BuildKit imports nothing from it. */
  | 'part';

/** What descriptors in some documents say of a blob, in the same words. */
export interface Statement {
  readonly descriptor: Descriptor;
  readonly role: Role;
  /** Whether BuildKit cannot do without the blob; images may be there in part. */
  readonly required: boolean;
  readonly origins: Origin[];
}

/** A blob that something refers to. Each statement about it is true or false by itself. */
export interface Need {
  readonly digest: Digest;
  readonly statements: readonly Statement[];
}

export const isRequired = ({ statements }: Need): boolean => statements.some(({ required }) => required);
/** Whether it can be decompressed. */
export const isLayer = ({ statements }: Need): boolean =>
  statements.some(({ role, descriptor }) => {
    return role === 'layer' || (role === 'part' && layerEncoding(descriptor.mediaType) !== undefined);
  });

/** Whether a layer is said to be what it cannot be, or two things at once: only its bytes tell which. */
export function isContradicted({ statements }: Need): boolean {
  const layers = statements.filter(({ role }) => role === 'layer').map(({ descriptor }) => descriptor);
  const diffIDs = new Set(layers.map(({ annotations }) => annotations?.[UNCOMPRESSED]));
  return diffIDs.size > 1 || layers.some(needsProof);
}

const EFFECT_OF: Readonly<Record<Role, Effect>> = {
  layer: 'build-fails',
  manifest: 'import-refused',
  config: 'import-refused',
  part: 'none',
};

/**
 * What BuildKit does where a blob is not there or damaged. A blob that nothing refers to is trusted by the next export
 * that needs it.
 */
export function effectOf(need: Need | undefined): Effect {
  const effects = new Set(need === undefined ? ['build-fails'] : need.statements.map(({ role }) => EFFECT_OF[role]));
  return EFFECTS.find((effect) => effects.has(effect)) ?? 'none';
}

export function originsOf({ statements }: Need): Origin[] {
  return statements.flatMap(({ origins }) => origins);
}

/** Where statements of documents about blobs go. */
export type NeedSink = Pick<Needs, 'add'>;

/** Everything that was referred to. */
export class Needs {
  readonly #needs = new Map<Digest, { readonly digest: Digest; readonly statements: Statement[] }>();
  readonly #known = new Map<string, Statement>();

  add(descriptor: Descriptor, role: Role, required: boolean, origin: Origin): void {
    const { digest } = descriptor;
    const key = `${role} ${required} ${JSON.stringify(descriptor)}`;
    const known = this.#known.get(key);
    if (known !== undefined) {
      known.origins.push(origin);
      return;
    }
    const statement = { descriptor, role, required, origins: [origin] };
    this.#known.set(key, statement);
    const need = this.#needs.get(digest) ?? { digest, statements: [] };
    this.#needs.set(digest, need);
    need.statements.push(statement);
  }

  get(digest: Digest | undefined): Need | undefined {
    return digest === undefined ? undefined : this.#needs.get(digest);
  }

  has(digest: Digest): boolean {
    return this.#needs.has(digest);
  }

  values(): Iterable<Need> {
    return this.#needs.values();
  }
}
