import test from 'ava';
import { conformance } from '../backend/repository/conformance.js';
import { inlineConformance } from '../backend/inline/inline-conformance.js';
import { placeIn, startTestRegistry, type TestRegistry, withRegistries } from './places.js';

const KINDS = {
  'a registry': 'none',
  'a registry with passwords': 'htpasswd',
  'a registry with a token server': 'token',
  'a served folder': 'served',
  'a served folder with tokens': 'served to tokens',
} as const;

withRegistries(() => {
  for (const [name, kind] of Object.entries(KINDS)) {
    let registry: TestRegistry;
    test.before(async () => {
      registry = await startTestRegistry(kind);
    });
    test.after.always(() => registry.stop());
    conformance(name, () => placeIn(registry));
    inlineConformance(name, () => placeIn(registry));
  }
});
