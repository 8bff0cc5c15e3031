import { appendFile, copyFile, cp } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const CONTEXTS = fileURLToPath(new URL('../../../fixtures/contexts/', import.meta.url));

/** A build context in fixtures/contexts. */
export interface Context {
  readonly name: string;
  /** Its stages that have names, each of which can be built by itself. */
  readonly stages: readonly string[];
  /** A source file that differs between branches. */
  readonly source: string;
  /** Whether it needs Debian's static busybox beside its Dockerfile. */
  readonly busybox: boolean;
}

export const CONTEXT_LIST: readonly Context[] = [
  { name: 'tiny', stages: ['deps', 'build'], source: 'src/module1.txt', busybox: false },
  { name: 'demo', stages: ['base', 'deps', 'build'], source: 'src/part1.txt', busybox: true },
];

/** The branches of the sources. `main` is as the fixtures have it; the others differ in one file. */
export const BRANCHES = ['main', 'feature'] as const;
export type Branch = (typeof BRANCHES)[number];

/** Writes a context to a folder, as it is in a branch. */
export async function writeContext(context: Context, branch: Branch, root: string, folder: string): Promise<void> {
  await cp(join(CONTEXTS, context.name), folder, { recursive: true });
  if (context.busybox) await copyFile(join(root, 'bin', 'busybox'), join(folder, 'busybox'));
  if (branch !== 'main') await appendFile(join(folder, context.source), `changed in ${branch}\n`);
}
