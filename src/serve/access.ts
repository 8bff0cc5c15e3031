/** What a grant allows: `write` includes reading. */
export type Action = 'read' | 'write';

/** Leave to do something in some repositories. */
export interface Grant {
  readonly action: Action;
  /** Names of repositories; `team/*` for all below one, `*` for all. */
  readonly repositories: readonly string[];
}

/** Every repository. */
export const ALL = '*';

/** A name or pattern that a grant can have. */
export function isRepositoryPattern(text: string): boolean {
  return text === ALL || /^[a-z0-9][a-z0-9._/-]*(?:\/\*)?$/.test(text);
}

/** A scope of GitHub's cache: a branch, a tag or a pull request. */
export interface ScopeGrant {
  /** Such as `refs/heads/main`. */
  readonly ref: string;
  readonly mayWrite: boolean;
}

/** What the caller of a request may do. */
export class Access {
  /** Who it is, for the log. */
  readonly name: string;
  /** The scopes for GitHub's cache, in the order in which they are looked in: its own come first. */
  readonly scopes: readonly ScopeGrant[];
  readonly #grants: readonly Grant[];

  constructor(name: string, grants: readonly Grant[], scopes: readonly ScopeGrant[] = []) {
    this.name = name;
    this.#grants = grants;
    this.scopes = scopes.toSorted((a, b) => Number(b.mayWrite) - Number(a.mayWrite));
  }

  mayRead(repository: string): boolean {
    return this.#grants.some(({ repositories }) => repositories.some((pattern) => covers(pattern, repository)));
  }

  mayWrite(repository: string): boolean {
    return this.#grants.some(
      ({ action, repositories }) => action === 'write' && repositories.some((pattern) => covers(pattern, repository)),
    );
  }

  /** Whether every repository may be read: then every blob may be, whichever repository it came by. */
  get readsAll(): boolean {
    return this.#grants.some(({ repositories }) => repositories.includes(ALL));
  }

  /** Whether anything at all may be done. */
  get isSomebody(): boolean {
    return this.#grants.length > 0;
  }

  /** The same without what changes anything. */
  readOnly(): Access {
    return new Access(
      this.name,
      this.#grants.map(({ repositories }) => ({ action: 'read', repositories })),
      this.scopes.map(({ ref }) => ({ ref, mayWrite: false })),
    );
  }
}

function covers(pattern: string, repository: string): boolean {
  if (pattern === ALL || pattern === repository) return true;
  return pattern.endsWith('/*') && repository.startsWith(pattern.slice(0, -1));
}

/** A caller who may do nothing. */
export const NOBODY = new Access('', []);
