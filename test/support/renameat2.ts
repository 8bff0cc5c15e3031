import koffi from 'koffi';

type Renameat2 = (...values: readonly unknown[]) => number;

const wrappers: ((renameat2: Renameat2) => Renameat2)[] = [];

/** Puts something around renameat2(2), which bkcache binds when it first needs it: to be called before that. */
export function wrapRenameat2(wrap: (renameat2: Renameat2) => Renameat2): void {
  wrappers.push(wrap);
}

const { load } = koffi;
Object.assign(koffi, {
  load(path: string | null) {
    const library = load(path);
    return {
      ...library,
      func(type: string) {
        const bound = library.func(type) as Renameat2;
        return type.includes('renameat2') ? wrappers.reduce((inner, wrap) => wrap(inner), bound) : bound;
      },
    };
  },
});
