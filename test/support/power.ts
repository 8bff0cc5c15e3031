import fs from 'node:fs';
import fsp, { type FileHandle } from 'node:fs/promises';
import { syncBuiltinESMExports } from 'node:module';
import { dirname, join, relative } from 'node:path';
import { wrapRenameat2 } from './renameat2.js';

/**
 * What a process did to a folder, as far as a power cut can tell: names that came and went, bytes that were written, and
 * what was synced. Files are numbers, since a file can have several names, or none.
 */
type Operation =
  | { readonly type: 'name'; readonly path: string; readonly file: number | 'folder' }
  | { readonly type: 'unname'; readonly path: string }
  | { readonly type: 'rename'; readonly from: string; readonly path: string; readonly file: number | 'folder' }
  | { readonly type: 'swap'; readonly from: string; readonly path: string; readonly file: number; readonly old: number }
  | { readonly type: 'bytes'; readonly file: number; readonly bytes: Buffer }
  | { readonly type: 'sync'; readonly file: number }
  | { readonly type: 'sync-folder'; readonly path: string };

/**
 * What is left of the operations that were not synced: all of them, as after a kill; names without their bytes; nothing
 * but what was synced; or whatever chance decides, per operation. A rename happens or does not, whichever folder was
 * synced.
 */
export type Loss = 'nothing' | 'bytes' | 'everything' | ((operation: number) => boolean);

type Tree = Map<string, number | 'folder'>;

/** The operations that were seen in a folder while something ran, from the state in which it was before. */
export class Recording {
  readonly #root: string;
  readonly #before: Tree = new Map();
  readonly #bytesBefore = new Map<number, Buffer>();
  readonly #now: Tree = new Map();
  readonly #operations: Operation[] = [];
  #files = 0;

  constructor(root: string) {
    this.#root = root;
    for (const path of fs.readdirSync(root, { recursive: true, encoding: 'utf8' })) {
      const stats = fs.lstatSync(join(root, path));
      const file = stats.isDirectory() ? 'folder' : this.#files++;
      this.#before.set(path, file);
      this.#now.set(path, file);
      if (typeof file === 'number') this.#bytesBefore.set(file, fs.readFileSync(join(root, path)));
    }
  }

  get length(): number {
    return this.#operations.length;
  }

