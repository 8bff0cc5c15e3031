import { existsSync } from 'node:fs';
import { parseReference } from '../oci/reference.js';
import { plainArguments } from './quick.js';
import { VERBS } from './verbs.js';

/** Verbs whose words are caches as imports name them. */
const OF_CACHES = new Set(['resolve', 'inspect', 'import-args']);
/** Verbs whose word is a folder, and whether it may be a string with `type=`, too. */
const OF_FOLDERS = new Map([
  ['list', true],
  ['ls', true],
  ['verify', true],
  ['repair', false],
  ['gc', false],
  ['prune', false],
]);

/**
 * What to say to somebody whose folder was taken for a reference, or whose reference was taken for a folder. BuildKit's
 * old form, a string without `type=`, is a reference; who means a folder has to write `./`.
 */
export async function mistakenHint([name = '', ...words]: readonly string[]): Promise<string | undefined> {
  const verb = await VERBS.get(name)?.();
  const parsed: Readonly<Record<string, unknown>> | undefined = verb && plainArguments(verb, words);
  if (verb === undefined || parsed === undefined) return undefined;
  const placed = Object.keys(verb.positionals);
  const named = (names: readonly string[]) =>
    names.flatMap((one) => parsed[one] ?? []).filter((word) => typeof word === 'string');
  const caches = named(['import-cache', 'export-cache', 'from', ...(OF_CACHES.has(name) ? placed : [])]);
  const folder = caches.find((word) => !/type=|^\.{0,2}\//.test(word) && existsSync(word));
  if (folder !== undefined) return `${folder} is taken for a reference in a registry; the folder is ./${folder}`;
  const takesStrings = OF_FOLDERS.get(name);
  const reference = takesStrings === undefined ? undefined : named(placed).find(looksLikeReference);
  if (reference === undefined) return undefined;
  return takesStrings === true
    ? `${reference} is taken for a folder; in a registry it is type=registry,ref=${reference}`
    : `${reference} is taken for a folder, and ${name} is for folders only`;
}

function looksLikeReference(word: string): boolean {
  if (/type=|^\.{0,2}\//.test(word) || existsSync(word)) return false;
  try {
    return parseReference(word).registry !== 'docker.io';
  } catch {
    return false;
  }
}
