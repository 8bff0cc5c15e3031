import { setTimeout as sleep } from 'node:timers/promises';
import { isDeepStrictEqual } from 'node:util';
import { HeadObjectCommand, ListObjectsV2Command, S3Client } from '@aws-sdk/client-s3';
import {
  BUCKET_TYPES,
  type BucketService,
  type BucketType,
  startBucketService,
} from '../../../test/support/bucket-services.js';
import type { Bench } from '../bench.js';
import type { Builds } from '../build.js';
import type { Branch } from '../contexts.js';
import type { Likeness } from '../image.js';
import { asUseful, type Verdict } from '../verdict.js';
import type { Check, Group } from './group.js';
import { importsOfSeveralEnds } from './merging.js';

/** Where merged caches lose links, and some of everything: other contexts come to the same layers and records here. */
const CONTEXTS: ReadonlySet<string> = new Set(['demo', 'two-stages']);
const MERGED = ['main', 'feature'] as const satisfies readonly Branch[];

/** BuildKit and bkcache read each other's caches in buckets of S3 and Azure. */
export const objects: Group = {
  name: 'objects',
  checks: (bench) => (CONTEXTS.has(bench.context.name) ? BUCKET_TYPES.flatMap((type) => checksOf(bench, type)) : []),
};

function checksOf(bench: Bench, type: BucketType): Check[] {
  let made: Promise<Bucket> | undefined;
  const bucket = () => (made ??= Bucket.make(bench, type));
  const check = (name: string, run: (bucket: Bucket) => Promise<Verdict>): Check => ({
    name: `${type}, ${name}`,
    run: async () => run(await bucket()),
    skipped: bench.builder.hasBuckets ? undefined : 'this BuildKit was built without exports to buckets',
  });
  /** A copy by bkcache, from which alone BuildKit builds. */
  const copied = (name: string, copy: (bucket: Bucket) => Promise<string>, like?: Likeness) =>
    check(name, async (all) => all.whole(await copy(all), like));
  return [
    check('exported, to a folder', (all) => all.toFolder()),
    copied('exported, to another bucket', async (all) => all.copy([all.exported], await all.other('copied'))),
    copied('from a folder', (all) => all.copy([all.folder], all.name('written'))),
    copied('zstd', (all) => all.copy([all.exported], all.name('zstd'), 'compression=zstd,force-compression=true')),
    copied('uncompressed', (all) =>
      all.copy([all.exported], all.name('none'), 'compression=uncompressed,force-compression=true'),
    ),
    copied('gzip of another level', (all) =>
      all.copy([all.exported], all.name('gzip'), 'compression=gzip,compression-level=1,force-compression=true'),
    ),
    check('mode=min', (all) => all.min()),
    check('two branches as one', async (all) => {
      const both = await all.copy([all.exported, await all.feature()], all.name('merged'));
      return all.merged(both);
    }),
    check('several names', (all) => all.severalNames()),
    copied('prefixes', (all) => all.copy([all.exported], `${all.name('a b/c+d')},${prefixesOf(type)}`)),
    check('exported under prefixes, to a folder', (all) => all.exportedUnder(prefixesOf(type))),
    ...(type === 's3'
      ? [
          copied('touched by bkcache', (all) => all.touched()),
          check('touched by BuildKit', (all) => all.touchedByBuildKit()),
        ]
      : []),
    check('exported over what bkcache wrote', (all) => all.exportedOver()),
    copied('after prune and gc', (all) => all.collected()),
  ];
}

/** Keys that are joined otherwise by each of the two. */
function prefixesOf(type: BucketType): string {
  return type === 's3'
    ? 'prefix=team one/,blobs_prefix=b+&/,manifests_prefix=m/'
    : 'prefix=team one//x/../,blobs_prefix=b+&,manifests_prefix=m/';
}

/** A bucket into which BuildKit exported, and a folder with the same cache. */
class Bucket {
  /** The folder into which BuildKit exported the same. */
  readonly folder: string;
  private readonly bench: Bench;
  private readonly server: BucketService;
  private readonly type: BucketType;
  private readonly builds: Builds;
  /** Without a name. */
  private readonly at: string;

  private constructor(
    bench: Bench,
    server: BucketService,
    type: BucketType,
    builds: Builds,
    at: string,
    folder: string,
  ) {
    this.bench = bench;
    this.server = server;
    this.type = type;
    this.builds = builds;
    this.at = at;
    this.folder = folder;
  }

