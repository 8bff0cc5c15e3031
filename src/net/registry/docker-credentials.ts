import { spawn } from 'node:child_process';
import { homedir } from 'node:os';
import { join } from 'node:path';
import * as v from 'valibot';
import { CacheError, isSystemError } from '../../errors.js';
import { type DockerConfig, parseDockerConfig } from './docker-config.js';
import { readUserFile } from '../http/user-file.js';

/** The credentials for a registry or its token server. */
export interface Credentials {
  readonly username?: string;
  /** Bytes for a password that is not UTF-8. */
  readonly password?: string | Uint8Array;
  /** A refresh token, which the token server exchanges for access tokens. */
  readonly identityToken?: string;
  /** A bearer token for the registry itself. */
  readonly registryToken?: string;
}

/** The result of a lookup of credentials. */
export interface FoundCredentials {
  readonly credentials?: Credentials;
  /** Why the credentials cannot be read; unset when there are none. */
  readonly problem?: string;
}

/** Docker Hub's name in config.json, from the days of the first protocol. */
const HUB_KEY = 'https://index.docker.io/v1/';
/** The user name of a helper whose secret is an identity token. */
const TOKEN_USER = '<token>';
const HELPER_TIMEOUT = 30_000;
const VARIABLE = 'DOCKER_AUTH_CONFIG';

const helperSchema = v.looseObject({ Username: v.string(), Secret: v.string() });

/**
 * The credentials that `docker login` saved for a registry (docker/cli, cli/config): from the variable
 * DOCKER_AUTH_CONFIG first, then from `config.json` in $DOCKER_CONFIG or ~/.docker, or from its credential helper.
 *
 * @param signal - stops a helper
 * @throws CacheError DENIED when config.json cannot be read; messages never quote its content, which is secret
 */
export async function dockerCredentials(
  registry: string,
  env: NodeJS.ProcessEnv = process.env,
  signal?: AbortSignal,
): Promise<FoundCredentials> {
  const key = registry === 'docker.io' ? HUB_KEY : registry;
  const fromVariable = inVariable(env[VARIABLE], key);
  if (fromVariable?.credentials !== undefined) return fromVariable;
  const found = await inConfig(key, env, signal);
  return found.credentials === undefined && found.problem === undefined ? { ...fromVariable } : found;
}

/** As in Docker, only `auths` count, and a value that cannot be read is skipped. */
function inVariable(text: string | undefined, key: string): FoundCredentials | undefined {
  if (text === undefined || text === '') return undefined;
  const config = parseDockerConfig(text);
  if (config === undefined) return { problem: `${VARIABLE} is not a Docker configuration` };
  return inEntries(config.auths, key, VARIABLE);
}

async function inConfig(key: string, env: NodeJS.ProcessEnv, signal?: AbortSignal): Promise<FoundCredentials> {
  const path = join(env['DOCKER_CONFIG'] || join(homedir(), '.docker'), 'config.json');
  const config = await readConfig(path);
  const helper = config.credHelpers[key] ?? config.credsStore;
  if (helper === '') return inEntries(config.auths, key, path);
  const found = await askHelper(helper, key, env, signal);
  if (found.credentials !== undefined) return found;
  // Docker keeps entries in config.json in addition to a store without these credentials.
  const plain = inEntries(config.auths, key, path);
  return plain.credentials === undefined ? found : plain;
}

async function readConfig(path: string): Promise<DockerConfig> {
  let text = '';
  try {
    text = await readUserFile(path);
  } catch (error) {
    if (!isSystemError(error, 'ENOENT', 'ENOTDIR')) {
      throw new CacheError('DENIED', `cannot read ${path}: ${(error as Error).message}`, {
        hint: 'it contains the credentials of "docker login"; make it readable, or name another folder with DOCKER_CONFIG',
        cause: error,
      });
    }
  }
  const config = parseDockerConfig(text);
  if (config !== undefined) return config;
  throw new CacheError('DENIED', `${path} is not a Docker configuration`, {
    hint: 'repair it, or name another folder with DOCKER_CONFIG',
  });
}

