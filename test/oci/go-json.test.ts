import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'ava';
import { decodeCacheConfig, decodeRecords } from '../../src/buildkit/cache-config.js';
import { CacheError } from '../../src/errors.js';
import { decodeIndex } from '../../src/layout/index/index-json.js';
import { EMPTY, int, list, parseGo, pointer, string, struct } from '../../src/oci/go-types.js';
import { decodeImageConfig } from '../../src/oci/image.js';
import { decodeManifest } from '../../src/oci/manifest.js';
import { markerVersion } from '../../src/oci/marker.js';

type Row = readonly [type: string, text: string, value: unknown];
type Json = Readonly<Record<string, unknown>>;

// Made by scripts/go-json/main.go.
const rows = JSON.parse(readFileSync(join('test', 'oci', 'go-json.json'), 'utf8')) as Row[];

/** A value without what is zero, since Go writes it so; a list of nothing is nil to us. */
function plain(value: unknown): unknown {
  if (value instanceof Uint8Array) return Buffer.from(value).toString('base64');
  if (Array.isArray(value)) return value.map((item) => plain(item ?? []));
  if (typeof value !== 'object' || value === null) return value;
  const json = 'toJSON' in value ? (value as { toJSON(): unknown }).toJSON() : value;
  if (json !== value) return plain(json);
  const members = Object.entries(value).map(([key, member]) => [key, plain(member)] as const);
  return Object.fromEntries(members.filter(([, member]) => !isZero(member)));
}

function isZero(value: unknown): boolean {
  if (Array.isArray(value)) return value.length === 0;
  if (typeof value === 'object' && value !== null) return Object.keys(value).length === 0;
  return value === undefined || value === null || value === '' || value === 0 || value === false;
}

const pick = (value: Json, ...keys: string[]) =>
  Object.fromEntries(keys.filter((key) => Object.hasOwn(value, key)).map((key) => [key, value[key]]));

const descriptor = (value: unknown) => pick(value as Json, 'mediaType', 'digest', 'size', 'urls', 'annotations');
const descriptors = (value: unknown) => ((value ?? []) as unknown[]).map((item) => descriptor(item ?? {}));

interface History {
  readonly created?: string;
  readonly created_by?: string;
  readonly empty_layer?: boolean;
}

// What we read of a text, and the same part of what Go reads.
const readers: Readonly<Record<string, { ours: (bytes: Buffer) => unknown; theirs: (value: Json) => unknown }>> = {
  index: {
    ours: (bytes) => fromGo(decodeIndex(bytes, 'here')),
    theirs: (value) => fromGo(value),
  },
  manifest: {
    ours(bytes) {
      const manifest = decodeManifest(bytes, 'here');
      if (manifest.fault !== undefined) throw new CacheError('CORRUPT', manifest.fault);
      return manifest.kind === 'manifest'
        ? { config: descriptor(manifest.config), layers: descriptors(manifest.layers) }
        : { manifests: descriptors(manifest.manifests) };
    },
    theirs: ({ config, layers, manifests }) => ({
      config: descriptor(config ?? {}),
      layers: descriptors(layers),
      manifests: descriptors(manifests),
    }),
  },
  config: {
    ours(bytes) {
      const { layers, records } = decodeCacheConfig(bytes, 'here');
      return { layers, records: records.map(({ results, ...record }) => ({ ...record, layers: results })) };
    },
    theirs: (value) => value,
  },
  records: {
    ours: (bytes) => decodeRecords(bytes, 'here').map(({ results, ...record }) => ({ ...record, layers: results })),
    theirs: (value) => value ?? [],
  },
  image: {
    ours(bytes) {
      const { diffIDs, history, cache } = decodeImageConfig(bytes, 'here');
      return { diffIDs, history, cache };
    },
    theirs: ({ rootfs, history, 'moby.buildkit.cache.v0': cache }) => ({
      diffIDs: (rootfs as Json)['diff_ids'],
      history: ((history ?? []) as History[])
        .filter(({ empty_layer: isEmpty }) => isEmpty !== true)
        .map(({ created, created_by: createdBy }) => ({ created, createdBy })),
      cache,
    }),
  },
  marker: {
    ours: (bytes) => ({ imageLayoutVersion: markerVersion(bytes, 'here') }),
    theirs: (value) => value,
  },
};

