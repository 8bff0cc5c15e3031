import type { Verb } from './verb.js';

/** All verbs, in the order of the help; each is loaded at first use. */
export const VERBS: ReadonlyMap<string, () => Promise<Verb>> = new Map([
  ['copy', async () => (await import('./copy.js')).copy],
  ['import', async () => (await import('./import.js')).importVerb],
  ['export', async () => (await import('./export.js')).exportVerb],
  ['pack', async () => (await import('./pack.js')).pack],
  ['unpack', async () => (await import('./unpack.js')).unpack],
  ['have', async () => (await import('./have.js')).have],
  ['resolve', async () => (await import('./resolve.js')).resolve],
  ['import-args', async () => (await import('./import-args.js')).importArgs],
  ['list', async () => (await import('./list.js')).list],
  ['inspect', async () => (await import('./inspect.js')).inspect],
  ['files', async () => (await import('./files.js')).files],
  ['cat', async () => (await import('./cat.js')).cat],
  ['explain', async () => (await import('./explain.js')).explain],
  ['remove', async () => (await import('./remove.js')).remove],
  ['verify', async () => (await import('./verify.js')).verify],
  ['repair', async () => (await import('./repair.js')).repair],
  ['gc', async () => (await import('./gc.js')).gc],
  ['prune', async () => (await import('./prune.js')).prune],
  ['touch', async () => (await import('./touch.js')).touch],
  ['serve', async () => (await import('./serve.js')).serve],
]);

/** Short names of verbs. */
export const ALIASES: ReadonlyMap<string, string> = new Map([
  ['ls', 'list'],
  ['rm', 'remove'],
]);
