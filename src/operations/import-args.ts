import { checkCall, type TOOLS } from '../calls.js';
import { imageImport } from '../backend/inline/inline.js';
import { checkImports, isSupported, openSource, type ReadOptions } from '../backend/open.js';
import { readImport } from '../backend/option-string.js';
import { type CacheOptions, formatOptions } from '../buildkit/options.js';
import { abortable, CacheError, isSystemError } from '../errors.js';
import { type Registries, withRegistries } from '../net/registry/registries.js';

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
  onMissing: (options: CacheOptions, reason: Error) => void,
  access: ReadOptions = {},
): Promise<string[]> {
  checkCall('importArguments', { texts, tool, onMissing, options: access });
  const { registry, layout, signal, onNote } = access;
  const imports = (await Promise.all(texts.map((text) => readImport(text, onNote)))).map(imageImport);
  const run = async (registries: Registries) => {
    checkImports(imports, registries);
    const words: string[] = [];
    for (const options of imports) {
      try {
        const source = await openSource(options, registries, layout);
        await source.resolve(signal);
        // What a build gets nothing from, or what ends the daemon, is left out as well. Layers are not looked at.
        const { danger } = await source.load(signal);
        if (danger !== undefined) throw dangerous(danger);
        words.push(FLAGS[tool], formatOptions(options));
      } catch (error) {
        // The string is fine, so that wrong usage is that of an option beside it, such as --registry-ca.
        const isUsage = error instanceof CacheError && error.code === 'USAGE' && isSupported(options);
        const isReason = error instanceof CacheError || isSystemError(error);
        if (isUsage || !isReason || signal?.aborted === true) throw error;
        onMissing(options, error);
      }
    }
    return words;
  };
  return abortable(signal, () => withRegistries(registry, run));
}