function fromGo({ schemaVersion, mediaType, manifests }: Json): object {
  return { schemaVersion, mediaType, manifests: descriptors(manifests) };
}

/** Where we ask for more than Go does, which looks at a digest only when it fetches the blob. */
function isStricter(error: unknown): boolean {
  return error instanceof CacheError && /is not a (digest|size)$|has no config$/.test(error.message);
}

for (const [type, { ours, theirs }] of Object.entries(readers)) {
  test(`${type}: what Go refuses is refused, and what it reads is read so`, (t) => {
    for (const [, text, value] of rows.filter(([of]) => of === type)) {
      const bytes = Buffer.from(text, 'latin1');
      if (value === false) {
        const error = t.throws(() => ours(bytes), { instanceOf: CacheError }, text);
        t.is(error?.code, 'CORRUPT', text);
        continue;
      }
      try {
        t.deepEqual(plain(ours(bytes)), plain(theirs(value as Json)), text);
      } catch (error) {
        if (!isStricter(error)) t.fail(`${text}: ${String(error)}`);
      }
    }
  });
}

test('zones that Go reads and does not write come to the same moment', (t) => {
  const time = (text: string) =>
    decodeRecords(Buffer.from(`[{"digest":"x:y","layers":[{"createdAt":"${text}"}]}]`), 'x');
  t.is(time('2026-01-02T03:04:05.5+24:00')[0]?.results[0]?.createdAt, '2026-01-01T03:04:05.5Z');
  t.is(time('2026-01-02T03:04:05-24:00')[0]?.results[0]?.createdAt, '2026-01-03T03:04:05Z');
});

test('nesting is followed as deep as Go follows it, whether or not the field is known', (t) => {
  const nested = (depth: number) => Buffer.from(`{"x":${'['.repeat(depth - 1)}${']'.repeat(depth - 1)}}`);
  t.notThrows(() =>
    decodeManifest(Buffer.from(`{"config":{"digest":"x:y"},${nested(10_000).toString().slice(1)}`), 'x'),
  );
  for (const depth of [10_001, 1_000_000]) {
    const error = t.throws(() => decodeIndex(nested(depth), 'here'), { instanceOf: CacheError });
    t.is(error?.message, 'here is nested more than 10000 levels deep');
  }
});

test('errors say which field is wrong, with what should be there and what is', (t) => {
  const read = (text: string) => () => parseGo(type, Buffer.from(text), 'here');
  const type = struct(() => ({ items: EMPTY as readonly { n?: number }[], name: '' }), {
    items: ['items', list(struct((): { n?: number } => ({}), { n: ['n', pointer(int)] }))],
    name: ['name', string],
  });
  for (const [text, field, expected, found] of [
    ['{"items":[{},{"a,\\"b[":[1],"n":"2"}]}', 'items.1.n', 'a whole number', '"2"'],
    ['{"name":{"x":[1, 2]}}', 'name', 'a string', '{"x":[1, 2]}'],
    ['{"NAME":7}', 'NAME', 'a string', '7'],
    ['{"items":[{"n":9223372036854775808}]}', 'items.0.n', 'not a whole number of 64 bits', '9223372036854775808'],
    ['[]', '', 'an object', '[]'],
  ] as const) {
    const error = t.throws(read(text), { instanceOf: CacheError }, text);
    t.like(error, { code: 'CORRUPT', field, expected, found }, text);
  }
  t.is(t.throws(read(''))?.message, 'here is not JSON: unexpected end');
  t.regex(t.throws(read('\uFEFF{}'))?.message ?? '', /byte order mark/);
});
