import { existsSync } from 'node:fs';
import { parseReference } from '../oci/reference.js';
import type { Arguments, Table, Value, Verb } from './verb.js';

/**
 * The hint for a folder that is taken for a reference, or a reference that is taken for a folder. A string without `type=`
 * is BuildKit's old form of a reference; the path of a folder starts with `./` or `/`.
 */
export function mistakenHint(verb: Verb, values: Arguments<Table>): string | undefined {
  const named = (...kinds: readonly Value['names'][]) =>
    Object.entries({ ...verb.options, ...verb.words })
      .flatMap(([name, option]) => (option.type === 'value' && kinds.includes(option.names) ? values[name] : []))
      .flat()
      .filter((word) => typeof word === 'string');
  const folder = named('cache').find((word) => !/type=|^\.{0,2}\//.test(word) && existsSync(word));
  if (folder !== undefined) return `${folder} is taken for a reference in a registry; the folder is ./${folder}`;
  const address = named('cache', 'folder or bucket', 'folder or cache')
    .map((word) => /^(?:s3|azblob|az):\/\/([^/]+)/.exec(word))
    .find((match) => match !== null);
  if (address?.[1] !== undefined) {
    return address[0].startsWith('s3')
      ? `a bucket is written type=s3,bucket=${address[1]},region=…`
      : 'a container is written type=azblob,account_url=https://ACCOUNT.blob.core.windows.net,container=…';
  }
  const reference = named('folder or bucket', 'folder or cache').find(looksLikeReference);
  if (reference === undefined) return undefined;
  return named('folder or bucket').includes(reference)
    ? `${reference} is taken for a folder, and ${verb.name} does not work on registries`
    : `${reference} is taken for a folder; in a registry it is type=registry,ref=${reference}`;
}

function looksLikeReference(word: string): boolean {
  if (/type=|^\.{0,2}\//.test(word) || existsSync(word)) return false;
  try {
    return parseReference(word).registry !== 'docker.io';
  } catch {
    return false;
  }
}
