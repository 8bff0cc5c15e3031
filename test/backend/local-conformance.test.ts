import { layoutRepository } from '../../src/backend/layout-repository.js';
import { createLayout } from '../../src/layout/layout.js';
import { temporary } from '../support/fixtures.js';
import { conformance } from './conformance.js';

conformance('a folder', async (t) => {
  const root = temporary(t);
  return {
    imports: (tag) => `type=local,src=${root},tag=${tag}`,
    exports: (tag) => `type=local,dest=${root},tag=${tag}`,
    listed: root,
    repository: layoutRepository(await createLayout(root), 'copy'),
  };
});
