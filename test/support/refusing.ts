import type { ExecutionContext } from 'ava';
import { preload } from './preload.js';

/** Answers calls with an error, as filesystems do that have no owners, modes or syncs: `REFUSE="fchmod=1,fsync=22"`. */
const SOURCE = `
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>
static int refused(const char *name) {
  char word[64];
  const char *list = getenv("REFUSE"), *found;
  snprintf(word, sizeof word, ",%s=", name);
  if (list == NULL || (found = strstr(list, word)) == NULL) return 0;
  errno = atoi(found + strlen(word));
  return 1;
}
static int is_folder(int fd) {
  struct stat stats;
  return fstat(fd, &stats) == 0 && S_ISDIR(stats.st_mode);
}
#define CALL(name, types, names) \\
  int name types { \\
    static int (*next) types; \\
    if (refused(#name)) return -1; \\
    if (next == NULL) next = (int (*) types) dlsym(RTLD_NEXT, #name); \\
    return next names; \\
  }
// Not of stdout and stderr, which may be files as well.
#define SYNC(name) \
  int name(int fd) { \
    static int (*next)(int); \
    if (fd > 2 && refused(is_folder(fd) ? #name "_folder" : #name)) return -1; \
    if (next == NULL) next = (int (*)(int)) dlsym(RTLD_NEXT, #name); \
    return next(fd); \
  }
CALL(chmod, (const char *path, mode_t mode), (path, mode))
CALL(fchmod, (int fd, mode_t mode), (fd, mode))
CALL(chown, (const char *path, uid_t owner, gid_t group), (path, owner, group))
CALL(fchown, (int fd, uid_t owner, gid_t group), (fd, owner, group))
SYNC(fsync)
SYNC(fdatasync)
CALL(link, (const char *from, const char *to), (from, to))
`;

/**
 * The environment of a process to which the system refuses some calls.
 *
 * @param calls - each with an errno of Linux
 * @returns undefined, and passes the test, where no C compiler is at hand
 */
export function refusing(
  t: ExecutionContext,
  calls: Readonly<Record<string, number>>,
): Record<string, string> | undefined {
  const library = preload(t, SOURCE);
  if (library === undefined) return undefined;
  const list = Object.entries(calls).map(([name, errno]) => `,${name}=${errno}`);
  return { LD_PRELOAD: library, REFUSE: list.join('') };
}
