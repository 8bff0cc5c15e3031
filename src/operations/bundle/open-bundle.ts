import type { Bundle, BundleIndex } from '../../backend/bundle/bundle.js';
import { bundleReader } from '../../backend/bundle/bundle-reader.js';
import type { StreamedBundle } from '../../backend/bundle/streamed-bundle.js';
import { treeOf } from '../../backend/bundle/tree.js';
import type { RepositoryReader } from '../../backend/repository/repository.js';
import type { Content } from '../../oci/content.js';
import type { BlobId, Descriptor } from '../../oci/descriptor.js';
import type { Digest } from '../../oci/digest.js';
import { meterOf, type OnProgress } from '../copy/progress.js';
import type { Receiver } from './receiver.js';
import type { Traveller } from './travellers.js';

interface DeliverOptions {
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: OnProgress;
}

/** A bundle to unpack: in files, of which any blob can be read at any time, or from a pipe. */
export interface OpenBundle extends BundleIndex {
  readonly name: string;
  readonly reader: RepositoryReader;
  /** The bytes of a layer; undefined for one that it does not have, or does not have any more. */
  content(blob: BlobId): Content | undefined;
  /** For a pipe: writes all layers to where they are needed, before they are asked for. */
  deliver?(to: Receiver['layers'], travellers: readonly Traveller[], options: DeliverOptions): Promise<void>;
}

export function bundleInFiles(bundle: Bundle): OpenBundle {
  const { name, index, required } = bundle;
  return {
    name,
    index,
    required,
    reader: bundleReader(bundle),
    content: (blob) => (bundle.sizeOf(blob.digest) === undefined ? undefined : bundle.content(blob)),
  };
}

export function streamedBundle(bundle: StreamedBundle): OpenBundle {
  const { name, index, required, reader } = bundle;
  return {
    name,
    index,
    required,
    reader,
    content: () => undefined,
    deliver: (to, travellers, options) => deliver(bundle, to, travellers, options),
  };
}

/** Writes the layers of a stream in the order in which they come. Those that the receiver has are read, and not written. */
async function deliver(
  bundle: StreamedBundle,
  to: Receiver['layers'],
  travellers: readonly Traveller[],
  { signal, onProgress }: DeliverOptions,
): Promise<void> {
  const { required, reader } = bundle;
  const layers = new Map<Digest, Descriptor>();
  for (const layer of await layersOfAll(travellers, reader, signal)) {
    if (!required.has(layer.digest)) layers.set(layer.digest, layer);
  }
  const bytes = [...layers.values()].reduce((sum, { size }) => sum + size, 0);
  onProgress?.({ type: 'start', target: to.name, layers: layers.size, bytes });
  const present = await to.present([...layers.values()], signal);
  for await (const { digest, content } of bundle.layers()) {
    signal?.throwIfAborted();
    const layer = layers.get(digest);
    // What no cache in it needs is read over.
    if (layer === undefined) continue;
    if (present.has(digest)) onProgress?.({ type: 'bytes', digest, bytes: layer.size });
    else await to.write(meterOf(layer, onProgress)(content).content, layer, signal);
    onProgress?.({ type: 'layer', action: present.has(digest) ? 'present' : 'copied', from: layer, to: layer });
  }
}

async function layersOfAll(
  travellers: readonly Traveller[],
  reader: RepositoryReader,
  signal: AbortSignal | undefined,
): Promise<readonly Descriptor[]> {
  const found: Descriptor[] = [];
  for (const traveller of travellers) {
    if (traveller.kind === 'cache') found.push(...traveller.cache.graph.descriptors.values());
    else found.push(...(await treeOf(reader, [traveller.descriptor], signal)).layers);
  }
  return found;
}
