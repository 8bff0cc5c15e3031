/**
 * A document of a repository, and what names it. The entries of index.json are documents that nothing names and that
 * have names.
 */
export class Origin {
  readonly parents = new Set<Origin>();

  readonly name: string | undefined;

  /** @param name - of an entry: its tag, or its digest where it has none */
  constructor(name?: string) {
    this.name = name;
  }
}

/** The names of all entries that lead to some documents, sorted. */
export function tagsOf(origins: Iterable<Origin>): string[] {
  const seen = new Set<Origin>(origins);
  const names = new Set<string>();
  // A set that grows while it is walked is walked to its new end.
  for (const { name, parents } of seen) {
    if (name !== undefined) names.add(name);
    for (const parent of parents) seen.add(parent);
  }
  return [...names].toSorted();
}
