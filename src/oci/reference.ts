import { CacheError } from '../errors.js';
import { type Digest, isDigest } from './digest.js';

/** A reference to an image or cache in a registry, completed as Docker completes it. */
interface ImageReference {
  /** The registry's host, with the port if the reference has a port: `docker.io`, `localhost:5000`, `[::1]:5000`. */
  readonly registry: string;
  readonly repository: string;
  /** `latest` for a reference without tag and digest. */
  readonly tag: string | undefined;
  /** Takes precedence over the tag. */
  readonly digest: Digest | undefined;
}

/** The registry of references without a registry (distribution/reference, normalize.go). */
const DEFAULT_REGISTRY = 'docker.io';
const LEGACY_REGISTRY = 'index.docker.io';
const LATEST = 'latest';

// distribution/reference, regexp.go.
const HOST_PART = '(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])';
const REGISTRY = new RegExp(String.raw`^(?:${HOST_PART}(?:\.${HOST_PART})*|\[[a-fA-F0-9:]+\])(?::[0-9]+)?$`);
const PATH_PART = '[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*';
const REPOSITORY = new RegExp(`^${PATH_PART}(?:/${PATH_PART})*$`);
const TAG = /^\w[\w.-]{0,127}$/;
const REPOSITORY_LIMIT = 255;

/**
 * Reads a reference as Docker and BuildKit do (distribution/reference, ParseDockerRef): `ubuntu` is
 * `docker.io/library/ubuntu:latest`, and a first part with a dot or a colon in it, or `localhost`, is a registry.
 *
 * @throws CacheError USAGE
 */
export function parseReference(text: string): ImageReference {
  const fail = (reason: string, hint = 'a reference looks like registry.example.com/team/cache:tag') =>
    new CacheError('USAGE', `${JSON.stringify(text)} is not a reference: ${reason}`, { hint });
  if (/^\w+:\/\//.test(text)) throw fail('it is an address', 'leave out the part up to "://"');
  if (/^[a-f0-9]{64}$/.test(text)) throw fail('64 hex digits cannot be a name', 'write NAME@sha256:DIGEST');
  const at = text.indexOf('@');
  const digest = at === -1 ? undefined : text.slice(at + 1);
  if (digest !== undefined && !isDigest(digest)) {
    throw fail('the text after "@" is not a digest', 'a digest is sha256: and 64 lower-case hex digits');
  }
  const [registry, path] = splitRegistry(at === -1 ? text : text.slice(0, at));
  // The grammar does not check port numbers and IP addresses.
  const isRegistry = REGISTRY.test(registry) && URL.canParse(`https://${registry}`);
  if (!isRegistry) throw fail(`${JSON.stringify(registry)} is not a registry`);
  const colon = path.indexOf(':');
  const name = colon === -1 ? path : path.slice(0, colon);
  const tag = colon === -1 ? undefined : path.slice(colon + 1);
  if (name !== name.toLowerCase()) throw fail('a repository has no upper-case letters');
  if (!REPOSITORY.test(name)) throw fail(`${JSON.stringify(name)} is not a repository`);
  if (name.length > REPOSITORY_LIMIT) throw fail(`a repository has at most ${REPOSITORY_LIMIT} characters`);
  if (tag !== undefined && !isTag(tag)) throw fail(`${JSON.stringify(tag)} is not a tag`);
  return { registry, repository: name, tag: digest === undefined ? (tag ?? LATEST) : tag, digest };
}

function splitRegistry(name: string): [registry: string, path: string] {
  const [registry, path] = splitFirstPart(name);
  const isOfficial = registry === DEFAULT_REGISTRY && !path.includes('/');
  return [registry, isOfficial ? `library/${path}` : path];
}

function splitFirstPart(name: string): [registry: string, path: string] {
  const slash = name.indexOf('/');
  const first = name.slice(0, Math.max(slash, 0));
  if (first === LEGACY_REGISTRY) return [DEFAULT_REGISTRY, name.slice(slash + 1)];
  const isRegistry = first === 'localhost' || /[.:]/.test(first) || first !== first.toLowerCase();
  return slash !== -1 && isRegistry ? [first, name.slice(slash + 1)] : [DEFAULT_REGISTRY, name];
}

/** Whether a registry is on this machine, by its name. Docker and BuildKit use plain HTTP for such registries. */
export function isLoopback(registry: string): boolean {
  const host = registry.replace(/:\d+$/, '').replace(/^\[|\]$/g, '');
  return host === 'localhost' || /^127(?:\.\d{1,3}){3}$/.test(host) || /^[0:]*:0*1$/.test(host);
}

/** Whether a registry could have a repository of this name: distribution-spec, "Pulling manifests". */
export function isRepository(name: string): boolean {
  return name.length <= REPOSITORY_LIMIT && REPOSITORY.test(name);
}

/** Whether a registry could have a tag of this name: distribution-spec, "Pulling manifests". */
export function isTag(name: string): boolean {
  return TAG.test(name);
}
