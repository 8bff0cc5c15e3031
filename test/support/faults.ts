import { BUILD_FAULTS } from './faults/build-faults.js';
import type { Fault } from './faults/fault.js';
import { IMAGE_FAULTS } from './faults/image-faults.js';
import { IMPORT_FAULTS } from './faults/import-faults.js';

export { FaultyFolder } from './faults/faulty-folder.js';

/** What can be wrong with a cache in a folder or registry, and what BuildKit makes of each fault. */
export const FAULTS: readonly Fault[] = [...IMPORT_FAULTS, ...BUILD_FAULTS, ...IMAGE_FAULTS];