  static async make(bench: Bench, type: BucketType): Promise<Bucket> {
    const server = await startBucketService(type, bench.path(type), bench.signal);
    bench.atEnd(() => server.stop());
    const [at, folder] = [await server.bucket(), bench.path('beside')];
    const cacheTo = [`${at},name=exported;again,mode=max`, `type=local,dest=${folder},mode=max`];
    return new Bucket(bench, server, type, await bench.buildAll('main', [], cacheTo), at, folder);
  }

  get exported(): string {
    return this.name('exported');
  }

  name(name: string): string {
    return `${this.at},name=${name}`;
  }

  async other(name: string): Promise<string> {
    return `${await this.server.bucket()},name=${name}`;
  }

  async copy(from: readonly string[], to: string, options = ''): Promise<string> {
    const exported = [to, options].filter((part) => part !== '').join(',');
    await this.bench.bkcache('copy', ...from.flatMap((text) => ['--import-cache', text]), '--export-cache', exported);
    return to;
  }

  whole(cacheFrom: string, like?: Likeness, imports?: number): Promise<Verdict> {
    return this.bench.wholeAs(this.builds, 'main', cacheFrom, like, imports);
  }

  /** The graph of the bucket is that of the folder that BuildKit wrote in the same build. */
  async toFolder(): Promise<Verdict> {
    return this.sameAsFolder(this.exported, this.folder);
  }

  private async sameAsFolder(exported: string, beside: string): Promise<Verdict> {
    const folder = await this.bench.copy([exported], '', 'from-bucket');
    const [theirs, ours] = [await this.graph(beside), await this.graph(folder)];
    const problems = isDeepStrictEqual(theirs, ours) ? [] : [`${exported} has another graph than BuildKit's folder`];
    const verdict = await this.whole(`type=local,src=${folder}`);
    return { ...verdict, problems: [...problems, ...verdict.problems] };
  }

  private async graph(from: string): Promise<unknown> {
    const { layers, records } = JSON.parse(await this.bench.bkcache('inspect', '--json', from)) as Inspected;
    return {
      layers: layers.map(({ digest, size, diffID, createdAt }) => ({ digest, size, diffID, createdAt })),
      records,
    };
  }

  async feature(): Promise<string> {
    const { cache } = await this.bench.first('feature');
    return this.copy([`type=local,src=${cache}`], this.name('feature'));
  }

  /** One cache serves both branches. */
  async merged(cacheFrom: string): Promise<Verdict> {
    const imports = importsOfSeveralEnds(this.bench);
    let verdict = await this.whole(cacheFrom, 'files', imports);
    for (const branch of MERGED.slice(1)) {
      const more = await this.bench.whole(branch, cacheFrom, 'files', imports);
      verdict = { ...more, ...sums(verdict, more), problems: [...verdict.problems, ...more.problems] };
    }
    return verdict;
  }

  async min(): Promise<Verdict> {
    await this.bench.build('main', { cacheTo: [`${this.name('min-of-buildkit')},mode=min`] });
    const ours = await this.copy([this.exported], this.name('min'), 'mode=min');
    const expected = await this.bench.buildAll('main', [this.name('min-of-buildkit')]);
    const found = await this.bench.buildAll('main', [ours]);
    return asUseful(expected, found, this.bench.context.forgetful);
  }

  /** S3: an import reads the first name. Azure: all names, as one cache. */
  async severalNames(): Promise<Verdict> {
    await this.copy([this.name('again')], this.name('one;two'));
    const written = await this.whole(this.name('two'));
    if (this.type === 's3') return written;
    const apart = await this.merged(this.name('one;feature;nothing'));
    return { ...apart, ...sums(written, apart), problems: [...written.problems, ...apart.problems] };
  }

  async exportedUnder(prefixes: string): Promise<Verdict> {
    const [exported, beside] = [`${this.name('under')},${prefixes}`, this.bench.path('beside-prefixes')];
    await this.bench.build('main', { cacheTo: [`${exported},mode=max`, `type=local,dest=${beside},mode=max`] });
    const folder = await this.bench.copy([exported], '', 'from-prefixes');
    const same = isDeepStrictEqual(await this.graph(beside), await this.graph(folder));
    const build = await this.bench.build('main', { cacheFrom: [`type=local,src=${folder}`] });
    const ran = build.steps.filter(({ cached }) => !cached).map(({ name }) => `not cached: ${name}`);
    const problems = same ? ran : [`${exported} has another graph than BuildKit's folder`, ...ran];
    return { steps: build.steps.length, cached: build.steps.length - ran.length, seconds: build.seconds, problems };
  }

