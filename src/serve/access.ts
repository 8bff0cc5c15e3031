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

/** What the caller of a request may do. */
export class Access {
  /** Who it is, for the log. */
  readonly name: string;
  readonly #grants: readonly Grant[];

  constructor(name: string, grants: readonly Grant[]) {
    this.name = name;
    this.#grants = grants;
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
    );
  }
}

function covers(pattern: string, repository: string): boolean {
  if (pattern === ALL || pattern === repository) return true;
  return pattern.endsWith('/*') && repository.startsWith(pattern.slice(0, -1));
}

/** A caller who may do nothing. */
export const NOBODY = new Access('', []);
