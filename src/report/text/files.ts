import prettyBytes from 'pretty-bytes';
import type { LayerFile } from '../../codec/layer-files.js';
import type { FilesOfLayer } from '../../operations/files/list-files.js';
import { escapeControlCharacters } from './control-characters.js';
import { shortDigest } from './phrases.js';

/** The line above the files of a layer. */
export function layerLine({ digest, size, description }: FilesOfLayer): string {
  const step = description === undefined ? '' : `  ${escapeControlCharacters(description)}`;
  return `layer ${shortDigest(digest)}, ${prettyBytes(size)}${step}\n`;
}

/** The first character of a line, as in `tar tv`. */
const LETTERS: Readonly<Record<LayerFile['type'], string>> = {
  file: '-',
  hardlink: 'h',
  symlink: 'l',
  character: 'c',
  block: 'b',
  directory: 'd',
  fifo: 'p',
  deleted: 'x',
  opaque: 'x',
  other: '?',
};
/** In columns: owner and size together, as in `tar tv`. */
const OWNER_AND_SIZE = 22;
const DATE = 16;

/** A file as a line of `tar tv`; a whiteout as the deletion that it is. */
export function fileLine(file: LayerFile): string {
  const { type, path, mode, uid, gid, user, group, size, modified, link, device } = file;
  const name = `${escapeControlCharacters(path)}${type === 'directory' ? '/' : ''}`;
  if (type === 'deleted' || type === 'opaque') {
    const what = type === 'deleted' ? 'deletes' : 'hides all below in';
    return `x${' '.repeat(9)} ${''.padEnd(OWNER_AND_SIZE)} ${''.padEnd(DATE)} ${what} ${name}\n`;
  }
  const owner = escapeControlCharacters(`${user ?? uid}/${group ?? gid}`);
  const amount = device === undefined ? String(size) : device.join(',');
  const ownerAndSize = `${owner} ${amount.padStart(OWNER_AND_SIZE - owner.length - 1)}`;
  const date = modified === undefined ? '' : modified.slice(0, DATE).replace('T', ' ');
  const target =
    link === undefined ? '' : `${type === 'symlink' ? ' -> ' : ' link to '}${escapeControlCharacters(link)}`;
  return `${LETTERS[type]}${permissions(mode)} ${ownerAndSize} ${date.padEnd(DATE)} ${name}${target}\n`;
}

/** Nine letters, with setuid, setgid and sticky as `ls` shows them. */
function permissions(mode: number): string {
  const letters = Array.from('rwxrwxrwx', (letter, at) => ((mode & (0o400 >> at)) === 0 ? '-' : letter));
  for (const [bit, at, letter] of [
    [0o4000, 2, 's'],
    [0o2000, 5, 's'],
    [0o1000, 8, 't'],
  ] as const) {
    if ((mode & bit) !== 0) letters[at] = letters[at] === 'x' ? letter : letter.toUpperCase();
  }
  return letters.join('');
}
