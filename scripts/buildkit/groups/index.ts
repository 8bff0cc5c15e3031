import { conversions } from './conversions.js';
import type { Group } from './group.js';

/** All groups, in the order in which they run. */
export const GROUPS: readonly Group[] = [conversions];
