import { dirname } from 'node:path';

/**
 * What a process did to a folder, as far as a power cut can tell: names that came and went, bytes that were written, and
 * what was synced. Files are numbers, since a file can have several names, or none.
 */
export type Operation =
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

/** The names in a folder, and what each leads to. */
export type Tree = Map<string, number | 'folder'>;

/** Whether all folders above a path are left. */
export function isReachable(tree: Tree, path: string): boolean {
  const folder = dirname(path);
  return folder === '.' || (tree.get(folder) === 'folder' && isReachable(tree, folder));
}

/** Whether an operation that was not synced survives. */
export function keeps(loss: Loss, operation: Operation | undefined, index: number): boolean {
  if (typeof loss === 'function') return loss(index);
  return loss === 'nothing' || (loss === 'bytes' && operation?.type !== 'bytes');
}

/** Does an operation again, to the names and the bytes of files. */
export function apply(tree: Tree, bytes: Map<number, Buffer>, operation: Operation): void {
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
