import { CacheError, type Side } from '../errors.js';
import { nearest } from '../nearest.js';
import { type AttributeKind, ATTRIBUTES, type CacheType, ENVIRONMENT, NAMES, REQUIRED } from './attributes.js';
import type { CacheOptions } from './options.js';
import { parseFlag, validate } from './values.js';
import { whyWithoutEffect } from './without-effect.js';

/** The attribute for the path of a folder. */
export const PATH_ATTRIBUTE: Readonly<Record<Side, string>> = { import: 'src', export: 'dest' };

/** GitHub gives these variables to actions alone. */
const IN_A_STEP =
  '; a "run:" step gets it from GitHub only after a step with "uses: crazy-max/ghaction-github-runtime@v3"';

function otherSide(side: Side): Side {
  return side === 'import' ? 'export' : 'import';
}

/**
 * Checks the attributes of an option string, and adds those that build tools take from the environment.
 *
 * @param named - the attributes in the string
 * @returns the attributes that have an effect, with a note for each other attribute
 * @throws CacheError USAGE for an attribute that is unknown, missing, or has a value that BuildKit refuses
 */
export function checkAttributes(
  type: CacheType,
  named: Readonly<Record<string, string>>,
  side: Side,
  env: NodeJS.ProcessEnv,
): CacheOptions {
  const notes: string[] = [];
  const known: Record<string, string> = {};
  for (const [name, value] of Object.entries(named)) {
    const kind = kindOf(type, side, name);
    if (kind === undefined) {
      notes.push(`${name}= has no effect on an ${side} of type=${type}`);
      continue;
    }
    const why = validate(name, value, kind, side);
    if (why === undefined) known[name] = value;
    // Attributes with loose values are never secrets.
    else notes.push(`${name}=${value} has no effect: ${why}`);
  }
  const attributes = { ...fromEnvironment(type, env, known), ...known };
  checkRequired(type, side, attributes, named);
  const effective = Object.entries(attributes).filter(([name]) => {
    const why = Object.hasOwn(known, name) ? whyWithoutEffect(type, side, name, attributes) : undefined;
    if (why !== undefined) notes.push(`${name}= has no effect: ${why}`);
    return why === undefined;
  });
  return { type, attributes: Object.fromEntries(effective), ...(notes.length === 0 ? {} : { notes }) };
}

/**
 * The form of an attribute's value.
 *
 * @returns undefined for an attribute of another type or of the other side, which BuildKit ignores
 * @throws CacheError USAGE for an unknown attribute: BuildKit ignores it too, but it is probably misspelt
 */
function kindOf(type: CacheType, side: Side, name: string): AttributeKind | undefined {
  const known = ATTRIBUTES[type][side];
  if (Object.hasOwn(known, name)) return known[name];
  if (NAMES.has(name)) return undefined;
  throw new CacheError('USAGE', `type=${type} knows no attribute ${JSON.stringify(name)} on ${side}`, {
    hint: `${didYouMean(name, Object.keys(known))}it knows ${Object.keys(known).join(', ')}`,
    side,
  });
}

function checkRequired(
  type: CacheType,
  side: Side,
  attributes: Readonly<Record<string, string>>,
  given: Readonly<Record<string, string>>,
): void {
  for (const group of REQUIRED[type][side]) {
    if (group.some((name) => (attributes[name] ?? '') !== '')) continue;
    const variables = group.flatMap((name) => ENVIRONMENT[type]?.[name] ?? []);
    const isOtherSide = group.includes(PATH_ATTRIBUTE[side]) && Object.hasOwn(given, PATH_ATTRIBUTE[otherSide(side)]);
    const named = `name it, or set ${variables.join(' or ')}`;
    const hint = isOtherSide ? 'an import has src=, and an export dest=' : `${named}${type === 'gha' ? IN_A_STEP : ''}`;
    throw new CacheError('USAGE', `type=${type} needs ${group.map((name) => `${name}=`).join(' or ')} on ${side}`, {
      ...(isOtherSide || variables.length > 0 ? { hint } : {}),
      side,
    });
  }
}

function fromEnvironment(
  type: CacheType,
  env: NodeJS.ProcessEnv,
  named: Readonly<Record<string, string>>,
): Record<string, string> {
  const found: Record<string, string> = {};
  for (const [name, variable] of Object.entries(ENVIRONMENT[type] ?? {})) {
    const value = env[variable];
    if (value !== undefined && value !== '') found[name] = value;
  }
  if (type === 'gha') chooseService(found, env, named['version']);
  return found;
}

/**
 * Chooses between the two services of GitHub: the variable or version=2 switches the new service on, and the old service falls
 * back to the URL of the new service (loadGithubEnv in cmd/buildctl/build/util.go).
 */
function chooseService(found: Record<string, string>, env: NodeJS.ProcessEnv, version: string | undefined): void {
  const { url_v2: results } = found;
  if (results === undefined) return;
  found['url'] ??= results;
  const isNew = version === undefined ? parseFlag(env['ACTIONS_CACHE_SERVICE_V2'] ?? '') === true : version === '2';
  if (!isNew) delete found['url_v2'];
}

/** The beginning of a hint for a misspelt name. */
export function didYouMean(word: string, names: readonly string[]): string {
  const name = nearest(word, names);
  return name === undefined ? '' : `did you mean ${name}? `;
}
