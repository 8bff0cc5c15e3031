import type { Finding, Remark } from '../../backend/finding.js';
import { type Origin, tagsOf } from './origin.js';

/** Gathers findings: what several documents say of one thing is one finding, with the tags of all of them. */
export class Report {
  readonly #remarks = new Map<string, { readonly remark: Remark; readonly origins: Set<Origin> }>();

  /** @param origins - the documents that it is in, or that name it */
  say(remark: Remark, origins: Iterable<Origin> = []): void {
    const { kind, message, digest, expected, found } = remark;
    const key = [kind, message, digest, expected, found].join('\n');
    const known = this.#remarks.get(key) ?? { remark, origins: new Set<Origin>() };
    this.#remarks.set(key, known);
    for (const origin of origins) known.origins.add(origin);
  }

  /** A note says what makes no difference, unless it says what effect it has. */
  findings(): Finding[] {
    return [...this.#remarks.values()].map(({ remark, origins }) => {
      return { severity: 'corrupt', effect: 'none', ...remark, tags: tagsOf(origins) };
    });
  }
}
