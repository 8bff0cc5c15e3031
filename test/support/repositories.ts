import type { Repository } from '../../src/backend/repository/repository.js';
import type { BlobId } from '../../src/oci/descriptor.js';

/** Whether a repository has one blob. */
export async function hasBlob(repository: Repository, blob: BlobId): Promise<boolean> {
  return (await repository.present([blob])).has(blob.digest);
}
