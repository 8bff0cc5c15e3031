import { spawn } from 'node:child_process';
import { homedir } from 'node:os';
import { join } from 'node:path';
import * as v from 'valibot';
import { CacheError, isSystemError } from '../errors.js';
import { readUserFile } from './user-file.js';

/** What a registry or its token server is told of the user. */
export interface Credentials {
  readonly username?: string;
  readonly password?: string;
  /** A refresh token, which the token server changes into others. */
  readonly identityToken?: string;
  /** A bearer token for the registry itself. */
  readonly registryToken?: string;
}

/** What was found for a registry. */
export interface FoundCredentials {
  readonly credentials?: Credentials;
  /** Why there are none, where that is not simply because nobody logged in. */
  readonly problem?: string;
}

/** Docker Hub's name in config.json, from the days of the first protocol. */
const HUB_KEY = 'https://index.docker.io/v1/';
/** What a helper says instead of a user name when its secret is an identity token. */
const TOKEN_USER = '<token>';
const HELPER_TIMEOUT = 30_000;

const text = v.nullish(v.string());
const entrySchema = v.looseObject({
  auth: text,
  username: text,
  password: text,
  identitytoken: text,
  registrytoken: text,
});
const configSchema = v.looseObject({
  auths: v.nullish(v.record(v.string(), entrySchema)),
  credHelpers: v.nullish(v.record(v.string(), v.string())),
  credsStore: text,
});
const helperSchema = v.looseObject({ Username: v.string(), Secret: v.string() });

/**
 * What `docker login` left for a registry: in `config.json` of $DOCKER_CONFIG or ~/.docker, or with the credential
 * helper that it names (docker/cli, cli/config).
 *
 * @throws CacheError DENIED when config.json cannot be read; its content is never quoted, since it holds secrets
 */
export async function dockerCredentials(
  registry: string,
  env: NodeJS.ProcessEnv = process.env,
): Promise<FoundCredentials> {
  const path = join(env['DOCKER_CONFIG'] || join(homedir(), '.docker'), 'config.json');
  const config = await readConfig(path);
  if (config === undefined) return {};
  const key = registry === 'docker.io' ? HUB_KEY : registry;
  const helper = config.credHelpers?.[key] ?? (config.credsStore || undefined);
  if (helper !== undefined) {
    const found = await askHelper(helper, key, env);
    // Docker writes entries beside a store that has nothing for them.
    if (found.credentials !== undefined || config.auths === null || config.auths === undefined) return found;
    const plain = ofEntry(entryFor(config.auths, key));
    return plain === undefined ? found : { credentials: plain };
  }
  const credentials = ofEntry(entryFor(config.auths ?? {}, key));
  return credentials === undefined ? {} : { credentials };
}

async function readConfig(path: string): Promise<v.InferOutput<typeof configSchema> | undefined> {
  let bytes: string;
  try {
    bytes = await readUserFile(path);
  } catch (error) {
    if (isSystemError(error, 'ENOENT', 'ENOTDIR')) return undefined;
    throw new CacheError('DENIED', `cannot read ${path}: ${(error as Error).message}`, {
      hint: 'it has what "docker login" left; make it readable, or name another folder with DOCKER_CONFIG',
      cause: error,
    });
  }
  try {
    return v.parse(configSchema, JSON.parse(bytes));
  } catch {
    throw new CacheError('DENIED', `${path} is not a configuration of Docker's`, {
      hint: 'repair it, or name another folder with DOCKER_CONFIG',
    });
  }
}

type Entry = v.InferOutput<typeof entrySchema>;

/** The entry of exactly this name, or else the one whose address has this host. */
function entryFor(auths: Readonly<Record<string, Entry>>, key: string): Entry | undefined {
  const exact = auths[key];
  if (exact !== undefined) return exact;
  const host = hostOf(key);
  return Object.entries(auths).find(([name]) => hostOf(name) === host)?.[1];
}

function hostOf(name: string): string {
  return name.replace(/^https?:\/\//, '').replace(/\/.*$/, '');
}

function ofEntry(entry: Entry | undefined): Credentials | undefined {
  if (entry === undefined) return undefined;
  const { identitytoken, registrytoken } = entry;
  if (identitytoken) return { identityToken: identitytoken };
  if (registrytoken) return { registryToken: registrytoken };
  const decoded = Buffer.from(entry.auth ?? '', 'base64')
    .toString('utf8')
    .replace(/\0+$/, '');
  const colon = decoded.indexOf(':');
  const username = entry.username || decoded.slice(0, Math.max(colon, 0));
  const password = entry.password || (colon === -1 ? '' : decoded.slice(colon + 1));
  return username === '' && password === '' ? undefined : { username, password };
}

/** docker-credential-helpers: the registry goes in on stdin, JSON comes out; nothing secret is on a command line. */
async function askHelper(helper: string, key: string, env: NodeJS.ProcessEnv): Promise<FoundCredentials> {
  const program = `docker-credential-${helper}`;
  if (/[/\\\0]/.test(helper)) return { problem: `${JSON.stringify(program)} is not the name of a program` };
  let output: { readonly code: number | null; readonly stdout: string };
  try {
    output = await run(program, key, env);
  } catch (error) {
    const reason = isSystemError(error, 'ENOENT') ? 'is not installed' : `cannot be run: ${(error as Error).message}`;
    return { problem: `${program}, which Docker's config.json names, ${reason}` };
  }
  if (output.code !== 0) {
    // The helpers say so on stdout when they simply have nothing.
    if (/credentials not found/i.test(output.stdout)) return {};
    return { problem: `${program} failed with exit code ${output.code ?? 'unknown'}` };
  }
  const parsed = v.safeParse(v.pipe(v.string(), v.parseJson(), helperSchema), output.stdout);
  if (!parsed.success) return { problem: `${program} did not answer with credentials` };
  const { Username: username, Secret: secret } = parsed.output;
  return { credentials: username === TOKEN_USER ? { identityToken: secret } : { username, password: secret } };
}

function run(
  program: string,
  input: string,
  env: NodeJS.ProcessEnv,
): Promise<{ readonly code: number | null; readonly stdout: string }> {
  return new Promise((resolve, reject) => {
    const child = spawn(program, ['get'], { env, stdio: ['pipe', 'pipe', 'ignore'], timeout: HELPER_TIMEOUT });
    let stdout = '';
    child.stdout.setEncoding('utf8').on('data', (chunk: string) => (stdout += chunk));
    child.on('error', reject).on('close', (code) => resolve({ code, stdout }));
    child.stdin.on('error', () => undefined).end(input);
  });
}
