import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Ajv } from 'ajv';
import test from 'ava';
import { copyCache } from '../../src/operations/copy/copy.js';
import { FIXTURES, importOf, temporary } from '../support/fixtures.js';

// Debian's golang-github-opencontainers-image-spec-dev has them; BKCACHE_IMAGE_SPEC may name another folder.
const FOLDER = process.env['BKCACHE_IMAGE_SPEC'] ?? '/usr/share/gocode/src/github.com/opencontainers/image-spec/schema';
const withSchemas = existsSync(FOLDER) ? test : test.skip;

/** The image-spec's own JSON schemas, whose references to each other are by file name. */
function validators() {
  const ajv = new Ajv({ strict: false, validateFormats: false, allErrors: true });
  for (const name of readdirSync(FOLDER).filter((file) => file.endsWith('.json'))) {
    // The draft that they are written in names a schema by `id`, which Ajv knows as `$id`; the file name serves as well.
    const text = readFileSync(join(FOLDER, name), 'utf8').replaceAll(/"(?:id|\$schema)": "[^"]*",?/g, '');
    ajv.addSchema(JSON.parse(text) as object, `file:///${name}`);
  }
  return (schema: string, document: unknown) => {
    const validate = ajv.getSchema(`file:///${schema}`);
    if (validate === undefined) throw new Error(`there is no ${schema} in ${FOLDER}`);
    void validate(document);
    return validate.errors ?? [];
  };
}

const read = (...path: string[]) => JSON.parse(readFileSync(join(...path), 'utf8')) as Record<string, unknown>;

withSchemas('what is written is valid by the JSON schemas of the image-spec', async (t) => {
  const errors = validators();
  for (const [folder, tag] of FIXTURES) {
    for (const [options, schema] of [
      ['compression=zstd,force-compression=true', 'image-manifest-schema.json'],
      ['image-manifest=false', 'image-index-schema.json'],
    ] as const) {
      const out = temporary(t);
      const shape =
        schema === 'image-manifest-schema.json' ? 'image-manifest=true,oci-mediatypes=true' : 'oci-mediatypes=true';
      const exports = [`type=local,dest=${out},${options},${shape}`];
      const { exports: done } = await copyCache({ imports: [importOf(folder, tag)], exports });
      const digest = done[0]?.descriptor.digest ?? '';
      t.deepEqual(errors('image-layout-schema.json', read(out, 'oci-layout')), []);
      t.deepEqual(errors('image-index-schema.json', read(out, 'index.json')), []);
      t.deepEqual(
        errors(schema, read(out, 'blobs', 'sha256', digest.slice('sha256:'.length))),
        [],
        `${folder} ${schema}`,
      );
    }
  }
});

withSchemas('the schemas notice what is wrong', (t) => {
  const errors = validators();
  const wrong = { schemaVersion: 2, config: { mediaType: 'a/b', digest: 'sha256', size: -1 }, layers: [{}] };
  t.true(errors('image-manifest-schema.json', wrong).length > 2);
  t.not(errors('image-layout-schema.json', { imageLayoutVersion: '2.0.0' }).length, 0);
  t.not(errors('image-index-schema.json', { manifests: [] }).length, 0);
});
