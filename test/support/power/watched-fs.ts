import fs from 'node:fs';
import type fsp from 'node:fs/promises';
import type { FileHandle } from 'node:fs/promises';
import { join } from 'node:path';
import type { Recording } from './recording.js';

export type Original = typeof fsp;

/** What bkcache does not call, and a recording would not see. */
export const REFUSED = [
  'writeFile',
  'rename',
  'createWriteStream',
  'writeFileSync',
  'writeSync',
  'copyFileSync',
] as const;
export const RECORDED = ['openSync', 'renameSync', 'linkSync', 'mkdirSync', 'rmSync'] as const;

/** Functions of node:fs that a recording sees. */
export function synchronous(recording: Recording, before: typeof fs): Pick<typeof fs, (typeof RECORDED)[number]> {
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

/** Functions of node:fs/promises that a recording sees. */
export function wrappers(recording: Recording, original: Original): Partial<Record<keyof Original, unknown>> {
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
