import { CacheError } from '../errors.js';
import type { RegistryAccess } from '../session.js';
import type { REGISTRY_OPTIONS } from './shared-options.js';
import type { Arguments } from './verb.js';

/** The longest password that is read, in bytes. */
const PASSWORD_LIMIT = 1024 * 1024;

/**
 * The access to registries that the options ask for. A password comes from stdin only, since every user of a machine can
 * read command lines.
 *
 * @throws CacheError USAGE
 */
export async function registryAccess(argv: Arguments<typeof REGISTRY_OPTIONS>): Promise<RegistryAccess> {
  const { 'registry-ca': ca, username, 'password-stdin': fromStdin } = argv;
  if ((username !== undefined) !== fromStdin) {
    throw new CacheError('USAGE', '--username and --password-stdin belong together', {
      hint: 'printenv REGISTRY_PASSWORD | bkcache … --username NAME --password-stdin',
    });
  }
  if (!fromStdin) return { ca };
  const password = withoutNewline(await readStdin(process.stdin));
  if (password.length === 0) throw new CacheError('USAGE', 'there is no password on stdin');
  return { ca, username, password };
}

/** The bytes without a line break at the end, as in docker login: editors and echo add one. */
function withoutNewline(bytes: Buffer): Buffer {
  const end = bytes.at(-1) === 0x0a ? (bytes.at(-2) === 0x0d ? -2 : -1) : bytes.length;
  return bytes.subarray(0, end);
}

/** The bytes as they are: a password need not be text. */
async function readStdin(stream: AsyncIterable<Uint8Array | string>): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of stream) {
    size += chunk.length;
    if (size > PASSWORD_LIMIT) throw new CacheError('USAGE', 'the text on stdin is too long for a password');
    chunks.push(Buffer.from(chunk));
  }
  return Buffer.concat(chunks);
}
