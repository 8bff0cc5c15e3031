import { appendFile, copyFile, cp } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const CONTEXTS = fileURLToPath(new URL('../../../fixtures/contexts/', import.meta.url));

/** The branches of the sources. `main` is as the fixtures have it; the others differ in one file. */
export const BRANCHES = ['main', 'feature', 'fix', 'docs', 'release'] as const;
export type Branch = (typeof BRANCHES)[number];

/** Two branches, where two will do. */
export const PAIR = ['main', 'feature'] as const;

/** A build context in fixtures/contexts. Every RUN in it prints something, by which it is seen to run. */
export interface Context {
  readonly name: string;
  /** Its stages that have names and are built by themselves, so that every layer of its cache is needed by some build. */
  readonly stages: readonly string[];
  /** A source file that differs between branches. */
  readonly source: string;
  /** The branches whose caches are merged. */
  readonly branches: readonly Branch[];
  /** Whether it needs Debian's static busybox beside its Dockerfile. */
  readonly busybox: boolean;
  /** The platforms that one build is for; this machine's by default. */
  readonly platforms?: readonly string[];
  /** Whether BuildKit's own min and inline caches lack results whose layers they have, as of some COPY --link. */
  readonly forgetful?: boolean;
  /** The image that `ARG BASE` in the Dockerfile names. */
  readonly base?: BaseImage;
}

/** An image that is pushed to a registry of its own: a stage of a context. */
export interface BaseImage {
  readonly context: string;
  readonly target: string;
}

export const CONTEXT_LIST: readonly Context[] = [
  // COPY steps alone: no RUN, and so no busybox.
  { name: 'tiny', stages: ['deps', 'build'], source: 'src/module1.txt', branches: PAIR, busybox: false },
  // Some of everything.
  { name: 'demo', stages: ['base', 'deps', 'build'], source: 'src/part1.txt', branches: PAIR, busybox: true },
  // Two stages FROM one base, and a COPY from one to the other: where merged caches lose links.
  { name: 'two-stages', stages: ['build'], source: 'src/x', branches: BRANCHES, busybox: true },
  { name: 'many-stages', stages: ['tests', 'build', 'docs'], source: 'src/x', branches: PAIR, busybox: true },
  // COPY --link, from the context and from stages, before and after a RUN.
  { name: 'links', stages: ['build'], source: 'src/x', branches: PAIR, busybox: true, forgetful: true },
  {
    name: 'platforms',
    stages: ['build'],
    source: 'src/x',
    branches: PAIR,
    busybox: false,
    platforms: ['linux/amd64', 'linux/arm64'],
    forgetful: true,
  },
  // RUN with a cache mount, and with another stage mounted.
  { name: 'mounts', stages: ['tools', 'build'], source: 'src/x', branches: PAIR, busybox: true },
  {
    name: 'based',
    stages: ['build'],
    source: 'src/x',
    branches: PAIR,
    busybox: false,
    base: { context: 'two-stages', target: 'base' },
  },
];

/** @throws Error when there is no such context */
export function contextNamed(name: string): Context {
  const context = CONTEXT_LIST.find((context) => context.name === name);
  if (context === undefined) throw new Error(`there is no context ${name}`);
  return context;
}

/** Writes a context to a folder, as it is in a branch. */
export async function writeContext(context: Context, branch: Branch, busybox: string, folder: string): Promise<void> {
  await cp(join(CONTEXTS, context.name), folder, { recursive: true });
  if (context.busybox) await copyFile(busybox, join(folder, 'busybox'));
  if (branch !== 'main') await appendFile(join(folder, context.source), `changed in ${branch}\n`);
}
