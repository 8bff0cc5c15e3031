import { createReadStream, createWriteStream } from 'node:fs';
import { open } from 'node:fs/promises';
import { pipeline } from 'node:stream/promises';
import { listFiles } from '../../src/delta/file-list.js';
import { sourceName } from '../../src/delta/format.js';
import { fileReader } from '../../src/delta/random-reader.js';
import { applyDelta } from '../../src/delta/read/apply-delta.js';
import { makeDelta } from '../../src/delta/write/make-delta.js';
import { parseDigest } from '../../src/oci/digest.js';

// The two halves of a delta as commands, for measuring: their tars are files, and their diffIDs are known, as in a cache.
//
//     delta-work.js make LEVEL OLD OLD-DIFFID NEW NEW-DIFFID DELTA
//     delta-work.js apply DELTA OLD OLD-DIFFID NEW-SIZE NEW-DIFFID NEW

const CHUNK = 1024 * 1024;
const [, , verb, ...args] = process.argv;

async function opened(path: string, diffID: string) {
  const handle = await open(path);
  const { size } = await handle.stat();
  const digest = parseDigest(diffID, path);
  const files = () => listFiles(createReadStream(path, { highWaterMark: CHUNK }), digest);
  return { name: sourceName(digest), reader: fileReader(handle, size), files };
}

if (verb === 'make') {
  const [level = '', oldPath = '', oldID = '', newPath = '', newID = '', delta = ''] = args;
  const old = await opened(oldPath, oldID);
  const tar = await opened(newPath, newID);
  const made = await makeDelta(tar.reader, await tar.files(), [{ ...old, files: await old.files() }], {
    level: level === 'max' ? 'max' : 'normal',
  });
  await pipeline(made.bytes, createWriteStream(delta));
} else {
  const [delta = '', oldPath = '', oldID = '', size = '', newID = '', out = ''] = args;
  const old = await opened(oldPath, oldID);
  const promised = { size: Number(size), diffID: parseDigest(newID, 'the new tar') };
  await pipeline(
    applyDelta(createReadStream(delta), new Map([[old.name, old.reader]]), promised),
    createWriteStream(out),
  );
}
process.exit();
