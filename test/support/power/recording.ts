import fs from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { apply, isReachable, keeps, type Loss, type Operation, type Tree } from './operation.js';

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
