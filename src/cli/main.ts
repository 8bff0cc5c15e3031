#!/usr/bin/env node
import { existsSync } from 'node:fs';
import { CacheError, exitCode, isSystemError } from '../errors.js';
import { quick } from './quick.js';

const argv = process.argv.slice(2);

function fail(error: unknown): never {
  const { message, hint, side } = describe(error);
  process.stderr.write(`bkcache: ${side === undefined ? '' : `${side}: `}${message}\n`);
  if (hint !== undefined) process.stderr.write(`  hint: ${hint}\n`);
  const folder = argv.find(isFolderTakenForReference);
  if (folder !== undefined) {
    process.stderr.write(`  hint: ${folder} is taken for a reference in a registry; the folder is ./${folder}\n`);
  }
  if (argv.includes('--debug') && error instanceof Error) process.stderr.write(`${error.stack}\n`);
  // An interrupt has set the code already.
  process.exit(process.exitCode ?? exitCode(error));
}

/** BuildKit's old form, a string without `type=`, is a reference; who means a folder has to write `./`. */
function isFolderTakenForReference(word: string, index: number): boolean {
  const isPositional = index > 0 && /^(?:resolve|inspect|import-args)$/.test(argv[0] ?? '');
  const isCache = isPositional || /^--(?:import-cache|export-cache|from)$/.test(argv[index - 1] ?? '');
  return isCache && !/type=|^\.{0,2}\//.test(word) && existsSync(word);
}

interface Described {
  readonly message: string;
  readonly hint?: string | undefined;
  readonly side?: string | undefined;
}

function describe(error: unknown): Described {
  if (error instanceof CacheError) return error;
  if (isSystemError(error, 'ENOSPC', 'EDQUOT')) {
    return { message: `the disk is full: ${error.message}`, hint: 'nothing was changed; make room and run it again' };
  }
  if (isSystemError(error, 'EACCES', 'EPERM', 'EROFS')) {
    return { message: `not allowed: ${error.message}`, hint: 'check the owner and the mode of that folder' };
  }
  if (isSystemError(error, 'ENOTDIR', 'EEXIST')) {
    return { message: `there is a file where a folder has to be: ${error.message}`, hint: 'name another path' };
  }
  return { message: error instanceof Error ? error.message : String(error) };
}

try {
  if (!(await quick(argv))) await (await import('./commands.js')).runCommand(argv);
} catch (error) {
  fail(error);
}
