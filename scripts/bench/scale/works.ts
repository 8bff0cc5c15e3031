import { makeBlobs, makeCaches, makeChain, makeLayers, makeTags, makeWide } from './folders.js';

/** A kind of folder, at three sizes: two of them are small enough for each change to be measured. */
export interface Kind {
  readonly name: string;
  /** Ascending. */
  readonly sizes: readonly [number, number, number];
  /** A size so small that its time is what starting takes; 10 when left out. */
  readonly least?: number;
  /** Makes a folder of a size. */
  readonly make: (folder: string, size: number) => void;
  readonly works: readonly Work[];
}

/** A command whose CPU time may grow with the size of a folder, and no faster. */
export interface Work {
  readonly name: string;
  /** @param folder - of this kind, which the command may change; @param out - a path for what it writes */
  readonly args: (folder: string, out: string, size: number) => readonly string[];
  /** Whether the command changes the folder, and gets a copy therefore. */
  readonly changes?: boolean;
  /** The exit code of a command that finds what is wrong here; 0 when left out. */
  readonly code?: number;
}

const tag = (folder: string, name: string) => `type=local,src=${folder},tag=${name}`;
const copy = (from: string, to: string, ...more: readonly string[]) => [
  'copy',
  '--quiet',
  '--no-fsync',
  '--hardlink',
  '--allow-oversize',
  ...more,
  '--import-cache',
  from,
  '--export-cache',
  to,
];
/** As many bytes as about half of the layers have. */
const half = (layers: number) => `${layers * 500}B`;

export const KINDS: readonly Kind[] = [
  {
    name: 'tags',
    sizes: [1000, 3000, 10_000],
    make: makeTags,
    works: [
      { name: 'list', args: (folder) => ['list', folder] },
      { name: 'list --json', args: (folder) => ['list', '--json', folder] },
      { name: 'resolve', args: (folder) => ['resolve', tag(folder, 'branch-0')] },
      {
        name: 'copy a tag into it',
        args: (folder) => copy(tag(folder, 'branch-0'), `type=local,dest=${folder},tag=new`),
        changes: true,
      },
      { name: 'remove', args: (folder) => ['remove', '--store', folder, 'branch-0'], changes: true },
      { name: 'verify', args: (folder) => ['verify', '--quiet', folder] },
      { name: 'gc', args: (folder) => ['gc', '--grace', '0', folder], changes: true },
      {
        name: 'prune --untag all but a tenth',
        args: (folder) => ['prune', '--no-fsync', '--grace', '0', '--untag', 'branch-*[1-9]', folder],
        changes: true,
      },
      {
        name: 'prune --keep-last',
        args: (folder, _, size) => ['prune', '--no-fsync', '--grace', '0', '--keep-last', `${size / 2}`, folder],
        changes: true,
      },
      {
        name: 'prune --max-size half',
        args: (folder, _, size) => ['prune', '--no-fsync', '--grace', '0', '--max-size', half(size * 5), folder],
        changes: true,
      },
      { name: 'repair', args: (folder) => ['repair', '--quiet', folder], changes: true },
    ],
  },
  {
    name: 'blobs',
    sizes: [10_000, 50_000, 300_000],
    make: makeBlobs,
    works: [
      { name: 'list', args: (folder) => ['list', folder] },
      { name: 'verify', args: (folder) => ['verify', '--quiet', folder] },
      { name: 'gc --dry-run', args: (folder) => ['gc', '--grace', '0', '--dry-run', folder] },
      { name: 'gc', args: (folder) => ['gc', '--grace', '0', folder], changes: true },
      { name: 'prune', args: (folder) => ['prune', '--grace', '0', '--max-size', '1GB', folder], changes: true },
      { name: 'repair', args: (folder) => ['repair', '--quiet', folder], changes: true },
    ],
  },
  {
    name: 'records, wide',
    sizes: [5000, 15_000, 50_000],
    make: makeWide,
    works: recordWorks(),
  },
  {
    name: 'records, a chain',
    sizes: [5000, 15_000, 50_000],
    make: makeChain,
    works: recordWorks(),
  },
  {
    name: 'records over the import limit',
    // Of fewer records the config is not over it.
    sizes: [10_000, 20_000, 50_000],
    make: makeWide,
    works: [
      {
        name: 'prune --fit-import-limit',
        args: (folder) => ['prune', '--no-fsync', '--grace', '0', '--fit-import-limit', folder],
        changes: true,
      },
    ],
  },
  {
    name: 'merged caches',
    sizes: [20, 60, 200],
    least: 1,
    make: makeCaches,
    works: [
      {
        name: 'copy',
        args: (folder, out, size) => {
          const imports = Array.from({ length: size - 1 }, (_, cache) => ['--import-cache', `${folder}/${cache + 1}`]);
          return copy(`${folder}/0`, `type=local,dest=${out}`, ...imports.flat());
        },
      },
    ],
  },
  {
    name: 'layers',
    sizes: [1000, 3000, 10_000],
    make: makeLayers,
    works: [
      { name: 'list', args: (folder) => ['list', folder] },
      { name: 'inspect', args: (folder) => ['inspect', folder] },
      { name: 'copy', args: (folder, out) => copy(folder, `type=local,dest=${out}`) },
      {
        name: 'copy to gzip',
        args: (folder, out) => copy(folder, `type=local,dest=${out},compression=gzip,force-compression=true`),
      },
      { name: 'verify --deep', args: (folder) => ['verify', '--quiet', '--deep', folder], code: 4 },
      { name: 'repair', args: (folder) => ['repair', '--quiet', folder], changes: true },
    ],
  },
];

function recordWorks(): readonly Work[] {
  return [
    { name: 'list', args: (folder) => ['list', folder] },
    { name: 'inspect', args: (folder) => ['inspect', folder] },
    { name: 'inspect --json', args: (folder) => ['inspect', '--json', folder] },
    { name: 'verify', args: (folder) => ['verify', '--quiet', folder], code: 4 },
    { name: 'copy', args: (folder, out) => copy(folder, `type=local,dest=${out}`) },
    { name: 'copy mode=min', args: (folder, out) => copy(folder, `type=local,dest=${out},mode=min`) },
    {
      name: 'merge with itself',
      args: (folder, out) => copy(folder, `type=local,dest=${out}`, '--import-cache', `type=local,src=${folder}`),
    },
    {
      name: 'prune --max-size half',
      args: (folder, _, size) => ['prune', '--no-fsync', '--grace', '0', '--max-size', half(size / 5), folder],
      changes: true,
    },
    // Nothing mends a config over the import limit but prune.
    { name: 'repair', args: (folder) => ['repair', '--quiet', folder], changes: true, code: 4 },
  ];
}
