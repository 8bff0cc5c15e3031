import { createHash, type Hash } from 'node:crypto';
import { openLayerFiles, type FileType, type LayerBlob } from '../../codec/layer-files.js';
import { hashDigest } from '../../oci/digest.js';
import { compareText } from '../../oci/json.js';

/** What a layer says of a path, apart from its data. */
export interface TreeEntry {
  readonly type: FileType;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  /** In bytes. */
  readonly size: number;
  /** RFC 3339. */
  readonly modified: string | undefined;
  readonly link: string | undefined;
  readonly xattrs: ReadonlyMap<string, Buffer>;
  readonly device: readonly [number, number] | undefined;
  /** The sha256 of its data; of a hard link, that of its target. */
  readonly data: string;
}

/** Sums of one path (cache/contenthash). */
interface Sums {
  /** With the owners that the layer has. */
  readonly own: string;
  /** With root as the owner of all, as files of a context have. */
  readonly root: string;
}

/** A path of a tree. A folder that the layer does not name has no entry. */
interface Node {
  entry: TreeEntry | undefined;
  /** For a file: made while its data was read. */
  sums: Sums | undefined;
  readonly children: Map<string, Node>;
}

/** A folder that a layer does not name. */
const UNNAMED: TreeEntry = {
  type: 'directory',
  mode: 0o755,
  uid: 0,
  gid: 0,
  size: 0,
  modified: undefined,
  link: undefined,
  xattrs: new Map(),
  device: undefined,
  data: '',
};

/** The entries of a layer by their paths, with the sums by which BuildKit knows the content of a COPY. Data is not held. */
export class LayerTree {
  readonly #root: Node = { entry: undefined, sums: undefined, children: new Map() };
  readonly entries = new Map<string, TreeEntry>();

  /**
   * Reads a layer to its end.
   *
   * @throws CacheError CORRUPT
   */
  static async read(layer: LayerBlob, signal?: AbortSignal): Promise<LayerTree> {
    const tree = new LayerTree();
    for await (const { file, data, xattrs } of openLayerFiles(layer, signal)) {
      if (file.type === 'deleted' || file.type === 'opaque') {
        tree.#add(`/${file.path}`, { ...UNNAMED, type: file.type }, undefined);
        continue;
      }
      const { type, mode, uid, gid, size, modified, link, device } = file;
      const entry = { type, mode, uid, gid, size, modified, link, xattrs, device };
      const content = createHash('sha256');
      const own = headed(entry);
      const root = uid === 0 && gid === 0 ? undefined : headed({ ...entry, uid: 0, gid: 0 });
      for await (const chunk of data) for (const hash of [content, own, root]) hash?.update(chunk);
      const sum = hashDigest('sha256', own);
      const sums = { own: sum, root: root === undefined ? sum : hashDigest('sha256', root) };
      const target = type === 'hardlink' ? tree.#node(`/${(link ?? '').replace(/^\.?\//, '')}`) : undefined;
      const hex = target?.entry?.data ?? content.digest('hex');
      tree.#add(`/${file.path === '.' ? '' : file.path}`, { ...entry, data: hex }, target?.sums ?? sums);
    }
    return tree;
  }

