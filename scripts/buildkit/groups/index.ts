import { bundle } from './bundle.js';
import { controls } from './controls.js';
import { conversions } from './conversions.js';
import { faults } from './faults.js';
import { gha } from './gha.js';
import type { Group } from './group.js';
import { inline } from './inline.js';
import { livingTogether } from './living-together.js';
import { merging } from './merging.js';
import { min } from './min.js';
import { objects } from './objects.js';
import { registry, served } from './registry.js';
import { selecting } from './selecting.js';
import { servedGha } from './served-gha.js';
import { store } from './store.js';
import { upkeep } from './upkeep.js';

/** All groups, in the order in which they run. */
export const GROUPS: readonly Group[] = [
  conversions,
  min,
  merging,
  store,
  bundle,
  selecting,
  livingTogether,
  registry,
  served,
  servedGha,
  objects,
  gha,
  inline,
  upkeep,
  faults,
  controls,
];
