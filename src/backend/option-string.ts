import { lstat } from 'node:fs/promises';
import { isOptionString } from '../buildkit/values.js';
import { ATTRIBUTES } from '../buildkit/attributes.js';
import {
  type CacheOptions,
  checkHasType,
  formatOptions,
  type OnNote,
  optionsBehindPath,
  parseExport,
  parseImport,
  shownOptions,
} from '../buildkit/options.js';
import { CacheError } from '../errors.js';

/**
 * Reads an import string. A path with options behind it is no option string; it is one only if it is the name of
 * something that is there.
 *
 * @param onNote - is told of attributes without effect
 * @throws CacheError USAGE
 */
export async function readImport(text: string, onNote?: OnNote): Promise<CacheOptions> {
  const meant = optionsBehindPath(text, 'import');
  if (meant !== undefined && !(await isThere(text))) throw meant;
  return told(parseImport(text), onNote);
}

/**
 * Reads the name of a place with many caches: a folder, or an import string, whatever that selects there.
 *
 * @param onNote - is told of attributes without effect
 * @throws CacheError USAGE
 */
export async function readPlace(text: string, onNote?: OnNote): Promise<CacheOptions> {
  if (isOptionString(text)) return readImport(text, onNote);
  checkHasType(text, 'import');
  return { type: 'local', attributes: { src: text } };
}

/**
 * Reads the name of a place for a verb that takes all its caches. A string that selects one of them is refused: what was
 * meant for one cache would be done to all.
 *
 * @param onNote - is told of attributes without effect
 * @throws CacheError USAGE
 */
export async function readWholePlace(text: string, onNote?: OnNote): Promise<CacheOptions> {
  const place = await readPlace(text, onNote);
  const field = selectionIn(place);
  if (field === undefined) return place;
  throw new CacheError('USAGE', `${field}= selects one cache, and this takes all caches of a place`, {
    hint: `leave out ${field}=`,
  });
}

/**
 * Whether an import string means all caches of a place: a bucket without a name, since a bucket has no path that would; and
 * GitHub Actions without a scope.
 */
export function isWholePlace(place: CacheOptions): boolean {
  return namesOf(place).length > 0 && selectionIn(place) === undefined;
}

/** The attribute that selects one cache. */
function selectionIn(place: CacheOptions): string | undefined {
  return ['tag', 'digest', ...namesOf(place)].find((name) => place.attributes[name] !== undefined);
}

/** The attributes that name a cache in a place that has no path. */
function namesOf({ type }: CacheOptions): string[] {
  return ['name', 'scope'].filter((name) => name in ATTRIBUTES[type].import);
}

/** What a user called a place, for results. An option string with a secret is shown without the secret. */
export function shownPlace(text: string, place: CacheOptions): string {
  const shown = shownOptions(place);
  return shown === formatOptions(place) ? text : shown;
}

/**
 * Reads an export string.
 *
 * @param onNote - is told of attributes without effect
 * @throws CacheError USAGE
 */
export function readExport(text: string, onNote?: OnNote): CacheOptions {
  return told(parseExport(text), onNote);
}

function told(options: CacheOptions, onNote: OnNote | undefined): CacheOptions {
  for (const note of options.notes ?? []) onNote?.(note);
  return options;
}

async function isThere(path: string): Promise<boolean> {
  return lstat(path).then(
    () => true,
    () => false,
  );
}