  #add(path: string, entry: TreeEntry, sums: Sums | undefined): void {
    let node = this.#root;
    for (const name of path.split('/')) {
      if (name === '') continue;
      const child = node.children.get(name) ?? { entry: undefined, sums: undefined, children: new Map() };
      node.children.set(name, child);
      node = child;
    }
    node.entry = entry;
    node.sums = sums;
    this.entries.set(path, entry);
  }

  #node(path: string): Node | undefined {
    let node: Node | undefined = this.#root;
    for (const name of path.split('/')) if (name !== '') node = node?.children.get(name);
    return node;
  }

  /**
   * The sums of all paths, folders with all that is in them; folders come after what is in them. The top of each tree is
   * summed with other modes too, where it is a folder: a copied folder's own mode is in no layer.
   *
   * @param modes - for the folder at the top of a tree
   */
  *sums(modes: readonly number[]): Generator<{ readonly path: string; readonly sum: string; readonly as: SumAs }> {
    const open: { node: Node; path: string; isDone: boolean }[] = [{ node: this.#root, path: '', isDone: false }];
    for (let next = open.pop(); next !== undefined; next = open.pop()) {
      const { node, path, isDone } = next;
      const at = path === '' ? '/' : path;
      const { entry = UNNAMED } = node;
      if (entry.type === 'deleted' || entry.type === 'opaque') continue;
      if (entry.type !== 'directory') {
        const { own = '', root = '' } = node.sums ?? {};
        yield { path: at, sum: own, as: { owner: 'own', mode: entry.mode } };
        if (root !== own) yield { path: at, sum: root, as: { owner: 'root', mode: entry.mode } };
        continue;
      }
      const names = [...node.children.keys()].toSorted(compareText);
      if (!isDone) {
        open.push({ ...next, isDone: true });
        for (const name of names) {
          const child = node.children.get(name);
          if (child !== undefined) open.push({ node: child, path: `${path}/${name}`, isDone: false });
        }
        continue;
      }
      const own = this.#folderSum(node, entry, names, 'own');
      const root = this.#folderSum(node, { ...entry, uid: 0, gid: 0 }, names, 'root');
      node.sums = { own, root };
      yield { path: at, sum: own, as: { owner: 'own', mode: entry.mode } };
      if (root !== own) yield { path: at, sum: root, as: { owner: 'root', mode: entry.mode } };
      for (const mode of modes) {
        if (mode === entry.mode) continue;
        yield { path: at, sum: this.#folderSum(node, { ...entry, mode }, names, 'own'), as: { owner: 'own', mode } };
        const asRoot = { ...entry, mode, uid: 0, gid: 0 };
        yield { path: at, sum: this.#folderSum(node, asRoot, names, 'root'), as: { owner: 'root', mode } };
      }
    }
  }

  /** A folder's own header, and then the name and the sum of each entry (cache/contenthash/checksum.go, checksum). */
  #folderSum(node: Node, entry: Omit<TreeEntry, 'data'>, names: readonly string[], owner: keyof Sums): string {
    const hash = createHash('sha256')
      .update('\0')
      .update(hashDigest('sha256', headed(entry)));
    for (const name of names) {
      const sum = node.children.get(name)?.sums?.[owner];
      if (sum !== undefined) hash.update(`\0${name}`).update(sum);
    }
    return hashDigest('sha256', hash);
  }
}

/** With which owner and which mode of its top a tree was summed. */
export interface SumAs {
  readonly owner: keyof Sums;
  readonly mode: number;
}

const KINDS: Partial<Record<FileType, string>> = {
  file: '0',
  hardlink: '0',
  symlink: '2',
  character: '3',
  block: '4',
  directory: '5',
  fifo: '6',
};

/** A hash with the header of a file in it, without name and time (cache/contenthash/tarsum.go, v1TarHeaderSelect). */
function headed(entry: Omit<TreeEntry, 'data'>): Hash {
  const { type, mode, uid, gid, size, link, device: [major, minor] = [0, 0], xattrs } = entry;
  const kind = KINDS[type] ?? '0';
  const hash = createHash('sha256').update(
    `namemode${kind === '2' ? 0o777 : mode}uid${uid}gid${gid}size${kind === '0' ? size : 0}typeflag${kind}` +
      `linkname${kind === '2' ? (link ?? '') : ''}unamegnamedevmajor${major}devminor${minor}`,
  );
  for (const name of [...xattrs.keys()].toSorted(compareText)) {
    const isSeen = name === 'security.capability' || !/^(?:security|system)\./.test(name);
    if (isSeen) hash.update(name).update(xattrs.get(name) ?? '');
  }
  return hash;
}
