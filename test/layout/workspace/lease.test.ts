import {
  closeSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import fc from 'fast-check';
import { CacheError } from '../../../src/errors.js';
import { LeasedBlobs } from '../../../src/layout/blobs/leased-blobs.js';
import { updateIndex } from '../../../src/layout/index/index-file.js';
import { createLayout } from '../../../src/layout/create-layout.js';
import { openLayout } from '../../../src/layout/layout.js';
import { tryFlock } from '../../../src/layout/lock/flock.js';
import type { Lease } from '../../../src/layout/workspace/lease.js';
import { LeaseReader } from '../../../src/layout/workspace/lease-reader.js';
import { Marker } from '../../../src/layout/workspace/marker.js';
import { Workspace } from '../../../src/layout/workspace/workspace.js';
import { type Digest, sha256 } from '../../../src/oci/digest.js';
import { collectGarbage } from '../../../src/operations/gc.js';
import { temporary } from '../../support/fixtures.js';
import { blobPath, OLD } from '../../support/folders.js';

const digests = Array.from({ length: 8 }, (_, number) => sha256(`blob ${number}`));
const many = Array.from({ length: 1000 }, (_, number) => sha256(`${number}`));
const [a, b] = digests as [Digest, Digest];

const leasedIn = (root: string) => [...new LeaseReader(root, tryFlock).added()].toSorted();
const markersIn = (root: string) => readdirSync(join(root, '.bkcache')).map((name) => join(root, '.bkcache', name));

function oldBlob(root: string, content: string): { readonly digest: Digest; readonly size: number } {
  const digest = sha256(content);
  const path = blobPath(root, digest);
  writeFileSync(path, content);
  utimesSync(path, OLD, OLD);
  return { digest, size: content.length };
}

async function emptyFolder(t: ExecutionContext): Promise<string> {
  const root = join(temporary(t), 'cache');
  const layout = await createLayout(root);
  await updateIndex(layout, (index) => ({ ...index, manifests: [] }));
  await layout[Symbol.asyncDispose]();
  return root;
}

test('10,000 requests through one open layout: gc frees what they read, and keeps what is leased', async (t) => {
  const root = await emptyFolder(t);
  const server = await openLayout(root);
  const long = new LeasedBlobs(server);
  const kept = oldBlob(root, 'kept');
  t.true(await long.has(kept));
  for (let round = 0; round < 100; round++) {
    const blobs = Array.from({ length: 100 }, (_, number) => oldBlob(root, `blob ${number}`));
    for (const [number, blob] of blobs.entries()) {
      await using request = new LeasedBlobs(server);
      t.true(await request.has(blob));
      if (round % 25 === 0 && number === 50) {
        // In the middle of a request, whose blob stays.
        t.is((await collectGarbage(root, { grace: 0 })).removed.count, 99);
        for (const other of blobs.keys()) oldBlob(root, `blob ${other}`);
      }
      let text = '';
      for await (const chunk of server.blobs.content(blob.digest).open({ end: blob.size }))
        text += Buffer.from(chunk).toString();
      t.is(text, `blob ${number}`);
    }
    if (round % 25 === 20) t.is((await collectGarbage(root, { grace: 0 })).removed.count, 100);
  }
  t.deepEqual(leasedIn(root), [kept.digest]);
  const markers = markersIn(root);
  t.true(markers.length <= 2, markers.join(' '));
  for (const marker of markers) t.true(statSync(marker).size < 70_000);
  await server[Symbol.asyncDispose]();
  t.is((await collectGarbage(root, { grace: 0 })).removed.count, 101);
});

test('two leases on one blob: it stays leased until both have ended', async (t) => {
  const root = temporary(t);
  const workspace = new Workspace(root);
  const [first, second] = [workspace.lease(), workspace.lease()];
  await Promise.all([first.add([a]), second.add([a, b]), second.add([a])]);
  await first[Symbol.asyncDispose]();
  t.deepEqual(leasedIn(root), [a, b].toSorted());
  await second[Symbol.asyncDispose]();
  await second[Symbol.asyncDispose]();
  t.deepEqual(leasedIn(root), []);
  await t.throwsAsync(second.add([a]), { message: 'the lease has ended' });
  await workspace.close();
  t.deepEqual(readdirSync(root), []);
});

test('a release that only knows digests keeps at least what is leased; the markers of such a release are read', async (t) => {
  const root = temporary(t);
  const workspace = new Workspace(root);
  const [ended, open] = [workspace.lease(), workspace.lease()];
  await ended.add([a]);
  await open.add([a, b]);
  await ended[Symbol.asyncDispose]();
  const [marker = ''] = markersIn(root);
  const lines = readFileSync(marker, 'utf8').split('\n');
  for (const digest of [a, b]) t.true(lines.includes(digest));
  await workspace.close();

  mkdirSync(join(root, '.bkcache'));
  const path = join(root, '.bkcache', '01234567-0123-4123-8123-0123456789ab');
  writeFileSync(path, `${a}\n${b}`);
  const process = openSync(path, 'a');
  tryFlock(process, 'exclusive');
  // Of the second it has not written the end of the line yet, and so has not looked for the blob.
  t.deepEqual(leasedIn(root), [a]);
  closeSync(process);
  t.deepEqual(leasedIn(root), []);
});

test('a full marker goes with its last lease, and a lease in it stays seen until then', async (t) => {
  const root = temporary(t);
  const workspace = new Workspace(root);
  const long = workspace.lease();
  await long.add([a]);
  {
    await using export1 = workspace.lease();
    await export1.add(many);
  }
  const next = workspace.lease();
  await next.add([b]);
  t.is(markersIn(root).length, 2);
  t.deepEqual(leasedIn(root), [a, b].toSorted());
  await long[Symbol.asyncDispose]();
  t.is(markersIn(root).length, 1);
  t.deepEqual(leasedIn(root), [b]);
  await workspace.close();
});

test('a lease whose marker was deleted says so, and later leases are seen', async (t) => {
  const root = temporary(t);
  const workspace = new Workspace(root);
  const lost = workspace.lease();
  await lost.add([a]);
  rmSync(join(root, '.bkcache'), { recursive: true });
  t.throws(() => lost.refuseLoss(), { instanceOf: CacheError, message: /somebody deleted files/ });
  await t.throwsAsync(lost.temporary(), { instanceOf: CacheError });
  await using next = workspace.lease();
  await next.add([b]);
  next.refuseLoss();
  t.deepEqual(leasedIn(root), [b]);
  await lost[Symbol.asyncDispose]();
  await workspace.close();
});

test('after a write that failed in the middle of a line, the next lease is seen', async (t) => {
  const root = temporary(t);
  const marker = new Marker(join(root, '.bkcache'));
  const handle = await marker.open();
  const append = handle.appendFile.bind(handle);
  handle.appendFile = async (text) => {
    await append(String(text).slice(0, 20));
    throw Object.assign(new Error('no space'), { code: 'ENOSPC', errno: -28, syscall: 'write' });
  };
  const lease = new Set<Digest>();
  await t.throwsAsync(marker.add(lease, [a]), { code: 'ENOSPC' });
  t.is(lease.size, 0);
  t.true(marker.isFull);
  handle.appendFile = append;
  await marker.add(lease, [b]);
  t.deepEqual(leasedIn(root), [b]);
  handle.appendFile = () =>
    Promise.reject(Object.assign(new Error('no space'), { code: 'ENOSPC', errno: -28, syscall: 'write' }));
  // What cannot be written stays leased for a while: that is the safe side.
  await marker.end(lease);
  t.deepEqual(leasedIn(root), [b]);
  await marker.remove();
});

test('at every instant readers see all leases that began before, whatever begins and ends meanwhile', async (t) => {
  const operation = fc.record({
    type: fc.constantFrom('begin', 'add', 'end', 'fill', 'read'),
    slot: fc.nat(3),
    blobs: fc.uniqueArray(fc.constantFrom(...digests), { minLength: 1, maxLength: 3 }),
    isAwaited: fc.boolean(),
  });
  await fc.assert(
    fc.asyncProperty(fc.array(operation, { maxLength: 40 }), async (operations) => {
      const root = temporary(t);
      const workspace = new Workspace(root);
      const leases = new Map<number, { readonly lease: Lease; readonly blobs: Set<Digest> }>();
      const reader = new LeaseReader(root, tryFlock);
      const reported = new Set<Digest>();
      const pending: Promise<void>[] = [];
      const check = () => {
        const now = new LeaseReader(root, tryFlock).added();
        for (const blob of reader.added()) reported.add(blob);
        for (const { blobs } of leases.values())
          for (const blob of blobs) if (!now.has(blob) || !reported.has(blob)) throw new Error(`${blob} is not seen`);
        return now;
      };
      for (const { type, slot, blobs, isAwaited } of operations) {
        const known = leases.get(slot);
        let change: Promise<void> | undefined;
        if (type === 'begin' && known === undefined) leases.set(slot, { lease: workspace.lease(), blobs: new Set() });
        else if (type === 'add' && known !== undefined)
          change = known.lease.add(blobs).then(() => blobs.forEach((blob) => known.blobs.add(blob)));
        else if (type === 'end' && known !== undefined) {
          leases.delete(slot);
          change = known.lease[Symbol.asyncDispose]();
        } else if (type === 'fill') {
          await using lease = workspace.lease();
          await lease.add(many);
        } else if (type === 'read') check();
        if (change !== undefined) pending.push(change);
        if (isAwaited) await change;
      }
      await Promise.all(pending);
      const now = check();
      // Nothing stays leased but what a lease names.
      const open = new Set([...leases.values()].flatMap(({ blobs }) => [...blobs]));
      t.deepEqual([...now].toSorted(), [...open].toSorted());
      await workspace.close();
      t.deepEqual(readdirSync(root), []);
    }),
    { numRuns: 200 },
  );
});
