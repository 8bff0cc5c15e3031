import { layoutRepository } from '../../../src/backend/local/layout-repository.js';
import { createLayout } from '../../../src/layout/create-layout.js';
import { temporary } from '../../support/fixtures.js';
import type { ExecutionContext } from 'ava';
import { conformance, type Place } from '../repository/conformance.js';
import { inlineConformance } from '../inline/inline-conformance.js';

const open = async (t: ExecutionContext): Promise<Place> => {
  const root = temporary(t);
  const repository = layoutRepository(await createLayout(root), 'copy');
  t.teardown(() => repository[Symbol.asyncDispose]());
  return {
    imports: (tag) => `type=local,src=${root},tag=${tag}`,
    exports: (tag) => `type=local,dest=${root},tag=${tag}`,
    listed: root,
    repository,
  };
};

conformance('a folder', open);
inlineConformance('a folder', open);
