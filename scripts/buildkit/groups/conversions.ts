import type { Bench } from '../bench.js';
import type { Likeness } from '../image.js';
import type { Group } from './group.js';

interface Conversion {
  /** As the result of bkcache names it. */
  readonly name: string;
  readonly options: string;
  /** What the images have in common with the first ones. */
  readonly like: Likeness;
}

/** Everything that layers can be packed with. */
const COMPRESSIONS: readonly Conversion[] = [
  { name: 'gzip', options: 'compression=gzip,compression-level=9', like: 'diffIDs' },
  { name: 'zstd', options: 'compression=zstd', like: 'diffIDs' },
  { name: 'estargz', options: 'compression=estargz', like: 'estargz' },
  { name: 'uncompressed', options: 'compression=uncompressed', like: 'diffIDs' },
];

/** The shapes of the manifest, as the result of bkcache names them. */
const SHAPES = {
  'image-manifest': 'image-manifest=true,oci-mediatypes=true',
  index: 'image-manifest=false,oci-mediatypes=true',
  'docker-list': 'oci-mediatypes=false',
} as const;

/** Every conversion of a cache that BuildKit exported imports whole. */
export const conversions: Group = {
  name: 'conversions',
  checks: (bench) =>
    COMPRESSIONS.flatMap((compression) =>
      Object.entries(SHAPES).map(([shape, shapeOptions]) => ({
        name: `${compression.name}, ${shape}`,
        run: () => convert(bench, compression, shape, shapeOptions),
      })),
    ),
};

interface Copied {
  readonly exports: readonly [{ readonly shape: string; readonly compressions: Readonly<Record<string, number>> }];
}

async function convert(bench: Bench, compression: Conversion, shape: string, shapeOptions: string) {
  const { cache } = await bench.first('main');
  const folder = bench.path(compression.name);
  const exported = `type=local,dest=${folder},${compression.options},force-compression=true,${shapeOptions}`;
  const output = await bench.bkcache('copy', '--json', '--import-cache', cache, '--export-cache', exported);
  const {
    exports: [result],
  } = JSON.parse(output) as Copied;
  const problems: string[] = [];
  if (result.shape !== shape) problems.push(`bkcache wrote the shape ${result.shape}`);
  if (Object.keys(result.compressions).join() !== compression.name) {
    problems.push(`bkcache wrote layers as ${Object.keys(result.compressions).join(' and ')}`);
  }
  const verdict = await bench.whole('main', `type=local,src=${folder}`, compression.like);
  return { ...verdict, problems: [...problems, ...verdict.problems] };
}
