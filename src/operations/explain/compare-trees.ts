import type { TreeEntry } from './layer-tree.js';

/** What can differ in the content of an input, in the order of messages. */
export type Difference =
  | 'added'
  | 'removed'
  | 'renamed'
  | 'type'
  | 'content'
  | 'linkTarget'
  | 'mode'
  | 'owner'
  | 'xattrs'
  | 'mtime';

export type Differences = ReadonlyMap<Difference, readonly string[]>;

/** How two trees differ, path by path: what changed of a path, and which paths are in one tree alone. */
export function compareTrees(
  before: ReadonlyMap<string, TreeEntry>,
  after: ReadonlyMap<string, TreeEntry>,
): Differences {
  const found = new Map<Difference, string[]>();
  const say = (what: Difference, path: string) => {
    const paths = found.get(what);
    if (paths === undefined) found.set(what, [path]);
    else paths.push(path);
  };
  for (const path of [...new Set([...before.keys(), ...after.keys()])].toSorted()) {
    const [old, now] = [before.get(path), after.get(path)];
    if (old === undefined) say('added', path);
    else if (now === undefined) say('removed', path);
    else for (const what of changesOf(old, now)) say(what, path);
  }
  return withRenames(found, before, after);
}

function* changesOf(old: TreeEntry, now: TreeEntry): Generator<Difference> {
  if (old.type !== now.type) {
    yield 'type';
    return;
  }
  const isLink = old.type === 'symlink';
  if (isLink && old.link !== now.link) yield 'linkTarget';
  if (!isLink && old.data !== now.data) yield 'content';
  if (!isLink && old.mode !== now.mode) yield 'mode';
  if (old.uid !== now.uid || old.gid !== now.gid) yield 'owner';
  if (!haveEqualXattrs(old, now)) yield 'xattrs';
  if (old.modified !== now.modified) yield 'mtime';
}

function haveEqualXattrs({ xattrs: old }: TreeEntry, { xattrs: now }: TreeEntry): boolean {
  return old.size === now.size && [...old].every(([name, value]) => now.get(name)?.equals(value) === true);
}

/** Files that went and came with the same data were renamed, if that explains all of them. */
function withRenames(
  found: Map<Difference, string[]>,
  before: ReadonlyMap<string, TreeEntry>,
  after: ReadonlyMap<string, TreeEntry>,
): Differences {
  const [added = [], removed = []] = [found.get('added'), found.get('removed')];
  if (added.length === 0 || added.length !== removed.length) return found;
  const places = new Map<string, string[]>();
  for (const path of removed) {
    const { type, size, data } = before.get(path) ?? {};
    if (type !== 'file' || size === 0 || data === undefined) return found;
    places.set(data, [...(places.get(data) ?? []), path]);
  }
  const pairs: string[] = [];
  for (const path of added) {
    const from = places.get(after.get(path)?.data ?? '')?.pop();
    if (from === undefined) return found;
    pairs.push(`${from} → ${path}`);
  }
  found.delete('added');
  found.delete('removed');
  found.set('renamed', pairs);
  return found;
}

/** The mode before and after of all paths; undefined where they changed in several ways. */
export function modesOf(
  paths: readonly string[],
  before: ReadonlyMap<string, TreeEntry>,
  after: ReadonlyMap<string, TreeEntry>,
): readonly [string, string] | undefined {
  const octal = (mode = 0) => mode.toString(8).padStart(4, '0');
  const changes = paths.map((path) => [octal(before.get(path)?.mode), octal(after.get(path)?.mode)] as const);
  const [first] = changes;
  return first !== undefined && changes.every(([x, y]) => x === first[0] && y === first[1]) ? first : undefined;
}
