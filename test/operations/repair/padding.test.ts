import { createHash } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { gunzipSync, gzipSync } from 'node:zlib';
import test, { type ExecutionContext } from 'ava';
import { decode } from '../../../src/codec/decode.js';
import { copyCache } from '../../../src/operations/copy/copy.js';
import { CacheError } from '../../../src/errors.js';
import { sha256 } from '../../../src/oci/digest.js';
import { compareText } from '../../../src/oci/json.js';
import { repairFolder } from '../../../src/operations/repair/repair.js';
import { verifyFolder } from '../../../src/operations/verify/verify.js';
import { temporary } from '../../support/fixtures.js';
import { assertSound } from '../../support/sound.js';
import { descriptorsIn } from '../../support/caches.js';
import { blobPath } from '../../support/folders.js';
import { changedFixture } from '../../support/changed-fixture.js';

async function* inPieces(bytes: Buffer, size: number) {
  for (let at = 0; at < bytes.length; at += size) {
    await Promise.resolve();
    yield bytes.subarray(at, at + size);
  }
}

async function unpacked(bytes: Buffer, size: number): Promise<{ text: string; padding: number | undefined }> {
  const chunks: Uint8Array[] = [];
  let padding: number | undefined;
  const onPadding = (zeros: number) => {
    padding = zeros;
  };
  for await (const chunk of decode(inPieces(bytes, size), 'gzip', 'here', { onPadding })) chunks.push(chunk);
  return { text: Buffer.concat(chunks).toString(), padding };
}

test('zeros behind gzip members are counted, and anything else behind them is damage', async (t) => {
  const members = [gzipSync('hello '), gzipSync(''), gzipSync(Buffer.alloc(2000), { level: 0 }), gzipSync('world')];
  const blob = Buffer.concat(members);
  const text = `hello ${'\0'.repeat(2000)}world`;
  for (const size of [1, 7, 1000, 100_000]) {
    t.deepEqual(await unpacked(blob, size), { text, padding: undefined });
    for (const zeros of [1, 8, 64, 65, 5000]) {
      t.deepEqual(await unpacked(Buffer.concat([blob, Buffer.alloc(zeros)]), size), { text, padding: zeros });
    }
    for (const behind of ['x', '\0x', '\0'.repeat(5000) + 'x', '\0'.repeat(100) + blob.toString('latin1')]) {
      const wrong = unpacked(Buffer.concat([blob, Buffer.from(behind, 'latin1')]), size);
      await t.throwsAsync(wrong, { instanceOf: CacheError, code: 'CORRUPT' });
    }
  }
  t.deepEqual(await unpacked(gzipSync(''), 3), { text: '', padding: undefined });
});

/** A cache of which each layer has zeros behind its gzip stream, and perhaps a sha512 as its diffID. */
function padded(t: ExecutionContext, { sha512 = false, zeros = 512 } = {}): string {
  return changedFixture(t, 'max-gzip', (manifest, config, folder) => {
    const { layers } = config as { layers?: { blob: string }[] };
    for (const layer of manifest.layers) {
      const bytes = readFileSync(blobPath(folder, layer.digest));
      const now = Buffer.concat([bytes, Buffer.alloc(zeros)]);
      for (const other of layers ?? []) if (other.blob === layer.digest) other.blob = sha256(now);
      Object.assign(layer, { digest: sha256(now), size: now.length });
      writeFileSync(blobPath(folder, layer.digest), now, { mode: 0o444 });
      const hash = createHash('sha512').update(gunzipSync(bytes)).digest('hex');
      if (sha512) layer.annotations['containerd.io/uncompressed'] = `sha512:${hash}`;
    }
  });
}

test('zeros behind a gzip stream are a note, which repair mends by compressing again; nothing is cut', async (t) => {
  const folder = padded(t);
  const before = await verifyFolder(folder, { deep: true });
  t.true(before.sound);
  const notes = before.findings.filter(({ wrong }) => wrong === 'padding');
  t.is(notes.length, 6);
  t.like(notes[0], { severity: 'note', found: '512 bytes', repair: `bkcache repair --deep ${folder}` });

  const dry = await repairFolder(folder, { deep: true, dryRun: true });
  const { actions, sound } = await repairFolder(folder, { deep: true });
  t.deepEqual(dry.actions, actions);
  t.like(actions, [{ type: 'rewritten', wrong: ['padding'] }]);
  t.true(sound);
  const out = temporary(t);
  await copyCache({ imports: [`type=local,src=${folder}`], exports: [`type=local,dest=${out}`] });
  await assertSound(t, out);
  const after = await verifyFolder(folder, { deep: true });
  t.deepEqual(
    after.findings.filter(({ wrong }) => wrong === 'padding'),
    [],
  );
  t.deepEqual((await repairFolder(folder, { deep: true })).actions, []);
});

test('a copy keeps the zeros, and a conversion leaves them', async (t) => {
  const folder = padded(t);
  for (const options of ['', ',compression=zstd,force-compression=true']) {
    const out = temporary(t);
    await copyCache({ imports: [`type=local,src=${folder}`], exports: [`type=local,dest=${out}${options}`] });
    const { findings } = await verifyFolder(out, { deep: true });
    t.is(findings.filter(({ wrong }) => wrong === 'padding').length, options === '' ? 6 : 0);
  }
});

test('a diffID that is a sha512 is checked as one, and stays with its tar', async (t) => {
  const folder = padded(t, { sha512: true, zeros: 0 });
  t.true((await verifyFolder(folder, { deep: true })).sound);
  const out = temporary(t);
  const exports = [`type=local,dest=${out},compression=zstd,force-compression=true`];
  await copyCache({ imports: [`type=local,src=${folder}`], exports });
  t.true((await verifyFolder(out, { deep: true })).sound);
  const diffIDs = async (at: string) =>
    (await descriptorsIn(at))
      .map((layer) => layer.annotations?.['containerd.io/uncompressed'] ?? '')
      .toSorted(compareText);
  t.deepEqual(await diffIDs(out), await diffIDs(folder));

  const lying = changedFixture(t, 'max-gzip', ({ layers }) => {
    for (const layer of layers) layer.annotations['containerd.io/uncompressed'] = `sha512:${'0'.repeat(128)}`;
  });
  t.false((await verifyFolder(lying, { deep: true })).sound);
  const refused = copyCache({ imports: [`type=local,src=${lying}`], exports: [`${exports[0]},tag=b`] });
  await t.throwsAsync(refused, { instanceOf: CacheError, code: 'CORRUPT', message: /its diffID is sha512:/ });
});
