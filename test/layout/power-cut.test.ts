import { cpSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { collectGarbage } from '../../src/operations/gc.js';
import { copyCache } from '../../src/operations/copy/copy.js';
import { CacheError } from '../../src/errors.js';
import { markStore } from '../../src/layout/index/last-used.js';
import { openLayout } from '../../src/layout/layout.js';
import { prune } from '../../src/operations/prune/prune.js';
import { repairFolder } from '../../src/operations/repair/repair.js';
import { sha256 } from '../../src/oci/digest.js';
import { resolveCache } from '../../src/operations/resolve.js';
import { importCache } from '../../src/operations/import.js';
import { removeCache } from '../../src/operations/remove.js';
import { verifyFolder } from '../../src/operations/verify/verify.js';
import { fixture, importOf, temporary } from '../support/fixtures.js';
import type { Loss } from '../support/power/operation.js';
import { record } from '../support/power/record.js';
import { DEFAULT_LAYOUT_SETTINGS } from '../../src/layout/settings.js';
import { copyFixture, OLD, setTimes } from '../support/folders.js';

/** Something that changes a folder, and what has to be true of the folder whenever it is cut off. */
interface Scenario {
  readonly prepare: (folder: string) => Promise<void> | void;
  readonly run: (folder: string, layout: { readonly durable: boolean }) => Promise<unknown>;
  /** The tags that are there throughout. */
  readonly stays: readonly string[];
  /** What may be wrong before, and must not be worse. */
  readonly damaged?: boolean;
}

function grown(folder: string): void {
  copyFixture('grown', folder);
  setTimes(folder, OLD);
}

const SCENARIOS: Readonly<Record<string, Scenario>> = {
  'a copy into a new folder': {
    prepare: () => undefined,
    run: (folder, layout) =>
      copyCache({ imports: [importOf('max-gzip')], exports: [`type=local,dest=${folder}`], layout }),
    stays: [],
  },
  'a copy beside other tags': {
    prepare: grown,
    run: (folder, layout) =>
      copyCache({ imports: [importOf('max-zstd')], exports: [`type=local,dest=${folder},tag=new`], layout }),
    stays: ['main', 'feature'],
  },
  'a conversion in the place of a tag': {
    prepare: grown,
    run: (folder, layout) =>
      copyCache({
        imports: [importOf('min-gzip')],
        exports: [`type=local,dest=${folder},tag=main,compression=zstd,force-compression=true`],
        layout,
      }),
    stays: ['main', 'feature'],
  },
  'an import into the store': {
    prepare: grown,
    run: (folder, layout) => importCache(folder, 'new', [importOf('max-gzip')], { layout }),
    stays: ['main', 'feature'],
  },
  'an export with reset=true': {
    prepare: grown,
    run: (folder, layout) =>
      copyCache({
        imports: [importOf('min-gzip')],
        exports: [`type=local,dest=${folder},tag=main,reset=true`],
        layout,
      }),
    stays: ['main', 'feature'],
  },
  'a use of a store that is written down': {
    async prepare(folder) {
      grown(folder);
      const layout = await openLayout(folder, { ...DEFAULT_LAYOUT_SETTINGS, durable: false });
      await markStore(layout);
      await layout[Symbol.asyncDispose]();
    },
    run: (folder) => resolveCache(`type=local,src=${folder},tag=main`),
    stays: ['main', 'feature'],
  },
  'the removal of a tag': {
    prepare: grown,
    run: (folder, layout) => ignoringAbsence(removeCache(folder, 'main', { layout })),
    stays: ['feature'],
  },
  'a collection': {
    prepare: grown,
    run: (folder, layout) => collectGarbage(folder, { layout }),
    stays: ['main', 'feature'],
  },
  'a collection beside an export': {
    prepare(folder) {
      grown(folder);
      writeFileSync(
        join(folder, 'blobs', 'sha256', '2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881'),
        'x',
      );
    },
    run: (folder, layout) => collectGarbage(folder, { layout }),
    stays: ['main', 'feature'],
  },
  'a pruning': {
    prepare: grown,
    run: (folder, layout) => prune(folder, { maxSize: 12_000, keep: ['feature'], layout }),
    stays: ['main', 'feature'],
  },
  'the dropping of tags': {
    prepare: grown,
    run: (folder, layout) => prune(folder, { untag: ['m*'], layout }),
    stays: ['feature'],
  },
  'a repair that fetches': {
    prepare(folder) {
      grown(folder);
      damage(folder);
    },
    run: (folder, layout) => repairFolder(folder, { from: [`type=local,src=${fixture('grown')},tag=main`], layout }),
    stays: ['main', 'feature'],
    damaged: true,
  },
  'a repair that cuts': {
    prepare(folder) {
      grown(folder);
      damage(folder);
    },
    run: (folder, layout) => repairFolder(folder, { layout }),
    stays: ['main', 'feature'],
    damaged: true,
  },
};

/** What was removed before it was cut off need not be removed again. */
async function ignoringAbsence(removal: Promise<void>): Promise<void> {
  await removal.catch((error: unknown) => {
    if (!(error instanceof CacheError && error.code === 'NOT_FOUND')) throw error;
  });
}

/** A layer of both tags with a wrong byte. */
function damage(folder: string): void {
  const blobs = join(folder, 'blobs', 'sha256');
  const layers = readdirSync(blobs).filter(
    (name) => readFileSync(join(blobs, name))[0] === 0x1f && statSync(join(blobs, name)).size > 100,
  );
  const used = new Set(['main', 'feature'].flatMap((tag) => layersOf(folder, tag)));
  const [name = ''] = layers.filter((layer) => used.has(layer)).toSorted();
  const bytes = readFileSync(join(blobs, name));
  bytes[50] = (bytes[50] ?? 0) ^ 1;
  rmSync(join(blobs, name));
  writeFileSync(join(blobs, name), bytes);
}

function layersOf(folder: string, tag: string): string[] {
  const read = (path: string) => JSON.parse(readFileSync(join(folder, path), 'utf8')) as Document;
  const entry = read('index.json').manifests?.find(
    ({ annotations }) => annotations['org.opencontainers.image.ref.name'] === tag,
  );
  const { layers = [] } = read(join('blobs', 'sha256', entry?.digest.slice('sha256:'.length) ?? ''));
  return layers.map(({ digest }) => digest.slice('sha256:'.length));
}

interface Document {
  readonly manifests?: readonly { digest: string; annotations: Record<string, string> }[];
  readonly layers?: readonly { digest: string }[];
}

/** A repeatable choice of what is lost. */
function chance(seed: number): (operation: number) => boolean {
  return (operation) => (Math.imul(operation + 1, 2_654_435_761) ^ Math.imul(seed, 40_503)) % 3 === 0;
}

const LOSSES: Readonly<Record<string, Loss>> = {
  nothing: 'nothing',
  bytes: 'bytes',
  everything: 'everything',
  'by chance 1': chance(1),
  'by chance 2': chance(2),
};

for (const [name, scenario] of Object.entries(SCENARIOS)) {
  // What is recorded is what this process does: one thing at a time.
  test.serial(`${name} can be cut off after every operation`, async (t) => {
    const work = temporary(t);
    const folder = join(work, 'folder');
    cpSync(join(work), folder, { recursive: true, filter: () => false });
    await scenario.prepare(folder);
    const isNew = !readdirSync(work).includes('folder');
    const recording = await record(isNew ? work : folder, () => scenario.run(folder, { durable: true }));
    t.true(recording.length > 5);
    const restored = (path: string) => (isNew ? join(path, 'folder') : path);

    // The recording itself is right when it comes to the very same folder.
    const all = join(work, 'all');
    recording.restore(recording.length, 'nothing', all);
    t.deepEqual(contents(restored(all)), contents(folder));

    const tagsAfter = tagsIn(folder);
    const seen = new Set<string>();
    for (let count = 0; count <= recording.length; count++) {
      for (const [loss, kind] of Object.entries(LOSSES)) {
        const cut = join(work, 'cut');
        recording.restore(count, kind, cut);
        const where = `after ${count} operations, with ${loss} lost`;
        const state = sha256(JSON.stringify(contents(cut)));
        if (!seen.has(state)) {
          seen.add(state);
          await assertWhole(t, restored(cut), scenario, where);
          await t.notThrowsAsync(scenario.run(restored(cut), { durable: false }), where);
          t.true((await verifyFolder(restored(cut))).sound, `${where}, and run again`);
          t.deepEqual(tagsIn(restored(cut)), tagsAfter, `${where}, and run again`);
        }
        rmSync(cut, { recursive: true });
      }
    }
    // When it has said that it is done, nothing of it can be lost.
    const last = join(work, 'last');
    recording.restore(recording.length, 'everything', last);
    t.deepEqual(tagsIn(restored(last)), tagsAfter);
  });
}

async function assertWhole(
  t: ExecutionContext,
  folder: string,
  { stays, damaged }: Scenario,
  where: string,
): Promise<void> {
  const tags = tagsIn(folder);
  for (const tag of stays) t.true(tags.includes(tag), `${tag} is gone ${where}`);
  if (tags.length === 0) return;
  const { findings } = await verifyFolder(folder);
  const wrong = findings.filter(
    ({ severity, kind }) => severity === 'corrupt' && !(damaged === true && kind === 'damaged'),
  );
  t.deepEqual(wrong, [], where);
  if (damaged === true) t.true(findings.filter(({ severity }) => severity === 'corrupt').length <= 1, where);
}

function tagsIn(folder: string): string[] {
  try {
    const { manifests = [] } = JSON.parse(readFileSync(join(folder, 'index.json'), 'utf8')) as Document;
    return manifests.map(({ annotations }) => annotations['org.opencontainers.image.ref.name'] ?? '').toSorted();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw error;
  }
}

function contents(folder: string): Record<string, string> {
  const paths = readdirSync(folder, { recursive: true, encoding: 'utf8' }).toSorted();
  return Object.fromEntries(
    paths.map((path) => [
      path,
      statSync(join(folder, path)).isDirectory() ? '' : readFileSync(join(folder, path), 'hex'),
    ]),
  );
}
