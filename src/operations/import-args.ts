import { checkCall, type TOOLS } from '../calls.js';
import type { Location } from '../backend/backend.js';
import { locate, openSource, UnsupportedType } from '../backend/backends.js';
import { readImport } from '../backend/option-string.js';
import { type CacheOptions, formatOptions, secretsIn, withoutFoundSecrets } from '../buildkit/options.js';
import { abortable, CacheError, isSystemError } from '../errors.js';
import { Session, type SessionOptions } from '../session.js';

/** An image whose cache ends BuildKit's daemon, and every build on it. */
function dangerous(danger: string): CacheError {
  return new CacheError('CORRUPT', `BuildKit's daemon exits when it imports this: ${danger}`, {
    hint: '"bkcache repair" fills in the history of an image in a folder; in a registry, copy a cache into the image again',
  });
}

export type Tool = (typeof TOOLS)[number];

const FLAGS: Readonly<Record<Tool, string>> = {
  buildctl: '--import-cache',
  buildx: '--cache-from',
  envd: '--import-cache',
};

/**
 * The flags for those imports that are there now, and none for the others, so that a first build needs no special
 * case.
 *
 * @param onMissing - is told of those that are left out, and why; also of types that only the build can read
 * @throws CacheError USAGE for a string that no tool would take
 */
export async function importArguments(
  texts: readonly string[],
  tool: Tool,
  onMissing: (options: CacheOptions, reason: Error, name: string) => void,
  access: SessionOptions = {},
): Promise<string[]> {
  checkCall('importArguments', { texts, tool, onMissing, options: access });
  const { signal, onNote } = access;
  const imports = await Promise.all(texts.map((text) => readImport(text, onNote)));
  const bundle = imports.find(({ type }) => type === 'bundle');
  if (bundle !== undefined) {
    throw new CacheError('USAGE', `no build tool reads ${formatOptions(bundle)}: bundles are of bkcache alone`, {
      hint: '"bkcache unpack" makes a folder of it, which is type=local',
      side: 'import',
    });
  }
  return abortable(signal, async () => {
    await using session = new Session(access);
    const located: (readonly [CacheOptions, Location | UnsupportedType])[] = [];
    for (const options of imports) located.push([options, await locateOrNot(options, session)]);
    const words: string[] = [];
    for (const [options, at] of located) {
      if (at instanceof UnsupportedType) {
        onMissing(options, at, options.type);
        continue;
      }
      try {
        if (at.unread !== undefined) throw new CacheError('FAILED', at.unread.message, { hint: at.unread.hint });
        const source = await openSource(at, session);
        await source.resolve(signal);
        // What a build gets nothing from, or what ends the daemon, is left out as well. Layers are not looked at.
        const { danger } = await source.load(signal);
        if (danger !== undefined) throw dangerous(danger);
        const printed = withoutFoundSecrets(at.options);
        const secrets = secretsIn(printed).map((name) => `${name}=`);
        if (secrets.length > 0) {
          onNote?.(
            `the words for ${at.name} have a secret (${secrets.join(', ')}): keep them out of logs; every user of a machine can read command lines`,
          );
        }
        words.push(FLAGS[tool], formatOptions(printed));
      } catch (error) {
        // The string is fine, so that wrong usage is that of another option, such as --registry-ca.
        const isUsage = error instanceof CacheError && error.code === 'USAGE';
        const isReason = error instanceof CacheError || isSystemError(error);
        if (isUsage || !isReason || signal?.aborted === true) throw error;
        onMissing(at.options, error, at.name);
      }
    }
    return words;
  });
}

async function locateOrNot(options: CacheOptions, session: Session): Promise<Location | UnsupportedType> {
  try {
    return await locate(options, 'import', session);
  } catch (error) {
    if (error instanceof UnsupportedType) return error;
    throw error;
  }
}
