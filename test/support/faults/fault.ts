import type { Effect } from '../../../src/backend/finding.js';
import type { FaultyFolder } from './faulty-folder.js';

/** One thing that is wrong with a cache, and what BuildKit and bkcache make of it. */
export interface Fault {
  readonly name: string;
  /** Whether it is one of a cache with a manifest of its own, or of one inside an image. */
  readonly of: 'cache' | 'image';
  /** Changes a folder with one tag, as BuildKit wrote it, in nothing else. */
  readonly make: (folder: FaultyFolder) => void;
  /** What BuildKit does; seen with 0.25.2. */
  readonly effect: Effect;
  /** Whether it is only noted: exit code 0. */
  readonly isNote?: boolean;
  /** Whether only unpacking shows it. */
  readonly deep?: boolean;
  /** What repair does about it; nothing where it is left out. */
  readonly repair?: readonly string[];
  /** Whether something is wrong still after that. */
  readonly stays?: boolean;
}