  async touched(): Promise<string> {
    const at = `${await this.server.bucket()},name=touched`;
    await this.copy([this.folder], at);
    await sleep(AGE);
    const before = await blobsOf(at);
    await this.copy([this.folder], at, 'touch_refresh=1ms');
    const after = await blobsOf(at);
    const old = [...before].filter(([key, { date }]) => (after.get(key)?.date ?? 0) <= date);
    if (old.length > 0) throw new Error(`bkcache has not touched ${old.length} of ${before.size} blobs`);
    return at;
  }

  /** BuildKit touches what bkcache wrote, and bkcache reads it as before. */
  async touchedByBuildKit(): Promise<Verdict> {
    const [theirs, at] = [`${await this.server.bucket()},name=theirs`, `${await this.server.bucket()},name=touched`];
    const build = await this.bench.build('main', { cacheTo: [`${theirs},mode=max`] });
    await this.copy([theirs], at);
    await sleep(AGE);
    // BuildKit still has the very same blobs.
    const image = `type=oci,dest=${this.bench.path('image.tar')}`;
    await this.bench.send('main', image, { cacheTo: [`${at},mode=max,touch_refresh=1ms`] });
    const untouched = [...(await blobsOf(at)).values()].filter(({ updated }) => updated === undefined);
    const problems = untouched.length === 0 ? [] : [`BuildKit has not touched ${untouched.length} blobs`];
    await this.bench.bkcache('verify', '--deep', at);
    const verdict = await this.bench.wholeAs(new Map([[undefined, build]]), 'main', at);
    return { ...verdict, problems: [...problems, ...verdict.problems] };
  }

  /** What BuildKit exports where bkcache has written before is read by both. */
  async exportedOver(): Promise<Verdict> {
    const at = `${await this.server.bucket()},name=main`;
    await this.copy([this.folder], at, 'compression=zstd,force-compression=true');
    const beside = this.bench.path('beside-second');
    await this.bench.build('main', { cacheTo: [`${at},mode=max`, `type=local,dest=${beside},mode=max`] });
    const problems = isDeepStrictEqual(await this.graph(at), await this.graph(beside))
      ? []
      : [`${at} has another graph`];
    await this.bench.bkcache('verify', '--deep', at);
    return { steps: 0, cached: 0, seconds: 0, problems };
  }

  /** A name that stays after prune and gc is whole, though others had the same blobs. */
  async collected(): Promise<string> {
    const bucket = await this.server.bucket();
    await this.copy([this.exported], `${bucket},name=main`);
    await this.copy([await this.feature()], `${bucket},name=feature`);
    await this.bench.bkcache('prune', '--untag', 'feature', bucket);
    const prefix = this.type === 's3' ? 'manifests/' : 'manifests';
    await this.bench.bkcache('gc', '--grace', '0', '--manifests-prefix', prefix, bucket);
    await this.bench.bkcache('verify', bucket);
    return `${bucket},name=main`;
  }
}

/** Services count in seconds. */
const AGE = 2100;

interface Inspected {
  readonly layers: readonly Record<'digest' | 'size' | 'diffID' | 'createdAt', unknown>[];
  readonly records: unknown;
}

function sums(one: Verdict, two: Verdict): Pick<Verdict, 'steps' | 'cached' | 'seconds'> {
  return { steps: one.steps + two.steps, cached: one.cached + two.cached, seconds: one.seconds + two.seconds };
}

interface Blob {
  /** In milliseconds since 1970. */
  readonly date: number;
  /** What a touch writes: s3rver leaves the date of an object that is copied onto itself as it is. */
  readonly updated: string | undefined;
}

/** The blobs of a bucket of S3, by their keys. */
async function blobsOf(at: string): Promise<Map<string, Blob>> {
  const pairs = at.split(',').map((pair) => pair.split('=', 2) as [string, string]);
  const { bucket: Bucket, region = '', endpoint_url: endpoint = '', ...keys } = Object.fromEntries(pairs);
  const credentials = { accessKeyId: keys['access_key_id'] ?? '', secretAccessKey: keys['secret_access_key'] ?? '' };
  const client = new S3Client({ region, endpoint, forcePathStyle: true, credentials });
  const found = new Map<string, Blob>();
  const { Contents: listed = [] } = await client.send(new ListObjectsV2Command({ Bucket, Prefix: 'blobs/' }));
  for (const { Key } of listed) {
    const { LastModified, Metadata } = await client.send(new HeadObjectCommand({ Bucket, Key }));
    found.set(Key ?? '', { date: LastModified?.getTime() ?? 0, updated: Metadata?.['updated-at'] });
  }
  client.destroy();
  return found;
}
