import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { gzipSync } from 'node:zlib';
import { pack } from 'tar-stream';
import { layoutRepository } from '../../src/backend/local/layout-repository.js';
import { ZERO_TIME } from '../../src/oci/go-time.js';
import type { Graph } from '../../src/graph/graph.js';
import { saveGraph } from '../../src/graph/save.js';
import { createLayout } from '../../src/layout/create-layout.js';
import { contentOf } from '../../src/oci/content.js';
import { type Descriptor, UNCOMPRESSED } from '../../src/oci/descriptor.js';
import { sha256 } from '../../src/oci/digest.js';

const LAYERS = 100;
const LAYER_SIZE = 10_000_000;

/** Bytes that no compression makes smaller, as a layer that gzip only wraps. */
async function layer(index: number): Promise<{ readonly descriptor: Descriptor; readonly bytes: Buffer }> {
  const tar = pack();
  tar.entry({ name: `file-${index}`, mtime: new Date(0) }, randomBytes(LAYER_SIZE));
  tar.finalize();
  const chunks: Buffer[] = [];
  tar.on('data', (chunk) => chunks.push(chunk as Buffer));
  await once(tar, 'end');
  const plain = Buffer.concat(chunks);
  const bytes = gzipSync(plain, { level: 0 });
  const mediaType = 'application/vnd.oci.image.layer.v1.tar+gzip';
  const annotations = { [UNCOMPRESSED]: sha256(plain) };
  return { descriptor: { mediaType, digest: sha256(bytes), size: bytes.length, annotations }, bytes };
}

/** Writes a cache of 1 GB in 100 layers, tagged `latest`, into a new folder. */
export async function writeCache(folder: string): Promise<void> {
  const repository = layoutRepository(await createLayout(folder), 'copy');
  const descriptors: Descriptor[] = [];
  for (let index = 0; index < LAYERS; index++) {
    const { descriptor, bytes } = await layer(index);
    await repository.write(contentOf(bytes), descriptor);
    descriptors.push(descriptor);
  }
  const graph: Graph = {
    layers: descriptors.map(({ digest }, index) => ({ blob: digest, parent: index - 1 })),
    records: descriptors.map(({ digest }, index) => ({
      digest: `sha256:${createHash('sha256').update(digest).digest('hex')}` as typeof digest,
      inputs: index === 0 ? [] : [[{ selector: '', link: index - 1 }]],
      results: [{ layer: index, createdAt: ZERO_TIME }],
      chains: [],
    })),
    descriptors: new Map(descriptors.map((descriptor) => [descriptor.digest, descriptor])),
  };
  const [config, manifest] = saveGraph(graph, 'image-manifest').documents;
  await repository.write(contentOf(config.bytes), config.descriptor);
  await repository.publish(manifest, 'latest');
  await repository[Symbol.asyncDispose]();
}