/** The credentials in the entry with exactly this name, or in the first entry with the same host. */
function inEntries(auths: DockerConfig['auths'], key: string, where: string): FoundCredentials {
  const host = hostOf(key);
  const entry = auths[key] ?? Object.entries(auths).find(([name]) => hostOf(name) === host)?.[1];
  if (entry === undefined) return {};
  const { auth, identitytoken, registrytoken } = entry;
  if (identitytoken !== '') return { credentials: { identityToken: identitytoken } };
  if (registrytoken !== '') return { credentials: { registryToken: registrytoken } };
  const pair = auth === '' ? entry : decodeAuth(auth);
  if (pair === undefined) return { problem: `the entry for ${host} in ${where} cannot be read` };
  const { username, password } = pair;
  return username === '' && password.length === 0 ? {} : { credentials: { username, password } };
}

function hostOf(name: string): string {
  return name.replace(/^https?:\/\//, '').replace(/\/.*$/, '');
}

/** Decodes `user:password` in base64; a password may be any bytes. */
function decodeAuth(auth: string): { readonly username: string; readonly password: string | Uint8Array } | undefined {
  const bytes = Buffer.from(auth, 'base64');
  const colon = bytes.indexOf(':');
  if (colon === -1) return undefined;
  let [start, end] = [colon + 1, bytes.length];
  // Docker's first versions padded with zeros.
  while (start < end && bytes[start] === 0) start++;
  while (end > start && bytes[end - 1] === 0) end--;
  const password = bytes.subarray(start, end);
  const text = password.toString('utf8');
  return {
    username: bytes.toString('utf8', 0, colon),
    password: Buffer.from(text).equals(password) ? text : password,
  };
}

/** Runs a helper (docker-credential-helpers): it reads the registry on stdin and prints JSON; no secret is on a command line. */
async function askHelper(
  helper: string,
  key: string,
  env: NodeJS.ProcessEnv,
  signal: AbortSignal | undefined,
): Promise<FoundCredentials> {
  const program = `docker-credential-${helper}`;
  if (/[/\\\0]/.test(helper)) return { problem: `${JSON.stringify(program)} is not the name of a program` };
  let output: { readonly code: number | null; readonly stdout: string };
  try {
    output = await runHelper(program, key, env, signal);
  } catch (error) {
    const reason = isSystemError(error, 'ENOENT') ? 'is not installed' : `cannot be run: ${(error as Error).message}`;
    return { problem: `${program}, which Docker's config.json names, ${reason}` };
  }
  if (output.code !== 0) {
    // Helpers print this on stdout when they have no credentials.
    if (/credentials not found/i.test(output.stdout)) return {};
    return { problem: `${program} failed with exit code ${output.code ?? 'unknown'}` };
  }
  const parsed = v.safeParse(v.pipe(v.string(), v.parseJson(), helperSchema), output.stdout);
  if (!parsed.success) return { problem: `${program} did not answer with credentials` };
  const { Username: username, Secret: secret } = parsed.output;
  if (username === '' && secret === '') return {};
  return { credentials: username === TOKEN_USER ? { identityToken: secret } : { username, password: secret } };
}

function runHelper(
  program: string,
  input: string,
  env: NodeJS.ProcessEnv,
  signal: AbortSignal | undefined,
): Promise<{ readonly code: number | null; readonly stdout: string }> {
  return new Promise((resolve, reject) => {
    const child = spawn(program, ['get'], {
      env,
      stdio: ['pipe', 'pipe', 'ignore'],
      timeout: HELPER_TIMEOUT,
      ...(signal ? { signal } : {}),
    });
    let stdout = '';
    child.stdout.setEncoding('utf8').on('data', (chunk: string) => (stdout += chunk));
    child.on('error', reject).on('close', (code) => resolve({ code, stdout }));
    child.stdin.on('error', () => undefined).end(input);
  });
}
