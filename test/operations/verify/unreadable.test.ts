import test from 'ava';
import { layoutReader } from '../../../src/backend/local/layout-reader.js';
import type { RepositoryReader } from '../../../src/backend/repository/repository.js';
import { openLayout } from '../../../src/layout/layout.js';
import type { Content } from '../../../src/oci/content.js';
import { readBlobs } from '../../../src/operations/verify/read-blobs.js';
import { Walk } from '../../../src/operations/verify/walk.js';
import { fixture, loadFixture } from '../../support/fixtures.js';
import { digestOfCache } from '../../support/caches.js';

/** A disk that fails to read one blob. */
function failing(repository: RepositoryReader, digest: string): RepositoryReader {
  const broken = (content: Content): Content => ({
    ...content,
    // oxlint-disable-next-line require-yield -- it fails before there is anything
    async *open() {
      throw Object.assign(new Error('EIO: i/o error, read'), { code: 'EIO', syscall: 'read' });
    },
  });
  return {
    ...repository,
    manifest: (blob) => (blob.digest === digest ? broken(repository.manifest(blob)) : repository.manifest(blob)),
    blob: (blob) => (blob.digest === digest ? broken(repository.blob(blob)) : repository.blob(blob)),
  };
}

test('what the disk fails to read is one finding among others', async (t) => {
  const { graph, saved } = await loadFixture('max-gzip');
  const [layer] = graph.descriptors.keys();
  const layout = await openLayout(fixture('max-gzip'));
  for (const digest of [layer, saved?.documents[0].descriptor.digest, digestOfCache({ saved })]) {
    const repository = failing(layoutReader(layout), digest ?? '');
    const walk = new Walk(repository);
    const entries = await repository.entries();
    await walk.entries(
      entries.flatMap((entry) => ('descriptor' in entry ? { names: ['latest'], descriptor: entry.descriptor } : [])),
    );
    const { findings, blobs } = await readBlobs(repository, walk, [], {});
    t.like(findings, { length: 1, 0: { wrong: 'unreadable', found: 'EIO', digest, tags: ['latest'] } });
    t.true(blobs > 0);
  }
});
