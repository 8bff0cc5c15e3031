import { join } from 'node:path';
import type { ExecutionContext } from 'ava';
import { BundleRepository } from '../../../src/backend/bundle/bundle-repository.js';
import { DEFAULT_LAYOUT_SETTINGS } from '../../../src/layout/settings.js';
import { temporary } from '../../support/fixtures.js';
import { conformance, type Place } from '../repository/conformance.js';

conformance('a bundle', (t: ExecutionContext): Promise<Place> => {
  const path = join(temporary(t), 'caches.tar');
  const repository = new BundleRepository(path, path, undefined, DEFAULT_LAYOUT_SETTINGS);
  t.teardown(() => repository[Symbol.asyncDispose]());
  return Promise.resolve({
    imports: (tag) => `type=bundle,src=${path},tag=${tag}`,
    exports: (tag) => `type=bundle,dest=${path},tag=${tag}`,
    listed: `type=bundle,src=${path}`,
    repository,
  });
});
