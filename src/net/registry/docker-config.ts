import * as v from 'valibot';

/** A registry's entry in Docker's config.json. A missing field is empty, as in Go. */
type DockerEntry = Readonly<Record<(typeof ENTRY_FIELDS)[number], string>>;

/** The credentials part of Docker's config.json. */
export interface DockerConfig {
  readonly auths: Readonly<Record<string, DockerEntry>>;
  /** Credential helpers by registry; an empty name means no helper. */
  readonly credHelpers: Readonly<Record<string, string>>;
  readonly credsStore: string;
}

const ENTRY_FIELDS = ['auth', 'username', 'password', 'identitytoken', 'registrytoken'] as const;

const text = v.nullish(v.string(), '');
const entrySchema = v.pipe(
  v.nullish(v.record(v.string(), v.unknown()), {}),
  v.transform((entry) => fieldsOf(entry, ENTRY_FIELDS)),
  v.object({ auth: text, username: text, password: text, identitytoken: text, registrytoken: text }),
);
const configSchema = v.pipe(
  v.nullish(v.record(v.string(), v.unknown()), {}),
  v.transform((config) => fieldsOf(config, ['auths', 'credHelpers', 'credsStore'])),
  v.object({
    auths: v.nullish(v.record(v.string(), entrySchema), {}),
    credHelpers: v.nullish(v.record(v.string(), text), {}),
    credsStore: text,
  }),
);

/**
 * Reads config.json as Docker does, with Go's encoding/json: an empty file is a configuration without settings, null is a
 * missing value, and names match in any case.
 *
 * @returns undefined for a text that is no configuration
 */
export function parseDockerConfig(json: string): DockerConfig | undefined {
  if (json.trim() === '') return parseDockerConfig('{}');
  const parsed = v.safeParse(v.pipe(v.string(), v.parseJson(), configSchema), json);
  return parsed.success ? parsed.output : undefined;
}

/** The fields of an object by their names in any case; the last of several counts. */
function fieldsOf(object: Readonly<Record<string, unknown>>, names: readonly string[]): Record<string, unknown> {
  const byName = new Map(names.map((name) => [name.toLowerCase(), name]));
  const found: Record<string, unknown> = {};
  for (const [key, value] of Object.entries(object)) {
    const name = byName.get(key.toLowerCase());
    if (name !== undefined) found[name] = value;
  }
  return found;
}