  /** Writes down the state after so many operations, less what was lost, into a new folder. */
  restore(count: number, loss: Loss, target: string): void {
    const operations = this.#operations.slice(0, count);
    const survives = (index: number) => this.#isForced(operations, index) || keeps(loss, operations[index], index);
    const tree = new Map(this.#before);
    const bytes = new Map(this.#bytesBefore);
    for (const [index, operation] of operations.entries()) if (survives(index)) apply(tree, bytes, operation);
    fs.mkdirSync(target, { recursive: true });
    for (const [path, file] of [...tree].toSorted(([a], [b]) => (a < b ? -1 : 1))) {
      if (!isReachable(tree, path)) continue;
      if (file === 'folder') fs.mkdirSync(join(target, path), { recursive: true });
      else fs.writeFileSync(join(target, path), bytes.get(file) ?? '');
    }
  }

  /** Whether a later sync has made an operation safe. */
  #isForced(operations: readonly Operation[], index: number): boolean {
    const operation = operations[index];
    return operations.slice(index + 1).some((later) => {
      if (operation?.type === 'bytes') return later.type === 'sync' && later.file === operation.file;
      if (later.type !== 'sync-folder') return false;
      if (operation?.type === 'rename' || operation?.type === 'swap')
        return [operation.from, operation.path].some((path) => dirname(path) === later.path);
      return operation !== undefined && 'path' in operation && dirname(operation.path) === later.path;
    });
  }

  /** The path inside the folder; undefined for one elsewhere. */
  inside(path: unknown): string | undefined {
    const inner = relative(this.#root, String(path));
    return inner.startsWith('..') ? undefined : inner || '.';
  }

  fileAt(path: string): number | 'folder' | undefined {
    return path === '.' ? 'folder' : this.#now.get(path);
  }

  named(path: string, file: number | 'folder' = this.#files++): number | 'folder' {
    this.#now.set(path, file);
    this.#operations.push({ type: 'name', path, file });
    return file;
  }

  unnamed(path: string): void {
    if (this.#now.delete(path)) this.#operations.push({ type: 'unname', path });
  }

  renamed(from: string, path: string): void {
    const file = this.#now.get(from);
    if (file === undefined) return;
    const inner = [...this.#now].filter(([name]) => name.startsWith(`${from}/`));
    this.#now.delete(from);
    this.#now.set(path, file);
    this.#operations.push({ type: 'rename', from, path, file });
    for (const [name, innerFile] of inner) {
      this.#now.delete(name);
      this.#now.set(path + name.slice(from.length), innerFile);
    }
  }

  swapped(from: string, path: string): void {
    const [file, old] = [this.#now.get(from), this.#now.get(path)];
    if (typeof file !== 'number' || typeof old !== 'number') throw new Error(`${from} and ${path} are no two files`);
    this.#now.set(from, old);
    this.#now.set(path, file);
    this.#operations.push({ type: 'swap', from, path, file, old });
  }

  written(file: number, path: string): void {
    this.#operations.push({ type: 'bytes', file, bytes: fs.readFileSync(path) });
  }

  synced(file: number | 'folder', path: string): void {
    this.#operations.push(file === 'folder' ? { type: 'sync-folder', path } : { type: 'sync', file });
  }
}

function isReachable(tree: Tree, path: string): boolean {
  const folder = dirname(path);
  return folder === '.' || (tree.get(folder) === 'folder' && isReachable(tree, folder));
}

function keeps(loss: Loss, operation: Operation | undefined, index: number): boolean {
  if (typeof loss === 'function') return loss(index);
  return loss === 'nothing' || (loss === 'bytes' && operation?.type !== 'bytes');
}

function apply(tree: Tree, bytes: Map<number, Buffer>, operation: Operation): void {
  switch (operation.type) {
    case 'name':
      tree.set(operation.path, operation.file);
      return;
    case 'unname':
      for (const path of tree.keys())
        if (path === operation.path || path.startsWith(`${operation.path}/`)) tree.delete(path);
      return;
    case 'rename':
      for (const [path, file] of tree) {
        if (!path.startsWith(`${operation.from}/`)) continue;
        tree.delete(path);
        tree.set(operation.path + path.slice(operation.from.length), file);
      }
      tree.delete(operation.from);
      tree.set(operation.path, operation.file);
      return;
    case 'swap':
      tree.set(operation.from, operation.old);
      tree.set(operation.path, operation.file);
      return;
    case 'bytes':
      bytes.set(operation.file, operation.bytes);
      return;
    case 'sync':
    case 'sync-folder':
  }
}

/** Records what is done to a folder through node:fs, and by renameat2(2), while something runs. */
export async function record(root: string, run: () => Promise<unknown>): Promise<Recording> {
  const recording = new Recording(root);
  const original = { ...fsp };
  const wrapped = wrappers(recording, original);
  const before = { ...fs };
  Object.assign(fsp, wrapped);
  Object.assign(fs, synchronous(recording, before));
  // What is not seen here would be taken to survive.
  for (const name of REFUSED) {
    Object.assign(fs, {
      [name]: () => {
        throw new Error(`fs.${name} is not recorded`);
      },
    });
  }
  syncBuiltinESMExports();
  swaps = recording;
  try {
    await run();
  } finally {
    swaps = undefined;
    for (const name of Object.keys(wrapped) as (keyof Original)[]) Object.assign(fsp, { [name]: original[name] });
    for (const name of [...REFUSED, ...RECORDED]) Object.assign(fs, { [name]: before[name] });
    syncBuiltinESMExports();
  }
  return recording;
}

let swaps: Recording | undefined;

wrapRenameat2((renameat2) => (...values) => {
  const outcome = renameat2(...values);
  const [, from, , to, flags] = values;
  const [inner, place] = [swaps?.inside(from), swaps?.inside(to)];
  if (outcome === 0 && inner !== undefined && place !== undefined) {
    if (flags === 2) swaps?.swapped(inner, place);
    else swaps?.renamed(inner, place);
  }
  return outcome;
});

type Original = typeof fsp;

const REFUSED = ['writeFile', 'rename', 'createWriteStream', 'writeFileSync', 'writeSync', 'copyFileSync'] as const;
const RECORDED = ['openSync', 'renameSync', 'linkSync', 'mkdirSync', 'rmSync'] as const;

function synchronous(recording: Recording, before: typeof fs): Pick<typeof fs, (typeof RECORDED)[number]> {
  const seen = (path: unknown, existed: boolean) => {
    const inner = recording.inside(path);
    if (inner !== undefined && !existed) recording.named(inner);
  };
  return {
    openSync(path, ...rest) {
      const existed = before.existsSync(path);
      const fd = before.openSync(path, ...rest);
      seen(path, existed);
      return fd;
    },
    renameSync(from, to) {
      before.renameSync(from, to);
      const [inner, place] = [recording.inside(from), recording.inside(to)];
      if (inner !== undefined && place !== undefined) recording.renamed(inner, place);
    },
    linkSync(from, to) {
      before.linkSync(from, to);
      const [inner, place] = [recording.inside(from), recording.inside(to)];
      if (place !== undefined && inner !== undefined) recording.named(place, recording.fileAt(inner));
    },
    mkdirSync(path: fs.PathLike) {
      before.mkdirSync(path);
      const inner = recording.inside(path);
      if (inner !== undefined) recording.named(inner, 'folder');
      return undefined;
    },
    rmSync(path, options) {
      before.rmSync(path, options);
      const inner = recording.inside(path);
      if (inner !== undefined) recording.unnamed(inner);
    },
  };
}

function wrappers(recording: Recording, original: Original): Partial<Record<keyof Original, unknown>> {
  const named = (path: unknown) => {
    const inner = recording.inside(path);
    if (inner !== undefined && recording.fileAt(inner) === undefined) recording.named(inner);
    const file = inner === undefined ? undefined : recording.fileAt(inner);
    if (typeof file === 'number') recording.written(file, String(path));
  };
  const gone = (path: unknown) => {
    const inner = recording.inside(path);
    if (inner === undefined) return;
    const names =
      fs.existsSync(String(path)) && fs.lstatSync(String(path)).isDirectory()
        ? fs.readdirSync(String(path), { recursive: true, encoding: 'utf8' })
        : [];
    for (const name of names.toSorted().toReversed()) recording.unnamed(join(inner, name));
    recording.unnamed(inner);
  };
  return {
    async open(path: string, ...rest: [string, number]) {
      const inner = recording.inside(path);
      const existed = fs.existsSync(path);
      const handle = await original.open(path, ...rest);
      if (inner === undefined) return handle;
      if (!existed) recording.named(inner);
      const file = recording.fileAt(inner);
      return file === undefined ? handle : watch(handle, recording, file, inner);
    },
    async writeFile(path: string, ...rest: [string]) {
      await original.writeFile(path, ...rest);
      named(path);
    },
    async copyFile(from: string, to: string, mode?: number) {
      await original.copyFile(from, to, mode);
      named(to);
    },
    async mkdir(path: string, options?: { recursive?: boolean }) {
      if (options?.recursive === true) throw new Error('a recursive mkdir is not recorded');
      await original.mkdir(path);
      const inner = recording.inside(path);
      if (inner !== undefined) recording.named(inner, 'folder');
    },
    async rename(from: string, to: string) {
      await original.rename(from, to);
      const [inner, place] = [recording.inside(from), recording.inside(to)];
      if (inner !== undefined && place !== undefined) recording.renamed(inner, place);
    },
    async link(from: string, to: string) {
      await original.link(from, to);
      const [inner, place] = [recording.inside(from), recording.inside(to)];
      if (place !== undefined) recording.named(place, inner === undefined ? undefined : recording.fileAt(inner));
      if (inner === undefined) named(to);
    },
    async rm(path: string, options?: object) {
      gone(path);
      await original.rm(path, options);
    },
    async unlink(path: string) {
      await original.unlink(path);
      gone(path);
    },
    async rmdir(path: string) {
      await original.rmdir(path);
      gone(path);
    },
  };
}

/** The same handle, whose writing and syncing is seen. */
function watch(handle: FileHandle, recording: Recording, file: number | 'folder', path: string): FileHandle {
  // Replaced on the object itself, whose type has its methods fixed.
  const methods = handle as unknown as Record<string, (...args: unknown[]) => Promise<unknown>>;
  const after = (name: string, see: () => void) => {
    const method = methods[name];
    methods[name] = async (...args) => {
      const result = await method?.apply(handle, args);
      see();
      return result;
    };
  };
  for (const name of ['write', 'writev', 'writeFile', 'appendFile', 'truncate']) {
    after(name, () => {
      if (typeof file === 'number') recording.written(file, `/proc/self/fd/${handle.fd}`);
    });
  }
  for (const name of ['sync', 'datasync']) after(name, () => recording.synced(file, path));
  return handle;
}
