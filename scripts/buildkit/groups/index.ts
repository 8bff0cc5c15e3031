import { conversions } from './conversions.js';
import type { Group } from './group.js';
import { merging } from './merging.js';
import { min } from './min.js';
import { store } from './store.js';

/** All groups, in the order in which they run. */
export const GROUPS: readonly Group[] = [conversions, min, merging, store];
